"""Several processes training one network on different batches, started by torchrun; alone, nothing changes.

On a CPU one single-threaded process a core beats one process on all cores: small operations scale badly over threads.
"""

from __future__ import annotations

import os
from dataclasses import dataclass

import torch
from torch import distributed, nn


@dataclass(frozen=True, kw_only=True, slots=True)
class Ranks:
    """This process's place among those that train together."""

    rank: int = 0
    count: int = 1

    @property
    def leads(self) -> bool:
        """Whether this process renders, logs and saves for all."""
        return self.rank == 0

    def wait(self) -> None:
        """Until all processes are here."""
        if self.count > 1:
            distributed.barrier()

    @torch.no_grad()
    def average_gradients(self, module: nn.Module) -> None:
        """Give every process the mean gradient, in one message."""
        if self.count == 1:
            return
        gradients = [parameter.grad for parameter in module.parameters() if parameter.grad is not None]
        flat = torch.cat([gradient.flatten() for gradient in gradients])
        distributed.all_reduce(flat)
        parts = flat.div_(self.count).split([gradient.numel() for gradient in gradients])
        for gradient, part in zip(gradients, parts, strict=True):
            gradient.copy_(part.view_as(gradient))


def join_ranks() -> Ranks:
    """The ranks that torchrun announces in the environment; one alone without it."""
    count = int(os.environ.get("WORLD_SIZE", "1"))
    if count == 1:
        return Ranks()
    distributed.init_process_group("gloo")
    return Ranks(rank=distributed.get_rank(), count=count)
