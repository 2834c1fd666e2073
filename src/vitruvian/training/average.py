"""A running average of weights in training, and the network with it in the weights' place for a while.

In: a network while it learns. Out: averaged weights. Memory: one float32 copy of what is trained, on its device.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import Tensor, nn


class WeightAverage:
    """Exponential moving average of the parameters that learn (Polyak and Juditsky 1992, as used today)."""

    def __init__(self, network: nn.Module, decay: float) -> None:
        self._decay = decay
        self._own = {name: value for name, value in network.named_parameters() if value.requires_grad}
        self.weights = {name: value.detach().float().clone() for name, value in self._own.items()}

    @torch.no_grad()
    def update(self, step: int) -> None:
        """Take a step's weights in. A young average follows closely, or it would remember its start for long."""
        decay = min(self._decay, (1 + step) / (10 + step))
        for name, value in self._own.items():
            self.weights[name].lerp_(value.float(), 1 - decay)

    @torch.no_grad()
    def load(self, weights: Mapping[str, Tensor]) -> None:
        """Go on from these."""
        for name, value in weights.items():
            self.weights[name].copy_(value)

    @contextmanager
    def swapped(self) -> Iterator[None]:
        """The network computes with the average meanwhile."""
        self._swap()
        try:
            yield
        finally:
            self._swap()

    @torch.no_grad()
    def _swap(self) -> None:
        for name, value in self._own.items():
            kept = value.detach().clone()
            value.copy_(self.weights[name])
            self.weights[name].copy_(kept)
