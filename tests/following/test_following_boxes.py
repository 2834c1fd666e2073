"""Who is covered by whom, and boxes that are none."""

from __future__ import annotations

import numpy as np
import pytest

from vitruvian.errors import UsageError
from vitruvian.following.boxes import checked_boxes, covered_shares

BOXES_4 = np.array([[0.0, 0, 10, 10], [5, 0, 15, 10], [0, 0, 5, 5], [20, 20, 20, 20]])


def test_covered_shares_of_known_boxes() -> None:
    np.testing.assert_allclose(covered_shares(BOXES_4), [0.5, 0.5, 1.0, 0.0])
    assert covered_shares(BOXES_4[:1]).tolist() == [0.0]
    assert covered_shares(BOXES_4[:0]).shape == (0,)


@pytest.mark.parametrize("boxes", [[[0, 0, 1]], [[0, 0, np.nan, 1]], [[5, 0, 1, 1]], [0, 0, 1, 1]])
def test_what_is_no_box_is_refused(boxes: list[object]) -> None:
    with pytest.raises(UsageError, match="expected"):
        checked_boxes(np.array(boxes, float), "here")


def test_no_boxes_are_boxes_too() -> None:
    assert checked_boxes(np.zeros(0), "here").shape == (0, 4)
