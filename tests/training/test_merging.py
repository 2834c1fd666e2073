"""Adapters in the weights that are saved: the plain network's keys, the same outputs, and training goes on."""

from __future__ import annotations

import pytest
import torch
from torch import nn

import tolerances
from fit.small_networks import Transformer, transformer_workload
from vitruvian.fit.apply import apply_knobs
from vitruvian.fit.knobs import Knobs, TrainingKnobs
from vitruvian.fit.low_rank import LowRank
from vitruvian.training.merging import plain_state_dict

X = torch.randn(2, 8, 64, generator=torch.Generator().manual_seed(1))


def trained(**fields: str) -> Transformer:
    torch.manual_seed(0)
    module = Transformer()
    apply_knobs(module, transformer_workload(), Knobs(training=TrainingKnobs(**fields)))  # type: ignore[arg-type]
    with torch.no_grad():
        for name, parameter in module.named_parameters():
            if name.endswith((".up", ".down")):
                parameter.normal_(std=0.1)
    return module


@pytest.mark.parametrize("checkpointing", ["none", "blocks"])
def test_a_plain_network_computes_the_same_from_the_merged_weights(checkpointing: str) -> None:
    module = trained(trainable="lora", checkpointing=checkpointing)
    before = {key: value.clone() for key, value in module.state_dict().items()}
    plain = Transformer()
    untrained = plain(X).detach()
    plain.load_state_dict(plain_state_dict(module), strict=True)
    outputs = module(X)
    assert (plain(X) - outputs).abs().max() < tolerances.EXPORT_ABS
    assert (untrained - outputs).abs().max() > 0.01, "the adapters do something"
    after = module.state_dict()
    assert before.keys() == after.keys()
    assert all(torch.equal(value, after[key]) for key, value in before.items())
    assert any(isinstance(part, LowRank) for part in module.modules()), "training can go on"


def test_without_adapters_it_is_the_state_dict() -> None:
    module = trained()
    found, own = plain_state_dict(module), module.state_dict()
    assert list(found) == list(own)
    assert all(found[key].data_ptr() == own[key].data_ptr() for key in own)


def test_a_layer_used_under_two_names_and_a_layer_alone() -> None:
    layer = LowRank(nn.Linear(4, 4))
    nn.init.normal_(layer.up)
    expected = layer.merged().weight
    state = plain_state_dict(nn.ModuleDict({"one": layer, "two": layer}))
    assert state.keys() == {"one.weight", "one.bias", "two.weight", "two.bias"}
    assert torch.equal(state["one.weight"], expected)
    assert torch.equal(state["two.weight"], expected)
    assert plain_state_dict(layer).keys() == {"weight", "bias"}
