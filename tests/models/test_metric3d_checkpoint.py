"""Strict loading of Metric3D files: every difference is named; what is left out is left out on purpose."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from vitruvian.errors import RefusedError
from vitruvian.models.metric3d import (
    PUBLISHED,
    Metric3dConfig,
    RefinerConfig,
    VitConfig,
    build_network,
    config_of,
    load_network,
)

CONFIG = Metric3dConfig(
    encoder=VitConfig(width=8, depth=1, heads=2, mlp_width=16, grid=2),
    decoder=RefinerConfig(
        quarter_width=4, seventh_width=8, shared_width=4, hidden=6, steps=1, anchors=8, normal_width=4
    ),
    input_hw=(28, 28),
)
CONTEXT = "depth_model.decoder.context_feature_encoder.outputs04.0.0"
MASK_TOKEN = "depth_model.encoder.mask_token"


def official(config: Metric3dConfig) -> dict[str, Tensor]:
    """Random weights as a released file has them: norms of context blocks under two names, and a mask token."""
    torch.manual_seed(0)
    tensors = {key: torch.randn(value.shape) for key, value in build_network(config).state_dict().items()}
    twins = {key.replace(".norm3.", ".downsample.1."): value for key, value in tensors.items() if ".norm3." in key}
    return {**tensors, **twins, MASK_TOKEN: torch.zeros(1, 8)}


def test_loading_keeps_the_given_tensors() -> None:
    given = official(CONFIG)
    loaded = load_network(CONFIG, given)
    for key, value in loaded.network.state_dict().items():
        assert value.data_ptr() == given[key].data_ptr(), "a copy would double the memory"
    assert loaded.notes == (
        "left out the mask token of the encoder's pretraining",
        "left out 12 second names of norms",
    )


def test_a_file_of_ours_loads_without_notes() -> None:
    assert load_network(CONFIG, load_network(CONFIG, official(CONFIG)).network.state_dict()).notes == ()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda w: w.pop("depth_model.encoder.norm.bias"), r"1 missing: depth_model\.encoder\.norm\.bias"),
        (lambda w: w.update(extra=torch.zeros(1)), "1 unexpected: extra"),
        (lambda w: w.update({"depth_model.encoder.norm.bias": torch.zeros(9)}), r"misshapen: .*another size"),
        (lambda w: w.update({f"{CONTEXT}.downsample.1.bias": torch.zeros(6)}), "one tensor under two names"),
        (lambda w: w.pop(f"{CONTEXT}.norm3.bias"), r"1 missing: .*outputs04\.0\.0\.norm3\.bias"),
    ],
)
def test_differences_are_listed_with_advice(change: Any, message: str) -> None:
    given = official(CONFIG)
    change(given)
    with pytest.raises(RefusedError, match=message):
        load_network(CONFIG, given)


def test_an_encoder_file_is_no_model() -> None:
    encoder = {key: value for key, value in official(CONFIG).items() if ".encoder." in key}
    with pytest.raises(RefusedError, match="encoder only"):
        load_network(CONFIG, encoder)


@pytest.mark.parametrize("name", PUBLISHED)
def test_an_official_file_tells_what_it_is(name: str) -> None:
    assert config_of(build_network(PUBLISHED[name]).state_dict()) == PUBLISHED[name]


@pytest.mark.parametrize(
    ("tensors", "message"),
    [({"a": torch.zeros(1)}, "expected a Metric3D checkpoint"), (official(CONFIG), r"width 8.*384 \(vit-small\)")],
)
def test_other_files_are_refused(tensors: dict[str, Tensor], message: str) -> None:
    with pytest.raises(RefusedError, match=message):
        config_of(tensors)
