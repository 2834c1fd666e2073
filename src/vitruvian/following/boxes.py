"""How much boxes overlap. Inputs -> outputs: two lists of boxes -> their intersections over unions. Negligible cost."""

# Shape suffixes: P boxes of one list, Q of another, 4 = x0 y0 x1 y1.

from __future__ import annotations

import numpy as np

from vitruvian.errors import UsageError


def overlaps(one_P4: np.ndarray, other_Q4: np.ndarray) -> np.ndarray:
    """Intersection over union (P,Q), 0..1, of every box with every other; boxes without area overlap nothing."""
    low_PQ2 = np.maximum(one_P4[:, None, :2], other_Q4[None, :, :2])
    high_PQ2 = np.minimum(one_P4[:, None, 2:], other_Q4[None, :, 2:])
    common_PQ = (high_PQ2 - low_PQ2).clip(0).prod(axis=2)
    area_P, area_Q = ((boxes[:, 2:] - boxes[:, :2]).clip(0).prod(axis=1) for boxes in (one_P4, other_Q4))
    union_PQ = area_P[:, None] + area_Q[None] - common_PQ
    return np.divide(common_PQ, union_PQ, out=np.zeros_like(common_PQ), where=union_PQ > 0)


def covered_shares(boxes_P4: np.ndarray) -> np.ndarray:
    """The largest share (P,), 0..1, of each box that one other box of the list lies over."""
    low_PP2 = np.maximum(boxes_P4[:, None, :2], boxes_P4[None, :, :2])
    high_PP2 = np.minimum(boxes_P4[:, None, 2:], boxes_P4[None, :, 2:])
    common_PP = (high_PP2 - low_PP2).clip(0).prod(axis=2)
    np.fill_diagonal(common_PP, 0.0)
    area_P = (boxes_P4[:, 2:] - boxes_P4[:, :2]).prod(axis=1)
    return common_PP.max(axis=1, initial=0.0) / np.maximum(area_P, 1e-9)


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
