"""Processes that train together share the mean gradient."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import torch
from torch import multiprocessing, nn

from vitruvian.training.ranks import Ranks, join_ranks


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def gradient_of(rank: int) -> torch.Tensor:
    return torch.full((2, 3), float(rank + 1))


def one_rank(rank: int, port: int, out: Path) -> None:
    os.environ |= {"RANK": str(rank), "WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    ranks = join_ranks()
    layer = nn.Linear(3, 2)
    layer.weight.grad = gradient_of(rank)
    layer.bias.requires_grad_(False)
    ranks.wait()
    ranks.average_gradients(layer)
    torch.save({"gradient": layer.weight.grad, "leads": ranks.leads}, out / f"{rank}.pt")
    torch.distributed.destroy_process_group()


def test_two_processes_get_the_mean_gradient(tmp_path: Path) -> None:
    multiprocessing.spawn(one_rank, args=(free_port(), tmp_path), nprocs=2)
    found = [torch.load(tmp_path / f"{rank}.pt", weights_only=True) for rank in range(2)]
    for state in found:
        assert torch.equal(state["gradient"], (gradient_of(0) + gradient_of(1)) / 2)
    assert [state["leads"] for state in found] == [True, False]


def test_alone_nothing_changes() -> None:
    layer = nn.Linear(3, 2)
    layer.weight.grad = gradient_of(4)
    Ranks().average_gradients(layer)
    Ranks().wait()
    assert torch.equal(layer.weight.grad, gradient_of(4))
    assert join_ranks() == Ranks()
