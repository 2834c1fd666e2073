"""Depth and normals in 16-bit pictures: value -> code and back.

Code 0 always means "no value"; the other 65535 codes span the range evenly. float32 maps -> uint16 maps.
"""

# Shape suffixes: H W picture size, 3 = x y z.

from __future__ import annotations

from typing import Any

import numpy as np

from vitruvian.tasks.bands import all_finite, any_nonzero, bands

STEPS = 65534
"""Steps between code 1 and code 65535."""

DEPTH_FORMULA = "depth = min + (code - 1) / 65534 * (max - min); code 0: no value"
NORMAL_FORMULA = "n = (code - 1) / 65534 * 2 - 1 for R, G, B = x, y, z; code 0 0 0: no value"


def encode_depth(depth_HW: np.ndarray) -> tuple[np.ndarray, dict[str, Any]]:
    """uint16 codes, and the range and formula that undo them; a flat map is all ones, one without values all zeros."""
    valid_HW = np.isfinite(depth_HW)
    low = float(depth_HW.min(where=valid_HW, initial=np.inf)) if valid_HW.any() else 0.0
    high = float(depth_HW.max(where=valid_HW, initial=-np.inf)) if valid_HW.any() else 0.0
    span = high - low if high > low else 1.0
    share_HW = (np.where(valid_HW, depth_HW, low).astype(np.float64) - low) / span
    codes_HW = np.where(valid_HW, 1 + np.rint(STEPS * share_HW), 0).astype(np.uint16)
    return codes_HW, {"min": low, "max": high, "formula": DEPTH_FORMULA}


def decode_depth(codes_HW: np.ndarray, low: float, high: float) -> np.ndarray:
    """float32 depth of codes with this range; NaN where there is no value."""
    depth_HW = low + (codes_HW.astype(np.float64) - 1) / STEPS * (high - low)
    return np.where(codes_HW > 0, depth_HW, np.nan).astype(np.float32)


def encode_normals(normals_HW3: np.ndarray) -> np.ndarray:
    """uint16 (H,W,3) codes of unit normals; 0 0 0 where a normal is not finite or has no length."""
    codes_HW3 = np.zeros(normals_HW3.shape, np.uint16)
    for rows in bands(*normals_HW3.shape[:2]):
        band_HW3 = normals_HW3[rows]
        valid_HW1 = (all_finite(band_HW3) & any_nonzero(band_HW3))[..., None]
        share_HW3 = (np.where(valid_HW1, band_HW3, 0.0).clip(-1, 1) + 1) / 2
        np.copyto(codes_HW3[rows], np.rint(share_HW3 * STEPS) + 1, where=valid_HW1, casting="unsafe")
    return codes_HW3


def decode_normals(codes_HW3: np.ndarray) -> np.ndarray:
    """float32 (H,W,3) normals of codes, not normalised again; NaN where there is no value."""
    normals_HW3 = (codes_HW3.astype(np.float64) - 1) / STEPS * 2 - 1
    return np.where((codes_HW3 > 0).all(axis=2, keepdims=True), normals_HW3, np.nan).astype(np.float32)
