"""The embedded person detector: a small convolutional network without anchors that predicts on one fine map.

In: RGB canvas (B,3,H,W) in 0..1. Out: one logit and one box for each cell of an 8-pixel grid. One map for all sizes,
because the persons of a group stand closer together than the cells of a coarse map; what a fine cell must know about
large persons comes down from a coarse map that looks at the whole canvas. Time: the 40x40 maps of neck and head, about
half of it; memory: a few MB a picture.
"""

# Shape suffixes: B pictures, C channels, H W canvas, h w feature map, N cells, L tokens, 4 = cx cy w h.

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from vitruvian.errors import UsageError

STRIDE = 8
"""Canvas pixels from one predicted cell to the next."""
COARSEST = 32
"""Canvas pixels from one cell of the coarsest map to the next; canvas sides must be multiples."""
OFFSET_PX, SIZE_PX = 16.0, 48.0
"""Unit of predicted centre offsets, and the box side that a prediction of 0 stands for, in canvas pixels."""
_LARGEST_LOG = 3.0
"""Sides of at most SIZE_PX * e^3, some 960 pixels."""
_HEAD_DIM = 32

MakeNorm = Callable[[int], nn.Module]


@dataclass(frozen=True, kw_only=True, slots=True)
class DetectorConfig:
    """Size of the network."""

    input_hw: tuple[int, int]
    """Canvas height and width; the weights serve any multiple of 32."""
    widths: tuple[int, int, int, int, int]
    """Channels at 2, 4, 8, 16 and 32 canvas pixels a cell."""
    depths: tuple[int, int, int, int]
    """Residual units at 4, 8, 16 and 32 canvas pixels a cell."""
    head_width: int
    """Channels of the map that is predicted from."""

    def __post_init__(self) -> None:
        if any(side % COARSEST or side <= 0 for side in self.input_hw):
            raise UsageError(f"got a canvas of {self.input_hw}; expected sides that are multiples of {COARSEST}")
        if self.widths[-1] % _HEAD_DIM:
            raise UsageError(f"got a last width of {self.widths[-1]}; expected a multiple of {_HEAD_DIM}")

    @property
    def parameters(self) -> int:
        """Number of weights."""
        return sum(weight.numel() for weight in build_detector(self).parameters())

    def to_json(self) -> dict[str, Any]:
        """Plain containers, as stored in the metadata of the weight file."""
        return asdict(self)

    @classmethod
    def from_json(cls, document: dict[str, Any]) -> DetectorConfig:
        """Inverse of `to_json`; lists become tuples."""
        fields: dict[str, Any] = {
            key: tuple(value) if isinstance(value, list) else value for key, value in document.items()
        }
        return cls(**fields)


NANO_DETECTOR = DetectorConfig(input_hw=(256, 256), widths=(16, 32, 64, 128, 160), depths=(1, 2, 2, 1), head_width=96)
"""The embedded network."""


class Unit(nn.Module):
    """Convolution, norm, ReLU; the embedded weights have their norms folded into the convolutions.

    Not SiLU: on a CPU it costs a sixth of a training step.
    """

    def __init__(self, before: int, after: int, kernel: int, make_norm: MakeNorm, *, stride: int = 1) -> None:
        super().__init__()
        self.conv = nn.Conv2d(before, after, kernel, stride, kernel // 2)
        self.norm = make_norm(after)

    def forward(self, x_BChw: Tensor) -> Tensor:
        return F.relu(self.norm(self.conv(x_BChw)), inplace=True)


class Residual(nn.Module):
    """Two 3x3 units beside the identity."""

    def __init__(self, width: int, make_norm: MakeNorm) -> None:
        super().__init__()
        self.first, self.second = (Unit(width, width, 3, make_norm) for _ in range(2))

    def forward(self, x_BChw: Tensor) -> Tensor:
        return x_BChw + self.second(self.first(x_BChw))


class Stage(nn.Module):
    """A 1x1 unit, residual units on half of its channels, and a 1x1 unit over all that came up on the way."""

    def __init__(self, before: int, after: int, depth: int, make_norm: MakeNorm) -> None:
        super().__init__()
        half = after // 2
        self.enter = Unit(before, 2 * half, 1, make_norm)
        self.residuals = nn.ModuleList(Residual(half, make_norm) for _ in range(depth))
        self.leave = Unit((2 + depth) * half, after, 1, make_norm)

    def forward(self, x_BChw: Tensor) -> Tensor:
        parts = list(self.enter(x_BChw).chunk(2, dim=1))
        for residual in self.residuals:
            parts.append(residual(parts[-1]))
        return self.leave(torch.cat(parts, dim=1))


class WholeView(nn.Module):
    """One transformer block over the coarsest map, so that every cell sees the whole canvas.

    Positions come from a depthwise convolution with zeros around the map, which works at any canvas size.
    """

    def __init__(self, width: int, make_norm: MakeNorm) -> None:
        super().__init__()
        self.heads = width // _HEAD_DIM
        self.place = nn.Conv2d(width, width, 5, padding=2, groups=width)
        self.attention_norm, self.mlp_norm = nn.LayerNorm(width), nn.LayerNorm(width)
        self.qkv, self.project = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.mlp = nn.Sequential(nn.Linear(width, 2 * width), nn.GELU(), nn.Linear(2 * width, width))

    def forward(self, x_BChw: Tensor) -> Tensor:
        x_BChw = x_BChw + self.place(x_BChw)
        x_BLC = x_BChw.flatten(2).transpose(1, 2)
        x_BLC = x_BLC + self.project(self._attend(self.attention_norm(x_BLC)))
        x_BLC = x_BLC + self.mlp(self.mlp_norm(x_BLC))
        return x_BLC.transpose(1, 2).reshape(x_BChw.shape).contiguous(memory_format=torch.channels_last)

    def _attend(self, x_BLC: Tensor) -> Tensor:
        qkv = self.qkv(x_BLC).unflatten(2, (3, self.heads, _HEAD_DIM)).permute(2, 0, 3, 1, 4)
        return F.scaled_dot_product_attention(qkv[0], qkv[1], qkv[2]).transpose(1, 2).flatten(2)


class NanoDetector(nn.Module):
    """In: float (B,3,H,W), RGB in 0..1. Out: `logits` (B,N) and `boxes` (B,N,4), N = H/8 * W/8.

    Boxes are cx, cy, w, h as shares of the canvas, measured between its outer edges (0 is the left edge of the first
    column, 1 the right edge of the last); they surround what is visible of a person and may reach beyond the canvas.
    Several cells describe the same person: what calls the network keeps the best of those that overlap.
    """

    def __init__(self, config: DetectorConfig, make_norm: MakeNorm = lambda width: nn.Identity()) -> None:
        super().__init__()
        first, *widths = config.widths
        fine, middle, coarse = widths[1:]
        self.stem = Unit(3, first, 3, make_norm, stride=2)
        self.downs = nn.ModuleList(
            Unit(before, after, 3, make_norm, stride=2) for before, after in zip((first, *widths), widths, strict=False)
        )
        self.stages = nn.ModuleList(
            Stage(width, width, depth, make_norm) for width, depth in zip(widths, config.depths, strict=True)
        )
        self.whole_view = WholeView(coarse, make_norm)
        self.to_middle = Stage(coarse + middle, middle, 1, make_norm)
        self.to_fine = Stage(middle + fine, config.head_width, 1, make_norm)
        self.logit_tower = Unit(config.head_width, config.head_width, 3, make_norm)
        self.box_tower = Unit(config.head_width, config.head_width, 3, make_norm)
        self.logit = nn.Conv2d(config.head_width, 1, 1)
        self.box = nn.Conv2d(config.head_width, 4, 1)

    def forward(self, x_B3HW: Tensor) -> dict[str, Tensor]:
        return self.predicted(self.features(x_B3HW))

    def features(self, x_B3HW: Tensor) -> Tensor:
        """The map (B,C,H/8,W/8) that logits and boxes are predicted from."""
        x = self.stem(x_B3HW.contiguous(memory_format=torch.channels_last))
        maps = []
        for down, stage in zip(self.downs, self.stages, strict=True):
            x = stage(down(x))
            maps.append(x)
        x = self.to_middle(torch.cat([_doubled(self.whole_view(maps[3])), maps[2]], dim=1))
        return self.to_fine(torch.cat([_doubled(x), maps[1]], dim=1))

    def predicted(self, x_BChw: Tensor) -> dict[str, Tensor]:
        """Logits and boxes of a feature map."""
        logits_BN = self.logit(self.logit_tower(x_BChw)).flatten(1)
        return {"logits": logits_BN, "boxes": _boxes(self.box(self.box_tower(x_BChw)))}


def _doubled(x_BChw: Tensor) -> Tensor:
    return F.interpolate(x_BChw, scale_factor=2.0, mode="nearest")


def _boxes(raw_B4hw: Tensor) -> Tensor:
    """Raw predictions (centre offsets and logarithms of sides) as boxes (B,N,4) in shares of the canvas."""
    rows, columns = raw_B4hw.shape[2:]
    raw_B4hw = raw_B4hw.float()
    y, x = torch.meshgrid(
        torch.arange(rows, device=raw_B4hw.device), torch.arange(columns, device=raw_B4hw.device), indexing="ij"
    )
    cell_px_2hw = (torch.stack([x, y]) + 0.5) * STRIDE
    centre_B2hw = cell_px_2hw + raw_B4hw[:, :2] * OFFSET_PX
    size_B2hw = raw_B4hw[:, 2:].clamp(max=_LARGEST_LOG).exp() * SIZE_PX
    scale_4 = torch.tensor([columns, rows, columns, rows], device=raw_B4hw.device) * STRIDE
    return torch.cat([centre_B2hw, size_B2hw], dim=1).flatten(2).transpose(1, 2) / scale_4


def build_detector(config: DetectorConfig = NANO_DETECTOR, device: str | torch.device = "meta") -> NanoDetector:
    """A detector in evaluation mode; on meta by default: no memory, no initial values."""
    with torch.device(device):
        return NanoDetector(config).eval()
