"""Our Sapiens networks against the published key lists, and as exported graphs."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.export import Dim, export

from tolerances import EXPORT_ABS
from vitruvian.errors import UsageError
from vitruvian.models.sapiens import BackboneConfig, HeadConfig, SapiensConfig, build_network, published_config

LISTS = json.loads((Path(__file__).parents[1] / "data" / "sapiens_checkpoints.json").read_text(encoding="utf-8"))


def expand(keys: dict[str, Any]) -> dict[str, tuple[int, ...]]:
    """Key lists with `{i}` ranges -> every key with its shape."""
    rows: dict[str, tuple[int, ...]] = {}
    for key, value in keys.items():
        if isinstance(value, dict):
            first, last = value["i"]
            rows |= {key.replace("{i}", str(i)): tuple(value["shape"]) for i in range(first, last + 1)}
        else:
            rows[key] = tuple(value)
    return rows


@pytest.mark.parametrize("entry", LISTS["models"])
def test_keys_and_shapes_equal_the_published_list(entry: str) -> None:
    size, _, name = entry.partition("/")
    listed = LISTS["models"][entry]
    kind, channels = re.fullmatch(r"([a-z]+)(\d*)", name).groups()  # type: ignore[union-attr]
    if kind == "pretrain":
        config = published_config(size, "features")
        expected = expand(listed["keys"])
    else:
        config = published_config(size, kind, int(channels or {"depth": 1, "normal": 3}[kind]))  # type: ignore[arg-type]
        expected = expand(LISTS["backbones"][size]) | expand(listed["head_keys"])
        assert config.backbone.patch_padding == listed["patch_padding"]
        assert list(config.head.output_hw(config.backbone.grid_hw())) == listed["output_hw"]  # type: ignore[union-attr]
    found = {key: tuple(value.shape) for key, value in build_network(config).state_dict().items()}
    assert found == expected
    assert len(found) == listed["num_keys"]
    assert sum(torch.Size(shape).numel() for shape in found.values()) == listed["params"]
    assert config.parameters == listed["params"]
    assert list(config.backbone.input_hw) == listed["input_hw"]
    assert list(config.backbone.grid_hw()) == listed["grid"]


def tiny(kind: str, *, padding: Any = 2, hw: tuple[int, int] = (64, 48), class_token: bool = False) -> SapiensConfig:
    deconvs = {"pose": 2, "depth": 4}.get(kind, 3)
    channels = {"pose": 17, "seg": 28, "depth": 1, "normal": 3}
    backbone = BackboneConfig(
        width=24, depth=2, heads=2, mlp_width=48, input_hw=hw, patch_padding=padding, class_token=class_token
    )
    if kind == "features":
        return SapiensConfig(backbone=backbone, head=None)
    head = HeadConfig(kind=kind, channels=channels[kind], deconv_widths=(8,) * deconvs, conv_widths=(8,))  # type: ignore[arg-type]
    return SapiensConfig(backbone=backbone, head=head)


@pytest.mark.parametrize("kind", ["pose", "seg", "depth", "normal", "features"])
@torch.no_grad()
def test_one_exported_graph_serves_every_batch(kind: str) -> None:
    torch.manual_seed(0)
    network = build_network(tiny(kind, class_token=kind == "features"), "cpu")
    for parameter in network.parameters():
        parameter.normal_(std=0.2)
    batch = Dim("batch", min=1, max=64)
    program = export(network, (torch.randn(2, 3, 64, 48),), dynamic_shapes=({0: batch},))
    (span,) = program.range_constraints.values()
    assert (span.lower, span.upper) == (1, 64)
    for size in (1, 2, 5):
        x_B3HW = torch.randn(size, 3, 64, 48)
        expected, found = network(x_B3HW), program.module()(x_B3HW)
        assert expected.keys() == found.keys()
        for name in expected:
            torch.testing.assert_close(found[name], expected[name], atol=EXPORT_ABS, rtol=0)


@pytest.mark.parametrize(
    ("padding", "input_hw", "grid_hw"),
    [(2, (1024, 768), (64, 48)), (2, (100, 40), (6, 2)), ("corner", (100, 40), (7, 3)), (0, (96, 64), (6, 4))],
)
def test_the_grid_follows_the_padding_convention(
    padding: Any, input_hw: tuple[int, int], grid_hw: tuple[int, int]
) -> None:
    config = BackboneConfig(width=8, depth=1, heads=1, mlp_width=8, input_hw=input_hw, patch_padding=padding)
    network = build_network(SapiensConfig(backbone=config, head=None), "cpu")
    assert config.grid_hw() == grid_hw
    assert network(torch.zeros(1, 3, *input_hw))["features"].shape[-2:] == grid_hw


def test_heads_that_do_not_divide_the_width_are_refused() -> None:
    with pytest.raises(UsageError, match="divide"):
        BackboneConfig(width=10, depth=1, heads=3, mlp_width=8, input_hw=(16, 16), patch_padding=2)


def test_a_config_survives_json() -> None:
    for kind in ("pose", "features"):
        config = tiny(kind, padding="corner")
        assert SapiensConfig.from_json(json.loads(json.dumps(config.to_json()))) == config
