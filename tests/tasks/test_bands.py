"""Bands cover every row once; the per-pixel questions agree with NumPy's reductions."""

from __future__ import annotations

import numpy as np
import pytest

from vitruvian.tasks.bands import BAND_PIXELS, all_finite, any_nonzero, bands


@pytest.mark.parametrize(("height", "width"), [(0, 5), (1, 1), (7, 3), (1000, 1500), (3, 4 * BAND_PIXELS)])
def test_bands_cover_every_row_once_and_in_order(height: int, width: int) -> None:
    rows = [row for part in bands(height, width) for row in range(height)[part]]
    assert rows == list(range(height))
    assert all((part.stop - part.start) * width <= max(BAND_PIXELS, width) for part in bands(height, width))


def test_one_bad_value_makes_a_vector_bad_and_one_value_makes_it_something() -> None:
    vectors_HW3 = np.zeros((2, 3, 3), np.float32)
    vectors_HW3[0, 1, 2], vectors_HW3[1, 0, 0], vectors_HW3[1, 2, 1] = np.nan, np.inf, -1
    assert all_finite(vectors_HW3).tolist() == [[True, False, True], [False, True, True]]
    assert any_nonzero(vectors_HW3).tolist() == [[False, True, False], [True, False, True]]
