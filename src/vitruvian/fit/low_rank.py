"""Low-rank adapters on linear layers (Hu et al. 2021, LoRA): y = x W' + b + scale * (x A') B'.

In: a module and the names of its linear layers. Out: the same module with a `LowRank` in place of each; the weights
themselves are shared, keep their keys and stay frozen. Memory: rank * (inputs + outputs) parameters a layer, and the
narrow activations between the two factors.
"""

from __future__ import annotations

import math
from collections.abc import Iterable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

RANK = 16


class LowRank(nn.Linear):
    """A frozen linear layer plus a trainable product of two thin matrices, zero at the start."""

    def __init__(self, base: nn.Linear, rank: int = RANK, scale: float = 1.0) -> None:
        super().__init__(base.in_features, base.out_features, base.bias is not None, device="meta")
        self.weight, self.bias = base.weight, base.bias
        self.weight.requires_grad_(False)
        if self.bias is not None:
            self.bias.requires_grad_(False)
        self.down = nn.Parameter(base.weight.new_empty(rank, base.in_features))
        self.up = nn.Parameter(base.weight.new_zeros(base.out_features, rank))
        self.scale = scale
        nn.init.kaiming_uniform_(self.down, a=math.sqrt(5))

    def forward(self, x: Tensor) -> Tensor:
        return F.linear(x, self.weight, self.bias) + F.linear(self.scale * F.linear(x, self.down), self.up)

    @torch.no_grad()
    def merged(self) -> nn.Linear:
        """A plain layer that computes the same; the product is added in float32."""
        plain = nn.Linear(self.in_features, self.out_features, self.bias is not None, device="meta")
        change = self.scale * (self.up.float() @ self.down.float())
        plain.weight = nn.Parameter((self.weight.float() + change).to(self.weight.dtype))
        plain.bias = self.bias
        return plain


def adapt(module: nn.Module, blocks: Iterable[str]) -> tuple[nn.Parameter, ...]:
    """Put adapters on every plain `nn.Linear` inside these blocks; returns the adapters' parameters.

    Subclasses of `nn.Linear` are left alone: those of `nn.MultiheadAttention` are never called, its weights are read.
    """
    trained: list[nn.Parameter] = []
    for block in blocks:
        for owner in list(module.get_submodule(block).modules()):
            for name, child in list(owner.named_children()):
                if type(child) is nn.Linear:
                    adapted = LowRank(child)
                    adapted.train(child.training)
                    setattr(owner, name, adapted)
                    trained += [adapted.down, adapted.up]
    return tuple(trained)


def merge(module: nn.Module) -> nn.Module:
    """Replace every adapter by the plain layer that computes the same, in place."""
    for owner in list(module.modules()):
        for name, child in list(owner.named_children()):
            if isinstance(child, LowRank):
                setattr(owner, name, child.merged().train(child.training))
    return module
