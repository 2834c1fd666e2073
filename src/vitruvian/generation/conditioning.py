"""What a generated video is conditioned on: the reference picture as an embedding and as latents, and time ids.

uint8 RGB at the video's size in, tensors out. The image encoder dominates.
"""

# Shape suffixes: B = 1 row, D embedding width, H W picture, h w latents, 3 = RGB, 4 = latent channels.

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional

CLIP_SIDE = 224
CLIP_MEAN = (0.48145466, 0.4578275, 0.40821073)
CLIP_STD = (0.26862954, 0.26130258, 0.27577711)


def clip_input(image_13HW: Tensor) -> Tensor:
    """Normalised (1,3,224,224) for the image encoder; blurred before it shrinks, the aspect is not kept.

    `image_13HW`: float32, 0 to 1.
    """
    blurred = _blurred(image_13HW * 2 - 1)
    small = functional.interpolate(blurred, (CLIP_SIDE, CLIP_SIDE), mode="bicubic", align_corners=True)
    mean, std = (torch.tensor(values).reshape(1, 3, 1, 1).to(small) for values in (CLIP_MEAN, CLIP_STD))
    return ((small + 1) / 2 - mean) / std


def _blurred(image_13HW: Tensor) -> Tensor:
    """Gaussian blur along both axes, as wide as the shrinking asks for; mirrored borders."""
    for axis in (2, 3):
        sigma = max((image_13HW.shape[axis] / CLIP_SIDE - 1) / 2, 0.001)
        size = int(max(4 * sigma, 3)) | 1
        place = torch.arange(size, dtype=torch.float32, device=image_13HW.device) - size // 2
        kernel = torch.exp(-place.square() / (2 * sigma * sigma))
        kernel = (kernel / kernel.sum()).to(image_13HW.dtype)
        shape = (3, 1, size, 1) if axis == 2 else (3, 1, 1, size)
        padding = (0, 0, size // 2, size // 2) if axis == 2 else (size // 2, size // 2, 0, 0)
        padded = functional.pad(image_13HW, padding, mode="reflect")
        weight = kernel.reshape(shape[1:]).expand(shape)
        image_13HW = functional.conv2d(padded, weight, groups=3)
    return image_13HW


def noised_picture(image_HW3: Tensor, noise_13HW: Tensor, strength: float) -> Tensor:
    """What the image codec encodes: float32 (1,3,H,W), -1 to 1, plus noise. `image_HW3`: uint8."""
    picture_13HW = image_HW3.permute(2, 0, 1)[None].float() / 127.5 - 1
    return picture_13HW + strength * noise_13HW


def image_latents(encode: Callable[[Tensor], Tensor], picture_13HW: Tensor) -> Tensor:
    """(1,4,h,w): the middle of the codec's distribution, not scaled."""
    return encode(picture_13HW)


def time_ids(frame_rate: float, motion: float, noise: float, device: torch.device | str = "cpu") -> Tensor:
    """float32 (1,3); the frame rate goes in less one, as the base network was trained."""
    return torch.tensor([[frame_rate - 1, motion, noise]], dtype=torch.float32, device=device)
