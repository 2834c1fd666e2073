"""Which modules count as blocks and head."""

from __future__ import annotations

from dataclasses import replace

import pytest
from torch import nn

from fit.small_networks import Stack, Transformer, workload_of
from vitruvian import zoo
from vitruvian.fit.parts import blocks_of, outermost


@pytest.mark.parametrize("name", ["sapiens-seg-nano", "sapiens-pretrain-nano"])
def test_blocks_of_the_catalogue_are_named_by_its_patterns(name: str) -> None:
    spec = zoo.find(name)
    module = spec.workload.build()
    prefix = "" if spec.config.head is None else "backbone."
    assert blocks_of(module, spec.workload) == tuple(f"{prefix}layers.{i}" for i in range(spec.config.backbone.depth))
    assert len(outermost(module, spec.workload.head)) == (0 if spec.config.head is None else 1)


def test_blocks_of_any_module_are_found() -> None:
    module = Transformer(depth=3)
    assert blocks_of(module, workload_of(module, 8, 64)) == ("layers.0", "layers.1", "layers.2")


def test_lists_inside_blocks_and_lists_of_other_things_are_no_blocks() -> None:
    module = nn.Module()
    module.mixed = nn.ModuleList([nn.Linear(1, 1), nn.ReLU()])
    module.leaves = nn.ModuleList([nn.Linear(1, 1), nn.Linear(1, 1)])
    module.single = nn.ModuleList([Stack()])
    module.outer = nn.ModuleList([Transformer(), Transformer()])
    assert blocks_of(module, workload_of(nn.ReLU(), 1)) == ("outer.0", "outer.1")


@pytest.mark.parametrize(
    ("patterns", "expected"),
    [
        (("layers.*",), ("layers.0", "layers.1")),
        (("layers",), ("layers",)),
        (("layers.1", "head"), ("layers.1", "head")),
        (("*.norm",), ("layers.0.norm", "layers.1.norm")),
        (("nothing",), ()),
    ],
)
def test_patterns_stop_at_the_outermost_match(patterns: tuple[str, ...], expected: tuple[str, ...]) -> None:
    module = Transformer(depth=2)
    assert outermost(module, patterns) == expected
    assert blocks_of(module, replace(workload_of(module, 8, 64), blocks=patterns)) == expected
