"""The Sapiens encoder: pre-norm ViT with a learned position table and one final LayerNorm.

In: normalised RGB (B,3,H,W). Out: feature map (B,C,h,w) on the patch grid. Attention and the MLPs dominate time, the
weights memory. Attribute names follow the official checkpoints, so a state dict needs no renaming.
"""

# Shape suffixes: B images, N tokens, C width, H W image, h w patch grid, P values of a patch (3 x side x side).

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from vitruvian.models.sapiens.config import BackboneConfig

NORM_EPS = 1e-6


class Attention(nn.Module):
    """Multi-head self-attention; the fused projection is laid out as (q, k, v) x heads x head width."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(width, 3 * width)
        self.proj = nn.Linear(width, width)

    def forward(self, x_BNC: Tensor) -> Tensor:
        batch, tokens, width = x_BNC.shape
        qkv = self.qkv(x_BNC).reshape(batch, tokens, 3, self.heads, width // self.heads).permute(2, 0, 3, 1, 4)
        q, k, v = qkv.unbind(0)
        mixed = F.scaled_dot_product_attention(q, k, v)
        return self.proj(mixed.transpose(1, 2).reshape(batch, tokens, width))


class Gelu(nn.GELU):
    """The exact (erf) GELU; where nothing is recorded for a backward pass it overwrites its input.

    The hidden layer of an MLP is the largest tensor of an encoder, and its input is always a fresh product.
    """

    def forward(self, x: Tensor) -> Tensor:
        if torch.is_grad_enabled() or torch.compiler.is_compiling():
            return F.gelu(x)
        return torch.ops.aten.gelu_(x)


class FeedForward(nn.Module):
    """Two linear layers with an exact (erf) GELU; the nesting reproduces the official key names."""

    def __init__(self, width: int, hidden: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Sequential(nn.Linear(width, hidden), Gelu()), nn.Linear(hidden, width))

    def forward(self, x_BNC: Tensor) -> Tensor:
        return self.layers(x_BNC)


class Block(nn.Module):
    """Pre-norm transformer block without layer scale."""

    def __init__(self, config: BackboneConfig) -> None:
        super().__init__()
        self.ln1 = nn.LayerNorm(config.width, eps=NORM_EPS)
        self.attn = Attention(config.width, config.heads)
        self.ln2 = nn.LayerNorm(config.width, eps=NORM_EPS)
        self.ffn = FeedForward(config.width, config.mlp_width)

    def forward(self, x_BNC: Tensor) -> Tensor:
        x_BNC = x_BNC + self.attn(self.ln1(x_BNC))
        return x_BNC + self.ffn(self.ln2(x_BNC))


class PatchEmbed(nn.Module):
    """Non-overlapping patch convolution with one of two padding conventions."""

    def __init__(self, config: BackboneConfig) -> None:
        super().__init__()
        self.patch = config.patch
        self.corner = config.patch_padding == "corner"
        padding = 0 if config.patch_padding == "corner" else config.patch_padding
        self.projection = PatchConv2d(3, config.width, config.patch, stride=config.patch, padding=padding)

    def forward(self, x_B3HW: Tensor) -> Tensor:
        if self.corner:
            bottom, right = -x_B3HW.shape[2] % self.patch, -x_B3HW.shape[3] % self.patch
            if bottom or right:
                x_B3HW = F.pad(x_B3HW, (0, right, 0, bottom))
        return self.projection(x_B3HW)


class PatchConv2d(nn.Conv2d):
    """A convolution whose square kernel is as wide as its stride, as one matrix product over the patches.

    oneDNN's bfloat16 convolution reserves 1.2 GB of scratch for one 1024x768 picture of three channels, and an enforced
    budget counts what is reserved.
    """

    def forward(self, x_B3HW: Tensor) -> Tensor:
        side, border = self.kernel_size[0], int(self.padding[0])
        if border:
            x_B3HW = F.pad(x_B3HW, (border, border, border, border))
        rows, columns = x_B3HW.shape[2] // side, x_B3HW.shape[3] // side
        x_B3HW = x_B3HW[:, :, : rows * side, : columns * side]
        patches = x_B3HW.unflatten(3, (columns, side)).unflatten(2, (rows, side))
        patches_BhwP = patches.permute(0, 2, 4, 1, 3, 5).flatten(3)
        return F.linear(patches_BhwP, self.weight.flatten(1), self.bias).permute(0, 3, 1, 2)


class Backbone(nn.Module):
    """Encoder of every Sapiens model; a class token, if there is one, takes part in attention and is dropped last."""

    def __init__(self, config: BackboneConfig) -> None:
        super().__init__()
        self.config = config
        if config.class_token:
            self.cls_token = nn.Parameter(torch.zeros(1, 1, config.width))
        self.pos_embed = nn.Parameter(torch.zeros(1, config.position_rows, config.width))
        self.patch_embed = PatchEmbed(config)
        self.layers = nn.ModuleList(Block(config) for _ in range(config.depth))
        self.ln1 = nn.LayerNorm(config.width, eps=NORM_EPS)

    def forward(self, x_B3HW: Tensor) -> Tensor:
        patches_BChw = self.patch_embed(x_B3HW)
        grid_hw = (patches_BChw.shape[2], patches_BChw.shape[3])
        tokens_BNC = patches_BChw.flatten(2).transpose(1, 2)
        if self.config.class_token:
            tokens_BNC = torch.cat([self.cls_token.expand(tokens_BNC.shape[0], -1, -1), tokens_BNC], dim=1)
        # Left channels first, every sum of the residual stream and every norm's input would be turned round again.
        tokens_BNC = tokens_BNC.contiguous() + self.position_table(grid_hw)
        for block in self.layers:
            tokens_BNC = block(tokens_BNC)
        tokens_BNC = self.ln1(tokens_BNC)[:, int(self.config.class_token) :]
        return tokens_BNC.transpose(1, 2).unflatten(2, grid_hw)

    def position_table(self, grid_hw: tuple[int, int]) -> Tensor:
        """Position rows (1,N,C) for a patch grid; resized when the input is not of the construction size."""
        home_hw = self.config.grid_hw()
        if grid_hw == home_hw:
            return self.pos_embed
        slots = int(self.config.class_token)
        table = resize_position_table(self.pos_embed[:, slots:], home_hw, grid_hw)
        return torch.cat([self.pos_embed[:, :slots], table], dim=1)


def resize_position_table(table_1NC: Tensor, from_hw: tuple[int, int], to_hw: tuple[int, int]) -> Tensor:
    """Bicubic (align_corners false, no antialias) resize of a row-major position table, in float32, cast back."""
    grid = table_1NC.float().unflatten(1, from_hw).permute(0, 3, 1, 2)
    grid = F.interpolate(grid, size=to_hw, mode="bicubic", align_corners=False)
    return grid.flatten(2).transpose(1, 2).to(table_1NC.dtype)
