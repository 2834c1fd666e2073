"""How a camera and a file change a picture: colour, light, sharpness, noise, compression. Nothing moves.

In: uint8 RGB canvas. Out: the same size. The renderer has mild effects of its own; these reach from phone pictures in
the dark to thumbnails, because the detector is to work on photographs it never saw. Time: about 2 ms a canvas.
"""

# Shape suffixes: H W canvas, V levels.

from __future__ import annotations

from functools import lru_cache

import cv2
import numpy as np

_SPARE = 96


def changed_HW3(rng: np.random.Generator, canvas_HW3: np.ndarray) -> np.ndarray:
    """The picture after random changes; one in eight stays as it is but for its colours."""
    canvas_HW3 = _toned(rng, _mixed(rng, canvas_HW3))
    if rng.random() < 0.12:
        return canvas_HW3
    if rng.random() < 0.2:
        canvas_HW3 = _lit(rng, canvas_HW3)
    draw = rng.random()
    if draw < 0.15:
        canvas_HW3 = cv2.GaussianBlur(canvas_HW3, (0, 0), float(rng.uniform(0.4, 1.8)))
    elif draw < 0.3:
        canvas_HW3 = _shrunk(rng, canvas_HW3)
    elif draw < 0.45:
        soft_HW3 = cv2.GaussianBlur(canvas_HW3, (0, 0), float(rng.uniform(0.6, 1.5)))
        amount = float(rng.uniform(0.3, 1.5))
        canvas_HW3 = cv2.addWeighted(canvas_HW3, 1 + amount, soft_HW3, -amount, 0)
    if rng.random() < 0.3:
        strength = float(np.exp(rng.uniform(np.log(2), np.log(25))))
        canvas_HW3 = cv2.add(canvas_HW3, _grain(rng, canvas_HW3.shape[:2]) * np.float32(strength), dtype=cv2.CV_8U)
    if rng.random() < 0.2:
        canvas_HW3 = _compressed(rng, canvas_HW3)
    return canvas_HW3


def _mixed(rng: np.random.Generator, canvas_HW3: np.ndarray) -> np.ndarray:
    """Channels mixed: saturation, hue, gray, now and then channels exchanged."""
    draw = rng.random()
    if draw < 0.3:
        return canvas_HW3
    luma_33 = np.tile(np.array([0.299, 0.587, 0.114]), (3, 1))
    keep = 0.0 if draw < 0.42 else float(rng.uniform(0.2, 1.5))
    mix_33 = keep * np.eye(3) + (1 - keep) * luma_33
    if rng.random() < 0.3:
        mix_33 = mix_33 @ (np.eye(3) + rng.normal(0, 0.12, (3, 3)))
    if rng.random() < 0.06:
        mix_33 = mix_33[rng.permutation(3)]
    return cv2.transform(canvas_HW3, mix_33.astype(np.float32))


def _toned(rng: np.random.Generator, canvas_HW3: np.ndarray) -> np.ndarray:
    """Contrast, brightness, gamma and cast through one table a channel; one in ten is left with little contrast."""
    level_V1 = np.arange(256)[:, None] / 255.0
    pivot = float(rng.uniform(0.3, 0.7))
    gain = rng.uniform(0.12, 0.5) if rng.random() < 0.1 else rng.uniform(0.6, 1.4)
    shift = rng.uniform(-0.15, 0.15)
    if gain < 0.5:
        shift = rng.uniform(-0.3, 0.3)
    cast_3 = rng.uniform(0.88, 1.12, 3)
    table_V3 = np.clip((level_V1 - pivot) * gain + pivot + shift, 0, 1) ** float(np.exp(rng.normal(0, 0.2))) * cast_3
    return cv2.LUT(canvas_HW3, (np.clip(table_V3, 0, 1) * 255).astype(np.uint8)[None])


def _lit(rng: np.random.Generator, canvas_HW3: np.ndarray) -> np.ndarray:
    """Light that changes over the picture: soft shadows and lamps."""
    height, width = canvas_HW3.shape[:2]
    grid = rng.uniform(0.45, 1.25, (int(rng.integers(2, 6)), int(rng.integers(2, 6)))).astype(np.float32)
    gain_HW = cv2.resize(grid, (width, height), interpolation=cv2.INTER_CUBIC)
    return cv2.multiply(canvas_HW3, cv2.merge([gain_HW] * 3), dtype=cv2.CV_8U)


def _shrunk(rng: np.random.Generator, canvas_HW3: np.ndarray) -> np.ndarray:
    height, width = canvas_HW3.shape[:2]
    factor = float(rng.uniform(0.4, 0.9))
    how = cv2.INTER_LINEAR if rng.random() < 0.5 else cv2.INTER_AREA
    small = cv2.resize(canvas_HW3, (round(width * factor), round(height * factor)), interpolation=how)
    return cv2.resize(small, (width, height), interpolation=cv2.INTER_LINEAR)


def _compressed(rng: np.random.Generator, canvas_HW3: np.ndarray) -> np.ndarray:
    done, data = cv2.imencode(".jpg", canvas_HW3, [cv2.IMWRITE_JPEG_QUALITY, int(rng.integers(12, 80))])
    assert done
    return np.asarray(cv2.imdecode(data, cv2.IMREAD_COLOR), np.uint8)


def _grain(rng: np.random.Generator, size_hw: tuple[int, int]) -> np.ndarray:
    """Unit noise: a window of a fixed field, placed by chance (drawing it anew takes longer than all the rest)."""
    down, right = (int(value) for value in rng.integers(0, _SPARE, 2))
    return _field(size_hw)[down : down + size_hw[0], right : right + size_hw[1]]


@lru_cache(maxsize=4)
def _field(size_hw: tuple[int, int]) -> np.ndarray:
    rng = np.random.default_rng(5)
    rows, columns = size_hw[0] + _SPARE, size_hw[1] + _SPARE
    shared = rng.standard_normal((rows, columns, 1), dtype=np.float32)
    return np.float32(0.75) * shared + np.float32(0.5) * rng.standard_normal((rows, columns, 3), dtype=np.float32)
