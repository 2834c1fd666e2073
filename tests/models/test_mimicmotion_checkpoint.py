"""Strict loading of MimicMotion's files: which network is where, every difference counted, nothing held twice."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from tiny_animation import TINY, prefixed, tiny_tensors
from vitruvian.errors import RefusedError
from vitruvian.models.mimicmotion import (
    PARTS,
    Part,
    check_layout,
    is_mimicmotion,
    is_whole,
    layout_of,
    load_network,
    taken,
    tensors_of,
)

OLD_TABLE = "vision_model.embeddings.position_ids"


@pytest.mark.parametrize("part", PARTS)
def test_loading_keeps_the_given_tensors_and_nothing_else(part: Part) -> None:
    given = tiny_tensors(part)
    places = {key: value.data_ptr() for key, value in given.items()}
    loaded = load_network(part, TINY, given)
    assert given == {}, "what stays here would stay in memory"
    assert {key: value.data_ptr() for key, value in loaded.network.state_dict().items()} == places
    assert not any(value.is_meta for value in (*loaded.network.parameters(), *loaded.network.buffers()))
    assert loaded.notes == ()


def test_a_loaded_image_encoder_answers_as_one_that_was_never_on_meta() -> None:
    from transformers import CLIPVisionConfig, CLIPVisionModelWithProjection

    library = CLIPVisionModelWithProjection(CLIPVisionConfig(**TINY.image_encoder.arguments)).eval()
    library.load_state_dict(tiny_tensors("image_encoder"))
    ours = load_network("image_encoder", TINY, tiny_tensors("image_encoder")).network
    picture = torch.randn(1, 3, 224, 224)
    with torch.inference_mode():
        assert torch.equal(ours(picture).image_embeds, library(picture).image_embeds)


def test_types_are_asked_for_by_key() -> None:
    def dtype_of(key: str) -> torch.dtype:
        return torch.float32 if key == "scale" else torch.bfloat16

    network = load_network("pose_net", TINY, tiny_tensors("pose_net", torch.float16), dtype_of=dtype_of).network
    found = {key: value.dtype for key, value in network.state_dict().items()}
    assert found.pop("scale") == torch.float32
    assert set(found.values()) == {torch.bfloat16}


def test_on_meta_only_the_keys_are_compared() -> None:
    loaded = load_network("image_encoder", TINY, tiny_tensors("image_encoder"), device="meta")
    assert {value.device.type for value in loaded.network.parameters()} == {"meta"}


def test_the_table_of_older_releases_is_left_out_and_said() -> None:
    given = tiny_tensors("image_encoder") | {OLD_TABLE: torch.arange(5)[None]}
    assert load_network("image_encoder", TINY, given).notes == (
        f"left out {OLD_TABLE}: numbers 0, 1, 2, ... that older releases of the library saved",
    )


@pytest.mark.parametrize(
    ("part", "change", "words"),
    [
        (
            "unet",
            lambda w: w.pop("conv_out.bias"),
            r"unet: weights .* 1 missing: conv_out\.bias\. The file is of anoth",
        ),
        ("unet", lambda w: w.clear(), r"unet: .* missing: add_embedding\.linear_1\.bias, .*, \.\.\."),
        ("vae", lambda w: w.pop("encoder.conv_in.bias"), r"vae: .*is not that of stable-video-diffusion"),
        ("pose_net", lambda w: w.update(extra=torch.zeros(1)), "pose_net: .* 1 unexpected: extra"),
        (
            "pose_net",
            lambda w: w.update(scale=torch.zeros(2)),
            r"1 misshapen: scale \(2,\) instead of \(1,\)\. The file is of another size",
        ),
    ],
)
def test_every_difference_is_counted_and_named(
    part: Part, change: Callable[[dict[str, Tensor]], Any], words: str
) -> None:
    given = tiny_tensors(part)
    change(given)
    with pytest.raises(RefusedError, match=words):
        load_network(part, TINY, given)


def test_layouts_are_told_by_keys() -> None:
    official = prefixed("unet", "pose_net")
    assert layout_of(official) == {"unet": "unet.", "pose_net": "pose_net."}
    for part in PARTS:
        assert layout_of(tiny_tensors(part)) == {part: ""}
    assert layout_of({"backbone.cls_token": 0}) == {}
    assert [is_mimicmotion(tiny_tensors(part)) for part in PARTS] == [True, True, False, False]
    assert is_mimicmotion(official)


def test_networks_are_taken_out_of_a_file_one_by_one() -> None:
    file = prefixed("unet", "pose_net")
    found = taken("pose_net", file, "pose_net.")
    assert found.keys() == tiny_tensors("pose_net").keys()
    assert all(key.startswith("unet.") for key in file)


def test_what_belongs_to_no_network_is_refused() -> None:
    with pytest.raises(
        RefusedError, match=r"got x\.pth with 2 unexpected: lora\.a, lora\.b; expected keys of pose_net"
    ):
        check_layout([*prefixed("pose_net"), "lora.b", "lora.a"], "x.pth")
    with pytest.raises(RefusedError, match=r"got x\.pth with tensors named backbone\.a; expected MimicMotion's"):
        check_layout(["backbone.a"], "x.pth")


def test_all_networks_go_into_one_table_and_back() -> None:
    networks = {part: load_network(part, TINY, tiny_tensors(part)).network for part in PARTS}
    table = tensors_of(networks)
    assert check_layout(table, "nano") == {part: f"{part}." for part in PARTS}
    for part in PARTS:
        again = load_network(part, TINY, taken(part, table, f"{part}.")).network.state_dict()
        assert all(torch.equal(value, again[key]) for key, value in networks[part].state_dict().items())
    del networks["vae"]
    with pytest.raises(RefusedError, match="got networks without vae"):
        tensors_of(networks)


def test_whole_means_every_key() -> None:
    keys = list(tiny_tensors("vae"))
    assert is_whole("vae", TINY, keys)
    assert not is_whole("vae", TINY, keys[1:])
