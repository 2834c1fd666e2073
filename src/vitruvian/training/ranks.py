"""Several processes training one network on different batches, started by torchrun; alone, nothing changes.

On a CPU one single-threaded process a core beats one process on all cores: small operations scale badly over threads.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Any

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

    def any(self, flag: bool) -> bool:
        """Whether any process says so."""
        if self.count == 1:
            return flag
        said: list[bool] = [False] * self.count
        distributed.all_gather_object(said, flag)
        return any(said)

    def together(self, mine: dict[str, str]) -> dict[str, str]:
        """The entries of all processes."""
        if self.count == 1:
            return mine
        gathered: list[dict[str, str]] = [{}] * self.count
        distributed.all_gather_object(gathered, mine)
        return {key: value for part in gathered for key, value in part.items()}

    def of_first(self, mine: Any) -> Any:
        """What the first process has."""
        if self.count == 1:
            return mine
        box = [mine]
        distributed.broadcast_object_list(box, src=0)
        return box[0]

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


def join_ranks(kind: str = "cpu") -> Ranks:
    """The ranks that torchrun announces in the environment; one alone without it.

    Args:
        kind: of device that gradients lie on; accelerators get their own way to talk beside the host's.
    """
    count = int(os.environ.get("WORLD_SIZE", "1"))
    if count == 1:
        return Ranks()
    if not distributed.is_initialized():
        distributed.init_process_group("cpu:gloo,cuda:nccl" if kind == "cuda" else "gloo")
    return Ranks(rank=distributed.get_rank(), count=count)


def announced_ranks() -> tuple[int, int]:
    """(place on this machine, processes in all) as torchrun announces them; (0, 1) without it."""
    return int(os.environ.get("LOCAL_RANK", "0")), int(os.environ.get("WORLD_SIZE", "1"))
