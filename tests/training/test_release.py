"""Gradients applied as they are made: the same weights, one gradient at a time."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.optim import AdamW

from vitruvian.training.careful_adamw import CarefulAdamW
from vitruvian.training.release import GradientRelease

X = torch.randn(5, 8, generator=torch.Generator().manual_seed(1))


def network() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(8, 8), nn.GELU(), nn.Linear(8, 8), nn.LayerNorm(8), nn.Linear(8, 2))


def groups(module: nn.Module) -> list[dict[str, Any]]:
    matrices = [parameter for parameter in module.parameters() if parameter.ndim > 1]
    rest = [parameter for parameter in module.parameters() if parameter.ndim < 2]
    return [{"params": matrices, "weight_decay": 0.1, "lr": 0.02}, {"params": rest, "weight_decay": 0.0}]


def loss_of(module: nn.Module) -> Tensor:
    return module(X).square().sum()


@pytest.mark.parametrize("kind", [AdamW, CarefulAdamW])
def test_the_weights_are_those_of_whole_steps(kind: Any) -> None:
    released, whole = network(), network()
    optimizer = kind(groups(released), lr=0.01)
    release = GradientRelease(optimizer)
    plain = kind(groups(whole), lr=0.01)
    for _ in range(3):
        loss_of(released).backward()
        assert all(parameter.grad is None for parameter in released.parameters())
        loss_of(whole).backward()
        norm = nn.utils.get_total_norm([p.grad for p in whole.parameters() if p.grad is not None])
        plain.step()
        plain.zero_grad()
        assert release.take_norm().item() == pytest.approx(norm.item(), rel=1e-5)
    for mine, its in zip(released.parameters(), whole.parameters(), strict=True):
        assert torch.equal(mine, its)
    assert [len(group["params"]) for group in optimizer.param_groups] == [3, 5]
    assert optimizer.state_dict()["param_groups"] == plain.state_dict()["param_groups"]


def test_at_most_one_gradient_is_alive() -> None:
    module = network()
    alive: list[int] = []
    for parameter in module.parameters():
        parameter.register_post_accumulate_grad_hook(
            lambda _: alive.append(sum(one.grad is not None for one in module.parameters()))
        )
    GradientRelease(AdamW(module.parameters()))
    loss_of(module).backward()
    assert alive == [1] * 8


def test_a_gradient_that_is_not_finite_ruins_nothing() -> None:
    module = network()
    release = GradientRelease(AdamW(module.parameters(), lr=0.01, weight_decay=0.0))
    before = [parameter.detach().clone() for parameter in module.parameters()]
    module[2].bias.register_hook(lambda gradient: gradient * torch.nan)
    loss_of(module).backward()
    changed = [not torch.equal(*pair) for pair in zip(before, module.parameters(), strict=True)]
    assert changed == [True, True, True, False, True, True, True, True]
    assert all(parameter.isfinite().all() for parameter in module.parameters())
    assert release.take_norm().isnan()
    assert release.take_norm().item() == 0


def test_removed_it_leaves_gradients_alone() -> None:
    module = network()
    GradientRelease(AdamW(module.parameters())).remove()
    loss_of(module).backward()
    assert all(parameter.grad is not None for parameter in module.parameters())
