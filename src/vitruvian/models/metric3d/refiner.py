"""The decoder of v2: a first estimate of depth and normals, refined by convolutional GRUs on three levels.

In: four token tensors (B,N,C) and the grid of the patches. Out: depth, its confidence, normals and their concentration
on the canvas. Refinement at 1/4 of the canvas dominates time (2/5 of the decoder in the small model, 3/5 in the large
ones), the maps there dominate memory. Only the last state is brought to the canvas.
"""

# Shape suffixes: B images, C channels, K anchors, S=6 state channels, M=9x16 mask channels, P=16 canvas pixels of each
# pixel of a map, H W a level's rows and columns (1/4 if not said).

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from vitruvian.models.metric3d.config import RefinerConfig, VitConfig
from vitruvian.models.metric3d.fusion import Fusion, Levels, Resize, TokenReader, rectified

NORM_EPS = 1e-5
DEPTH_UNIT_M = 100.0
"""The state holds (depth - farthest) / 100 m, so rounding it to bfloat16 would cost up to 0.77 m."""
CANVAS_FACTOR = 4
"""From the refined map to the canvas."""
NEIGHBOURS = 9
MASK_SCALE = 0.25


class ChannelNorm(nn.LayerNorm):
    """LayerNorm over the channels of a map."""

    def forward(self, x_BCHW: Tensor) -> Tensor:
        return super().forward(x_BCHW.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)


class Expectation(nn.Module):
    """Logits over depths, evenly spaced in their logarithm -> expected depth in metres, (B,K,H,W) -> (B,1,H,W)."""

    def __init__(self, near_m: float, far_m: float) -> None:
        super().__init__()
        self.near_m, self.far_m = near_m, far_m

    def forward(self, logits_BKHW: Tensor) -> Tensor:
        steps = logits_BKHW.shape[1]
        log_m = torch.linspace(
            math.log(self.near_m), math.log(self.far_m), steps, device=logits_BKHW.device, dtype=logits_BKHW.dtype
        )
        # Channels last, as the convolutions leave them; across channels a softmax takes ten times as long.
        return torch.matmul(logits_BKHW.permute(0, 2, 3, 1).softmax(dim=3), log_m.exp()).unsqueeze(1)


class ContextBlock(nn.Module):
    """Two normed 3x3 convolutions and a normed 1x1 one past them, where channels differ."""

    def __init__(self, before: int, after: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(before, after, 3, padding=1)
        self.conv2 = nn.Conv2d(after, after, 3, padding=1)
        self.norm1 = ChannelNorm(after, eps=NORM_EPS)
        self.norm2 = ChannelNorm(after, eps=NORM_EPS)
        self.downsample: nn.Sequential | None = None
        if before != after:
            # In the official files this norm has a second name inside `downsample`.
            self.norm3 = ChannelNorm(after, eps=NORM_EPS)
            self.downsample = nn.Sequential(nn.Conv2d(before, after, 1))

    def forward(self, x_BCHW: Tensor) -> Tensor:
        y_BCHW = F.relu(self.norm1(self.conv1(x_BCHW)))
        y_BCHW = F.relu(self.norm2(self.conv2(y_BCHW)))
        skip_BCHW = x_BCHW if self.downsample is None else self.norm3(self.downsample(x_BCHW))
        return F.relu(skip_BCHW + y_BCHW)


class ContextEncoder(nn.Module):
    """For each level one branch for the hidden state to begin with and one for what enters every step."""

    def __init__(self, widths: tuple[int, int, int], hidden: int) -> None:
        super().__init__()
        quarter, seventh, fourteenth = widths
        self.outputs04 = _branches(quarter, hidden)
        self.outputs08 = _branches(seventh, hidden)
        self.outputs16 = _branches(fourteenth, hidden)

    def forward(self, levels: Levels) -> tuple[Levels, Levels]:
        pairs = [
            (branches[0](level), branches[1](level))
            for branches, level in zip((self.outputs04, self.outputs08, self.outputs16), levels, strict=True)
        ]
        return Levels(*(hidden for hidden, _ in pairs)), Levels(*(entering for _, entering in pairs))


def _branches(before: int, after: int) -> nn.ModuleList:
    return nn.ModuleList(
        nn.Sequential(ContextBlock(before, after), nn.Conv2d(after, after, 3, padding=1)) for _ in range(2)
    )


class ConvGru(nn.Module):
    """A convolutional GRU; each gate has a map of its own added that stays the same in all steps."""

    def __init__(self, hidden: int, entering: int) -> None:
        super().__init__()
        self.convz = nn.Conv2d(hidden + entering, hidden, 3, padding=1)
        self.convr = nn.Conv2d(hidden + entering, hidden, 3, padding=1)
        self.convq = nn.Conv2d(hidden + entering, hidden, 3, padding=1)

    def forward(self, hidden_BCHW: Tensor, gates: Sequence[Tensor], *entering: Tensor) -> Tensor:
        keep, reset, new = gates
        # The state is float32 for its own sake; as an input it need not widen the others.
        others = [x.to(hidden_BCHW.dtype) for x in entering]
        both_BCHW = torch.cat([hidden_BCHW, *others], dim=1)
        z = torch.sigmoid(self.convz(both_BCHW) + keep)
        r = torch.sigmoid(self.convr(both_BCHW) + reset)
        q = torch.tanh(self.convq(torch.cat([r * hidden_BCHW, *others], dim=1)) + new)
        return hidden_BCHW + z * (q - hidden_BCHW)


class StateHead(nn.Module):
    """What a step adds to the state: depth and confidence, normal and concentration."""

    def __init__(self, hidden: int) -> None:
        super().__init__()
        self.conv1d = nn.Conv2d(hidden, hidden, 3, padding=1)
        self.conv2d = nn.Conv2d(hidden, 2, 3, padding=1)
        self.conv1n = nn.Conv2d(hidden, hidden, 3, padding=1)
        self.conv2n = nn.Conv2d(hidden, 4, 3, padding=1)

    def forward(self, x_BCHW: Tensor) -> Tensor:
        depth_B2HW = self.conv2d(F.relu(self.conv1d(x_BCHW)))
        return torch.cat([depth_B2HW, self.conv2n(F.relu(self.conv1n(x_BCHW)))], dim=1)


class UpdateBlock(nn.Module):
    """One step on three levels: the coarse GRU runs three times, the middle one twice, the fine one once."""

    def __init__(self, hidden: int) -> None:
        super().__init__()
        self.gru08 = ConvGru(hidden, hidden + 6)
        self.gru16 = ConvGru(hidden, 2 * hidden)
        self.gru32 = ConvGru(hidden, hidden)
        self.flow_head = StateHead(hidden)
        self.mask = nn.Sequential(
            nn.Conv2d(hidden, hidden, 3, padding=1), nn.ReLU(), nn.Conv2d(hidden, NEIGHBOURS * CANVAS_FACTOR**2, 1)
        )
        self.resize = Resize()

    def forward(self, hidden: Levels, gates: Sequence[Sequence[Tensor]], state_BSHW: Tensor) -> Levels:
        fine, middle, coarse = hidden
        middle_hw, fine_hw = (middle.shape[2], middle.shape[3]), (fine.shape[2], fine.shape[3])
        from_fine = self.resize(_halved(fine), middle_hw)
        from_middle = _halved(middle)
        coarse = self.gru32(coarse, gates[2], from_middle)
        coarse = self.gru32(coarse, gates[2], from_middle)
        middle = self.gru16(middle, gates[1], from_fine, self.resize(coarse, middle_hw))
        coarse = self.gru32(coarse, gates[2], _halved(middle))
        middle = self.gru16(middle, gates[1], from_fine, self.resize(coarse, middle_hw))
        fine = self.gru08(fine, gates[0], state_BSHW, self.resize(middle, fine_hw))
        return Levels(fine, middle, coarse)


def _halved(x_BCHW: Tensor) -> Tensor:
    return F.avg_pool2d(x_BCHW, 3, stride=2, padding=1)


class ConvexUpsample(nn.Module):
    """A map at 1/4 on the canvas: each pixel a weighted mean of 3x3 neighbours, beyond the border zeros.

    "RAFT: Recurrent All-Pairs Field Transforms", Teed and Deng 2020. A zero means the farthest depth, which trained
    weights know.
    """

    def forward(self, state_BSHW: Tensor, logits_BMHW: Tensor) -> Tensor:
        height, width = state_BSHW.shape[2:]
        # One matrix product a pixel: no map with neighbours, pixels and channels at once, as broadcasting would need.
        shares_BHW9P = logits_BMHW.permute(0, 2, 3, 1).unflatten(3, (NEIGHBOURS, CANVAS_FACTOR**2)).softmax(dim=3)
        padded = F.pad(state_BSHW, (1, 1, 1, 1)).permute(0, 2, 3, 1)
        around = [padded[:, row : row + height, column : column + width] for row in range(3) for column in range(3)]
        mixed_BHWPS = torch.matmul(shares_BHW9P.transpose(3, 4), torch.stack(around, dim=3))
        parts = mixed_BHWPS.unflatten(3, (CANVAS_FACTOR, CANVAS_FACTOR)).permute(0, 5, 1, 3, 2, 4)
        return parts.flatten(4, 5).flatten(2, 3)


class Refinement(NamedTuple):
    """What goes from step to step."""

    state_BSHW: Tensor
    """Depth (see `DEPTH_UNIT_M`), its confidence, normal x, y, z and concentration, at 1/4 of the canvas, float32."""
    hidden: Levels
    gates: tuple[tuple[Tensor, ...], ...]
    """For each level, fine to coarse: what is added to the three gates."""


class Refiner(nn.Module):
    """The decoder of v2. `start`, `step` as often as wanted, `outputs`; `forward` is all of it."""

    def __init__(self, config: RefinerConfig, encoder: VitConfig) -> None:
        super().__init__()
        self.config = config
        shared, inner, hidden = config.shared_width, config.normal_width, config.hidden
        self.token2feature = TokenReader(config, encoder)
        self.decoder_mono = Fusion(config, encoder.width)
        self.depth_regressor = nn.Sequential(
            nn.Conv2d(shared, config.anchors, 3, padding=1), nn.ReLU(), nn.Conv2d(config.anchors, config.anchors, 1)
        )
        self.expectation = Expectation(config.near_m, config.far_m)
        self.normal_predictor = nn.Sequential(
            *(nn.Conv2d(shared, inner, 3, padding=1), nn.ReLU(), nn.Conv2d(inner, inner, 1), nn.ReLU()),
            *(nn.Conv2d(inner, inner, 1), nn.ReLU(), nn.Conv2d(inner, 3, 1)),
        )
        widths = (config.quarter_width, config.seventh_width, encoder.width)
        self.context_feature_encoder = ContextEncoder(widths, hidden)
        self.context_zqr_convs = nn.ModuleList(nn.Conv2d(hidden, 3 * hidden, 3, padding=1) for _ in range(3))
        self.update_block = UpdateBlock(hidden)
        self.upsample = ConvexUpsample()

    def forward(self, taps_BNC: tuple[Tensor, ...], grid_hw: tuple[int, int]) -> dict[str, Tensor]:
        refinement = self.start(taps_BNC, grid_hw)
        for _ in range(self.config.steps):
            refinement = self.step(refinement)
        return self.outputs(refinement)

    def start(self, taps_BNC: tuple[Tensor, ...], grid_hw: tuple[int, int]) -> Refinement:
        """The first estimate, and what the steps need."""
        levels, coarsest_BChw = self.token2feature(taps_BNC, grid_hw)
        levels = rectified(levels)
        shared, confidence, normal_confidence = self.decoder_mono(levels, coarsest_BChw).split(
            (self.config.shared_width, 1, 1), dim=1
        )
        depth_m = self.expectation(self.depth_regressor(shared)).clamp(self.config.near_m, self.config.far_m)
        normals = unit_normals(torch.cat([self.normal_predictor(shared), normal_confidence], dim=1))
        return self.refinement(depth_m, confidence, normals, levels)

    def refinement(self, depth_m: Tensor, confidence: Tensor, normals: Tensor, levels: Levels) -> Refinement:
        """What the steps begin with: estimates at 1/4 of the canvas, and what the rectified levels have to say."""
        state_BSHW = torch.cat([(depth_m - self.config.far_m) / DEPTH_UNIT_M, confidence, normals], dim=1)
        hidden, entering = self.context_feature_encoder(levels)
        # The order of use is update, reset, new, whatever the name of the convolutions says.
        gates = tuple(
            conv(F.relu(level)).chunk(3, dim=1) for conv, level in zip(self.context_zqr_convs, entering, strict=True)
        )
        return Refinement(
            state_BSHW=state_BSHW.contiguous(memory_format=torch.channels_last),
            hidden=Levels(*map(torch.tanh, hidden)),
            gates=gates,
        )

    def step(self, before: Refinement) -> Refinement:
        """One refinement."""
        hidden = self.update_block(before.hidden, before.gates, before.state_BSHW)
        state_BSHW = before.state_BSHW + self.update_block.flow_head(hidden.quarter)
        return Refinement(state_BSHW=state_BSHW, hidden=hidden, gates=before.gates)

    def outputs(self, refinement: Refinement) -> dict[str, Tensor]:
        """A state on the canvas: the network's result after any step."""
        logits_BMHW = MASK_SCALE * self.update_block.mask(refinement.hidden.quarter)
        state_BSHW = self.upsample(refinement.state_BSHW, logits_BMHW)
        depth_m = (DEPTH_UNIT_M * state_BSHW[:, :1] + self.config.far_m).clamp(self.config.near_m, self.config.far_m)
        normals = unit_normals(state_BSHW[:, 2:])
        return {"depth": depth_m, "confidence": state_BSHW[:, 1:2], "normal": normals[:, :3], "kappa": normals[:, 3:]}


def unit_normals(x_B4HW: Tensor) -> Tensor:
    """Raw x, y, z and concentration -> unit vectors and a positive concentration (Bae et al. 2021)."""
    xyz, kappa = x_B4HW.split((3, 1), dim=1)
    length = torch.linalg.vector_norm(xyz, dim=1, keepdim=True)
    return torch.cat([xyz / (length + 1e-10), F.elu(kappa) + 1.01], dim=1)
