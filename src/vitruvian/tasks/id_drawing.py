"""Numbers of followed persons on a drawing: a tag beside each head and a thin frame, in a colour of that number.

uint8 RGB picture, changed in place. Sizes follow the picture, as the skeletons' do.
"""

# Shape suffixes: P persons, K keypoints, H W picture, 2 = x y, 3 = RGB, 4 = x0 y0 x1 y1.

from __future__ import annotations

import colorsys
from collections.abc import Sequence

import cv2
import numpy as np

from vitruvian.tasks.conventions import Points
from vitruvian.tasks.labels import Colour

_FONT = cv2.FONT_HERSHEY_SIMPLEX
_GOLDEN = 0.6180339887
_HEAD = ("nose", "left_eye", "right_eye", "left_ear", "right_ear")
_DARK, _LIGHT = (20, 20, 20), (250, 250, 250)


def id_colour(number: int) -> Colour:
    """The colour of a person's number: the same in every picture, neighbours far apart on the colour circle."""
    red, green, blue = colorsys.hsv_to_rgb(number * _GOLDEN % 1.0, 0.85 if number % 2 else 0.6, 0.95)
    return round(255 * red), round(255 * green), round(255 * blue)


def draw_ids(
    canvas_HW3: np.ndarray, ids_P: np.ndarray, points: Points, boxes_P4: np.ndarray, min_score: float = 0.3
) -> None:
    """Tag and frame everyone with a number; persons without (-1) are left as they are."""
    line = _line_height(canvas_HW3)
    for person in np.flatnonzero(ids_P >= 0).tolist():
        number = int(ids_P[person])
        colour, box_4 = id_colour(number), boxes_P4[person]
        _frame(canvas_HW3, box_4, colour, max(1, line // 12))
        seen_K = points.valid_PK[person] & (points.scores_PK[person] >= min_score)
        _tag(canvas_HW3, str(number), _beside_head(points, person, seen_K, box_4), colour, line)


def frame_persons(canvas_HW3: np.ndarray, ids_P: np.ndarray, boxes_P4: np.ndarray) -> None:
    """Frame everyone, in the colour of the number and tagged with it where there is one (not -1), else in that of the
    place."""
    line = _line_height(canvas_HW3)
    for place, (number, box_4) in enumerate(zip(ids_P.tolist(), boxes_P4, strict=True)):
        colour = id_colour(number if number >= 0 else place)
        _frame(canvas_HW3, box_4, colour, max(1, line // 8))
        if number >= 0:
            _tag(canvas_HW3, str(number), (float(box_4[0]), float(box_4[1]) + line), colour, line)


def draw_boxes(image_HW3: np.ndarray, boxes: Sequence[tuple[float, float, float, float]]) -> np.ndarray:
    """A copy of the picture with a frame round each box, each in a colour of its own."""
    canvas_HW3 = image_HW3.copy()
    boxes_P4 = np.array(boxes, np.float64).reshape(-1, 4)
    frame_persons(canvas_HW3, np.full(len(boxes), -1), boxes_P4)
    return canvas_HW3


def _line_height(canvas_HW3: np.ndarray) -> int:
    """Pixels of a line of text: readable on small pictures, in proportion on large ones."""
    return max(11, round(min(canvas_HW3.shape[:2]) / 34))


def _beside_head(points: Points, person: int, seen_K: np.ndarray, box_4: np.ndarray) -> tuple[float, float]:
    """Left end and middle of a tag: beside the rightmost point of the head, else above the box's top left corner."""
    names = points.convention.names
    head = [names.index(name) for name in _HEAD if name in names]
    head_xy = points.xy_PK2[person, [index for index in head if seen_K[index]]]
    size = float(max(box_4[2] - box_4[0], box_4[3] - box_4[1]))
    if not len(head_xy):
        return float(box_4[0]), float(box_4[1]) - 0.03 * size
    return float(head_xy[:, 0].max()) + 0.06 * size, float(head_xy[:, 1].min())


def _frame(canvas_HW3: np.ndarray, box_4: np.ndarray, colour: Colour, width: int) -> None:
    if np.isfinite(box_4).all():
        x0, y0, x1, y1 = np.rint(np.clip(box_4, -30000, 30000)).astype(int).tolist()
        cv2.rectangle(canvas_HW3, (x0, y0), (x1, y1), colour, width)


def _tag(canvas_HW3: np.ndarray, text: str, left_middle: tuple[float, float], colour: Colour, line: int) -> None:
    """A filled box with the number, moved into the picture where it would leave it."""
    height, width = canvas_HW3.shape[:2]
    scale = line / 30
    thickness = max(1, round(scale * 2))
    (text_width, text_height), _ = cv2.getTextSize(text, _FONT, scale, thickness)
    pad = max(2, line // 4)
    tag_w, tag_h = text_width + 2 * pad, text_height + 2 * pad
    x, y = (value if np.isfinite(value) else 0.0 for value in left_middle)
    left = round(min(max(x + pad, 0), max(width - tag_w, 0)))
    top = round(min(max(y - tag_h / 2, 0), max(height - tag_h, 0)))
    cv2.rectangle(canvas_HW3, (left, top), (left + tag_w, top + tag_h), colour, -1)
    bright = 0.299 * colour[0] + 0.587 * colour[1] + 0.114 * colour[2] > 140
    ink = _DARK if bright else _LIGHT
    cv2.putText(canvas_HW3, text, (left + pad, top + pad + text_height), _FONT, scale, ink, thickness, cv2.LINE_AA)
