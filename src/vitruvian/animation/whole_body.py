"""Before and after the published whole-body network (RTMPose with SimCC): a person's crop in, 133 points out.

uint8 RGB frame and a box -> float32 (3,384,288) -> scores along x (133,576) and y (133,768) -> points in pixels of the
frame. Points of all persons of many frames can share a batch.
"""

# Shape suffixes: K = 133 points, X Y score bins, H W frame, 2 = x y, 3 = RGB.

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

INPUT_HW = (384, 288)
PADDING = 1.25
MEAN_RGB, STD_RGB = (123.675, 116.28, 103.53), (58.395, 57.12, 57.375)
BINS_PER_PIXEL = 2


@dataclass(frozen=True, kw_only=True, slots=True)
class Crop:
    """Where a person was cut out."""

    centre_xy: tuple[float, float]
    size_wh: tuple[float, float]
    """In pixels of the frame, in the network's aspect."""


def crop_of(box_4: np.ndarray) -> Crop:
    """The crop of a box: larger by a quarter, its shorter axis grown to the network's aspect."""
    x0, y0, x1, y1 = (float(value) for value in box_4)
    width, height = (x1 - x0) * PADDING, (y1 - y0) * PADDING
    aspect = INPUT_HW[1] / INPUT_HW[0]
    if width > height * aspect:
        height = width / aspect
    else:
        width = height * aspect
    return Crop(centre_xy=((x0 + x1) / 2, (y0 + y1) / 2), size_wh=(width, height))


def cut_out(frame_HW3: np.ndarray, crop: Crop) -> np.ndarray:
    """uint8 RGB (384,288,3), black beyond the frame."""
    height, width = INPUT_HW
    (cx, cy), (w, h) = crop.centre_xy, crop.size_wh
    matrix = np.array([[width / w, 0, width / 2 - cx * width / w], [0, height / h, height / 2 - cy * height / h]])
    return cv2.warpAffine(frame_HW3, matrix, (width, height), flags=cv2.INTER_LINEAR)


def network_input(crop_HW3: np.ndarray) -> np.ndarray:
    """float32 (3,384,288), normalised."""
    planes = (crop_HW3.astype(np.float32) - np.array(MEAN_RGB, np.float32)) / np.array(STD_RGB, np.float32)
    return np.ascontiguousarray(planes.transpose(2, 0, 1))


def points_of(x_KX: np.ndarray, y_KY: np.ndarray, crop: Crop) -> tuple[np.ndarray, np.ndarray]:
    """Points float64 (133,2) in pixels of the frame, and raw scores float32 (133); 0 and below: there is no point."""
    score_K = np.minimum(x_KX.max(axis=1), y_KY.max(axis=1)).astype(np.float32)
    place_K2 = np.stack([x_KX.argmax(axis=1), y_KY.argmax(axis=1)], axis=1).astype(np.float64)
    place_K2[score_K <= 0] = -1.0
    size_2, centre_2 = np.array(crop.size_wh), np.array(crop.centre_xy)
    points_K2 = place_K2 / BINS_PER_PIXEL / np.array([INPUT_HW[1], INPUT_HW[0]]) * size_2 + centre_2 - size_2 / 2
    return points_K2, score_K
