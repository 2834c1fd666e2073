"""Areas and overlaps of boxes x0 y0 x1 y1, and which of several that overlap to keep. NumPy alone; negligible cost."""

# Shape suffixes: P boxes of one list, Q of another, 4 = x0 y0 x1 y1.

from __future__ import annotations

import numpy as np


def areas(boxes_P4: np.ndarray) -> np.ndarray:
    """Area (P,) of each box; 0 for those that are turned round."""
    return np.asarray((boxes_P4[:, 2:] - boxes_P4[:, :2]).clip(0).prod(axis=1))


def intersections(one_P4: np.ndarray, other_Q4: np.ndarray) -> np.ndarray:
    """Area (P,Q) that each box of one list has in common with each of the other."""
    # One axis after the other: on an axis of two NumPy is six times as slow.
    width_PQ, height_PQ = (
        (
            np.minimum(one_P4[:, None, high], other_Q4[None, :, high])
            - np.maximum(one_P4[:, None, low], other_Q4[None, :, low])
        ).clip(0)
        for low, high in ((0, 2), (1, 3))
    )
    return np.asarray(width_PQ * height_PQ)


def overlaps(one_P4: np.ndarray, other_Q4: np.ndarray) -> np.ndarray:
    """Intersection over union (P,Q), 0..1, of every box with every other; boxes without area overlap nothing."""
    common_PQ = intersections(one_P4, other_Q4)
    union_PQ = areas(one_P4)[:, None] + areas(other_Q4)[None] - common_PQ
    return np.asarray(common_PQ / np.where(union_PQ > 0, union_PQ, 1))


def suppressed(boxes_P4: np.ndarray, overlap: float) -> np.ndarray:
    """Indices of the boxes to keep, best first in and out: those that no better kept box overlaps by more.

    Greedy, as detectors publish it: a box that went does not take others with it.
    """
    doubles_PP = overlaps(boxes_P4, boxes_P4) > overlap
    gone_P = np.zeros(len(boxes_P4), bool)
    kept: list[int] = []
    for index in range(len(boxes_P4)):
        if not gone_P[index]:
            kept.append(index)
            gone_P |= doubles_PP[index]
    return np.array(kept, np.int64)
