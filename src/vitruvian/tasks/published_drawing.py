"""Depth and normal pictures exactly as the published programs draw them, to compare pixel by pixel.

Maps and a person mask -> uint8 RGB. Our own drawings are in `drawing.py`.
"""

# Shape suffixes: H W picture size, 3 = RGB or x y z.

from __future__ import annotations

import cv2
import numpy as np

BACKGROUND_LEVEL = 100
"""Grey of pixels outside the mask in the depth picture."""

LENGTH_EPS = 1e-5


def nearness(depth_HW: np.ndarray, mask_HW: np.ndarray) -> np.ndarray:
    """1 - (d - min) / (max - min) over the mask: 1 nearest, 0 farthest; infinite outside; 1 if the mask is flat."""
    inside_HW = mask_HW > 0
    near_HW = np.full(depth_HW.shape, np.inf, np.float32)
    depth = depth_HW[inside_HW]
    if depth.size:
        span = depth.max() - depth.min()
        near_HW[inside_HW] = 1 - (depth - depth.min()) / span if span > 0 else 1
    return near_HW


def depth_picture(depth_HW: np.ndarray, mask_HW: np.ndarray) -> np.ndarray:
    """INFERNO colours of the nearness inside the mask, grey outside; uint8 RGB (H,W,3)."""
    inside_HW = mask_HW > 0
    level_HW = (np.where(inside_HW, nearness(depth_HW, mask_HW), 0) * 255).astype(np.uint8)
    colour_HW3 = cv2.applyColorMap(level_HW, cv2.COLORMAP_INFERNO)[..., ::-1]
    return np.where(inside_HW[..., None], colour_HW3, np.uint8(BACKGROUND_LEVEL))


def normals_from_depth_picture(depth_HW: np.ndarray, mask_HW: np.ndarray) -> np.ndarray:
    """Normals from the slope of the nearness (7x7 Sobel), x, y, z as RGB; black where the slope meets background."""
    near_HW = nearness(depth_HW, mask_HW)
    slope_x, slope_y = (cv2.Sobel(near_HW, cv2.CV_32F, dx, 1 - dx, ksize=7) for dx in (1, 0))
    vectors_HW3 = np.dstack((-slope_x, -slope_y, np.full_like(slope_x, -1)))
    # Infinities of the background give infinity minus infinity and infinity over infinity: "no value", on purpose.
    with np.errstate(invalid="ignore"):
        normals_HW3 = vectors_HW3 / (np.linalg.norm(vectors_HW3, axis=2, keepdims=True) + LENGTH_EPS)
    return _unit_to_levels(np.nan_to_num(normals_HW3, nan=-1.0, posinf=-1.0, neginf=-1.0))


def normals_picture(normals_HW3: np.ndarray, mask_HW: np.ndarray | None = None) -> np.ndarray:
    """x, y, z as RGB, -1..1 to 0..255 by truncation; black outside the mask."""
    if mask_HW is not None:
        normals_HW3 = np.where(mask_HW[..., None] > 0, normals_HW3, np.float32(-1))
    return _unit_to_levels(normals_HW3)


def _unit_to_levels(vectors_HW3: np.ndarray) -> np.ndarray:
    return ((vectors_HW3 + 1) / 2 * 255).astype(np.uint8)
