"""Optimiser groups and learning-rate schedule of the published recipes."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

from torch import nn
from torch.optim import AdamW

NO_DECAY_NAMES = ("pos_embed", "cls_token", "mask_token")


def decay_groups(module: nn.Module, weight_decay: float) -> list[dict[str, Any]]:
    """Two parameter groups: weight decay for matrices and kernels, none for 1-D tensors, biases and the tables."""
    with_decay: list[nn.Parameter] = []
    without: list[nn.Parameter] = []
    for name, parameter in module.named_parameters():
        if not parameter.requires_grad:
            continue
        exempt = parameter.ndim <= 1 or name.endswith(".bias") or name.rpartition(".")[2] in NO_DECAY_NAMES
        (without if exempt else with_decay).append(parameter)
    return [{"params": with_decay, "weight_decay": weight_decay}, {"params": without, "weight_decay": 0.0}]


def adamw(module: nn.Module, *, lr: float, weight_decay: float, betas: tuple[float, float] = (0.9, 0.999)) -> AdamW:
    """Fused AdamW: the unfused `foreach` variant holds one more copy of the parameters in each step."""
    return AdamW(decay_groups(module, weight_decay), lr=lr, betas=betas, fused=True)


def warmup_cosine(step: int, *, steps: int, warmup: int) -> float:
    """Factor of the base rate at `step` (from 0): linear from 0.001 over the warm-up, then a cosine to 0."""
    if step < warmup:
        return 0.001 + (1 - 0.001) * step / warmup
    progress = (step - warmup) / max(1, steps - warmup)
    return 0.5 * (1 + math.cos(math.pi * min(1.0, progress)))


def set_rate(groups: Iterable[dict[str, Any]], lr: float) -> None:
    """Set one learning rate in all parameter groups."""
    for group in groups:
        group["lr"] = lr
