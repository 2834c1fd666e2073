"""A task with pixels that have no target: a tiny network of normals, unevenly valid pictures, two loss terms."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from vitruvian.fit.knobs import Knobs, TrainingKnobs
from vitruvian.training.losses import LossSum, normal_cosine, normal_l1
from vitruvian.training.step import TrainingStep, counts_from_targets

Batch = tuple[Tensor, Tensor]
"""Pictures and target normals (B,3,H,W)."""
SIDE = 6


def network(seed: int = 0) -> nn.Module:
    torch.manual_seed(seed)
    return nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.SiLU(), nn.Conv2d(8, 3, 1))


def pictures(count: int, seed: int = 0) -> Batch:
    """Picture i has valid targets in the last i + 1 rows and none elsewhere, so that means of means go wrong."""
    generator = torch.Generator().manual_seed(seed)
    image = torch.randn(count, 3, SIDE, SIDE, generator=generator)
    target = F.normalize(torch.randn(count, 3, SIDE, SIDE, generator=generator), dim=1)
    for index in range(count):
        target[index, :, : SIDE - 1 - index % SIDE] = -1000
    return image, target


def split(batch: Batch, sizes: Sequence[int]) -> list[Batch]:
    return list(zip(*(part.split(list(sizes)) for part in batch), strict=True))


def losses(normal: Tensor, batch: Batch) -> tuple[LossSum, LossSum]:
    return normal_cosine(normal, batch[1]), normal_l1(normal, batch[1])


def losses_of(module: nn.Module, batch: Batch) -> tuple[LossSum, LossSum]:
    return losses(module(batch[0]), batch)


def step_of(module: nn.Module, **fields: Any) -> TrainingStep[Batch]:
    """Plain gradient descent at rate 1 without clipping: the weights move by exactly the gradient."""
    knobs = set(TrainingKnobs.__slots__) - {"optimizer"}
    training = {name: fields.pop(name) for name in list(fields) if name in knobs}
    given: dict[str, Any] = {
        "module": module,
        "optimizer": torch.optim.SGD(module.parameters(), lr=1.0),
        "knobs": Knobs(dtype=fields.pop("dtype", "float32"), training=TrainingKnobs(**training)),
        "losses_of": losses_of,
        "items_of": lambda batch: len(batch[0]),
        "counts_of": counts_from_targets(losses, lambda batch: torch.zeros(batch[1].shape)),
        "clip_norm": None,
    }
    return TrainingStep(**given | fields)


def weights(module: nn.Module) -> dict[str, Tensor]:
    return {name: parameter.detach().clone() for name, parameter in module.named_parameters()}
