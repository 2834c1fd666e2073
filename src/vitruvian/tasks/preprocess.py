"""Pictures to network input: whole-picture resize, top-down crop of a person, normalisation on the device.

uint8 RGB (H,W,3) and a box -> uint8 RGB canvas and its `Geometry` -> float32 (B,3,h,w). Canvases travel as uint8, a
quarter of the bytes; one resampling each, straight from the source to the canvas.
"""

# Shape suffixes: B canvases, H W picture size, 3 = RGB.

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import cv2
import numpy as np
import torch
from torch import Tensor

from vitruvian.errors import InputError
from vitruvian.tasks.base import Geometry, Region

MEAN_RGB = (123.675, 116.28, 103.53)
"""Mean of the training data on the 0..255 scale, as every published network was trained with."""

STD_RGB = (58.395, 57.12, 57.375)
"""Standard deviation of the training data on the 0..255 scale."""

LITE_MEAN_RGB = (123.5, 116.5, 103.5)
"""Rounded mean of the published light-weight demo; only to compare with its outputs (differs by up to 0.01)."""

LITE_STD_RGB = (58.5, 57.0, 57.5)
"""Rounded standard deviation of the published light-weight demo; only to compare with its outputs."""

BOX_PADDING = 1.25
"""How much wider and higher than the person's box its crop is."""


def check_picture(image_HW3: np.ndarray) -> None:
    """Raise `InputError` unless this is a non-empty uint8 (H,W,3) array."""
    if image_HW3.dtype != np.uint8 or image_HW3.ndim != 3 or image_HW3.shape[2] != 3 or image_HW3.size == 0:
        raise InputError(
            f"got a picture of shape {image_HW3.shape} and type {image_HW3.dtype}; "
            "expected a non-empty uint8 RGB array (H,W,3); convert it first"
        )


def resize_whole(image_HW3: np.ndarray, canvas_hw: tuple[int, int]) -> tuple[np.ndarray, Geometry]:
    """The whole picture on the canvas, bilinear with half-pixel centres, aspect not kept (published dense tasks)."""
    check_picture(image_HW3)
    height, width = canvas_hw
    canvas = cv2.resize(image_HW3, (width, height), interpolation=cv2.INTER_LINEAR)
    return canvas, whole_geometry(image_HW3, canvas_hw)


def whole_geometry(image_HW3: np.ndarray, canvas_hw: tuple[int, int]) -> Geometry:
    """Geometry of a canvas that shows the whole picture."""
    height, width = image_HW3.shape[:2]
    return Geometry(
        source_hw=(height, width), canvas_hw=canvas_hw, centre_xy=(width / 2, height / 2), size_wh=(width, height)
    )


def crop_geometry(
    source_hw: tuple[int, int], region: Region | None, canvas_hw: tuple[int, int], padding: float = BOX_PADDING
) -> Geometry:
    """Centre and size of a person's crop: the box made larger by `padding`, then grown to the canvas' aspect ratio.

    Without a region the whole picture is the box. `InputError` for boxes that are empty or not finite.
    """
    box = region.box_xyxy if region else (0.0, 0.0, float(source_hw[1]), float(source_hw[0]))
    x0, y0, x1, y1 = box
    if not (np.isfinite(box).all() and x1 > x0 and y1 > y0):
        raise InputError(f"got the box {box}; expected finite left < right and top < bottom; correct the boxes file")
    ratio = canvas_hw[1] / canvas_hw[0]
    width, height = (x1 - x0) * padding, (y1 - y0) * padding
    if width > height * ratio:
        height = width / ratio
    else:
        width = height * ratio
    centre_xy = ((x0 + x1) / 2, (y0 + y1) / 2)
    return Geometry(
        source_hw=source_hw, canvas_hw=canvas_hw, centre_xy=centre_xy, size_wh=(width, height), region=region
    )


def crop_matrix(geometry: Geometry) -> np.ndarray:
    """Affine map (2,3) from source pixels to canvas pixels, float32.

    Unbiased data processing: the crop's width spans canvas-1 steps, x' = (x - cx + w/2) * (canvas_w - 1) / w.
    """
    (height, width), (cx, cy), (w, h) = geometry.canvas_hw, geometry.centre_xy, geometry.size_wh
    scale_x, scale_y = (width - 1) / w, (height - 1) / h
    rows = [[scale_x, 0.0, (w / 2 - cx) * scale_x], [0.0, scale_y, (h / 2 - cy) * scale_y]]
    return np.array(rows, np.float32)


def crop_person(
    image_HW3: np.ndarray, region: Region | None, canvas_hw: tuple[int, int]
) -> tuple[np.ndarray, Geometry]:
    """Cut a person out in one bilinear warp straight to the canvas; black where the crop leaves the picture."""
    check_picture(image_HW3)
    geometry = crop_geometry((image_HW3.shape[0], image_HW3.shape[1]), region, canvas_hw)
    height, width = canvas_hw
    canvas = cv2.warpAffine(
        image_HW3, crop_matrix(geometry), (width, height), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_CONSTANT
    )
    return canvas, geometry


def crop_inside(image_HW3: np.ndarray, region: Region, canvas_hw: tuple[int, int]) -> tuple[np.ndarray, Geometry]:
    """Cut out a person for maps: the crop of `crop_geometry` in whole pixels, ending where the picture ends.

    Nothing is padded, so a person at the edge is a little distorted, as whole pictures are. `InputError` for a box that
    does not touch the picture.
    """
    check_picture(image_HW3)
    height, width = image_HW3.shape[:2]
    wanted = crop_geometry((height, width), region, canvas_hw)
    (cx, cy), (w, h) = wanted.centre_xy, wanted.size_wh
    left, top, right, bottom = region.box_xyxy
    if right <= 0 or bottom <= 0 or left >= width or top >= height:
        raise InputError(
            f"got the box {region.box_xyxy} in a picture of {width}x{height}; expected one that touches the picture; "
            "correct the boxes file"
        )
    x0, y0 = max(0, math.floor(cx - w / 2)), max(0, math.floor(cy - h / 2))
    x1, y1 = min(width, math.ceil(cx + w / 2)), min(height, math.ceil(cy + h / 2))
    canvas = cv2.resize(image_HW3[y0:y1, x0:x1], canvas_hw[::-1], interpolation=cv2.INTER_LINEAR)
    size_wh = (x1 - x0, y1 - y0)
    return canvas, replace(wanted, centre_xy=((x0 + x1) / 2, (y0 + y1) / 2), size_wh=size_wh)


def crop_rectangle(geometry: Geometry) -> tuple[int, int, int, int]:
    """Left, top, right and bottom edge of a crop in whole pixels, see `crop_inside` and `whole_geometry`."""
    (cx, cy), (w, h) = geometry.centre_xy, geometry.size_wh
    x0, y0 = round(cx - w / 2), round(cy - h / 2)
    return x0, y0, x0 + round(w), y0 + round(h)


def normalisation(
    mean_rgb: tuple[float, float, float] = MEAN_RGB, std_rgb: tuple[float, float, float] = STD_RGB
) -> dict[str, Any]:
    """`normalise` for readers of other programs."""
    return {
        "colours": "RGB",
        "mean": list(mean_rgb),
        "std": list(std_rgb),
        "normalised": "(x - mean) / std per channel, x from 0 to 255, channels first",
    }


def normalise(
    canvas_BHW3: Tensor,
    *,
    mean_rgb: tuple[float, float, float] = MEAN_RGB,
    std_rgb: tuple[float, float, float] = STD_RGB,
) -> Tensor:
    """uint8 RGB canvases (B,h,w,3) -> (x - mean) / std as contiguous float32 (B,3,h,w), on the canvases' device."""
    options: dict[str, Any] = {"dtype": torch.float32, "device": canvas_BHW3.device}
    mean_311 = torch.tensor(mean_rgb, **options).reshape(3, 1, 1)
    std_311 = torch.tensor(std_rgb, **options).reshape(3, 1, 1)
    planes_B3HW = canvas_BHW3.permute(0, 3, 1, 2).to(torch.float32, memory_format=torch.contiguous_format)
    return (planes_B3HW - mean_311).div_(std_311)
