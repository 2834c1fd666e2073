"""The decoder of v1: fusion of the encoder's stages, a small U-net, depth among anchors, and a residual.

In: maps (B,C,h,w) at 1/4, 1/8, 1/16 and 1/32 of the canvas. Out: depth and confidence on the canvas. The 3x3
convolution before the anchors dominates time: 3/4 of the decoder of the small model, 2/5 of that model.
"""

# Shape suffixes: B images, C channels, K anchors, H W rows and columns at 1/4 of the canvas.

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from vitruvian.models.metric3d.config import ConvNextConfig, HourglassConfig
from vitruvian.models.metric3d.refiner import Expectation

CANVAS_FACTOR = 4
RESIDUAL_SCALE = 0.1
"""Share of the residual in the depth."""


def _doubled(x_BCHW: Tensor, factor: int = 2) -> Tensor:
    return F.interpolate(x_BCHW, scale_factor=float(factor), mode="nearest")


def _reflected(before: int, after: int) -> nn.Module:
    """A 3x3 convolution that mirrors the border."""
    return nn.Sequential(nn.ReflectionPad2d(1), nn.Conv2d(before, after, 3))


class Narrow(nn.Module):
    """Fewer channels, then ELU."""

    def __init__(self, conv: nn.Module) -> None:
        super().__init__()
        self.conv = conv

    def forward(self, x_BCHW: Tensor) -> Tensor:
        return F.elu(self.conv(x_BCHW))


class Merge(nn.Module):
    """Two convolutions with ELU over an upsampled map and the encoder's, in this order."""

    def __init__(self, conv: nn.Module, width: int) -> None:
        super().__init__()
        self.conv = conv
        self.conv_2 = nn.Conv2d(width, width, 1)

    def forward(self, x_BCHW: Tensor, stage_BCHW: Tensor) -> Tensor:
        both_BCHW = torch.cat([_doubled(x_BCHW), stage_BCHW], dim=1)
        return F.elu(self.conv_2(F.elu(self.conv(both_BCHW))))


class StageFusion(nn.Module):
    """Maps of four stages -> one at 1/4."""

    def __init__(self, config: HourglassConfig, encoder: ConvNextConfig) -> None:
        super().__init__()
        quarter, eighth, sixteenth = config.widths
        stage4, stage8, stage16, stage32 = encoder.widths
        self.upconv_3_0 = Narrow(nn.Conv2d(stage32, sixteenth, 1))
        self.upconv_3_1 = Merge(nn.Conv2d(sixteenth + stage16, sixteenth, 1), sixteenth)
        self.upconv_2_0 = Narrow(_reflected(sixteenth, eighth))
        self.upconv_2_1 = Merge(_reflected(eighth + stage8, eighth), eighth)
        self.upconv_1_0 = Narrow(_reflected(eighth, quarter))
        self.upconv_1_1 = Merge(_reflected(quarter + stage4, quarter), quarter)

    def forward(self, stage4: Tensor, stage8: Tensor, stage16: Tensor, stage32: Tensor) -> Tensor:
        x_BCHW = self.upconv_3_1(self.upconv_3_0(stage32), stage16)
        x_BCHW = self.upconv_2_1(self.upconv_2_0(x_BCHW), stage8)
        return self.upconv_1_1(self.upconv_1_0(x_BCHW), stage4)


class ConvUnit(nn.Module):
    """3x3 convolution, batch norm, ReLU."""

    def __init__(self, before: int, after: int, stride: int = 1) -> None:
        super().__init__()
        self.conv = nn.Conv2d(before, after, 3, stride=stride, padding=1, bias=False)
        self.bn = nn.BatchNorm2d(after)

    def forward(self, x_BCHW: Tensor) -> Tensor:
        return F.relu(self.bn(self.conv(x_BCHW)))


class UNet(nn.Module):
    """Three levels down and up; what comes up is added to what went down."""

    def __init__(self, config: HourglassConfig) -> None:
        super().__init__()
        widths = [config.base >> level for level in range(4)]
        self.conv0 = ConvUnit(config.widths[0], widths[0])
        self.conv_0, self.conv_1, self.conv_2 = (
            nn.Sequential(ConvUnit(widths[level], widths[level + 1], 2), ConvUnit(widths[level + 1], widths[level + 1]))
            for level in range(3)
        )
        self.deconv_2, self.deconv_1, self.deconv_0 = (
            nn.Sequential(
                nn.ConvTranspose2d(
                    widths[level + 1], widths[level], 3, stride=2, padding=1, output_padding=1, bias=False
                ),
                nn.BatchNorm2d(widths[level]),
                nn.ReLU(),
            )
            for level in (2, 1, 0)
        )
        self.prob = nn.Conv2d(widths[0], config.features + 1, 1)

    def forward(self, x_BCHW: Tensor) -> Tensor:
        level0 = self.conv0(x_BCHW)
        level1 = self.conv_0(level0)
        level2 = self.conv_1(level1)
        x_BCHW = level2 + self.deconv_2(self.conv_2(level2))
        x_BCHW = level1 + self.deconv_1(x_BCHW)
        return self.prob(level0 + self.deconv_0(x_BCHW))


class Residual(nn.Sequential):
    """Features, depth and pixel indices at 1/4 -> correction on the canvas; indices tie it to the canvas's size."""

    def __init__(self, config: HourglassConfig) -> None:
        width = config.residual_width
        super().__init__(
            *(nn.Conv2d(config.features + 3, width, 3, padding=1), nn.BatchNorm2d(width), nn.ReLU()),
            *(nn.Conv2d(width, width, 3, padding=1), nn.Upsample(scale_factor=CANVAS_FACTOR, mode="nearest")),
            *(nn.Conv2d(width, width, 3, padding=1), nn.ReLU(), nn.Conv2d(width, 1, 1)),
        )


class Hourglass(nn.Module):
    """The decoder of v1. Its depth is not clamped: the residual may take it out of the range, even below zero."""

    def __init__(self, config: HourglassConfig, encoder: ConvNextConfig) -> None:
        super().__init__()
        self.config = config
        self.decoder_mono = StageFusion(config, encoder)
        self.conv_out_2 = UNet(config)
        self.depth_regressor_2 = nn.Sequential(
            *(nn.Conv2d(config.features, config.anchors, 3, padding=1), nn.BatchNorm2d(config.anchors), nn.ReLU()),
            nn.Conv2d(config.anchors, config.anchors, 1),
        )
        self.expectation = Expectation(config.near_m, config.far_m)
        self.conv_up_2 = Residual(config)

    def forward(self, *stages: Tensor) -> dict[str, Tensor]:
        fused_BCHW = self.conv_out_2(self.decoder_mono(*stages))
        features_BCHW, confidence_B1HW = fused_BCHW.split((self.config.features, 1), dim=1)
        depth_B1HW = self.expectation(self.depth_regressor_2(features_BCHW))
        entering = torch.cat([depth_B1HW, _pixel_indices(depth_B1HW), features_BCHW], dim=1)
        depth_m = _doubled(depth_B1HW, CANVAS_FACTOR) + RESIDUAL_SCALE * self.conv_up_2(entering)
        return {"depth": depth_m, "confidence": _doubled(confidence_B1HW, CANVAS_FACTOR)}


def _pixel_indices(like_B1HW: Tensor) -> Tensor:
    """Column, then row of every pixel, (B,2,H,W)."""
    batch, _, height, width = like_B1HW.shape
    rows = torch.arange(height, device=like_B1HW.device, dtype=like_B1HW.dtype)[:, None].expand(height, width)
    columns = torch.arange(width, device=like_B1HW.device, dtype=like_B1HW.dtype).expand(height, width)
    return torch.stack([columns, rows]).expand(batch, 2, height, width)
