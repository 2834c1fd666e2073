"""How far a faster way of computing may be from float32, in the units of each task: one table for the whole project.

Discrepancies by unit -> sentences about those that are too large. Plain arithmetic on a handful of numbers.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, get_args

from vitruvian.errors import UsageError

Quality = Literal["exact", "balanced", "fast"]
Limit = tuple[Literal["<=", ">="], float]

QUALITIES: tuple[Quality, ...] = get_args(Quality)

QUALITY: Mapping[Quality, Mapping[str, Limit]] = {
    "exact": {
        "px_p90": ("<=", 0.05),
        "score_max": ("<=", 2e-3),
        "label_share": (">=", 0.9995),
        "deg_mean": ("<=", 0.05),
        "relative": ("<=", 1e-3),
        "metric_relative": ("<=", 1e-3),
        "relative_l2": ("<=", 1e-3),
        "levels_mean": ("<=", 0.1),
        "person_share": (">=", 0.995),
    },
    "balanced": {
        "px_p90": ("<=", 0.5),
        "score_max": ("<=", 0.05),
        "label_share": (">=", 0.995),
        "deg_mean": ("<=", 0.5),
        "relative": ("<=", 0.01),
        "metric_relative": ("<=", 0.01),
        "relative_l2": ("<=", 0.03),
        "levels_mean": ("<=", 2.0),
        "person_share": (">=", 0.98),
    },
    "fast": {
        "px_p90": ("<=", 1.5),
        "score_max": ("<=", 0.15),
        "label_share": (">=", 0.985),
        "deg_mean": ("<=", 1.5),
        "relative": ("<=", 0.03),
        "metric_relative": ("<=", 0.03),
        "relative_l2": ("<=", 0.1),
        "levels_mean": ("<=", 6.0),
        "person_share": (">=", 0.95),
    },
}
"""Limits that the worst picture must keep; provisional until official weights have been seen.

exact: float32 alone is chosen by itself; the limits, ten times rounding, judge what a user insists on. balanced: below
what anybody sees; features may move twice as far as bfloat16 moves those of a 24-block encoder (1.4 %). fast: three
times balanced, about what one step down in network size costs. levels_mean is of 255, of frames that a video codec
moves by another 2.6 to 4.6.
"""

REPORTED = frozenset({"px_median", "px_max"})
"""Units that are shown and not judged. One keypoint with two equal peaks may choose the other in any precision: the
largest distance says how often that happens, not how well the numbers agree. They must be finite all the same."""


def check_quality(name: str) -> Quality:
    """The quality of this name.

    Raises:
        UsageError: there is none.
    """
    for quality in QUALITIES:
        if quality == name:
            return quality
    raise UsageError(f"got --quality {name}; expected one of {', '.join(QUALITIES)}")


def misses(discrepancies: Mapping[str, float], quality: Quality) -> list[str]:
    """What is too far from the reference, a sentence each; empty: all within the limits.

    Raises:
        UsageError: a unit that the table does not know.
    """
    said = []
    for unit, value in discrepancies.items():
        limit = _limit(unit, quality)
        if not math.isfinite(value):
            said.append(f"got {unit} {value}; expected a number")
        elif limit is not None and not _keeps(value, limit):
            said.append(f"got {unit} {value:.4g}; expected {limit[0]} {limit[1]:g}")
    return said


def margins(discrepancies: Mapping[str, float], quality: Quality) -> str:
    """The judged values beside their limits in one line, for decisions."""
    judged = {unit: (value, _limit(unit, quality)) for unit, value in discrepancies.items()}
    return ", ".join(
        f"{unit} {value:.4g} ({limit[0]} {limit[1]:g})" for unit, (value, limit) in judged.items() if limit is not None
    )


def worst(rows: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """The worst value of each unit; a value that is no number is the worst of all."""
    return {unit: _worst_of(unit, [row[unit] for row in rows]) for unit in (rows[0] if rows else {})}


def mean(rows: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """The mean of each unit."""
    return {unit: sum(row[unit] for row in rows) / len(rows) for unit in (rows[0] if rows else {})}


def _worst_of(unit: str, values: Sequence[float]) -> float:
    if any(math.isnan(value) for value in values):
        return math.nan
    limit = _limit(unit, "balanced")
    return min(values) if limit is not None and limit[0] == ">=" else max(values)


def _limit(unit: str, quality: Quality) -> Limit | None:
    if unit in REPORTED:
        return None
    if unit not in QUALITY[quality]:
        known = sorted({*QUALITY[quality], *REPORTED})
        raise UsageError(f"got a discrepancy in {unit!r}; expected some of {', '.join(known)}; give it a limit")
    return QUALITY[quality][unit]


def _keeps(value: float, limit: Limit) -> bool:
    return value <= limit[1] if limit[0] == "<=" else value >= limit[1]


@dataclass(frozen=True, kw_only=True, slots=True)
class AuditReport:
    """What was seen when one way of computing was held against float32 on the same pictures."""

    discrepancies: Mapping[str, float] = field(default_factory=dict)
    """Worst value over the crops by unit; empty where the candidate gave no usable numbers."""
    mean: Mapping[str, float] = field(default_factory=dict)
    """Mean over the crops by unit."""
    non_finite: int = 0
    """Values of the candidate's raw outputs that are not finite."""
    crops: int = 0
    reference_s: float = 0.0
    """Seconds for one crop, the fastest of them, outputs on the host."""
    candidate_s: float = 0.0
    """The same of the candidate."""
    error: str = ""
    """First line of the error the candidate ended with; empty: it ran."""

    def misses(self, quality: Quality) -> list[str]:
        """Why the candidate is not good enough, a sentence each; empty: it is."""
        if self.error:
            return [f"got an error: {self.error}"]
        if self.non_finite:
            return [f"got {self.non_finite} values that are not finite; expected none"]
        return misses(self.discrepancies, quality)
