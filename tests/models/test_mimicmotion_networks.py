"""MimicMotion's networks: configurations there and back, the published tables of keys, libraries that are missing."""

from __future__ import annotations

import hashlib
import json
import sys
from dataclasses import replace
from typing import Any

import pytest
import torch

from tiny_animation import TINY
from vitruvian.errors import RefusedError, UsageError
from vitruvian.models.mimicmotion import (
    PARTS,
    PUBLISHED,
    PUBLISHED_PARAMETERS,
    MimicMotionConfig,
    Part,
    build_network,
    build_scheduler,
)

TABLES: dict[Part, tuple[int, int, str]] = {
    "unet": (1428, 1_524_623_082, "83bf67e3cb33f15219d48327edd79eb06db5e0827ba94d7e8955c35ad137ccbc"),
    "pose_net": (19, 205_557, "96eaeac2525da3b94df4ba805c2378e5f6b9ff91449037b3d1691f534b8a4da1"),
    "vae": (374, 97_742_847, "b003ba73ecbaf27b1a792a9c29b04873e02f179ff90aae279b26353e04fb311b"),
    "image_encoder": (520, 632_076_800, "2e9feff6f09e29fad88bb363effbd4bc2a8f0d64b4f5bdd91de96feeee264b00"),
}
"""Tensors, weights, and the hash of the published lines `key sides`, the sides joined by x, in the order of keys."""


@pytest.mark.parametrize("part", PARTS)
def test_the_published_networks_have_the_published_keys_and_shapes(part: Part) -> None:
    network = build_network(part, PUBLISHED["1.1"])
    assert {value.device.type for value in (*network.parameters(), *network.buffers())} == {"meta"}
    assert not network.training
    table = {key: "x".join(map(str, value.shape)) for key, value in network.state_dict().items()}
    lines = "\n".join(f"{key} {table[key]}" for key in sorted(table))
    weights = sum(value.numel() for value in network.parameters())
    assert (len(table), weights, hashlib.sha256(lines.encode()).hexdigest()) == TABLES[part]


def test_versions_differ_in_their_clips_alone() -> None:
    assert sum(weights for _, weights, _ in TABLES.values()) == PUBLISHED_PARAMETERS
    assert replace(PUBLISHED["1.0"], tile_frames=72) == PUBLISHED["1.1"]
    assert PUBLISHED["1.0"].tile_frames == 16


def test_building_draws_no_initial_values() -> None:
    before = torch.get_rng_state()
    for part in PARTS:
        build_network(part, TINY)
    assert torch.equal(before, torch.get_rng_state())


@pytest.mark.parametrize("config", [TINY, PUBLISHED["1.0"]], ids=["tiny", "published"])
def test_a_configuration_survives_json(config: MimicMotionConfig) -> None:
    assert MimicMotionConfig.from_json(json.loads(json.dumps(config.to_json()))) == config


def changed(part: str, **values: Any) -> dict[str, Any]:
    document = json.loads(json.dumps(TINY.to_json()))
    (document[part] if part else document).update(values)
    return document


@pytest.mark.parametrize(
    ("document", "error", "words"),
    [
        (changed("unet", mystery=1), RefusedError, "got mystery in the configuration of UnetConfig"),
        (changed("", lora={}), RefusedError, "got lora in the configuration of MimicMotionConfig"),
        (changed("unet", num_attention_heads=[2]), UsageError, "levels with heads for each"),
        (changed("unet", num_attention_heads=[2, 5]), UsageError, "heads that divide the channels"),
        (changed("unet", block_out_channels=[20, 64]), UsageError, "multiples of 32"),
        (changed("unet", in_channels=4), UsageError, "expected 8 to 4"),
        (changed("unet", cross_attention_dim=32), UsageError, "the embedding is the context"),
        (changed("vae", block_out_channels=[32, 32]), UsageError, "an image codec of 2 levels; expected 4"),
        (changed("image_encoder", num_attention_heads=3), UsageError, "16 with 3 heads"),
        (changed("", input_hw=[64, 60]), UsageError, "multiples of 8"),
        (changed("", tile_frames=0), UsageError, "got 0 frames"),
    ],
)
def test_numbers_that_do_not_go_together_are_refused(
    document: dict[str, Any], error: type[Exception], words: str
) -> None:
    with pytest.raises(error, match=words):
        MimicMotionConfig.from_json(document)


@pytest.mark.parametrize(
    ("library", "part"), [("diffusers", "unet"), ("diffusers", "vae"), ("transformers", "image_encoder")]
)
def test_a_missing_library_is_named_with_the_command(monkeypatch: pytest.MonkeyPatch, library: str, part: Part) -> None:
    monkeypatch.setitem(sys.modules, library, None)
    with pytest.raises(UsageError, match=rf"got no library {library}.*pip install 'vitruvian\[animate\]'"):
        build_network(part, TINY)


def test_the_scheduler_needs_its_library_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "diffusers", None)
    with pytest.raises(UsageError, match=r"pip install 'vitruvian\[animate\]'"):
        build_scheduler(TINY.scheduler)
    assert build_network("pose_net", TINY) is not None, "this one is our own"
