"""The reference picture brought to the size of the video: scaled to cover it, the middle cut out.

uint8 RGB in, uint8 RGB out. Bilinear without antialiasing in float32, as published: a picture much larger than the
video is aliased a little, and the network was trained on that.
"""

# Shape suffixes: H W picture, 3 = RGB.

from __future__ import annotations

import math

import numpy as np
import torch
from torch.nn import functional

from vitruvian.errors import UsageError

ASPECT = 16 / 9
LATENT_STEP = 64
"""Pixels that eight levels of the image codec and eight of the network take together."""


def video_size(resolution: int, picture_hw: tuple[int, int]) -> tuple[int, int]:
    """Height and width of the video: `resolution` is the shorter side, upright for upright pictures.

    Raises:
        UsageError: too small, or a shorter side that the codec cannot take.
    """
    if resolution < LATENT_STEP or resolution % 8:
        raise UsageError(
            f"got --resolution {resolution}; expected a multiple of 8 from {LATENT_STEP} on; published: 576"
        )
    long_side = int(resolution * ASPECT / LATENT_STEP) * LATENT_STEP
    return (long_side, resolution) if picture_hw[0] > picture_hw[1] else (resolution, long_side)


def covering(image_HW3: np.ndarray, size_hw: tuple[int, int]) -> np.ndarray:
    """The picture at this size, uint8 RGB; what stands out at two sides is cut off."""
    (height, width), (target_h, target_w) = image_HW3.shape[:2], size_hw
    ratio = height / width
    if ratio < target_h / target_w:
        scaled_hw = target_h, math.ceil(target_h / ratio)
    else:
        scaled_hw = math.ceil(target_w * ratio), target_w
    pixels_13HW = torch.from_numpy(np.array(image_HW3)).permute(2, 0, 1)[None].float()
    scaled_13HW = functional.interpolate(pixels_13HW, scaled_hw, mode="bilinear", align_corners=False)
    scaled_HW3 = scaled_13HW[0].round().clamp(0, 255).to(torch.uint8).permute(1, 2, 0)
    top, left = round((scaled_hw[0] - target_h) / 2), round((scaled_hw[1] - target_w) / 2)
    return scaled_HW3[top : top + target_h, left : left + target_w].contiguous().numpy()
