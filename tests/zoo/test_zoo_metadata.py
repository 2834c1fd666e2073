"""A weight file's metadata gives back the spec that it was written from, and spoilt ones are refused."""

from __future__ import annotations

import json
from dataclasses import replace
from functools import cache, partial
from pathlib import Path
from typing import Any

import pytest
import torch

from published_folders import FAMILIES, published_folder
from vitruvian import weights, zoo
from vitruvian.errors import RefusedError
from vitruvian.models.weight_files import read_weights
from vitruvian.models.weight_files.writing import safetensors_pieces
from vitruvian.tasks.normal import CAMERA
from vitruvian.weights import FoundWeights
from vitruvian.zoo import MODELS, LocalFile, metadata_of, published_detectors, spec_of_file
from vitruvian.zoo.published_detectors import PUBLISHED_FAMILY

PATH = Path("somewhere/weights.safetensors")
KEYS_OF_PUBLISHED = {"model.encoder_input_proj.0.0.weight": torch.empty(0)}


COUNTED = ("dfine-nano-coco", "rtdetr-v2-r18vd")
"""Published detectors whose weights are counted anew, which takes a second for the large ones."""


@cache
def keys_of(family: zoo.Family) -> tuple[str, ...]:
    """Keys of the smallest network of a family, as those of all its sizes begin."""
    spec = min((spec for spec in MODELS.values() if spec.family == family), key=lambda spec: spec.config.parameters)
    return tuple(spec.family.build(spec.config).state_dict())


@pytest.mark.parametrize("name", MODELS)
def test_every_spec_of_the_catalogue_comes_back(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    spec = MODELS[name]
    if spec.family == PUBLISHED_FAMILY and name not in COUNTED:
        counted = partial(replace, parameters=spec.config.parameters)
        monkeypatch.setattr(published_detectors, "with_parameters", counted)
    metadata = metadata_of(spec)
    assert all(isinstance(value, str) for value in metadata.values())
    back = spec_of_file(PATH, dict.fromkeys(keys_of(spec.family), torch.empty(0)), metadata)
    assert (back.name, back.files) == ("weights", (LocalFile(path=PATH),))
    assert replace(back, name=spec.name, files=spec.files) == spec


def test_what_is_not_the_configurations_comes_back_too() -> None:
    spec = replace(MODELS["sapiens-normal-1b"], licence="grün", normal_frame=CAMERA)
    back = spec_of_file(PATH, {}, metadata_of(spec))
    assert (back.licence, back.normal_frame, back.task) == ("grün", CAMERA, "normal")


@pytest.fixture(scope="module", params=FAMILIES)
def detector(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> FoundWeights:
    return weights.find_weights(published_folder(tmp_path_factory.mktemp("hub"), request.param)[0])


@pytest.mark.parametrize("own_keys", [False, True], ids=["published keys", "keys of the network that runs"])
def test_a_published_detector_needs_no_config_beside_it(tmp_path: Path, detector: FoundWeights, own_keys: bool) -> None:
    expected = detector.build().network.state_dict()
    tensors = dict(expected if own_keys else read_weights(detector.paths[0]).tensors)
    path = tmp_path / "alone.safetensors"
    with path.open("wb") as file:
        for piece in safetensors_pieces(tensors, metadata_of(detector.spec)):
            file.write(piece)
    again = weights.find_weights(path)
    assert replace(again.spec, name=detector.spec.name, files=detector.spec.files) == detector.spec
    loaded = again.build().network
    assert not any(value.is_meta for value in (*loaded.parameters(), *loaded.buffers()))
    assert loaded.state_dict().keys() == expected.keys()
    assert all(torch.equal(value, expected[key]) for key, value in loaded.state_dict().items())


def test_whether_published_weights_belong_is_found_out_without_a_network(detector: FoundWeights) -> None:
    tensors = read_weights(detector.paths[0]).tensors
    loaded = detector.spec.family.load(detector.spec.config, tensors, device="meta")
    assert {value.device.type for value in loaded.network.state_dict().values()} == {"meta"}
    tensors.popitem()
    with pytest.raises(RefusedError, match="do not belong"):
        detector.spec.family.load(detector.spec.config, tensors, device="meta")


def spoilt(**fields: Any) -> str:
    return json.dumps(json.loads(metadata_of(MODELS["rtdetr-v2-r18vd"])["vitruvian_config"]) | fields)


@pytest.mark.parametrize(
    ("stored", "words"),
    [
        ("{", "without a readable 'vitruvian_config' in their metadata"),
        ("[]", "no table of fields"),
        ("[" * 100_000, "without a readable 'vitruvian_config'"),
        (spoilt(model_type="llama"), "got model_type = llama"),
        (spoilt(auto_map={"AutoModel": "x.Y"}), "got auto_map"),
        (spoilt(id2label={"0": "cat"}), "expected a class called person"),
        (spoilt(d_model=10**9), "got d_model"),
    ],
    ids=["broken", "list", "deep", "type", "code", "classes", "huge"],
)
def test_a_published_configuration_in_metadata_is_checked_as_one_beside(stored: str, words: str) -> None:
    with pytest.raises(RefusedError, match=words):
        spec_of_file(PATH, KEYS_OF_PUBLISHED, {"vitruvian_config": stored})


@pytest.mark.parametrize("keys", [{}, {"logit.weight": torch.empty(0), "box.weight": torch.empty(0)}])
def test_a_configuration_without_end_is_refused(keys: dict[str, torch.Tensor]) -> None:
    with pytest.raises(RefusedError, match="cannot be read"):
        spec_of_file(PATH, keys, {"vitruvian_config": "[" * 100_000})


SEG = "sapiens_1b_goliath_best_goliath_mIoU_7994_epoch_151"


@pytest.mark.parametrize(
    ("model", "file", "words"),
    [
        ("sapiens-seg-1b", f"{SEG}_bfloat16.pt2", [f"{SEG}.pth of facebook/sapiens-seg-1b", "--model sapiens-seg-1b`"]),
        ("sapiens-pretrain-1b", "sapiens_1b_epoch_173_bfloat16.pt2", ["sapiens_1b_epoch_173_clean.pth of facebook/"]),
        ("sapiens-pretrain-1b", "sapiens_1b_epoch_173_clean_bfloat16.pt2", ["173_clean.pth of facebook/"]),
        ("sapiens-seg-1b", "renamed.pt2", [f"{SEG}.pth of facebook/", "if these are the published weights"]),
        ("sapiens-depth-nano", "mine_bfloat16.pt2", ["mine.pth or mine_torchscript.pt2, by the published naming"]),
        ("sapiens-seg-2b", "seg_bfloat16.pt2", ["seg.pth or seg_torchscript.pt2"]),
        ("dfine-nano-coco", "half.safetensors", ["model.safetensors of ustc-community/dfine-nano-coco"]),
    ],
)
def test_the_float32_file_is_named(model: str, file: str, words: list[str]) -> None:
    said = zoo.float32_original(MODELS[model], file)
    assert all(word in said for word in words), said


def test_every_published_stem_names_its_own_model() -> None:
    for name, spec in zoo.SAPIENS_MODELS.items():
        for file in spec.files:
            if isinstance(file, zoo.RemoteFile):
                stem = file.filename.rpartition("/")[2].removesuffix(".pth")
                said = zoo.float32_original(MODELS["sapiens-seg-nano"], f"{stem}_bfloat16.pt2")
                assert f"{file.filename} of {file.repo_id}" in said
                assert f"--model {name}`" in said


def test_where_nobody_knows_nothing_is_said() -> None:
    assert zoo.float32_original(MODELS["sapiens-seg-nano"], "halves.safetensors") == ""
