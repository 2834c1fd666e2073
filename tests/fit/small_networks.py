"""Networks small enough for their memory to be computed on paper."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from vitruvian.fit.workload import Workload

WIDTH, DEPTH, TOKENS = 256, 4, 8


class Stack(nn.Module):
    """Linear layers without biases: y = x W1' ... WL'."""

    def __init__(self, depth: int = DEPTH, width: int = WIDTH) -> None:
        super().__init__()
        self.layers = nn.Sequential(*(nn.Linear(width, width, bias=False) for _ in range(depth)))

    def forward(self, x: Tensor) -> Tensor:
        return self.layers(x)


class Block(nn.Module):
    """A pre-norm transformer block with one head."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.qkv = nn.Linear(width, 3 * width)
        self.proj = nn.Linear(width, width)
        self.mlp = nn.Sequential(nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width))

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = self.qkv(self.norm(x))[:, None].chunk(3, dim=-1)
        x = x + self.proj(F.scaled_dot_product_attention(q, k, v)[:, 0])
        return x + self.mlp(x)


class Transformer(nn.Module):
    """Blocks and a linear head."""

    def __init__(self, depth: int = DEPTH, width: int = 64) -> None:
        super().__init__()
        self.layers = nn.ModuleList(Block(width) for _ in range(depth))
        self.head = nn.Linear(width, 8)

    def forward(self, x: Tensor) -> Tensor:
        for layer in self.layers:
            x = layer(x)
        return self.head(x)


def workload_of(module: nn.Module, *shape: int) -> Workload:
    """With inputs of this shape per item."""
    return Workload.from_module(module, (torch.zeros(1, *shape),))


def transformer_workload(depth: int = DEPTH, width: int = 64, tokens: int = TOKENS) -> Workload:
    """With its parts named, as families name theirs."""
    torch.manual_seed(0)
    plain = workload_of(Transformer(depth, width), tokens, width)
    return replace(plain, blocks=("layers.*",), head=("head",), islands=("head",))
