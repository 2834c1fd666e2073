"""Steady maps over video: depth or normals, averaged over time where the picture does not change.

A map, its picture and the time of every frame -> the same map with less flicker. An exponential average, switched off
where blurred pictures differ or the map itself jumps: there something moved, and an average would leave a ghost.
Blurring and mixing dominate: some 25 ms for depth and 95 ms for normals of 1080p, with some
four maps of memory.

Labels are not smoothed: their scores do not exist at the picture's size, and averages of labels mean nothing.
"""

# Shape suffixes: H W picture and map, h w the size at which pictures are compared, 3 = RGB or x y z.

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np

from vitruvian.errors import UsageError


@dataclass(frozen=True, kw_only=True, slots=True)
class DenseSmoothing:
    """How much maps are smoothed."""

    memory_s: float = 0.12
    """Time constant of the average: where nothing moves, a change of the map has come through by 63 % after it."""
    still_levels: float = 6.0
    """Mean difference of RGB (of 255) to the frame before up to which a pixel counts as still."""
    moving_levels: float = 15.0
    """Difference from which on it counts as moving and the new value is taken as it is; in between, shares of both."""
    jump_share: float = 0.08
    """Change of a value that is taken as it is, as a share of the map's spread (5th to 95th percentile)."""
    jump_deg: float = 15.0
    """The same for directions."""
    longer_side_px: int = 480
    """Pictures are compared at this size at most and slightly blurred: sensor noise must not look like motion."""
    forget_s: float = 1.0
    """After a longer gap between frames all begins anew."""


class DenseSmoother:
    """Smooths the maps of one video. Deterministic; what it remembers goes into arrays and back."""

    def __init__(self, kind: Literal["values", "directions"], settings: DenseSmoothing | None = None) -> None:
        """`directions` (normals) are brought back to length 1 after averaging, `values` (depth) stay as they are."""
        self._kind = kind
        self._settings = settings or DenseSmoothing()
        self._time_s: float | None = None
        self._map = np.zeros(0, np.float32)
        self._blurred_hw3 = np.zeros(0, np.uint8)

    def update(self, new_map: np.ndarray, picture_HW3: np.ndarray, time_s: float) -> np.ndarray:
        """The smoothed float32 map of the frame at `time_s`, of the shape given: (H,W), or (H,W,3) for directions.

        `picture_HW3` is the frame, uint8 RGB. Not finite means no value: such pixels come back as they are, and pixels
        that have just got a value take it as it is. Where the size of frames changes, all begins anew.
        """
        self._check(new_map, picture_HW3, time_s)
        blurred_hw3 = self._blurred(picture_HW3)
        before_s, self._time_s = self._time_s, time_s
        old_map, old_blurred_hw3 = self._map, self._blurred_hw3
        self._blurred_hw3 = blurred_hw3
        if before_s is None or time_s - before_s > self._settings.forget_s or old_map.shape != new_map.shape:
            self._map = new_map.astype(np.float32)
            return self._map.copy()
        new = new_map.astype(np.float32)
        at_rest = np.float32(1.0 - math.exp(-(time_s - before_s) / self._settings.memory_s))
        with np.errstate(invalid="ignore"):
            change = new - old_map
            moving_HW = np.maximum(self._moved(blurred_hw3, old_blurred_hw3, new.shape[:2]), self._jumped(new, change))
            share_HW = at_rest + (1 - at_rest) * moving_HW
            mixed = old_map + (share_HW[..., None] if new.ndim == 3 else share_HW) * change
            if self._kind == "directions":
                mixed /= np.sqrt(np.einsum("hwc,hwc->hw", mixed, mixed))[..., None]
        self._map = np.where(np.isfinite(mixed), mixed, new)
        return self._map.copy()

    def _moved(self, blurred_hw3: np.ndarray, before_hw3: np.ndarray, shape_hw: tuple[int, ...]) -> np.ndarray:
        """0 where the picture stayed as it was to 1 where it changed, (H,W) float32."""
        import cv2

        s = self._settings
        levels_hw = cv2.absdiff(blurred_hw3, before_hw3).mean(axis=2, dtype=np.float32)
        moving_hw = ((levels_hw - s.still_levels) / (s.moving_levels - s.still_levels)).clip(0.0, 1.0)
        return np.asarray(cv2.resize(moving_hw, shape_hw[::-1], interpolation=cv2.INTER_LINEAR))

    def _jumped(self, new: np.ndarray, change: np.ndarray) -> np.ndarray:
        """0 where the map stayed about as it was to 1 where it changed by more than flicker, (H,W) float32.

        Motion between parts of one colour is not to be seen in the picture, but in the map.
        """
        if self._kind == "directions":
            size_HW = np.sqrt(np.einsum("hwc,hwc->hw", change, change))
            jump = 2.0 * math.sin(math.radians(self._settings.jump_deg) / 2.0)
        else:
            size_HW = np.abs(change)
            seen = new[::8, ::8][np.isfinite(new[::8, ::8])]
            spread = float(np.subtract(*np.percentile(seen, (95, 5)))) if len(seen) else 0.0
            jump = self._settings.jump_share * spread
        return (2.0 * size_HW / np.float32(max(jump, 1e-9)) - 1.0).clip(0.0, 1.0)

    def _blurred(self, picture_HW3: np.ndarray) -> np.ndarray:
        import cv2

        height, width = picture_HW3.shape[:2]
        factor = min(1.0, self._settings.longer_side_px / max(height, width))
        size = (max(1, round(width * factor)), max(1, round(height * factor)))
        return np.asarray(cv2.GaussianBlur(cv2.resize(picture_HW3, size, interpolation=cv2.INTER_AREA), (0, 0), 1.5))

    def _check(self, new_map: np.ndarray, picture_HW3: np.ndarray, time_s: float) -> None:
        channels = (3,) if self._kind == "directions" else ()
        if picture_HW3.ndim != 3 or picture_HW3.dtype != np.uint8 or new_map.shape != picture_HW3.shape[:2] + channels:
            raise UsageError(
                f"got a map of shape {new_map.shape} and a {picture_HW3.dtype} picture of shape {picture_HW3.shape}; "
                f"expected (H,W{',3' if channels else ''}) and uint8 (H,W,3); pass the map at the picture's size"
            )
        if not math.isfinite(time_s) or (self._time_s is not None and time_s <= self._time_s):
            raise UsageError(f"got a frame at {time_s} s after {self._time_s} s; expected times that grow")

    def snapshot(self) -> dict[str, np.ndarray]:
        """All that is remembered, as arrays to store; the time is empty before the first frame."""
        return {
            "time_s": np.array([] if self._time_s is None else [self._time_s]),
            "map": self._map.copy(),
            "blurred": self._blurred_hw3.copy(),
        }

    def restore(self, arrays: Mapping[str, np.ndarray]) -> None:
        """Go on where `snapshot` was taken."""
        self._time_s = float(arrays["time_s"][0]) if len(arrays["time_s"]) else None
        self._map = np.array(arrays["map"], np.float32)
        self._blurred_hw3 = np.array(arrays["blurred"], np.uint8)
