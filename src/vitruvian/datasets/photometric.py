"""Changes of a picture's pixels that leave its geometry alone: colours, blur, a hole.

In: uint8 RGB and a generator. Out: uint8 RGB. Some milliseconds for a canvas of 1024x768.
"""

# Shape suffixes: H W picture size, 3 = RGB, V = 256 levels.

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np


@dataclass(frozen=True, kw_only=True, slots=True)
class Photometric:
    """Random brightness, contrast, saturation and hue (published training configuration)."""

    probability: float = 0.5
    """Of each of the four."""
    brightness: float = 32.0
    """Levels added or taken away, at most."""
    contrast: tuple[float, float] = (0.5, 1.5)
    """Range of the factor."""
    saturation: tuple[float, float] = (0.5, 1.5)
    """Range of the factor."""
    hue: int = 18
    """Steps of two degrees on the colour circle, at most."""

    def changed(self, image_HW3: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """A picture in other light; contrast comes before the colours or after them, by a coin."""
        added = rng.uniform(-self.brightness, self.brightness) if self._wanted(rng) else 0.0
        factor = rng.uniform(*self.contrast) if self._wanted(rng) else 1.0
        richer = rng.uniform(*self.saturation) if self._wanted(rng) else 1.0
        hue = int(rng.integers(-self.hue, self.hue + 1)) if self._wanted(rng) else 0
        first = rng.random() < 0.5
        image_HW3 = _levels(image_HW3, factor if first else 1.0, added)
        if richer != 1.0 or hue:
            image_HW3 = _coloured(image_HW3, richer, hue)
        return image_HW3 if first else _levels(image_HW3, factor, 0.0)

    def _wanted(self, rng: np.random.Generator) -> bool:
        return bool(rng.random() < self.probability)


@dataclass(frozen=True, kw_only=True, slots=True)
class Damage:
    """Random blur and one covered rectangle (published training configuration of pose)."""

    blur_probability: float = 0.1
    median_probability: float = 0.1
    blur_sides: tuple[int, ...] = (3, 5, 7)
    """Sides of the window in pixels."""
    hole_probability: float = 1.0
    hole_share: tuple[float, float] = (0.2, 0.4)
    """Range of the hole's sides, as shares of the picture's."""

    def done_to(self, image_HW3: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """A copy, perhaps blurred, with a black hole."""
        side, median_side = (int(rng.choice(self.blur_sides)) for _ in range(2))
        if rng.random() < self.blur_probability:
            image_HW3 = cv2.blur(image_HW3, (side, side))
        if rng.random() < self.median_probability:
            image_HW3 = cv2.medianBlur(image_HW3, median_side)
        holed_HW3 = image_HW3.copy()
        extent_2 = np.array(image_HW3.shape[:2]) * rng.uniform(*self.hole_share, 2)
        high, wide = (max(1, round(float(length))) for length in extent_2)
        top, left = (
            int(rng.integers(0, whole - part + 1))
            for whole, part in zip(image_HW3.shape[:2], (high, wide), strict=True)
        )
        if rng.random() < self.hole_probability:
            holed_HW3[top : top + high, left : left + wide] = 0
        return holed_HW3


def _levels(image_HW3: np.ndarray, factor: float, added: float) -> np.ndarray:
    if factor == 1.0 and added == 0.0:
        return image_HW3
    table_V = np.clip(np.rint((np.arange(256) + added).clip(0, 255) * factor), 0, 255).astype(np.uint8)
    return np.asarray(cv2.LUT(image_HW3, table_V))


def _coloured(image_HW3: np.ndarray, richer: float, hue: int) -> np.ndarray:
    table_V3 = np.zeros((1, 256, 3), np.uint8)
    level_V = np.arange(256)
    table_V3[0, :, 0] = (level_V + hue) % 180
    table_V3[0, :, 1] = np.clip(np.rint(level_V * richer), 0, 255)
    table_V3[0, :, 2] = level_V
    hsv_HW3 = cv2.LUT(cv2.cvtColor(image_HW3, cv2.COLOR_RGB2HSV), table_V3)
    return np.asarray(cv2.cvtColor(hsv_HW3, cv2.COLOR_HSV2RGB))
