"""Metric3D in the catalogue: names, sizes, files, strict loading, and files of one's own."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

import tiny_metric
from vitruvian import weights
from vitruvian.errors import RefusedError, UsageError
from vitruvian.hub import RemoteFile
from vitruvian.models.metric3d import PUBLISHED, build_network
from vitruvian.tasks.metric_depth import MetricDepthTask
from vitruvian.zoo import METRIC3D_MODELS, MODELS, LocalFile, metadata_of, spec_of_file
from vitruvian.zoo.metric3d import METRIC3D_LICENCE, METRIC_NANO_NAME, metric3d_config

PUBLISHED_PARAMETERS = {
    "metric3d-convnext-tiny": 30_931_634,
    "metric3d-convnext-large": 203_243_090,
    "metric3d-vit-small": 37_494_667,
    "metric3d-vit-large": 411_940_891,
    "metric3d-vit-giant2": 1_377_673_563,
}
"""As counted in the published files, without the mask token of the encoder's pretraining (384, 1024 and 1536)."""
PATH = Path("somewhere/weights.safetensors")


def test_five_published_models_and_the_embedded_one() -> None:
    assert METRIC3D_MODELS.keys() == {METRIC_NANO_NAME, *PUBLISHED_PARAMETERS}
    assert METRIC3D_MODELS.items() <= MODELS.items()


@pytest.mark.parametrize("name", PUBLISHED_PARAMETERS)
def test_sizes_files_and_tasks(name: str) -> None:
    spec = MODELS[name]
    assert spec.config.parameters == PUBLISHED_PARAMETERS[name]
    assert (spec.task, spec.licence, spec.embedded) == ("depth", METRIC3D_LICENCE, False)
    (file,) = spec.files
    assert isinstance(file, RemoteFile)
    assert file.repo_id == "JUGGHM/Metric3D"
    assert file.filename.endswith(".pth")
    assert not file.confirmed
    task = spec.make_task()
    assert isinstance(task, MetricDepthTask)
    is_vit = "vit" in name
    assert (task.input_hw, task.far_m, task.stride) == (((616, 1064), 200, 28) if is_vit else ((544, 1216), 150, 32))
    assert task.has_normals == is_vit
    assert task.protocol.published


def test_every_model_has_a_file_of_its_own() -> None:
    names = [file.filename for spec in METRIC3D_MODELS.values() for file in spec.files if isinstance(file, RemoteFile)]
    assert len(set(names)) == 5


@pytest.mark.parametrize("name", PUBLISHED_PARAMETERS)
def test_networks_build_without_memory(name: str) -> None:
    network = MODELS[name].workload.build()
    assert {parameter.device.type for parameter in network.parameters()} == {"meta"}
    assert sum(parameter.numel() for parameter in network.parameters()) == PUBLISHED_PARAMETERS[name]


def test_a_file_of_ours_is_the_network_that_it_was_written_from(tmp_path: Path) -> None:
    path = tiny_metric.weight_file(tmp_path / "tiny.safetensors")
    found = weights.find_weights(path)
    assert found.spec == tiny_metric.tiny_spec(path)
    loaded = found.build()
    expected = tiny_metric.tiny_weights()
    state = loaded.network.state_dict()
    assert state.keys() == expected.keys()
    assert all(torch.equal(value, expected[key]) for key, value in state.items())


@pytest.mark.parametrize("name", PUBLISHED_PARAMETERS)
def test_metadata_gives_the_same_spec(name: str) -> None:
    spec = MODELS[name]
    back = spec_of_file(PATH, {}, metadata_of(spec))
    assert replace(back, name=spec.name, files=spec.files) == spec
    assert back.files == (LocalFile(path=PATH),)


@pytest.mark.parametrize(
    "stored", ["{", "[]", "{}", '{"encoder": 5}', "[" * 100_000], ids=["broken", "list", "empty", "other", "deep"]
)
def test_a_spoilt_configuration_is_refused(stored: str) -> None:
    metadata = {**metadata_of(MODELS["metric3d-vit-small"]), "vitruvian_config": stored}
    with pytest.raises(RefusedError, match="cannot be read"):
        spec_of_file(PATH, {}, metadata)


@pytest.mark.parametrize("kind", PUBLISHED)
def test_an_official_layout_without_metadata_is_recognised(kind: str) -> None:
    tensors = build_network(PUBLISHED[kind]).state_dict()
    spec = spec_of_file(Path("downloaded.pth"), tensors, {})
    assert (spec.config, spec.task, spec.licence) == (PUBLISHED[kind], "depth", METRIC3D_LICENCE)


def test_an_official_pickle_loads_by_its_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The level `model_state_dict`, training state beside it, a mask token: as the published files are laid out."""
    monkeypatch.setitem(PUBLISHED, "tiny", tiny_metric.CONFIG)  # sizes are recognised among the published ones
    state = tiny_metric.tiny_weights()
    mask_token = {"depth_model.encoder.mask_token": torch.zeros(1, tiny_metric.WIDTH_OF_TOKENS)}
    path = tmp_path / "metric_depth_vit_tiny_800k.pth"
    torch.save({"model_state_dict": state | mask_token, "optimizer": {"step": 5}, "max_iter": 800_000}, path)
    found = weights.find_weights(path)
    assert (found.spec.config, found.spec.licence) == (tiny_metric.CONFIG, METRIC3D_LICENCE)
    loaded = found.build()
    assert all(torch.equal(value, state[key]) for key, value in loaded.network.state_dict().items())
    assert any("mask token" in note for note in loaded.notes)


def _without_decoder(tensors: dict[str, Any]) -> None:
    for key in [key for key in tensors if ".decoder." in key]:
        del tensors[key]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (_without_decoder, "encoder only"),
        (lambda tensors: tensors.popitem(), "1 missing"),
        (lambda tensors: tensors.update(stray=torch.zeros(1)), "1 unexpected: stray"),
    ],
    ids=["encoder", "incomplete", "foreign"],
)
def test_loading_is_strict(change: Callable[[dict[str, Any]], object], words: str) -> None:
    tensors: dict[str, Any] = tiny_metric.tiny_weights()
    change(tensors)
    spec = tiny_metric.tiny_spec(PATH)
    with pytest.raises(RefusedError, match=words):
        spec.family.load(spec.config, tensors)


def test_other_sizes_are_refused_by_name() -> None:
    tensors = build_network(PUBLISHED["vit-small"]).state_dict()
    spec = MODELS["metric3d-vit-large"]
    with pytest.raises(RefusedError, match="name the model it was made for"):
        spec.family.load(spec.config, tensors, device="meta")


def test_specs_of_other_families_are_refused() -> None:
    with pytest.raises(UsageError, match="got sapiens-seg-nano; expected a Metric3D network"):
        metric3d_config(MODELS["sapiens-seg-nano"])
