"""Depth in metres to points in space: picture, depth and camera in, coloured points out.

Points are in metres in the camera's axes: x right, y down, z forward. The published post-processing smooths depth with
a 5x5 median first, so that single wrong pixels do not become points in the air. The median (some 20 ms at 1920x1080)
and copies of the depth dominate; a pixel next to a gap costs about a microsecond more.
"""

# Shape suffixes: H W picture size, G pixels next to gaps, N points, 3 = x y z or RGB.

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from vitruvian.errors import UsageError
from vitruvian.tasks.cameras import Camera
from vitruvian.tasks.dense import check_array

MAX_POINTS = 1_000_000

_SIDE = 5
_CHUNK = 1 << 16
"""Windows sorted at once: 6.5 MB."""


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Cloud:
    """Points of one picture, in its reading order."""

    points_N3: np.ndarray
    """float32 metres, camera axes: x right, y down, z forward; finite."""
    colours_N3: np.ndarray
    """uint8 RGB of their pixels."""
    stride: int
    """Every so many-th row and column was taken, from the first on."""


def unproject(depth_m_HW: np.ndarray, fx_px: float, fy_px: float, cx_px: float, cy_px: float) -> np.ndarray:
    """The point that each pixel shows, float32 (H,W,3) in the depth's unit.

    x = (u - cx) / fx * d, y = (v - cy) / fy * d, z = d, with integer pixel indices u and v. Where depth is not finite,
    no coordinate is.

    Args:
        depth_m_HW: float32 (H,W), along the optical axis.
        fx_px, fy_px: focal lengths in pixels, above 0.
        cx_px, cy_px: principal point in pixels; the centre of the top-left pixel is (0, 0).
    """
    check_array(depth_m_HW, "depth_m_HW", np.float32, 2)
    height, width = depth_m_HW.shape
    points_HW3 = np.empty((height, width, 3), np.float32)
    across_W = ((np.arange(width) - cx_px) / fx_px).astype(np.float32)
    down_H = ((np.arange(height) - cy_px) / fy_px).astype(np.float32)
    # On the axis infinity times 0 gives NaN, which is as good for "no value".
    with np.errstate(invalid="ignore"):
        np.multiply(depth_m_HW, across_W, out=points_HW3[..., 0])
        np.multiply(depth_m_HW, down_H[:, None], out=points_HW3[..., 1])
    points_HW3[..., 2] = depth_m_HW
    return points_HW3


def median_5x5(depth_HW: np.ndarray) -> np.ndarray:
    """The median of each pixel's 5x5 neighbours, the picture's border repeated outwards; float32 (H,W).

    Depth that is not finite or not above 0 is no value. Such a pixel stays without one (NaN), so gaps neither grow nor
    close. A pixel next to a gap gets the median of the values there are, the nearer of the middle two where their
    number is even: every result is a depth that was in the picture. OpenCV's own median would sort NaN like a number
    and give depths that depend on the processor's instructions.
    """
    check_array(depth_HW, "depth_HW", np.float32, 2)
    if depth_HW.size == 0:
        return depth_HW.copy()
    known_HW = np.isfinite(depth_HW) & (depth_HW > 0)
    if known_HW.all():
        return cv2.medianBlur(depth_HW, _SIDE)
    smooth_HW = cv2.medianBlur(np.where(known_HW, depth_HW, np.float32(0)), _SIDE)
    near_gap_HW = cv2.dilate((~known_HW).view(np.uint8), np.ones((_SIDE, _SIDE), np.uint8)).view(bool) & known_HW
    rows_G, columns_G = np.nonzero(near_gap_HW)
    padded = np.pad(np.where(known_HW, depth_HW, np.float32(np.inf)), _SIDE // 2, mode="edge")
    windows = np.lib.stride_tricks.sliding_window_view(padded, (_SIDE, _SIDE))
    for start in range(0, len(rows_G), _CHUNK):
        rows, columns = rows_G[start : start + _CHUNK], columns_G[start : start + _CHUNK]
        # Gaps are infinite here and sort behind all values.
        ordered = np.sort(windows[rows, columns].reshape(len(rows), -1), axis=1)
        middle = (np.isfinite(ordered).sum(axis=1) - 1) // 2
        smooth_HW[rows, columns] = ordered[np.arange(len(rows)), middle]
    smooth_HW[~known_HW] = np.nan
    return smooth_HW


def cloud(
    depth_m_HW: np.ndarray,
    image_HW3: np.ndarray,
    intrinsics: Camera,
    keep_HW: np.ndarray | None,
    max_points: int = MAX_POINTS,
) -> Cloud:
    """Points of the pixels that have a depth, after the median; the same n-th rows and columns are left out as needed.

    Args:
        depth_m_HW: float32 (H,W) metres; not finite or not above 0: no value.
        image_HW3: uint8 RGB picture of the same size.
        intrinsics: the picture's camera.
        keep_HW: bool (H,W), which pixels to take, or None for all; the median looks at all of them.
        max_points: the stride is the smallest that leaves at most so many.

    Raises:
        UsageError: `max_points` below 1.
        ValueError: arrays of other types or sizes.
    """
    check_array(image_HW3, "image_HW3", np.uint8, 3)
    if max_points < 1:
        raise UsageError(f"got {max_points} points; expected at least 1; leave the number out for {MAX_POINTS}")
    sizes = [depth_m_HW.shape, image_HW3.shape[:2], *([] if keep_HW is None else [keep_HW.shape])]
    if len(set(sizes)) > 1:
        raise ValueError(f"got depth, picture and mask of {sizes}; expected one size")
    smooth_HW = median_5x5(depth_m_HW)
    taken_HW = np.isfinite(smooth_HW)
    if keep_HW is not None:
        taken_HW &= keep_HW > 0
    stride = 1
    while np.count_nonzero(taken_HW[::stride, ::stride]) > max_points:
        stride += 1
    thinned_HW = taken_HW[::stride, ::stride]
    # A camera with pixels `stride` times as large sees the thinned map.
    camera_px = (intrinsics.fx_px, intrinsics.fy_px, intrinsics.cx_px, intrinsics.cy_px)
    points_HW3 = unproject(smooth_HW[::stride, ::stride], *(value / stride for value in camera_px))
    return Cloud(
        points_N3=points_HW3[thinned_HW],
        colours_N3=image_HW3[::stride, ::stride][thinned_HW],
        stride=stride,
    )
