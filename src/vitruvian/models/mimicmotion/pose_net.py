"""Pose maps to features of the denoising network's first layer.

In: maps (...,3,H,W) from -1 to 1. Out: features (...,C,H/8,W/8), to be added to the output of its first convolution.
Eight small convolutions: next to nothing beside the network.
"""

# Shape suffixes: N maps, C features, H W map.

from __future__ import annotations

import torch
from torch import Tensor, nn

LAYERS = (
    (3, 3, 3, 1),
    (3, 16, 4, 2),
    (16, 16, 3, 1),
    (16, 32, 4, 2),
    (32, 32, 3, 1),
    (32, 64, 4, 2),
    (64, 64, 3, 1),
    (64, 128, 3, 1),
)
"""Channels before and after, kernel and stride of each."""
FIRST_SCALE = 2.0


class PoseNet(nn.Module):
    """Attribute names follow the official files."""

    def __init__(self, features: int = 320) -> None:
        super().__init__()
        parts: list[nn.Module] = []
        for before, after, kernel, stride in LAYERS:
            parts += [nn.Conv2d(before, after, kernel, stride=stride, padding=1), nn.SiLU()]
        self.conv_layers = nn.Sequential(*parts)
        self.final_proj = nn.Conv2d(LAYERS[-1][1], features, 1)
        self.scale = nn.Parameter(torch.full((1,), FIRST_SCALE))

    def forward(self, maps_N3HW: Tensor) -> Tensor:
        leading = maps_N3HW.shape[:-3]
        features = self.final_proj(self.conv_layers(maps_N3HW.flatten(0, -4))) * self.scale
        return features.unflatten(0, leading)
