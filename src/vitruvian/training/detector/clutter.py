"""Things that are no persons: backgrounds to put behind them and shapes to put before them.

In: random generator, size. Out: uint8 pictures and masks. Overlapping shapes of all sizes, each hiding what lies below
it, have the edge and size statistics of photographs (the dead-leaves model, Lee, Mumford & Huang, IJCV 2001). Time: 2
to 5 ms a canvas.
"""

# Shape suffixes: H W canvas.

from __future__ import annotations

import cv2
import numpy as np

from vitruvian.people.background import paint_background

_LARGEST, _SMALLEST = 0.6, 0.015
"""Half widths of shapes as shares of the canvas."""


def background_HW3(rng: np.random.Generator, height: int, width: int) -> np.ndarray:
    """A background of a random kind."""
    draw = rng.random()
    if draw < 0.35:
        return np.ascontiguousarray(paint_background(int(rng.integers(2**31)), height, width))
    if draw < 0.9:
        return _leaves_HW3(rng, height, width)
    return np.full((height, width, 3), rng.integers(0, 256, 3), np.uint8)


def _leaves_HW3(rng: np.random.Generator, height: int, width: int) -> np.ndarray:
    """Shapes over shapes in few related colours, most of them with a texture or a gradient."""
    palette_V3 = rng.uniform(0, 255, (int(rng.integers(2, 6)), 3))
    if rng.random() < 0.5:
        # Muted colours, as of most rooms and streets.
        palette_V3 = palette_V3.mean(axis=1, keepdims=True) + 0.3 * (
            palette_V3 - palette_V3.mean(axis=1, keepdims=True)
        )
    spread = float(rng.uniform(5, 40))
    canvas_HW3 = np.full((height, width, 3), palette_V3[0], np.uint8)
    upright = rng.random() < 0.5
    for _ in range(int(rng.integers(15, 130))):
        colour = np.clip(palette_V3[rng.integers(len(palette_V3))] + rng.normal(0, spread, 3), 0, 255)
        _draw_shape(rng, canvas_HW3, tuple(float(value) for value in colour), upright=upright)
    if rng.random() < 0.7:
        canvas_HW3 = textured_HW3(rng, canvas_HW3, float(rng.uniform(3, 25)))
    return canvas_HW3


def _draw_shape(
    rng: np.random.Generator, canvas: np.ndarray, colour: tuple[float, ...] | float, *, upright: bool
) -> None:
    """One filled shape; sizes follow a power law."""
    height, width = canvas.shape[:2]
    inverse = rng.uniform(1 / _LARGEST, 1 / _SMALLEST) if rng.random() < 0.7 else rng.uniform(1 / _LARGEST, 10)
    half = np.array([width, height]) * rng.uniform(0.4, 1.6, 2) / inverse
    x, y = rng.uniform(0, 1, 2) * (width, height)
    kind = int(rng.integers(4))
    angle = 0.0 if upright else float(rng.uniform(0, 180))
    if kind == 0:
        corners_42 = cv2.boxPoints(((x, y), (2 * half[0], 2 * half[1]), angle))
        cv2.fillConvexPoly(canvas, corners_42.astype(np.int32), colour)
    elif kind == 1:
        cv2.ellipse(canvas, ((x, y), (2 * half[0], 2 * half[1]), angle), colour, -1)
    elif kind == 2:
        corners_V2 = rng.uniform(-1, 1, (int(rng.integers(3, 8)), 2)) * half + (x, y)
        cv2.fillPoly(canvas, [corners_V2.astype(np.int32)], colour)
    else:
        # Long and thin: poles, rails, branches, horizons.
        corners_42 = cv2.boxPoints(((x, y), (max(2.0, 0.15 * half[0]), 5 * half[1]), angle + 90 * rng.integers(2)))
        cv2.fillConvexPoly(canvas, corners_42.astype(np.int32), colour)


def textured_HW3(rng: np.random.Generator, canvas_HW3: np.ndarray, strength: float) -> np.ndarray:
    """The picture with smooth noise of several sizes added; `strength` is its deviation in levels."""
    height, width = canvas_HW3.shape[:2]
    total_HW = np.zeros((height, width), np.float32)
    cells = float(np.exp(rng.uniform(np.log(3), np.log(width / 3))))
    for _ in range(int(rng.integers(1, 4))):
        rows, columns = (max(2, min(round(cells * factor), width)) for factor in rng.uniform(0.4, 1.6, 2))
        grid = rng.standard_normal((rows, columns), dtype=np.float32)
        total_HW += cv2.resize(grid, (width, height), interpolation=cv2.INTER_LINEAR)
        cells *= 2.2
    tinted_HW3 = total_HW[:, :, None] * (strength * rng.uniform(0.7, 1.3, 3)).astype(np.float32)
    return cv2.add(canvas_HW3, tinted_HW3, dtype=cv2.CV_8U)


def cover_HW(rng: np.random.Generator, height: int, width: int) -> np.ndarray:
    """Mask (uint8, 0 or 1) of one to four shapes that hide what is behind them."""
    mask_HW = np.zeros((height, width), np.uint8)
    for _ in range(int(rng.integers(1, 5))):
        _draw_shape(rng, mask_HW, 1.0, upright=rng.random() < 0.6)
    if rng.random() < 0.2:
        # A table or wall along the lower edge.
        mask_HW[int(height * rng.uniform(0.55, 0.95)) :] = 1
    return mask_HW
