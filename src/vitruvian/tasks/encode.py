"""Training targets of pose: keypoints to heat maps, the counterpart of `decode.py`.

Keypoints (B,K,2) in network pixels and their visibility -> maps (B,K,h,w) and weights (B,K), on any device. Each map is
the product of a row and a column profile, so memory is the maps themselves plus one mask-free multiplication.
"""

# Shape suffixes: B persons, K keypoints, H W heat-map size, 2 = x y, L = H or W.

from __future__ import annotations

import torch
from torch import Tensor

SIGMA = 6.0
"""Standard deviation of the published targets in heat-map pixels."""


def encode_heatmaps(
    xy_BK2: Tensor, visible_BK: Tensor, *, input_hw: tuple[int, int], heat_hw: tuple[int, int], sigma: float = SIGMA
) -> tuple[Tensor, Tensor]:
    """Return float32 heat maps (B,K,H,W) with peak value 1 and weights (B,K) of 0 or 1.

    A Gaussian with its exact sub-pixel centre at p * (heat size - 1) / (input size - 1), cut to the window of three
    sigma round the nearest pixel. An invisible keypoint, or one whose window lies outside the map, gives an empty map
    and weight 0 (published training configuration). `sigma` is in heat-map pixels.
    """
    steps = [(heat - 1) / (net - 1) for heat, net in zip(heat_hw, input_hw, strict=True)]
    radius = int(sigma * 3)
    profile_y_BKH, touches_y_BK = _profile(xy_BK2[..., 1] * steps[0], heat_hw[0], sigma, radius)
    profile_x_BKW, touches_x_BK = _profile(xy_BK2[..., 0] * steps[1], heat_hw[1], sigma, radius)
    weight_BK = ((visible_BK > 0.5) & touches_y_BK & touches_x_BK).to(torch.float32)
    profile_y_BKH = profile_y_BKH * weight_BK[..., None]
    return profile_y_BKH[..., :, None] * profile_x_BKW[..., None, :], weight_BK


def _profile(centre_BK: Tensor, length: int, sigma: float, radius: int) -> tuple[Tensor, Tensor]:
    """Gaussian along one axis (B,K,L), zero outside its window, and whether the window meets the map at all."""
    centre_BK = centre_BK.to(torch.float32)
    middle_BK = (centre_BK + 0.5).floor()
    position_L = torch.arange(length, dtype=torch.float32, device=centre_BK.device)
    inside_BKL = (position_L - middle_BK[..., None]).abs() <= radius
    profile_BKL = torch.exp(-((position_L - centre_BK[..., None]) ** 2) / (2 * sigma**2))
    touches_BK = (middle_BK - radius < length) & (middle_BK + radius >= 0)
    return torch.where(inside_BKL & torch.isfinite(profile_BKL), profile_BKL, 0.0), touches_BK
