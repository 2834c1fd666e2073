"""The encoder of v1: ConvNeXt, four stages, each at half the size of the one before.

In: normalised RGB (B,3,H,W), sides multiples of 32. Out: the stages' maps (B,C,h,w) at 1/4, 1/8, 1/16 and 1/32. The
linear layers dominate time. Attribute names follow the official files.
"""

# Shape suffixes: B images, C channels, H W rows and columns of a stage.

from __future__ import annotations

from itertools import pairwise

import torch
from torch import Tensor, nn

from vitruvian.models.metric3d.config import ConvNextConfig
from vitruvian.models.sapiens.backbone import Gelu

NORM_EPS = 1e-6


class MapNorm(nn.LayerNorm):
    """LayerNorm over the channels of a map."""

    def forward(self, x_BCHW: Tensor) -> Tensor:
        return super().forward(x_BCHW.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)


class Block(nn.Module):
    """Depthwise 7x7 convolution, norm, two linear layers over channels, one factor a channel, all as a residual."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.dwconv = nn.Conv2d(width, width, 7, padding=3, groups=width)
        self.norm = nn.LayerNorm(width, eps=NORM_EPS)
        self.pwconv1 = nn.Linear(width, 4 * width)
        self.act = Gelu()
        self.pwconv2 = nn.Linear(4 * width, width)
        self.gamma = nn.Parameter(torch.ones(width))

    def forward(self, x_BCHW: Tensor) -> Tensor:
        y_BHWC = self.norm(self.dwconv(x_BCHW).permute(0, 2, 3, 1))
        y_BHWC = self.gamma * self.pwconv2(self.act(self.pwconv1(y_BHWC)))
        return x_BCHW + y_BHWC.permute(0, 3, 1, 2)


class ConvNextEncoder(nn.Module):
    """Maps of the four stages, fine to coarse, without norms of their own."""

    def __init__(self, config: ConvNextConfig) -> None:
        super().__init__()
        stem = nn.Sequential(nn.Conv2d(3, config.widths[0], 4, stride=4), MapNorm(config.widths[0], eps=NORM_EPS))
        steps = [
            nn.Sequential(MapNorm(before, eps=NORM_EPS), nn.Conv2d(before, after, 2, stride=2))
            for before, after in pairwise(config.widths)
        ]
        self.downsample_layers = nn.ModuleList([stem, *steps])
        self.stages = nn.ModuleList(
            nn.Sequential(*(Block(width) for _ in range(depth)))
            for depth, width in zip(config.depths, config.widths, strict=True)
        )

    def forward(self, x_B3HW: Tensor) -> tuple[Tensor, ...]:
        maps = []
        x_BCHW = x_B3HW
        for downsample, stage in zip(self.downsample_layers, self.stages, strict=True):
            x_BCHW = stage(downsample(x_BCHW))
            maps.append(x_BCHW)
        return tuple(maps)
