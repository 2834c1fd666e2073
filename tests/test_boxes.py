"""Areas, overlaps and suppression of boxes worked out by hand; empty and turned boxes overlap nothing."""

from __future__ import annotations

import numpy as np
import pytest

from vitruvian.boxes import areas, intersections, overlaps, suppressed

BOXES_P4 = np.array([[0, 0, 10, 10], [5, 0, 15, 10], [0, 0, 5, 5], [20, 20, 20, 20], [9, 9, 3, 3]])
ROW_OF_NOTHING = [0, 0, 0, 0, 0]


@pytest.mark.parametrize("dtype", [np.float64, np.float32, np.int64])
def test_areas_intersections_and_overlaps_of_known_boxes(dtype: type) -> None:
    boxes_P4 = BOXES_P4.astype(dtype)
    assert areas(boxes_P4).tolist() == [100, 100, 25, 0, 0]
    common = [[100, 50, 25, 0, 0], [50, 100, 0, 0, 0], [25, 0, 25, 0, 0], ROW_OF_NOTHING, ROW_OF_NOTHING]
    assert intersections(boxes_P4, boxes_P4).tolist() == common
    expected = [[1, 1 / 3, 1 / 4, 0, 0], [1 / 3, 1, 0, 0, 0], [1 / 4, 0, 1, 0, 0], ROW_OF_NOTHING, ROW_OF_NOTHING]
    np.testing.assert_allclose(overlaps(boxes_P4, boxes_P4), expected, rtol=1e-6)


def test_tiny_boxes_overlap_as_others_do_and_lists_may_be_empty() -> None:
    np.testing.assert_allclose(overlaps(BOXES_P4 * 1e-8, BOXES_P4 * 1e-8), overlaps(BOXES_P4, BOXES_P4))
    assert overlaps(BOXES_P4[:0], BOXES_P4[1:]).shape == (0, 4)


@pytest.mark.parametrize(("overlap", "kept"), [(0.6, [0, 2, 3]), (0.3, [0, 3]), (0.9, [0, 1, 2, 3])])
def test_suppression_keeps_the_best_of_those_that_overlap(overlap: float, kept: list[int]) -> None:
    boxes_P4 = np.array([[0, 0, 10, 10], [1, 0, 11, 10], [5, 0, 15, 10], [40, 40, 50, 50.0]])
    assert suppressed(boxes_P4, overlap).tolist() == kept


def test_who_overlaps_just_as_much_stays_and_who_went_takes_nobody_along() -> None:
    chain_P4 = np.array([[0, 0, 10, 10], [5, 0, 15, 10], [10, 0, 20, 10]])
    assert suppressed(chain_P4, 0.3).tolist() == [0, 2]
    assert suppressed(chain_P4, 1 / 3).tolist() == [0, 1, 2]
    assert suppressed(chain_P4[:0], 0.5).tolist() == []
