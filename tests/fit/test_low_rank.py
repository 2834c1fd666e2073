"""Low-rank adapters: nothing at the start, trainable alone, and merged without a trace."""

from __future__ import annotations

import pytest
import torch
from torch import nn

import tolerances
from fit.small_networks import Transformer
from vitruvian.fit.low_rank import RANK, LowRank, adapt, merge

BLOCKS = tuple(f"layers.{index}" for index in range(4))


@pytest.fixture
def network() -> Transformer:
    torch.manual_seed(0)
    return Transformer().requires_grad_(False)


X = torch.randn(2, 8, 64, generator=torch.Generator().manual_seed(1))


def test_adapters_start_as_nothing_and_share_the_weights(network: Transformer) -> None:
    before, pointers = network(X), {key: value.data_ptr() for key, value in network.state_dict().items()}
    trained = adapt(network, BLOCKS)
    assert torch.equal(network(X), before)
    state = network.state_dict()
    assert {key: state[key].data_ptr() for key in pointers} == pointers, "official keys and tensors stay"
    assert {parameter for parameter in network.parameters() if parameter.requires_grad} == set(trained)
    assert sum(p.numel() for p in trained) == 4 * RANK * (4 * 64 + 2 * 64 + 2 * (4 * 64 + 64))
    assert type(network.head) is nn.Linear


def test_merging_gives_what_the_adapters_computed(network: Transformer) -> None:
    keys = set(network.state_dict())
    trained = adapt(network, BLOCKS)
    with torch.no_grad():
        for parameter in trained:
            parameter.normal_(std=0.1)
    adapted = network(X)
    assert (adapted - merge(network)(X)).abs().max() < tolerances.EXPORT_ABS
    assert set(network.state_dict()) == keys
    assert not any(isinstance(part, LowRank) for part in network.modules())


def test_both_factors_learn_once_the_second_has_moved(network: Transformer) -> None:
    trained = adapt(network, BLOCKS)
    optimizer = torch.optim.SGD(trained, lr=0.1)
    for _ in range(2):
        optimizer.zero_grad()
        network(X).square().sum().backward()
        optimizer.step()
    assert all(parameter.grad is not None and parameter.grad.abs().sum() > 0 for parameter in trained)
    assert all(parameter.grad is None for name, parameter in network.named_parameters() if "." not in name)


def test_half_types_are_merged_in_float32() -> None:
    torch.manual_seed(0)
    layer = LowRank(nn.Linear(32, 32, dtype=torch.bfloat16))
    assert layer.down.dtype == torch.bfloat16
    with torch.no_grad():
        layer.up.fill_(1.0)
    exact = layer.weight.float() + layer.up.float() @ layer.down.float()
    assert torch.equal(layer.merged().weight, exact.bfloat16())


def test_layers_that_others_read_are_left_alone() -> None:
    attention = nn.MultiheadAttention(8, 2)
    outer = nn.ModuleDict({"block": attention})
    assert adapt(outer, ["block"]) == ()


def test_adapters_on_meta_hold_no_memory() -> None:
    network = Transformer().to("meta")
    assert {parameter.device.type for parameter in adapt(network, BLOCKS)} == {"meta"}
