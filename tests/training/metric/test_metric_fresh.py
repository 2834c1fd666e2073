"""First values of a whole network: what it says before it has learnt anything, and that everything can learn."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from training.metric.tiny_metric import TINY
from vitruvian.models.metric3d import NANO, Metric3dConfig, Metric3dNetwork, build_network
from vitruvian.training.metric.fresh import initialise_metric, sine_table
from vitruvian.training.metric.stepped import CANVAS, STATES, SteppedNetwork

UNTOUCHED = 7.0


def fresh(seed: int = 0, config: Metric3dConfig = TINY, **options: float) -> Metric3dNetwork:
    network = build_network(config, "cpu")
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.fill_(UNTOUCHED)
    initialise_metric(network, torch.Generator().manual_seed(seed), **options)
    return network


def pictures(config: Metric3dConfig = TINY) -> Tensor:
    return torch.randn(2, 3, *config.input_hw, generator=torch.Generator().manual_seed(1))


def test_every_weight_is_set_and_the_seed_decides() -> None:
    first, again, other = (fresh(seed).state_dict() for seed in (0, 0, 1))
    assert not [key for key, value in first.items() if (value == UNTOUCHED).any()]
    assert all(torch.equal(value, again[key]) for key, value in first.items())
    drawn = [key for key in first if key.endswith(("weight", "token", "tokens")) and ".norm" not in key]
    assert drawn
    assert not [key for key in drawn if torch.equal(first[key], other[key])]


def test_the_global_generator_is_left_alone() -> None:
    network = build_network(TINY, "cpu")
    before = torch.random.get_rng_state()
    initialise_metric(network, torch.Generator().manual_seed(0))
    assert torch.equal(torch.random.get_rng_state(), before)


@pytest.mark.parametrize("depth_m", [5.0, 30.0])
def test_a_first_result_is_a_plane_that_faces_the_camera(depth_m: float) -> None:
    with torch.no_grad():
        result = fresh(config=NANO, depth_m=depth_m)(pictures(NANO))
    inner = result["depth"][..., 4:-4, 4:-4]
    assert inner.median().item() == pytest.approx(depth_m, rel=0.25)
    assert inner.std() < 0.25 * depth_m
    assert (result["normal"][:, 2, 4:-4, 4:-4] < -0.9).all()
    # Beyond the border lies what stands for 200 m: two hundredths of it may shine in, at the corners.
    assert (result["depth"] - depth_m).abs().max() < 0.25 * depth_m + 0.02 * 200


def test_steps_begin_as_the_identity() -> None:
    with torch.no_grad():
        states_BTShw = SteppedNetwork(fresh())(pictures())[STATES]
    moved_BShw = (states_BTShw[:, 1] - states_BTShw[:, 0]).abs()
    assert 0 < moved_BShw.max() < 0.005
    assert states_BTShw[:, 0].std() > 0.01, "the states themselves are not all the same"


def test_every_weight_has_a_gradient_from_the_start() -> None:
    stepped = SteppedNetwork(fresh()).train()
    outputs = stepped(pictures())
    target = torch.randn(outputs[CANVAS].shape, generator=torch.Generator().manual_seed(3))
    (outputs[CANVAS] - target).square().mean().backward()
    without = [name for name, value in stepped.named_parameters() if value.grad is None or not value.grad.any()]
    assert without == []


def test_positions_differ_and_neighbours_are_alike() -> None:
    table_NC = sine_table(6, 22)[0]
    assert table_NC.shape == (36, 22)
    assert not table_NC[:, 20:].any(), "columns left over"
    distance_NN = torch.cdist(table_NC, table_NC)
    assert distance_NN[~torch.eye(36, dtype=torch.bool)].min() > 0.1
    assert distance_NN[0, 1] < distance_NN[0, 3]
