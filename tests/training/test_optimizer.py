"""Which parameters decay, and how the learning rate moves."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from vitruvian.models.sapiens import build_network, nano_config
from vitruvian.training.optimizer import adamw, decay_groups, set_rate, warmup_cosine


class Every(nn.Module):
    """One parameter of each kind."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(3, 4)
        self.norm = nn.LayerNorm(4)
        self.conv = nn.ConvTranspose2d(2, 2, 4)
        self.pos_embed = nn.Parameter(torch.ones(1, 5, 4))
        self.cls_token = nn.Parameter(torch.ones(1, 1, 4))
        self.mask_token = nn.Parameter(torch.ones(1, 1, 4))
        self.table = nn.ParameterDict({"bias": nn.Parameter(torch.ones(2, 2))})
        self.frozen = nn.Parameter(torch.ones(4, 4), requires_grad=False)
        self.scale = nn.Parameter(torch.tensor(1.0))


def names(module: nn.Module, group: dict) -> set[str]:
    by_id = {id(parameter): name for name, parameter in module.named_parameters()}
    return {by_id[id(parameter)] for parameter in group["params"]}


def test_only_matrices_and_kernels_decay() -> None:
    module = Every()
    decayed, exempt = decay_groups(module, 0.1)
    assert (decayed["weight_decay"], exempt["weight_decay"]) == (0.1, 0.0)
    assert names(module, decayed) == {"linear.weight", "conv.weight"}
    everything = {name for name, parameter in module.named_parameters() if parameter.requires_grad}
    assert names(module, exempt) == everything - names(module, decayed)


def test_every_parameter_of_a_network_is_in_exactly_one_group() -> None:
    network = build_network(nano_config("pose"))
    decayed, exempt = decay_groups(network, 0.1)
    assert len(decayed["params"]) + len(exempt["params"]) == len(list(network.parameters()))
    assert not names(network, decayed) & names(network, exempt)
    assert "backbone.pos_embed" in names(network, exempt)
    assert all(name.endswith(".weight") and "ln" not in name for name in names(network, decayed))


def test_decay_shrinks_weights_and_leaves_biases() -> None:
    module = Every()
    before = {name: parameter.clone() for name, parameter in module.named_parameters()}
    for parameter in module.parameters():
        parameter.grad = torch.zeros_like(parameter)
    adamw(module, lr=0.5, weight_decay=0.1).step()
    for name, parameter in module.named_parameters():
        factor = 0.95 if name in ("linear.weight", "conv.weight") else 1.0
        torch.testing.assert_close(parameter, before[name] * factor)


@pytest.mark.parametrize(
    ("step", "warmup", "factor"),
    [
        (0, 10, 0.001),
        (5, 10, 0.5005),
        (10, 10, 1.0),
        (35, 10, 0.5 * (1 + 0.5**0.5)),
        (60, 10, 0.5),
        (110, 10, 0.0),
        (500, 10, 0.0),
        (0, 0, 1.0),
        (55, 0, 0.5),
        (110, 110, 1.0),
    ],
)
def test_warm_up_is_linear_and_the_rest_a_cosine(step: int, warmup: int, factor: float) -> None:
    assert warmup_cosine(step, steps=110, warmup=warmup) == pytest.approx(factor, abs=1e-12)


def test_the_rate_is_set_in_all_groups() -> None:
    optimizer = adamw(Every(), lr=1.0, weight_decay=0.1)
    set_rate(optimizer.param_groups, 0.25)
    assert [group["lr"] for group in optimizer.param_groups] == [0.25, 0.25]
