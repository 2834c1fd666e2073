"""Intrinsics of cameras from a file: one camera for all pictures, or one by picture name.

JSON or plain numbers -> `IntrinsicsTable`. JSON: `{"fx": .., "fy": .., "cx": .., "cy": ..}`, a matrix
`{"K": [[fx, 0, cx], [0, fy, cy], [0, 0, 1]]}` (or 9 numbers, or `camera_matrix`), each with `width` and `height` where
pictures may come in other sizes; a list `[fx, fy, cx, cy]`; or an object with one of these for each picture. Plain
text: 4 numbers (fx fy cx cy) or the 9 of a matrix.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from vitruvian.errors import UsageError

MAX_FILE_BYTES = 64_000_000
"""Larger files are refused."""

_FORMS = '{"fx", "fy", "cx", "cy"}, {"K": 3x3}, [fx, fy, cx, cy], or {"name.jpg": one of these}'
_MATRIX_NAMES = ("K", "camera_matrix", "intrinsics", "cam_in")
_NUMBER = re.compile(r"[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?")


@dataclass(frozen=True, kw_only=True, slots=True)
class Intrinsics:
    """A pinhole camera as a file has it."""

    fx_px: float
    fy_px: float
    cx_px: float | None
    """None: the middle of the picture."""
    cy_px: float | None
    size_wh: tuple[float, float] | None = None
    """Width and height of the pictures that it speaks of; None: of whatever comes."""


@dataclass(frozen=True, kw_only=True, slots=True)
class IntrinsicsTable:
    """Cameras of pictures."""

    common: Intrinsics | None
    """Of all pictures that are not named."""
    by_name: Mapping[str, Intrinsics]

    def lookup(self, name: str) -> Intrinsics | None:
        """By relative path, then by file name, then what holds for all; None: nothing is known."""
        path = PurePosixPath(name)
        for key in (str(path), path.name, path.stem):
            if key in self.by_name:
                return self.by_name[key]
        return self.common


def read_intrinsics(path: Path) -> IntrinsicsTable:
    """Read a file; `UsageError` says what is wrong."""
    try:
        size_bytes = path.stat().st_size
        if size_bytes > MAX_FILE_BYTES:
            raise UsageError(
                f"got intrinsics of {size_bytes / 1e6:.0f} MB; expected at most {MAX_FILE_BYTES / 1e6:.0f} MB; split "
                "them"
            )
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"got {path.name}, which cannot be read ({error}); expected {_FORMS}") from error
    words = text.replace(",", " ").split()
    if words and all(_NUMBER.fullmatch(word) for word in words):
        return IntrinsicsTable(common=_from_list([float(word) for word in words], path.name), by_name={})
    try:
        return parse_intrinsics(json.loads(text), path.name)
    except (ValueError, RecursionError) as error:  # ValueError: no JSON, or an integer of thousands of digits
        raise UsageError(
            f"got {path.name}, which is no JSON ({error}); expected {_FORMS}, or 4 or 9 numbers"
        ) from error


def parse_intrinsics(document: Any, place: str = "the intrinsics") -> IntrinsicsTable:
    """Cameras of an already parsed JSON document, see the module."""
    if isinstance(document, dict) and not _is_camera(document):
        by_name = {str(PurePosixPath(name)): _parse(value, f"{name!r}") for name, value in document.items()}
        common = by_name.pop("*", None)
        if not by_name and common is None:
            raise UsageError(f"got {place} without a camera; expected {_FORMS}; add one")
        return IntrinsicsTable(common=common, by_name=by_name)
    return IntrinsicsTable(common=_parse(document, place), by_name={})


def _is_camera(document: Mapping[str, Any]) -> bool:
    return "fx" in document or any(name in document for name in _MATRIX_NAMES)


def _parse(value: Any, place: str) -> Intrinsics:
    if isinstance(value, list):
        return _from_list(value, place)
    if not isinstance(value, dict) or not _is_camera(value):
        raise UsageError(f"got {str(value)[:80]} as {place}; expected {_FORMS}; correct the intrinsics file")
    size_wh = None
    if "width" in value or "height" in value:
        width, height = _numbers([value.get("width"), value.get("height")], f"width and height of {place}")
        if width < 1 or height < 1:
            raise UsageError(f"got {width:g} x {height:g} as size in {place}; expected pixels; correct it")
        size_wh = (width, height)
    if "fx" not in value:
        matrix = next(value[name] for name in _MATRIX_NAMES if name in value)
        found = _from_list(matrix.get("data") if isinstance(matrix, dict) else matrix, place)
        return Intrinsics(fx_px=found.fx_px, fy_px=found.fy_px, cx_px=found.cx_px, cy_px=found.cy_px, size_wh=size_wh)
    fx, fy = _numbers([value["fx"], value.get("fy", value["fx"])], f"fx and fy of {place}")
    centre = [
        None if value.get(name) is None else _numbers([value[name]], f"{name} of {place}")[0] for name in ("cx", "cy")
    ]
    return Intrinsics(fx_px=fx, fy_px=fy, cx_px=centre[0], cy_px=centre[1], size_wh=size_wh)


def _from_list(value: Any, place: str) -> Intrinsics:
    """Four numbers, or a matrix as nine or as three rows of three."""
    if isinstance(value, list) and len(value) == 3 and all(isinstance(row, list) for row in value):
        value = [number for row in value for number in row]
    if not isinstance(value, list) or len(value) not in (4, 9):
        raise UsageError(f"got {str(value)[:80]} as {place}; expected [fx, fy, cx, cy] or a 3x3 matrix; correct it")
    numbers = _numbers(value, place)
    if len(numbers) == 4:
        fx, fy, cx, cy = numbers
        return Intrinsics(fx_px=fx, fy_px=fy, cx_px=cx, cy_px=cy)
    fx, skew, cx, zero, fy, cy, *last = numbers
    if abs(skew) > 1e-3 * abs(fx) or zero != 0 or last != [0.0, 0.0, 1.0]:
        raise UsageError(
            f"got the matrix {numbers} as {place}; expected [fx 0 cx, 0 fy cy, 0 0 1], row by row; correct it"
        )
    return Intrinsics(fx_px=fx, fy_px=fy, cx_px=cx, cy_px=cy)


def _numbers(values: list[Any], place: str) -> list[float]:
    if all(isinstance(value, (int, float)) and not isinstance(value, bool) for value in values):
        with suppress(OverflowError):  # an integer beyond every float
            numbers = [float(value) for value in values]
            if all(map(math.isfinite, numbers)):
                return numbers
    raise UsageError(f"got {str(values)[:80]} as {place}; expected finite numbers; correct the intrinsics file")
