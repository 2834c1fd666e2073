"""Stochastic depth: who passes by, how often, and what stays as it was."""

from __future__ import annotations

import pickle
from copy import deepcopy
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from vitruvian.errors import UsageError
from vitruvian.fit.apply import apply_knobs
from vitruvian.fit.knobs import Knobs, TrainingKnobs
from vitruvian.fit.workload import Workload
from vitruvian.models.sapiens import BackboneConfig, SapiensConfig, build_network
from vitruvian.training.drop_path import add_drop_path

CONFIG = SapiensConfig(
    backbone=BackboneConfig(width=8, depth=3, heads=2, mlp_width=16, input_hw=(8, 8), patch_padding="corner", patch=4),
    head=None,
)
BLOCKS = ("layers.0", "layers.1", "layers.2")
PICTURES = torch.randn(6, 3, 8, 8, generator=torch.Generator().manual_seed(0))


def network() -> nn.Module:
    torch.manual_seed(0)
    return build_network(CONFIG, device="cpu").train()


def outputs(module: nn.Module, seed: int = 0) -> Tensor:
    torch.manual_seed(seed)
    return module(PICTURES)["features"]


class Branch(nn.Module):
    """Gives ones, so that the scale of what is kept can be read off."""

    def forward(self, x: Tensor) -> Tensor:
        return torch.ones_like(x)


class Ones(nn.Module):
    """Two blocks with a branch of ones each; returns what the last block's `attn` gave."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.ModuleList(nn.ModuleDict({"attn": Branch(), "ffn": Branch()}) for _ in range(2))

    def branch(self, index: int, name: str, x: Tensor) -> Tensor:
        return self.get_submodule(f"layers.{index}.{name}")(x)


@pytest.mark.parametrize("name", ["attn", "ffn"])
def test_pictures_are_dropped_whole_at_rates_that_rise(name: str) -> None:
    module = Ones()
    add_drop_path(module, ("layers.0", "layers.1"), 0.25)
    torch.manual_seed(0)
    given = torch.zeros(4000, 2, 3)
    assert torch.equal(module.branch(0, name, given), torch.ones_like(given)), "the first block's rate is 0"
    result = module.branch(1, name, given)
    assert torch.equal(result, result[:, :1, :1].expand_as(result)), "part of a picture was dropped"
    assert set(result.unique().tolist()) == {0.0, result.max().item()}
    assert result.max().item() == pytest.approx(1 / 0.75)
    share = (result[:, 0, 0] == 0).float().mean().item()
    assert share == pytest.approx(0.25, abs=4 * (0.25 * 0.75 / 4000) ** 0.5)


def test_three_blocks_have_evenly_spaced_rates() -> None:
    module = network()
    add_drop_path(module, BLOCKS, 0.5)
    kept = [
        [hook.kept for hook in module.get_submodule(f"{block}.{branch}")._forward_hooks.values()]  # type: ignore[attr-defined]
        for block in BLOCKS
        for branch in ("attn", "ffn")
    ]
    assert kept == [[], [], [0.75], [0.75], [0.5], [0.5]]


def test_evaluation_drops_nothing_and_keys_stay() -> None:
    plain, module = network(), network()
    add_drop_path(module, BLOCKS, 0.5)
    assert module.state_dict().keys() == plain.state_dict().keys()
    assert not torch.equal(outputs(module), outputs(plain))
    assert torch.equal(outputs(module.eval()), outputs(plain.eval()))


def test_a_dropped_branch_has_no_gradient() -> None:
    module = network()
    add_drop_path(module, BLOCKS, 1 - 1e-9)
    outputs(module).square().sum().backward()
    grads = {name: p.grad.abs().sum().item() for name, p in module.named_parameters() if p.grad is not None}
    assert grads["layers.2.attn.proj.weight"] == grads["layers.2.ffn.layers.1.bias"] == 0
    assert grads["layers.0.attn.proj.weight"] > 0


@pytest.mark.parametrize("checkpointing", ["blocks", "selective"])
def test_recomputed_blocks_repeat_their_drops(checkpointing: Any) -> None:
    def gradients(how: Any) -> dict[str, Tensor]:
        module = network()
        add_drop_path(module, BLOCKS, 0.6)
        workload = replace(Workload.from_module(module, (PICTURES,)), blocks=("layers.*",))
        apply_knobs(module, workload, Knobs(micro_batch=6, training=TrainingKnobs(checkpointing=how)))
        outputs(module).square().sum().backward()
        return {name: p.grad for name, p in module.named_parameters() if p.grad is not None}

    plain, recomputed = gradients("none"), gradients(checkpointing)
    assert plain.keys() == recomputed.keys()
    assert all(torch.equal(plain[name], recomputed[name]) for name in plain)


def test_the_seed_decides_and_copies_drop_alike() -> None:
    module = network()
    add_drop_path(module, BLOCKS, 0.5)
    first = outputs(module)
    assert not torch.equal(outputs(module, seed=1), first)
    for copy in (deepcopy(module), pickle.loads(pickle.dumps(module))):
        assert torch.equal(outputs(copy), first)


def test_rate_zero_adds_nothing() -> None:
    module = network()
    add_drop_path(module, BLOCKS, 0)
    assert not any(part._forward_hooks for part in module.modules())


@pytest.mark.parametrize("rate", [-0.1, 1.0, float("nan")])
def test_impossible_rates_are_refused(rate: float) -> None:
    with pytest.raises(UsageError, match="rate"):
        add_drop_path(network(), BLOCKS, rate)


def test_blocks_without_branches_are_refused_before_anything_is_added() -> None:
    module = nn.ModuleList([network(), nn.ModuleDict({"attn": Branch()})])
    with pytest.raises(UsageError, match="attn and ffn"):
        add_drop_path(module, ("0.layers.0", "0.layers.1", "1"), 0.5)
    assert not any(part._forward_hooks for part in module.modules())
    with pytest.raises(UsageError, match="blocks"):
        add_drop_path(network(), (), 0.5)
