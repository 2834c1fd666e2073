"""The encoder of v2: DINOv2 with register tokens, a pre-norm ViT with layer scale.

In: normalised RGB (B,3,H,W). Out: four token tensors (B,N,C), class and register tokens first, and the grid of the
patches. Attention and the feed-forward parts dominate time, the weights memory. Attribute names follow the official
files, so a state dict needs no renaming.
"""

# Shape suffixes: B images, N tokens, C width, H W image, h w patch grid, s side of the position table.

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from vitruvian.models.metric3d.config import VitConfig
from vitruvian.models.sapiens.backbone import Attention, Gelu, PatchConv2d

NORM_EPS = 1e-6
GRID_OFFSET = 0.1
"""Added to the wanted rows and columns before the position table's resize factor is taken (DINOv2's resize)."""
CUBIC = -0.75
"""Free parameter of the cubic kernel, as torch's bicubic interpolation has it."""


class LayerScale(nn.Module):
    """One factor for each channel of a residual branch."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.gamma = nn.Parameter(torch.ones(width))

    def forward(self, x_BNC: Tensor) -> Tensor:
        return x_BNC * self.gamma


class FeedForward(nn.Module):
    """Two linear layers with an exact (erf) GELU."""

    def __init__(self, width: int, hidden: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(width, hidden)
        self.act = Gelu()
        self.fc2 = nn.Linear(hidden, width)

    def forward(self, x_BNC: Tensor) -> Tensor:
        return self.fc2(self.act(self.fc1(x_BNC)))


class GatedFeedForward(nn.Module):
    """SwiGLU (Shazeer 2020); the first half of the fused layer's rows is the gate."""

    def __init__(self, width: int, hidden: int) -> None:
        super().__init__()
        self.w12 = nn.Linear(width, 2 * hidden)
        self.w3 = nn.Linear(hidden, width)

    def forward(self, x_BNC: Tensor) -> Tensor:
        gate, value = self.w12(x_BNC).chunk(2, dim=-1)
        return self.w3(F.silu(gate) * value)


class Block(nn.Module):
    """Pre-norm transformer block with layer scale on both branches."""

    def __init__(self, config: VitConfig) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(config.width, eps=NORM_EPS)
        self.attn = Attention(config.width, config.heads)
        self.ls1 = LayerScale(config.width)
        self.norm2 = nn.LayerNorm(config.width, eps=NORM_EPS)
        self.mlp = (GatedFeedForward if config.gated else FeedForward)(config.width, config.mlp_width)
        self.ls2 = LayerScale(config.width)

    def forward(self, x_BNC: Tensor) -> Tensor:
        x_BNC = x_BNC + self.ls1(self.attn(self.norm1(x_BNC)))
        return x_BNC + self.ls2(self.mlp(self.norm2(x_BNC)))


class PatchEmbed(nn.Module):
    """Non-overlapping patch convolution."""

    def __init__(self, config: VitConfig) -> None:
        super().__init__()
        self.proj = PatchConv2d(3, config.width, config.patch, stride=config.patch)

    def forward(self, x_B3HW: Tensor) -> Tensor:
        return self.proj(x_B3HW)


class VitEncoder(nn.Module):
    """Tokens for the decoder; registers join after the position table is added and have no position."""

    def __init__(self, config: VitConfig) -> None:
        super().__init__()
        self.config = config
        self.cls_token = nn.Parameter(torch.zeros(1, 1, config.width))
        self.pos_embed = nn.Parameter(torch.zeros(1, 1 + config.grid**2, config.width))
        self.register_tokens = nn.Parameter(torch.zeros(1, config.registers, config.width))
        self.patch_embed = PatchEmbed(config)
        # One chunk of blocks: the extra level stands in the official key names.
        self.blocks = nn.ModuleList([nn.Sequential(*(Block(config) for _ in range(config.depth)))])
        # Where raw tokens are read this norm is in the official files, in no result.
        self.norm = nn.LayerNorm(config.width, eps=NORM_EPS)

    def forward(self, x_B3HW: Tensor) -> tuple[tuple[Tensor, ...], tuple[int, int]]:
        patches_BChw = self.patch_embed(self._aligned(x_B3HW))
        batch, _, rows, columns = patches_BChw.shape
        patches_BNC = patches_BChw.flatten(2).transpose(1, 2).contiguous()
        positions_1NC = self.position_table((rows, columns))
        first_BNC = (self.cls_token + positions_1NC[:, :1]).expand(batch, -1, -1)
        registers_BNC = self.register_tokens.expand(batch, -1, -1)
        tokens_BNC = torch.cat([first_BNC, registers_BNC, patches_BNC + positions_1NC[:, 1:]], dim=1)
        quarter = self.config.depth // 4
        taps: list[Tensor] = []
        for index, block in enumerate(self.blocks[0].children(), start=1):
            tokens_BNC = block(tokens_BNC)
            if self.config.quarter_taps and index % quarter == 0:
                taps.append(tokens_BNC)
        return tuple(taps) if taps else (self.norm(tokens_BNC),) * 4, (rows, columns)

    def _aligned(self, x_B3HW: Tensor) -> Tensor:
        """The picture stretched to whole patches, bilinear without corner alignment; whole ones stay as they are."""
        patch = self.config.patch
        height, width = x_B3HW.shape[2:]
        if height % patch == 0 and width % patch == 0:
            return x_B3HW
        size = (-(-height // patch) * patch, -(-width // patch) * patch)
        return F.interpolate(x_B3HW, size=size, mode="bilinear", align_corners=False)

    def position_table(self, grid_hw: tuple[int, int]) -> Tensor:
        """Position rows (1,1+N,C) for class token and patch grid; resized if the grid is not the table's own."""
        side = self.config.grid
        if grid_hw == (side, side):
            return self.pos_embed
        table_1ssC = self.pos_embed[:, 1:].unflatten(1, (side, side))
        resized = resize_position_table(table_1ssC, grid_hw)
        return torch.cat([self.pos_embed[:, :1], resized.flatten(1, 2).to(self.pos_embed.dtype)], dim=1)


def resize_position_table(table_1ssC: Tensor, grid_hw: tuple[int, int]) -> Tensor:
    """Bicubic resize (no antialias) of a position table, in float32, by DINOv2's rule.

    The factor is (wanted + 0.1) / side, and sample positions follow that factor rather than the ratio of the sizes,
    which shifts values by up to a tenth of their spread. Two matrix products: no backend lacks them, while TensorRT
    takes no `einsum` of three tensors.

    Returns:
        Float32 (1,h,w,C).
    """
    table = table_1ssC.float()
    side = table.shape[1]
    rows_hs = cubic_weights(side, grid_hw[0], table.device)
    columns_ws = cubic_weights(side, grid_hw[1], table.device)
    wide_1swC = torch.matmul(columns_ws, table)
    return torch.matmul(rows_hs, wide_1swC.flatten(2)).unflatten(2, wide_1swC.shape[2:])


def cubic_weights(side: int, wanted: int, device: torch.device) -> Tensor:
    """Share of each of `side` entries in each of `wanted` samples: float32 (wanted, side); edges are repeated.

    Cubic convolution (Keys 1981).
    """
    step = side / (wanted + GRID_OFFSET)
    position = (torch.arange(wanted, device=device, dtype=torch.float32) + 0.5) * step - 0.5
    before = position.floor()
    fraction = position - before
    entries = torch.arange(side, device=device, dtype=torch.float32)
    weights = torch.zeros(wanted, side, device=device)
    for tap in (-1, 0, 1, 2):
        distance = (fraction - tap).abs()
        near = ((CUBIC + 2) * distance - (CUBIC + 3)) * distance * distance + 1
        far = ((CUBIC * distance - 5 * CUBIC) * distance + 8 * CUBIC) * distance - 4 * CUBIC
        entry = (before + tap).clamp(0, side - 1)
        weights = weights + torch.where(distance <= 1, near, far)[:, None] * (entry[:, None] == entries)
    return weights
