"""First values of a head: by the seed, in the range that each loss can work with, and nowhere else."""

from __future__ import annotations

from typing import get_args

import pytest
import torch
from torch import nn

from vitruvian.models.sapiens import SapiensConfig, build_network, nano_config
from vitruvian.models.sapiens.config import HeadKind
from vitruvian.models.sapiens.heads import FINAL_NAME, HEAD_PREFIX
from vitruvian.models.sapiens.network import TaskNetwork
from vitruvian.training.fresh import DEPTH_BIAS, FINAL_STD, initialise_head

TASKS: tuple[HeadKind, ...] = get_args(HeadKind)
UNTOUCHED = 7.0


def initialised(config: SapiensConfig, *, seed: int = 0, final_only: bool = False) -> TaskNetwork:
    network = build_network(config, device="cpu")
    assert isinstance(network, TaskNetwork)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.fill_(UNTOUCHED)
    initialise_head(network, torch.Generator().manual_seed(seed), final_only=final_only)
    return network


def changed(network: nn.Module) -> set[str]:
    return {name for name, value in network.named_parameters() if not (value == UNTOUCHED).any()}


@pytest.mark.parametrize("task", TASKS)
def test_all_of_the_head_and_nothing_else_is_drawn(task: HeadKind) -> None:
    network = initialised(nano_config(task))
    assert changed(network) == {
        name for name, _ in network.named_parameters() if name.startswith(f"{HEAD_PREFIX[task]}.")
    }


@pytest.mark.parametrize("task", TASKS)
def test_the_last_layer_alone(task: HeadKind) -> None:
    final = f"{HEAD_PREFIX[task]}.{FINAL_NAME[task]}"
    assert changed(initialised(nano_config(task), final_only=True)) == {f"{final}.weight", f"{final}.bias"}


@pytest.mark.parametrize("task", TASKS)
def test_the_last_layer_begins_small(task: HeadKind) -> None:
    final = initialised(nano_config(task)).get_submodule(f"{HEAD_PREFIX[task]}.{FINAL_NAME[task]}")
    assert isinstance(final, nn.Conv2d)
    assert final.bias is not None
    # A sample of n normal numbers has this deviation within 4 parts in sqrt(2n), and depth has but 8.
    share = final.weight.std() / FINAL_STD[task]
    assert abs(share - 1) < 4 / (2 * final.weight.numel()) ** 0.5
    assert (final.bias == (DEPTH_BIAS if task == "depth" else 0)).all()


@pytest.mark.parametrize("task", TASKS)
def test_the_seed_decides(task: HeadKind) -> None:
    torch.manual_seed(1)
    first = initialised(nano_config(task)).state_dict()
    torch.manual_seed(2)
    again, other = (initialised(nano_config(task), seed=seed).state_dict() for seed in (0, 1))
    drawn = [key for key in first if key.startswith(HEAD_PREFIX[task]) and key.endswith("weight")]
    assert drawn
    for key in drawn:
        assert torch.equal(first[key], again[key])
        assert not torch.equal(first[key], other[key])


def test_the_global_generator_is_left_alone() -> None:
    network = build_network(nano_config("pose"), device="cpu")
    assert isinstance(network, TaskNetwork)
    before = torch.random.get_rng_state()
    initialise_head(network, torch.Generator().manual_seed(0))
    assert torch.equal(torch.random.get_rng_state(), before)


def test_depth_begins_where_its_loss_can_see() -> None:
    """Log loss has no gradient below 1e-6; every pixel of a first output lies above it."""
    head = initialised(nano_config("depth")).eval().get_submodule("decode_head")
    features = torch.randn(1, 192, 4, 3, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        depth = head(features)
    assert depth.min() > 0.1
    assert depth.max() < 1.5
