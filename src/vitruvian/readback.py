"""Results from their files: depth and normals out of 16-bit PNGs, by what the files say of themselves."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from vitruvian.errors import InputError
from vitruvian.media.decode_outputs import read_about, read_codes
from vitruvian.media.names import shown
from vitruvian.tasks.codes import decode_depth, decode_normals


def depth_from_png(path: str | Path) -> np.ndarray:
    """Depth (H,W) float32 in the unit that `read_about` names; NaN where the map has no value."""
    about = read_about(path)
    low, high = about.get("min"), about.get("max")
    codes_HW = read_codes(Path(path), channels=1)
    if not isinstance(low, (int, float)) or not isinstance(high, (int, float)):
        raise InputError(f"{shown(Path(path))} does not say its range; expected a depth map that this program wrote")
    return decode_depth(codes_HW, low, high)


def normals_from_png(path: str | Path) -> np.ndarray:
    """Normals (H,W,3) float32 in the frame that `read_about` names, unit length up to rounding; NaN without a value."""
    return decode_normals(read_codes(Path(path), channels=3))
