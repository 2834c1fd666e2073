"""Maps with three values a pixel, walked through fast: in bands of rows, and value by value.

Picture-sized temporaries cost more in fresh memory pages than in arithmetic, and NumPy's reductions over an axis of
three cost more than three whole steps. Without both, codes and drawings of normals take three times as long.
"""

# Shape suffixes: H W picture size, 3 = x y z.

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

BAND_PIXELS = 1 << 14
"""The temporaries of so many pixels stay in a core's cache."""


def bands(height: int, width: int) -> Iterator[slice]:
    """Row ranges that cover a picture in order, of about 16384 pixels each."""
    rows = max(1, BAND_PIXELS // max(1, width))
    for start in range(0, height, rows):
        yield slice(start, min(start + rows, height))


def all_finite(vectors_HW3: np.ndarray) -> np.ndarray:
    """bool (H,W): whether all three values are finite."""
    x_HW, y_HW, z_HW = np.isfinite(vectors_HW3).transpose(2, 0, 1)
    return x_HW & y_HW & z_HW


def any_nonzero(vectors_HW3: np.ndarray) -> np.ndarray:
    """bool (H,W): whether any of the three values is not zero."""
    x_HW, y_HW, z_HW = (vectors_HW3 != 0).transpose(2, 0, 1)
    return x_HW | y_HW | z_HW
