"""Background pictures behind everything: gradients, noise, stripes, clutter, outdoor bands.

Inputs -> outputs: seed + size -> uint8 RGB picture. Under a millisecond at 256x192; drawing clutter dominates.
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from vitruvian.people.primitives import Float32
from vitruvian.people.wardrobe import random_colour, random_skin

Generator = np.random.Generator
Picture = NDArray[np.uint8]


def paint_background(seed: int, height: int, width: int) -> Picture:
    """A random background; the layout scales with the picture, so a larger picture shows the same scene."""
    rng = np.random.default_rng(seed)
    canvas = _base(rng, height, width)
    layers = int(rng.choice([0, 1, 2], p=(0.2, 0.5, 0.3)))
    for _ in range(layers):
        kind = int(rng.integers(4))
        if kind == 0:
            canvas = _noise(rng, canvas)
        elif kind == 1:
            canvas = _stripes(rng, canvas)
        else:
            canvas = _clutter(rng, canvas)
    if rng.random() < 0.3:
        soft = cv2.GaussianBlur(canvas, (0, 0), float(rng.uniform(0.003, 0.03)) * height)
        canvas = np.asarray(soft, dtype=np.float32)
    if rng.random() < 0.3:
        canvas = _noise(rng, canvas)
    return np.clip(canvas, 0, 255).astype(np.uint8)


def _display(rgb: tuple[float, float, float]) -> tuple[float, float, float]:
    r, g, b = (255.0 * min(max(c, 0.0), 1.0) ** 0.5 for c in rgb)
    return (r, g, b)


def _colour(rng: Generator) -> tuple[float, float, float]:
    return _display(random_skin(rng) if rng.random() < 0.15 else random_colour(rng))


def _base(rng: Generator, height: int, width: int) -> Float32:
    corners = np.array([_colour(rng) for _ in range(4)], dtype=np.float32).reshape(2, 2, 3)
    kind = int(rng.integers(3))
    if kind == 0:
        corners[:] = corners[0, 0]
    elif kind == 1:
        corners[:, 1] = corners[:, 0]
    base = np.asarray(cv2.resize(corners, (width, height), interpolation=cv2.INTER_LINEAR), dtype=np.float32)
    if rng.random() < 0.3:
        # A horizon: another colour below.
        base[int(height * rng.uniform(0.35, 0.8)) :] = np.array(_colour(rng), dtype=np.float32)
    return base


def _noise(rng: Generator, canvas: Float32) -> Float32:
    height, width = canvas.shape[:2]
    tone = rng.uniform(-1, 1, 3) * float(rng.choice([0.1, 0.6])) + 1.0
    coarse = float(np.exp(rng.uniform(np.log(2.0), np.log(40.0))))
    strength = float(np.exp(rng.uniform(np.log(3.0), np.log(38.0))))
    total = np.zeros((height, width), dtype=np.float32)
    for octave in range(3):
        cells = coarse * 2.0**octave
        rows, columns = max(2, round(cells)), max(2, round(cells * width / height))
        grid = rng.standard_normal((rows, columns), dtype=np.float32)
        total += cv2.resize(grid, (width, height), interpolation=cv2.INTER_CUBIC) * np.float32(0.6**octave)
    noisy: Float32 = canvas + total[:, :, None] * (strength * tone).astype(np.float32)
    return noisy


def _stripes(rng: Generator, canvas: Float32) -> Float32:
    height, width = canvas.shape[:2]
    angle, waves = float(rng.uniform(0, np.pi)), float(np.exp(rng.uniform(np.log(3), np.log(40))))
    across = (np.arange(width, dtype=np.float32) / height)[None, :] * np.float32(np.cos(angle))
    along = (np.arange(height, dtype=np.float32) / height)[:, None] * np.float32(np.sin(angle))
    wave = np.sin((across + along) * np.float32(waves * 2 * np.pi))
    share = np.clip(wave * np.float32(rng.uniform(1, 8)), -1, 1) * np.float32(0.5) + np.float32(0.5)
    target = np.array(_colour(rng), dtype=np.float32)
    mixed: Float32 = canvas + (share * np.float32(rng.uniform(0.2, 1.0)))[:, :, None] * (target - canvas)
    return mixed


def _clutter(rng: Generator, canvas: Float32) -> Float32:
    """Polygons, discs, bars and lines, some of them in skin colours and limb-like."""
    height, width = canvas.shape[:2]
    canvas = np.ascontiguousarray(canvas)
    for _ in range(int(rng.integers(3, 28))):
        colour = _colour(rng)
        x, y = int(rng.uniform(-0.1, 1.1) * width), int(rng.uniform(-0.1, 1.1) * height)
        extent = float(np.exp(rng.uniform(np.log(0.02), np.log(0.45)))) * height
        kind = int(rng.integers(5))
        if kind == 0:
            corners = rng.uniform(-1, 1, (int(rng.integers(3, 7)), 2)) * extent + (x, y)
            cv2.fillPoly(canvas, [corners.astype(np.int32)], colour)
        elif kind == 1:
            axes = (int(extent * 0.7), int(extent * rng.uniform(0.2, 0.9)))
            cv2.ellipse(canvas, (x, y), axes, float(rng.uniform(0, 180)), 0, 360, colour, -1)
        elif kind == 2:
            end = (x + int(extent * rng.uniform(0.1, 1.5)), y + int(extent * rng.uniform(0.1, 1.5)))
            cv2.rectangle(canvas, (x, y), end, colour, -1)
        elif kind == 3:
            end = (x + int(extent * rng.uniform(-2, 2)), y + int(extent * rng.uniform(-2, 2)))
            cv2.line(canvas, (x, y), end, colour, max(1, int(extent * rng.uniform(0.02, 0.3))))
        else:
            thickness = max(1, int(extent * 0.15))
            cv2.circle(canvas, (x, y), max(1, int(extent * 0.5)), colour, thickness)
    return canvas
