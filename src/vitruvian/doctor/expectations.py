"""What the embedded networks reach in float32 on the doctor's pictures where everything works: stored, with tolerances.

A build of torch that computes wrong still runs; it is found out by results that are not what they should be.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from functools import cache
from importlib import resources

from vitruvian.errors import UsageError

FILE = "doctor.json"
TOLERANCES: Mapping[str, float] = {"PCK@0.1": 0.03, "mIoU": 0.015, "RMSE m": 0.01, "degrees": 1.0, "AbsRel": 0.02}
"""Absolute, either way. Rounding to bfloat16 moves a measure by a fifth of this; the rest is for other versions of
OpenCV, which draws and crops the pictures."""


@cache
def _stored() -> dict[str, dict[str, dict[str, float]]]:
    text = resources.files("vitruvian").joinpath("data", FILE).read_text(encoding="utf-8")
    return json.loads(text)["float32"]


def known_counts() -> tuple[int, ...]:
    """Numbers of pictures that expectations are stored for, ascending."""
    return tuple(sorted(map(int, _stored())))


def deviations(task: str, pictures: int, found: Mapping[str, float]) -> tuple[str, ...]:
    """Measures that are not what they should be, a sentence each; tasks without truth have none.

    Raises:
        UsageError: nothing is stored for this number of pictures.
    """
    if str(pictures) not in _stored():
        counts = ", ".join(map(str, known_counts()))
        raise UsageError(f"got {pictures} pictures; expected {counts}: nothing is stored for other numbers")
    said = []
    for measure, expected in _stored()[str(pictures)].get(task, {}).items():
        value, tolerance = found.get(measure, math.nan), TOLERANCES[measure]
        if not abs(value - expected) <= tolerance:
            said.append(f"got {measure} {value:.3f}; expected {expected:.3f} within {tolerance:g}")
    return tuple(said)
