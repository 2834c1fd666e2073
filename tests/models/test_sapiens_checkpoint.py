"""Strict loading: every difference is named; position tables are fitted by count, never by oddness."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from vitruvian.errors import RefusedError
from vitruvian.models.sapiens import BackboneConfig, HeadConfig, SapiensConfig, build_network, config_of, load_network
from vitruvian.models.sapiens.checkpoint import adapt_position_table
from vitruvian.models.sapiens.config import published_config


def backbone(hw: tuple[int, int] = (64, 48), *, class_token: bool = False) -> BackboneConfig:
    return BackboneConfig(
        width=8, depth=1, heads=2, mlp_width=16, input_hw=hw, patch_padding="corner", class_token=class_token
    )


CONFIG = SapiensConfig(
    backbone=backbone(), head=HeadConfig(kind="pose", channels=17, deconv_widths=(8,), conv_widths=(8,))
)


def weights(config: SapiensConfig) -> dict[str, Tensor]:
    torch.manual_seed(0)
    return {key: torch.randn(value.shape) for key, value in build_network(config).state_dict().items()}


def test_loading_keeps_the_given_tensors() -> None:
    given = weights(CONFIG)
    network = load_network(CONFIG, given).network
    for key, value in network.state_dict().items():
        assert value.data_ptr() == given[key].data_ptr(), "a copy would double the memory"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda w: w.pop("backbone.ln1.bias"), r"1 missing: backbone\.ln1\.bias"),
        (lambda w: w.update(extra=torch.zeros(1)), "1 unexpected: extra"),
        (lambda w: w.update({"head.final_layer.bias": torch.zeros(133)}), r"misshapen: head\.final_layer\.bias.*count"),
        (lambda w: w.update({"backbone.ln1.bias": torch.zeros(9)}), r"misshapen: backbone.*another size"),
    ],
)
def test_differences_are_listed_with_advice(change: Any, message: str) -> None:
    given = weights(CONFIG)
    change(given)
    with pytest.raises(RefusedError, match=message):
        load_network(CONFIG, given)


def test_an_encoder_file_has_no_head() -> None:
    bare = weights(SapiensConfig(backbone=backbone(), head=None))
    with pytest.raises(RefusedError, match="encoder only"):
        load_network(CONFIG, bare)


def test_an_encoder_takes_bare_prefixed_and_snapshot_files() -> None:
    config = SapiensConfig(backbone=backbone(), head=None)
    bare = weights(config)
    prefixed = {f"backbone.{key}": value for key, value in bare.items()}
    snapshot = {**prefixed, "neck.mask_token": torch.zeros(1), "head.x": torch.zeros(1)}
    for given in (bare, prefixed, snapshot):
        network = load_network(config, given).network
        assert torch.equal(network.get_parameter("ln1.bias"), bare["ln1.bias"])
    assert any("head" in note for note in load_network(config, snapshot).notes)


def test_a_class_token_is_left_out_where_the_network_has_none() -> None:
    wide = weights(SapiensConfig(backbone=backbone(class_token=True), head=None))
    loaded = load_network(SapiensConfig(backbone=backbone(), head=None), wide)
    assert loaded.notes == (
        "left out the class token: this network has none",
        "dropped the class slot of the position table",
    )


@pytest.mark.parametrize(
    ("rows", "hw", "class_token", "kept"),
    [
        (63, (144, 112), False, slice(0, None)),  # an odd grid, 9x7, keeps its own table
        (13, (64, 48), False, slice(1, None)),  # one row more than the 12 needed
        (13, (64, 48), True, slice(0, None)),
        (101, (160, 160), False, slice(1, None)),
    ],
)
def test_the_class_slot_goes_by_count(rows: int, hw: tuple[int, int], class_token: bool, kept: slice) -> None:
    table = torch.randn(1, rows, 8)
    fitted, _ = adapt_position_table(table, backbone(hw, class_token=class_token))
    assert torch.equal(fitted, table[:, kept])


@pytest.mark.parametrize(("rows", "class_token"), [(101, False), (100, False), (101, True)])
def test_square_tables_are_resized(rows: int, class_token: bool) -> None:
    table = torch.ones(1, rows, 8)
    table[:, 0] = 5.0
    config = backbone(class_token=class_token)
    fitted, note = adapt_position_table(table, config)
    assert fitted.shape[1] == config.position_rows
    assert "10x10" in note
    if rows == 101:
        torch.testing.assert_close(
            fitted[:, 1:], torch.ones_like(fitted[:, 1:]), msg="the class slot leaked into the grid"
        )
        assert bool((fitted[:, 0] == 5).all()) is class_token


@pytest.mark.parametrize(("rows", "class_token"), [(99, False), (14, False), (100, True)])
def test_other_tables_are_not_guessed(rows: int, class_token: bool) -> None:
    with pytest.raises(RefusedError, match=str(rows)):
        adapt_position_table(torch.randn(1, rows, 8), backbone(class_token=class_token))


@pytest.mark.parametrize(
    ("size", "kind", "channels"), [("0.3b", "pose", 133), ("2b", "seg", 28), ("1b", "depth", 1), ("0.6b", "normal", 3)]
)
def test_an_official_file_tells_what_it_is(size: str, kind: Any, channels: int) -> None:
    config = published_config(size, kind, channels)
    assert config_of(build_network(config).state_dict()) == config


def test_an_official_encoder_tells_what_it_is() -> None:
    config = published_config("1b", "features")
    assert config_of(build_network(config).state_dict()) == config


@pytest.mark.parametrize(
    ("tensors", "message"),
    [
        ({"a": torch.zeros(1)}, "expected a Sapiens checkpoint"),
        (weights(CONFIG), "width 8"),
    ],
)
def test_other_files_are_refused(tensors: dict[str, Tensor], message: str) -> None:
    with pytest.raises(RefusedError, match=message):
        config_of(tensors)
