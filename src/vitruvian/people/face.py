"""Painting of eyes, brows, lips, beard and glasses onto a head's surface.

Inputs -> outputs: head coordinates of face pixels (in head heights, from the head's middle) -> changed colours and
labels of these pixels. Cost: a few dozen operations on the face's pixels only.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from vitruvian.people.head import EYE_HEADS, HeadStyle
from vitruvian.people.labels import PartLabel
from vitruvian.people.primitives import Float32, IntArray

BoolArray = NDArray[np.bool_]
_FRONT_HEADS = -0.12
_MOUTH_HEADS = 0.265


def paint_face(
    style: HeadStyle, head_3K: Float32, colour_3K: Float32, label_K: IntArray, hair_rgb: tuple[float, float, float]
) -> None:
    """Change `colour_3K` and `label_K` in place."""
    x, y, z = head_3K
    across = np.abs(x)
    front = (z < _FRONT_HEADS) & (np.abs(y) < 0.52)
    if not front.any():
        return
    if style.beard > 0.0:
        lower = (y > 0.17 + 0.35 * np.maximum(0.16 - across, 0.0)) & (z < 0.02 - 0.8 * (y - 0.2)) & (y < 0.5)
        _tint(colour_3K, lower & ~_lips(across, y, 1.15), hair_rgb, style.beard)
    _tint(
        colour_3K, front & (np.abs(y - 0.02) < 0.055) & (np.abs(across - EYE_HEADS[0]) < 0.10), (0.1, 0.05, 0.04), 0.25
    )
    _paint_eyes(style, across, y, front, colour_3K)
    brow_line = -0.095 + 0.9 * (across - 0.15) ** 2
    brow = front & (np.abs(y - brow_line) < 0.020 * style.brow) & (across > 0.05) & (across < 0.235)
    _tint(colour_3K, brow, tuple(0.7 * c for c in hair_rgb), 0.85)
    _tint(colour_3K, front & (np.hypot(across - 0.028, (y - 0.158)) < 0.016) & (z < -0.3), (0.08, 0.03, 0.02), 0.7)
    _tint(colour_3K, front & (np.abs(across - 0.17) < 0.07) & (np.abs(y - 0.14) < 0.06), (0.6, 0.2, 0.18), 0.12)
    _paint_mouth(style, across, y, front, colour_3K, label_K)
    _paint_glasses(style, across, y, z, front, colour_3K, label_K)


def _paint_eyes(style: HeadStyle, across: Float32, y: Float32, front: BoolArray, colour_3K: Float32) -> None:
    side, height = (across - EYE_HEADS[0]) / 0.068, (y - EYE_HEADS[1]) / 0.030
    white = front & (side**2 + height**2 < 1.0)
    _tint(colour_3K, white, (0.65, 0.63, 0.6), 0.9)
    around = np.hypot(across - EYE_HEADS[0], y - EYE_HEADS[1])
    _tint(colour_3K, white & (around < 0.031), style.eye_rgb, 0.95)
    _tint(colour_3K, white & (around < 0.014), (0.005, 0.005, 0.005), 1.0)
    lash = front & (np.abs(height + 1.0 - 0.55 * side**2) < 0.30) & (np.abs(side) < 1.1)
    _tint(colour_3K, lash, (0.02, 0.015, 0.01), 0.75)


def _lips(across: Float32, y: Float32, scale: float) -> BoolArray:
    inside: BoolArray = (across / 0.115) ** 2 + ((y - _MOUTH_HEADS) / 0.047) ** 2 < scale**2
    return inside


def _paint_mouth(
    style: HeadStyle, across: Float32, y: Float32, front: BoolArray, colour_3K: Float32, label_K: IntArray
) -> None:
    lips = front & _lips(across, y, 1.0)
    middle = _MOUTH_HEADS + 0.006 - 0.25 * across**2
    _tint(colour_3K, lips, style.lip_rgb, 0.8)
    label_K[lips] = np.where(y[lips] < middle[lips], PartLabel.UPPER_LIP, PartLabel.LOWER_LIP)
    gap = lips & (np.abs(y - middle) < 0.006 + 0.02 * style.mouth_open) & (across < 0.095)
    _tint(colour_3K, gap, (0.04, 0.01, 0.01), 0.9)
    if style.mouth_open > 0.3:
        teeth = gap & (y < middle + 0.004) & (across < 0.075)
        _tint(colour_3K, teeth, (0.7, 0.68, 0.6), 0.95)
        label_K[teeth] = PartLabel.UPPER_TEETH


def _paint_glasses(
    style: HeadStyle, across: Float32, y: Float32, z: Float32, front: BoolArray, colour_3K: Float32, label_K: IntArray
) -> None:
    if style.glasses == "none":
        return
    ring = np.sqrt(((across - 0.145) / 0.115) ** 2 + ((y - 0.01) / 0.085) ** 2)
    frame = front & (np.abs(ring - 1.0) < 0.14)
    frame |= (np.abs(y + 0.015) < 0.012) & ((across < 0.04) & front | (across > 0.25) & (z < 0.05) & (y < 0.1))
    if style.glasses == "sun":
        frame |= front & (ring < 1.0)
    _tint(colour_3K, frame, (0.015, 0.015, 0.018), 0.95)
    label_K[frame] = PartLabel.APPAREL


def _tint(colour_3K: Float32, mask_K: BoolArray, rgb: tuple[float, ...], share: float) -> None:
    chosen = np.flatnonzero(mask_K)
    if len(chosen):
        target = np.array(rgb, dtype=np.float32)[:, None]
        colour_3K[:, chosen] += np.float32(share) * (target - colour_3K[:, chosen])
