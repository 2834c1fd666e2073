"""MimicMotion in the catalogue: every file with its licence, and no way into the verbs for pictures."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tiny_animation import TINY
from vitruvian import load, weights, zoo
from vitruvian.errors import RefusedError, UsageError
from vitruvian.generation.weights import find_weights
from vitruvian.licences import LICENCES
from vitruvian.models.mimicmotion import PARTS, PUBLISHED
from vitruvian.zoo import ANIMATION_MODELS, LocalFile, RemoteFile, animation_metadata, animation_spec_of_file

POSES = {"person_detector", "whole_body"}


@pytest.mark.parametrize(("name", "frames"), [("mimicmotion-1.1", 72), ("mimicmotion-1.0", 16)])
def test_every_part_has_one_file_with_a_licence(name: str, frames: int) -> None:
    spec = ANIMATION_MODELS[name]
    assert (spec.name, spec.config.tile_frames, spec.embedded) == (name, frames, False)
    parts = [part for file in spec.files for part in file.parts]
    assert sorted(parts) == sorted({*PARTS, *POSES})
    for file in spec.files:
        assert isinstance(file.source, RemoteFile)
        assert not file.source.confirmed, "nobody here has seen it"
        assert LICENCES[file.licence].must_be_accepted == set(file.parts).isdisjoint(POSES)
    assert spec.licences == ("stability-community", "apache-2.0")


def test_the_embedded_one_is_whole_and_free() -> None:
    spec = ANIMATION_MODELS[zoo.NANO_ANIMATION_NAME]
    assert (spec.embedded, spec.licences, spec.guidance_scale) == (True, ("apache-2.0",), (1.0, 1.0))
    found = find_weights(zoo.NANO_ANIMATION_NAME)
    assert found.paths["unet"].stat().st_size <= 20_000_000
    networks = [found.build(part).network for part in PARTS]
    assert sum(value.numel() for one in networks for value in one.state_dict().values()) == spec.parameters
    assert all(value.isfinite().all() for one in networks for value in one.state_dict().values())


def test_names_are_no_names_of_others() -> None:
    assert not ANIMATION_MODELS.keys() & (zoo.MODELS.keys() | zoo.ALIASES.keys())
    assert all(map(zoo.is_name, ("mimicmotion-1.0", "sapiens-pose-1b", "sapiens-seg-nano")))
    assert not zoo.is_name("mimicmotion")


@pytest.mark.parametrize("through", [zoo.find, weights.spec_of, weights.find_weights, weights.random_weights, load])
def test_verbs_for_pictures_say_what_to_do_instead(through: object) -> None:
    assert callable(through)
    with pytest.raises(UsageError, match=r"makes a video of a person .* `vitruvian animate` runs it"):
        through("mimicmotion-1.1")


def test_a_spec_comes_back_from_metadata() -> None:
    path = Path("somewhere/own.safetensors")
    spec = animation_spec_of_file(path, PARTS, animation_metadata(TINY, "mine"), parameters=7)
    assert (spec.name, spec.config, spec.parameters, spec.licences[0]) == ("own", TINY, 7, "mine")
    assert spec.files[0].source == LocalFile(path=path)
    assert spec.files[0].file_name == "own.safetensors"


@pytest.mark.parametrize("stored", ["{", "[]", "[" * 100_000, '{"unet": {}}', '{"unet": {"block_out_channels": 3}}'])
def test_a_spoilt_configuration_is_refused(stored: str) -> None:
    with pytest.raises(RefusedError, match="'vitruvian_config' that cannot be read"):
        animation_spec_of_file(Path("x.safetensors"), PARTS, {"vitruvian_config": stored}, parameters=0)


def test_odd_values_in_a_configuration_are_refused_too() -> None:
    document = json.loads(json.dumps(TINY.to_json()))
    document["unet"]["block_out_channels"] = ["32", "64"]
    with pytest.raises(RefusedError, match="cannot be read"):
        animation_spec_of_file(Path("x"), PARTS, {"vitruvian_config": json.dumps(document)}, parameters=0)


@pytest.mark.parametrize(
    ("name", "version"),
    [
        ("MimicMotion_1-1.pth", "1.1"),
        ("MimicMotion_1.pth", "1.0"),
        ("MimicMotion.pth", "1.0"),
        ("MimicMotionMergedUnet_1-0-fp16.safetensors", "1.0"),
        ("MimicMotionMergedUnet_1-1-fp16.safetensors", "1.1"),
        ("anything.pth", "1.1"),
    ],
)
def test_the_version_is_told_by_the_files_name(name: str, version: str) -> None:
    spec = animation_spec_of_file(Path(name), ("unet", "pose_net"), {}, parameters=0)
    assert spec.config == PUBLISHED[version]
    assert spec.files[0].parts == ("unet", "pose_net")
