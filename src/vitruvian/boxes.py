"""Areas and overlaps of boxes x0 y0 x1 y1, and which of several that overlap to keep. NumPy alone; negligible cost."""

# Shape suffixes: P boxes of one list, Q of another, 4 = x0 y0 x1 y1.

from __future__ import annotations

import numpy as np


def areas(boxes_P4: np.ndarray) -> np.ndarray:
    """Area (P,) of each box; 0 for those that are turned round."""
    return np.asarray((boxes_P4[:, 2:] - boxes_P4[:, :2]).clip(0).prod(axis=1))


def intersections(one_P4: np.ndarray, other_Q4: np.ndarray) -> np.ndarray:
    """Area (P,Q) that each box of one list has in common with each of the other."""
    low_PQ2 = np.maximum(one_P4[:, None, :2], other_Q4[None, :, :2])
    high_PQ2 = np.minimum(one_P4[:, None, 2:], other_Q4[None, :, 2:])
    return np.asarray((high_PQ2 - low_PQ2).clip(0).prod(axis=2))


def overlaps(one_P4: np.ndarray, other_Q4: np.ndarray) -> np.ndarray:
    """Intersection over union (P,Q), 0..1, of every box with every other; boxes without area overlap nothing."""
    common_PQ = intersections(one_P4, other_Q4)
    union_PQ = areas(one_P4)[:, None] + areas(other_Q4)[None] - common_PQ
    return np.asarray(common_PQ / np.where(union_PQ > 0, union_PQ, 1))


def suppressed(boxes_P4: np.ndarray, overlap: float) -> np.ndarray:
    """Indices of the boxes to keep, best first in and out: those that no better kept box overlaps by more.

    Greedy, as detectors publish it: a box that went does not take others with it.
    """
    overlaps_PP = overlaps(boxes_P4, boxes_P4)
    kept: list[int] = []
    for index in range(len(boxes_P4)):
        if not kept or overlaps_PP[index, kept].max() <= overlap:
            kept.append(index)
    return np.array(kept, np.int64)
