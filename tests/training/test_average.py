"""A running average of weights, and the network with it in their place."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from vitruvian.training.average import WeightAverage


def test_it_follows_what_learns() -> None:
    network = nn.Linear(2, 1)
    network.bias.requires_grad_(False)
    average = WeightAverage(network, 0.9)
    assert list(average.weights) == ["weight"]
    start = network.weight.detach().clone()
    with torch.no_grad():
        network.weight += 1
    average.update(1000)
    assert torch.allclose(average.weights["weight"], start + 0.1)
    average.update(0)  # a young one follows closely
    assert torch.allclose(average.weights["weight"], start + 0.1 + 0.9 * 0.9)


def test_the_network_computes_with_it_for_a_while() -> None:
    network = nn.Linear(2, 1)
    average = WeightAverage(network, 0.9)
    own = network.weight.detach().clone()
    average.load({"weight": torch.full((1, 2), 5.0)})
    with pytest.raises(RuntimeError, match="inside"), average.swapped():
        assert torch.equal(network.weight, torch.full((1, 2), 5.0))
        raise RuntimeError("inside")
    assert torch.equal(network.weight, own)
    assert torch.equal(average.weights["weight"], torch.full((1, 2), 5.0))


def test_bfloat16_weights_are_averaged_in_float32() -> None:
    network = nn.Linear(2, 1).to(torch.bfloat16)
    average = WeightAverage(network, 0.5)
    assert average.weights["weight"].dtype == torch.float32
    with average.swapped():
        assert network.weight.dtype == torch.bfloat16
