"""Camera effects as domain randomisation: exposure, colour cast, blur, vignette, noise, JPEG.

Inputs -> outputs: uint8 RGB picture + `Effects` -> uint8 RGB picture of the same size; nothing moves. About two
milliseconds at 256x192, most of it noise and JPEG.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import cv2
import numpy as np
from cv2.typing import MatLike
from numpy.typing import NDArray

Picture = NDArray[np.uint8]
_GRAIN_SPARE = 96


@dataclass(frozen=True, kw_only=True, slots=True)
class Effects:
    """`*_heights` lengths are shares of the picture's height; zero (or quality 100) switches an effect off."""

    seed: int
    exposure: float = 1.0
    gamma: float = 1.0
    cast_rgb: tuple[float, float, float] = (1.0, 1.0, 1.0)
    saturation: float = 1.0
    blur_heights: float = 0.0
    motion_heights: float = 0.0
    motion_rad: float = 0.0
    vignette: float = 0.0
    shrink: float = 1.0
    noise: float = 0.0
    jpeg_quality: int = 100


def random_effects(rng: np.random.Generator) -> Effects:
    """Mostly mild, sometimes harsh."""
    harsh = rng.random() < 0.25
    cast = 1.0 + rng.normal(0.0, 0.10 if harsh else 0.04, 3)
    return Effects(
        seed=int(rng.integers(2**31)),
        exposure=float(np.exp(rng.normal(0.0, 0.32 if harsh else 0.15))),
        gamma=float(np.exp(rng.normal(0.0, 0.18))),
        cast_rgb=(float(cast[0]), float(cast[1]), float(cast[2])),
        saturation=0.0 if rng.random() < 0.05 else float(rng.uniform(0.6, 1.25)),
        blur_heights=float(rng.uniform(0.0016, 0.0075 if harsh else 0.0035)),
        motion_heights=float(rng.uniform(0.01, 0.035)) if rng.random() < 0.08 else 0.0,
        motion_rad=float(rng.uniform(0, np.pi)),
        vignette=float(rng.uniform(0.1, 0.5)) if rng.random() < 0.2 else 0.0,
        shrink=float(rng.uniform(0.4, 0.8)) if rng.random() < 0.15 else 1.0,
        noise=float(rng.uniform(6, 18) if harsh else rng.uniform(0, 6)),
        jpeg_quality=int(rng.integers(25, 98)),
    )


def apply_effects(image_HW3: Picture, effects: Effects) -> Picture:
    """The picture as a worse camera would have taken it."""
    picture = _optics(image_HW3, effects)
    picture = _tone(picture, effects)
    if effects.noise > 0.0:
        noisy = _grain(effects.seed, picture.shape[0], picture.shape[1]) * np.float32(effects.noise)
        noisy += picture
        picture = cv2.convertScaleAbs(np.maximum(noisy, 0.0, out=noisy))
    if effects.jpeg_quality < 100:
        done, data = cv2.imencode(".jpg", picture[:, :, ::-1], [cv2.IMWRITE_JPEG_QUALITY, effects.jpeg_quality])
        if not done:
            raise ValueError(f"JPEG encoding of a {picture.shape} picture failed; check the picture's size")
        decoded = np.asarray(cv2.imdecode(data, cv2.IMREAD_COLOR), dtype=np.uint8)
        picture = np.ascontiguousarray(decoded[:, :, ::-1])
    return picture


def _grain(seed: int, height: int, width: int) -> NDArray[np.float32]:
    """Unit sensor noise: a window of a fixed field, placed and mirrored by the seed (drawing it anew is slow)."""
    rng = np.random.default_rng(seed)
    down, right = (int(v) for v in rng.integers(0, _GRAIN_SPARE, 2))
    window = _grain_field(height + _GRAIN_SPARE, width + _GRAIN_SPARE)[down : down + height, right : right + width]
    flip, mirror = (int(v) for v in rng.choice((-1, 1), 2))
    return window[::flip, ::mirror].copy()


@lru_cache(maxsize=8)
def _grain_field(height: int, width: int) -> NDArray[np.float32]:
    rng = np.random.default_rng(11)
    shared = rng.standard_normal((height, width, 1), dtype=np.float32)
    return np.float32(0.7) * shared + np.float32(0.5) * rng.standard_normal((height, width, 3), dtype=np.float32)


def _optics(image_HW3: Picture, effects: Effects) -> Picture:
    height, width = image_HW3.shape[:2]
    picture: MatLike = image_HW3
    if effects.shrink < 1.0:
        size = (max(1, round(width * effects.shrink)), max(1, round(height * effects.shrink)))
        small = cv2.resize(picture, size, interpolation=cv2.INTER_AREA)
        picture = cv2.resize(small, (width, height), interpolation=cv2.INTER_LINEAR)
    blur_px = effects.blur_heights * height
    if blur_px > 0.2:
        picture = cv2.GaussianBlur(picture, (0, 0), blur_px)
    length = round(effects.motion_heights * height)
    if length >= 2:
        kernel = np.zeros((2 * length + 1, 2 * length + 1), dtype=np.float32)
        reach = (np.cos(effects.motion_rad) * length / 2, np.sin(effects.motion_rad) * length / 2)
        ends = [(round(length + s * reach[0]), round(length + s * reach[1])) for s in (-1, 1)]
        cv2.line(kernel, ends[0], ends[1], 1.0)
        picture = cv2.filter2D(picture, -1, kernel / kernel.sum())
    return np.asarray(picture, dtype=np.uint8)


def _tone(picture: Picture, effects: Effects) -> Picture:
    """Exposure, gamma and cast through one lookup table per channel; then saturation and vignette."""
    level = np.arange(256, dtype=np.float64)[:, None] / 255.0
    gain = effects.exposure**0.5 * np.array(effects.cast_rgb)
    table = np.clip((level * gain) ** effects.gamma, 0, 1) * 255.0
    toned = cv2.LUT(picture, table.astype(np.uint8).reshape(1, 256, 3))
    if effects.saturation != 1.0:
        keep = effects.saturation
        luma = np.array([0.299, 0.587, 0.114])
        mix = (np.eye(3) * keep + (1.0 - keep) * luma[None, :]).astype(np.float32)
        toned = cv2.transform(toned, mix)
    if effects.vignette > 0.0:
        height, width = toned.shape[:2]
        rows = np.linspace(-1, 1, height, dtype=np.float32)[:, None] ** 2
        columns = np.linspace(-1, 1, width, dtype=np.float32)[None, :] ** 2
        shade = 1.0 - np.float32(effects.vignette) * (rows + columns) / 2.0
        toned = (toned * shade[:, :, None]).astype(np.uint8)
    return np.asarray(toned, dtype=np.uint8)
