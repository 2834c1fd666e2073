"""Depth in metres over video, one scale: frames whose whole map came out nearer or farther than the one before.

A depth map, its picture and the time of every frame -> the same map times one number. Where the picture stands still,
depth does, too; the middle ratio there is flicker of the network's scale, and is taken back. The correction fades, so
that the scale follows what the network says over seconds. Works on every eighth pixel: a few milliseconds for 1080p.
"""

# Shape suffixes: H W picture and map, h w every eighth row and column, 3 = RGB.

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from vitruvian.errors import UsageError


@dataclass(frozen=True, kw_only=True, slots=True)
class ScaleAlignment:
    """How a scale is followed."""

    step: int = 8
    """Every so many-th row and column is looked at."""
    still_levels: float = 6.0
    """Mean difference of RGB (of 255) to the frame before up to which a pixel counts as still."""
    still_share: float = 0.2
    """Where fewer pixels are still, the camera moves, and nothing is known about the scale."""
    most: float = 0.2
    """Largest correction, as a share: what changes more is another scene."""
    fade_s: float = 2.0
    """Time constant with which a correction is given up."""
    forget_s: float = 1.0
    """After a longer gap between frames all begins anew."""


class ScaleAligner:
    """Aligns the maps of one video. Deterministic; what it remembers goes into arrays and back."""

    def __init__(self, settings: ScaleAlignment | None = None) -> None:
        self._settings = settings or ScaleAlignment()
        self._time_s: float | None = None
        self._depth_hw = np.zeros((0, 0), np.float32)
        self._picture_hw3 = np.zeros((0, 0, 3), np.uint8)

    def update(self, depth_m_HW: np.ndarray, picture_HW3: np.ndarray, time_s: float) -> np.ndarray:
        """The float32 map (H,W) of the frame at `time_s` in the scale of those before.

        `picture_HW3` is the frame, uint8 RGB, of the map's size. Not finite or not above 0: no value.
        """
        if depth_m_HW.shape != picture_HW3.shape[:2] or picture_HW3.dtype != np.uint8:
            raise UsageError(
                f"got a map of {depth_m_HW.shape} and a {picture_HW3.dtype} picture of {picture_HW3.shape}; expected "
                "one size and uint8; pass the map at the picture's size"
            )
        s = self._settings
        new_hw = depth_m_HW[:: s.step, :: s.step]
        picture_hw3 = picture_HW3[:: s.step, :: s.step]
        before_s, self._time_s = self._time_s, time_s
        factor = 1.0
        if before_s is not None and 0 < time_s - before_s <= s.forget_s and new_hw.shape == self._depth_hw.shape:
            factor = math.exp(self._correction(new_hw, picture_hw3) * math.exp(-(time_s - before_s) / s.fade_s))
        self._depth_hw, self._picture_hw3 = (new_hw * np.float32(factor)).astype(np.float32), picture_hw3.copy()
        return (depth_m_HW * np.float32(factor)).astype(np.float32)

    def _correction(self, new_hw: np.ndarray, picture_hw3: np.ndarray) -> float:
        """Logarithm of the factor that brings a frame to the scale of the one before; 0 where nothing is known."""
        s = self._settings
        levels_hw = np.abs(picture_hw3.astype(np.int16) - self._picture_hw3).mean(axis=2)
        known_hw = np.isfinite(new_hw) & np.isfinite(self._depth_hw) & (new_hw > 0) & (self._depth_hw > 0)
        still_hw = known_hw & (levels_hw <= s.still_levels)
        if still_hw.sum() < s.still_share * still_hw.size or not still_hw.any():
            return 0.0
        correction = float(np.median(np.log(self._depth_hw[still_hw] / new_hw[still_hw])))
        return correction if abs(correction) <= math.log1p(s.most) else 0.0

    def snapshot(self) -> dict[str, np.ndarray]:
        """All that is remembered, as arrays to store; the time is empty before the first frame."""
        return {
            "time_s": np.array([] if self._time_s is None else [self._time_s]),
            "depth": self._depth_hw.copy(),
            "picture": self._picture_hw3.copy(),
        }

    def restore(self, arrays: Mapping[str, np.ndarray]) -> None:
        """Go on where `snapshot` was taken."""
        self._time_s = float(arrays["time_s"][0]) if len(arrays["time_s"]) else None
        self._depth_hw = np.array(arrays["depth"], np.float32)
        self._picture_hw3 = np.array(arrays["picture"], np.uint8)
