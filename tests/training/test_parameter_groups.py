"""Which parameter decays and how fast it learns."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from fit.small_networks import Block, transformer_workload
from vitruvian.errors import UsageError
from vitruvian.fit.apply import apply_knobs
from vitruvian.fit.knobs import Knobs, TrainingKnobs
from vitruvian.fit.parts import blocks_of
from vitruvian.fit.workload import Workload
from vitruvian.models.sapiens import build_network, nano_config
from vitruvian.training.parameter_groups import parameter_groups, set_rates

STEM = ("*patch_embed.*", "*pos_embed", "*cls_token")
TABLES = ("*pos_embed",)
BLOCKS = ("layers.0", "layers.1", "layers.2")


class Encoder(nn.Module):
    """A stem, three blocks, a norm and a head, with one parameter that is frozen."""

    def __init__(self) -> None:
        super().__init__()
        self.patch_embed = nn.Conv2d(3, 8, 4)
        self.pos_embed = nn.Parameter(torch.ones(1, 5, 8))
        self.cls_token = nn.Parameter(torch.ones(1, 1, 8))
        self.layers = nn.ModuleList(Block(8) for _ in range(3))
        self.norm = nn.LayerNorm(8)
        self.head = nn.Linear(8, 2)
        self.frozen = nn.Parameter(torch.ones(4, 4), requires_grad=False)


def by_name(module: nn.Module, groups: list[dict[str, Any]]) -> dict[str, tuple[float, float]]:
    """Parameter name -> (scale of its rate, weight decay); each in one group only."""
    names = {id(parameter): name for name, parameter in module.named_parameters()}
    found = [
        (names[id(parameter)], (group["lr_scale"], group["weight_decay"]))
        for group in groups
        for parameter in group["params"]
    ]
    assert len(dict(found)) == len(found)
    return dict(found)


def test_rates_fall_toward_the_input_and_only_matrices_decay() -> None:
    module = Encoder()
    found = by_name(
        module, parameter_groups(module, BLOCKS, weight_decay=0.1, layer_decay=0.5, stem=STEM, undecayed=TABLES)
    )
    assert found.keys() == {name for name, parameter in module.named_parameters() if parameter.requires_grad}
    expected = {
        "patch_embed.weight": (0.5**4, 0.1),
        "patch_embed.bias": (0.5**4, 0.0),
        "pos_embed": (0.5**4, 0.0),
        "cls_token": (0.5**4, 0.1),  # three axes, no bias and no table: it decays, as published
        "layers.0.qkv.weight": (0.5**3, 0.1),
        "layers.0.qkv.bias": (0.5**3, 0.0),
        "layers.1.norm.weight": (0.5**2, 0.0),
        "layers.2.mlp.0.weight": (0.5, 0.1),
        "norm.weight": (1.0, 0.0),
        "head.weight": (1.0, 0.1),
        "head.bias": (1.0, 0.0),
    }
    assert {name: found[name] for name in expected} == expected


def test_blocks_whose_names_begin_alike_are_told_apart() -> None:
    module = nn.ModuleDict({"layers": nn.ModuleList(nn.Sequential(nn.Linear(2, 2)) for _ in range(12))})
    workload = Workload(name="twelve", build=lambda: module, inputs=lambda batch: {})
    blocks = blocks_of(module, workload)
    found = by_name(module, parameter_groups(module, blocks, weight_decay=0.1, layer_decay=0.5))
    assert [found[f"layers.{index}.0.weight"][0] for index in range(12)] == [0.5 ** (12 - index) for index in range(12)]


def test_groups_of_a_published_network() -> None:
    module = build_network(nano_config("pose"), "cpu")
    blocks = tuple(f"backbone.layers.{index}" for index in range(len(module.get_submodule("backbone.layers"))))  # type: ignore[arg-type]
    groups = parameter_groups(module, blocks, weight_decay=0.1, layer_decay=0.85, stem=STEM, undecayed=TABLES)
    assert sorted({group["lr_scale"] for group in groups}) == pytest.approx(
        sorted(0.85**power for power in range(len(blocks) + 2))
    )
    found = by_name(module, groups)
    assert len(found) == len(list(module.parameters()))
    assert found["backbone.pos_embed"] == (pytest.approx(0.85 ** (len(blocks) + 1)), 0.0)
    assert found["head.final_layer.weight"] == (1.0, 0.1)
    assert found["backbone.ln1.weight"] == (1.0, 0.0)


def test_one_rate_for_all_makes_two_groups() -> None:
    module = Encoder()
    decayed, exempt = sorted(parameter_groups(module, (), weight_decay=0.1), key=lambda group: -group["weight_decay"])
    assert (decayed["lr_scale"], exempt["lr_scale"]) == (1.0, 1.0)
    assert {parameter.ndim for parameter in exempt["params"]} == {1}


def test_named_parameters_have_rates_of_their_own() -> None:
    module = Encoder()
    rates = {"head.weight": 0.25, "head.*": 0.5}
    plain, found = (
        by_name(module, parameter_groups(module, BLOCKS, weight_decay=0.1, layer_decay=0.5, stem=STEM, rates=given))
        for given in (None, rates)
    )
    assert found.pop("head.weight") == (0.25, 0.1), "the first pattern that names it"
    assert found.pop("head.bias") == (0.5, 0.0)
    assert found == {name: value for name, value in plain.items() if not name.startswith("head.")}
    with pytest.raises(UsageError, match="tail"):
        parameter_groups(module, BLOCKS, weight_decay=0.1, rates={"tail.*": 0.5})


def test_adapters_learn_at_their_blocks_rate() -> None:
    workload = transformer_workload()
    module = workload.build()
    applied = apply_knobs(module, workload, Knobs(training=TrainingKnobs(trainable="lora")))
    found = by_name(module, parameter_groups(module, applied.blocks, weight_decay=0.1, layer_decay=0.5))
    assert len(found) == len(applied.trained)
    assert found["layers.0.qkv.down"] == (0.5**4, 0.1)
    assert found["head.weight"] == (1.0, 0.1)


def test_rates_are_set_group_by_group() -> None:
    module = Encoder()
    optimizer = torch.optim.SGD(parameter_groups(module, BLOCKS, weight_decay=0.1, layer_decay=0.5, stem=STEM), lr=1.0)
    optimizer.add_param_group({"params": [torch.zeros(1, requires_grad=True)], "lr": torch.tensor(7.0)})
    tensor = optimizer.param_groups[-1]["lr"]
    set_rates(optimizer, 0.2)
    *scaled, plain = optimizer.param_groups
    assert [group["lr"] for group in scaled] == [0.2 * group["lr_scale"] for group in scaled]
    assert plain["lr"] is tensor
    assert tensor.item() == pytest.approx(0.2)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"layer_decay": 0.0}, "layer decay of 0.0"),
        ({"layer_decay": 1.5}, "up to 1"),
        ({"layer_decay": 0.5, "blocks": ()}, "without known repeated blocks"),
        ({"stem": ("patch", "pos")}, "patch, pos, which name no parameter"),
        ({"undecayed": ("*table",)}, r"\*table, which name no parameter"),
    ],
)
def test_mistakes_are_named(fields: dict[str, Any], message: str) -> None:
    given: dict[str, Any] = {"blocks": BLOCKS, "weight_decay": 0.1} | fields
    with pytest.raises(UsageError, match=message):
        parameter_groups(Encoder(), **given)


def test_a_network_without_class_token_needs_no_patterns_of_its_own() -> None:
    module = nn.ModuleDict({"patch_embed": nn.ModuleDict({"projection": nn.Linear(2, 2)}), "layers": nn.Linear(2, 2)})
    found = by_name(module, parameter_groups(module, ("layers",), weight_decay=0.1, layer_decay=0.5, stem=STEM))
    assert found["patch_embed.projection.weight"] == (0.25, 0.1)
