"""Before and after the published person detector (YOLOX): letterboxed picture in, persons' boxes out.

uint8 RGB frame -> float32 (3,640,640) -> rows (8400,85) of the network -> boxes in pixels, surest first. NumPy; the
resize of the frame dominates.
"""

# Shape suffixes: R = 8400 rows, P boxes, H W frame, 3 = RGB, 4 = x0 y0 x1 y1.

from __future__ import annotations

import cv2
import numpy as np

from vitruvian.boxes import suppressed

SIDE = 640
PAD_LEVEL = 114
STRIDES = (8, 16, 32)
LEAST_SCORE, OVERLAP, SURE_SCORE = 0.1, 0.45, 0.3
PERSON = 0


def letterboxed(frame_HW3: np.ndarray) -> np.ndarray:
    """float32 (3,640,640), levels 0 to 255: the frame in the upper left corner, the rest grey.

    The channels stay RGB as in the published program, although such detectors are trained on BGR.
    """
    height, width = frame_HW3.shape[:2]
    ratio = _ratio((height, width))
    canvas_HW3 = np.full((SIDE, SIDE, 3), PAD_LEVEL, np.uint8)
    high, wide = int(height * ratio), int(width * ratio)
    canvas_HW3[:high, :wide] = cv2.resize(frame_HW3, (wide, high), interpolation=cv2.INTER_LINEAR)
    return canvas_HW3.transpose(2, 0, 1).astype(np.float32)


def persons_of(rows_R85: np.ndarray, size_hw: tuple[int, int]) -> np.ndarray:
    """Boxes float32 (P,4) of persons in pixels of the frame, surest first; the whole frame where nobody is found.

    Args:
        rows_R85: float32; centre, logarithm of the size, score of an object, scores of 80 classes.
        size_hw: the frame's height and width.
    """
    boxes_R4, scores_R = _decoded(rows_R85)
    likely_R = scores_R > LEAST_SCORE
    order = np.argsort(-scores_R[likely_R], kind="stable")
    boxes_P4, scores_P = boxes_R4[likely_R][order] / _ratio(size_hw), scores_R[likely_R][order]
    # Published areas count the last pixel, too.
    kept = suppressed(boxes_P4 + np.array([0, 0, 1, 1], boxes_P4.dtype), OVERLAP)
    boxes_P4 = boxes_P4[kept][scores_P[kept] > SURE_SCORE]
    if len(boxes_P4):
        return boxes_P4.astype(np.float32)
    return np.array([[0, 0, size_hw[1], size_hw[0]]], np.float32)


def _decoded(rows_R85: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Boxes in pixels of the canvas and scores of persons."""
    grids, strides = [], []
    for stride in STRIDES:
        side = SIDE // stride
        y, x = np.mgrid[:side, :side]
        grids.append(np.stack([x.ravel(), y.ravel()], axis=1))
        strides.append(np.full((side * side, 1), stride))
    stride_R1 = np.concatenate(strides)
    centre_R2 = (rows_R85[:, :2] + np.concatenate(grids)) * stride_R1
    half_R2 = np.exp(rows_R85[:, 2:4]) * stride_R1 / 2
    return np.concatenate([centre_R2 - half_R2, centre_R2 + half_R2], axis=1), rows_R85[:, 4] * rows_R85[:, 5 + PERSON]


def _ratio(size_hw: tuple[int, int]) -> float:
    return min(SIDE / size_hw[0], SIDE / size_hw[1])
