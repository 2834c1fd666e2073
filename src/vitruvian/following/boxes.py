"""Boxes as following sees them: who is covered by whom, and what is no box. Negligible cost."""

# Shape suffixes: P boxes, 4 = x0 y0 x1 y1.

from __future__ import annotations

import numpy as np

from vitruvian.boxes import areas, intersections
from vitruvian.errors import UsageError


def covered_shares(boxes_P4: np.ndarray) -> np.ndarray:
    """The largest share (P,), 0..1, of each box that one other box of the list lies over; 0 for boxes without area."""
    common_PP = intersections(boxes_P4, boxes_P4)
    np.fill_diagonal(common_PP, 0.0)
    area_P = areas(boxes_P4)
    return np.asarray(common_PP.max(axis=1, initial=0.0) / np.where(area_P > 0, area_P, 1))


def checked_boxes(boxes_P4: np.ndarray, what: str) -> np.ndarray:
    """The boxes in float64; UsageError unless they are finite rows x0 y0 x1 y1 with x0 <= x1 and y0 <= y1."""
    checked_P4 = np.asarray(boxes_P4, np.float64)
    if checked_P4.size == 0:
        return np.zeros((0, 4))
    if checked_P4.ndim != 2 or checked_P4.shape[1] != 4:
        raise UsageError(f"{what}: got boxes of shape {checked_P4.shape}; expected (persons, 4); pass x0 y0 x1 y1 rows")
    if not np.isfinite(checked_P4).all() or (checked_P4[:, 2:] < checked_P4[:, :2]).any():
        raise UsageError(
            f"{what}: got boxes that are not finite or turned round; expected x0 <= x1 and y0 <= y1; fix them"
        )
    return checked_P4
