"""From tokens to maps: what the decoder of v2 reads from the encoder, and how it fuses the levels.

In: four token tensors (B,N,C) and the grid of the patches. Out: maps at 1/4, 1/7 and 1/14 of the canvas, and the fused
map at 1/4. The 3x3 convolutions dominate time. The original's activations overwrite tensors that are used again later;
here those are rectified in the open, because the trained weights count on it.
"""

# Shape suffixes: B images, N tokens, C channels, h w patch grid, H W a level's rows and columns; 4, 7, 14 levels.

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from vitruvian.models.metric3d.config import RefinerConfig, VitConfig

QUARTER_FACTOR = 3.5
"""From 1/14 of the canvas to 1/4."""


class Levels(NamedTuple):
    """Maps at 1/4, 1/7 and 1/14 of the canvas, fine to coarse."""

    quarter: Tensor
    seventh: Tensor
    fourteenth: Tensor


class Resize(nn.Module):
    """Corner-aligned bilinear interpolation; without weights, but a module, so that a precision can name it."""

    def forward(self, x_BCHW: Tensor, size_hw: tuple[int, int]) -> Tensor:
        return F.interpolate(x_BCHW, size=size_hw, mode="bilinear", align_corners=True)


class ReadOperation(nn.Module):
    """Patch tokens as a map, each with what class and register tokens say."""

    def __init__(self, width: int, registers: int) -> None:
        super().__init__()
        self.first = 1 + registers
        self.project_patch = nn.Linear(width, width)
        self.project_learn = nn.Linear(self.first * width, width, bias=False)

    def forward(self, tokens_BNC: Tensor, grid_hw: tuple[int, int]) -> Tensor:
        patches_BNC = self.project_patch(tokens_BNC[:, self.first :])
        shared_BC = self.project_learn(tokens_BNC[:, : self.first].flatten(1))
        return F.gelu(patches_BNC + shared_BC[:, None]).transpose(1, 2).unflatten(2, grid_hw)


class Read(nn.Module):
    """One level's read-out; `sample` brings it to the level's size or channels, where it has to be brought."""

    def __init__(self, width: int, registers: int, sample: nn.Module | None = None) -> None:
        super().__init__()
        self.readoper = ReadOperation(width, registers)
        self.sample = sample

    def forward(self, tokens_BNC: Tensor, grid_hw: tuple[int, int]) -> Tensor:
        map_BChw = self.readoper(tokens_BNC, grid_hw)
        return map_BChw if self.sample is None else self.sample(map_BChw)


class TokenReader(nn.Module):
    """Four tapped token tensors, early to late -> maps at 1/4, 1/7, 1/14 and a second one at 1/14."""

    def __init__(self, config: RefinerConfig, encoder: VitConfig) -> None:
        super().__init__()
        width, registers = encoder.width, encoder.registers
        self.read_3 = Read(width, registers)
        self.read_2 = Read(width, registers)
        self.read_1 = Read(width, registers, nn.ConvTranspose2d(width, config.seventh_width, 2, stride=2))
        self.read_0 = Read(width, registers, nn.Sequential(nn.Conv2d(width, config.quarter_width, 1)))

    def forward(self, taps_BNC: tuple[Tensor, ...], grid_hw: tuple[int, int]) -> tuple[Levels, Tensor]:
        # A 1x1 convolution and a repetition commute; the original repeats first, at 12 times the cost.
        quarter = F.interpolate(self.read_0(taps_BNC[0], grid_hw), scale_factor=QUARTER_FACTOR, mode="nearest")
        levels = Levels(quarter, self.read_1(taps_BNC[1], grid_hw), self.read_2(taps_BNC[2], grid_hw))
        return levels, self.read_3(taps_BNC[3], grid_hw)


class ResidualUnit(nn.Module):
    """Two 3x3 convolutions; what is carried past them is the rectified input."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(width, width, 3, padding=1)
        self.conv2 = nn.Conv2d(width, width, 3, padding=1)

    def forward(self, rectified_BCHW: Tensor) -> Tensor:
        return rectified_BCHW + self.conv2(F.relu(self.conv1(rectified_BCHW)))


class FuseUnit(nn.Module):
    """Adds a level's branch to the trunk, then changes channels; the caller interpolates."""

    def __init__(self, width: int, after: int, *, branch: bool) -> None:
        super().__init__()
        self.way_trunk = ResidualUnit(width)
        self.way_branch = ResidualUnit(width) if branch else None
        self.out_conv = nn.Conv2d(width, after, 1)

    def forward(self, trunk_BCHW: Tensor, rectified_BCHW: Tensor | None = None) -> Tensor:
        if self.way_branch is not None:
            trunk_BCHW = trunk_BCHW + self.way_branch(rectified_BCHW)
        return self.out_conv(self.way_trunk(F.relu(trunk_BCHW)))


class Fusion(nn.Module):
    """Coarse to fine; 1x1 convolutions come before the interpolations they commute with, at a quarter of the cost."""

    def __init__(self, config: RefinerConfig, width: int) -> None:
        super().__init__()
        self.upconv_3 = FuseUnit(width, width, branch=False)
        self.upconv_2 = FuseUnit(width, config.seventh_width, branch=True)
        self.upconv_1 = FuseUnit(config.seventh_width, config.shared_width + 2, branch=True)
        self.resize = Resize()

    def forward(self, levels: Levels, coarsest_BChw: Tensor) -> Tensor:
        """Maps -> the fused map at 1/4; those at 1/7 and 1/14 are to be rectified already."""
        x = self.upconv_3(coarsest_BChw)
        x = self.resize(self.upconv_2(x, levels.fourteenth), _size(levels.seventh))
        return self.resize(self.upconv_1(x, levels.seventh), _size(levels.quarter))


def rectified(levels: Levels) -> Levels:
    """What fusion leaves of the maps for everything after it; the finest one stays as it is."""
    return Levels(levels.quarter, torch.relu(levels.seventh), torch.relu(levels.fourteenth))


def _size(x_BCHW: Tensor) -> tuple[int, int]:
    return x_BCHW.shape[2], x_BCHW.shape[3]
