"""Weight files of one's own: what stands beside them, and what is said about rounded ones."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from vitruvian import weights, zoo
from vitruvian.errors import RefusedError
from vitruvian.models.sapiens import BackboneConfig, HeadConfig, SapiensConfig, build_network

TINY = SapiensConfig(
    backbone=BackboneConfig(width=8, depth=1, heads=2, mlp_width=16, input_hw=(64, 48), patch_padding=2),
    head=HeadConfig(kind="depth", channels=1, deconv_widths=(8,), conv_widths=()),
)
CLAIM = {"weights_rounded_to": "bfloat16", "source_file": "old_bfloat16.pt2"}


def tensors(dtype: torch.dtype = torch.float32) -> dict[str, torch.Tensor]:
    return {key: torch.zeros(value.shape, dtype=dtype) for key, value in build_network(TINY).state_dict().items()}


def checkpoint(path: Path, beside: str | None) -> Path:
    torch.save(tensors(), path)
    if beside is not None:
        path.with_name(path.name + ".json").write_text(beside, encoding="utf-8")
    return path


@pytest.mark.parametrize("as_text", [False, True])
def test_a_description_beside_a_file_says_what_it_cannot(tmp_path: Path, as_text: bool) -> None:
    config = json.dumps(TINY.to_json()) if as_text else TINY.to_json()
    beside = json.dumps({"vitruvian_config": config, "licence": "mine", "year": 2024})
    spec = weights.spec_of(checkpoint(tmp_path / "own.v2.pth", beside))
    assert (spec.name, spec.config, spec.licence) == ("own.v2", TINY, "mine")


@pytest.mark.parametrize("beside", [None, "{", '{"loss": 3}', "\n"])
def test_what_stands_beside_by_chance_is_passed_over(tmp_path: Path, beside: str | None) -> None:
    with pytest.raises(RefusedError, match=r"width 8; expected .*beside it in own\.pth\.json"):
        weights.spec_of(checkpoint(tmp_path / "own.pth", beside))


@pytest.mark.parametrize(
    "beside",
    [
        '{"vitruvian_config": {',
        '["vitruvian_config"]',
        '"vitruvian_config"',
        '{"x": "vitruvian_config"}',
        '{"vitruvian_config": {}, "licence": "\\ud800"}',
        '{"vitruvian_config": ' + "[" * 100_000,
        '{"vitruvian_config": {}}' + " " * 1_000_000 + "}",
    ],
    ids=["cut", "list", "text", "elsewhere", "surrogate", "deep", "long"],
)
def test_a_broken_description_is_refused(tmp_path: Path, beside: str) -> None:
    with pytest.raises(RefusedError, match=r"got own\.pth\.json, which cannot be read"):
        weights.spec_of(checkpoint(tmp_path / "own.pth", beside))


def test_a_files_own_metadata_counts_before_what_stands_beside(tmp_path: Path) -> None:
    path = tmp_path / "own.safetensors"
    save_file(tensors(), path, metadata={"vitruvian_config": json.dumps(TINY.to_json()), "licence": "inside"})
    (tmp_path / "own.safetensors.json").write_text('{"vitruvian_config": {}, "licence": "beside"}', encoding="utf-8")
    assert weights.spec_of(path).licence == "inside"


@pytest.mark.parametrize(
    ("dtype", "claim", "rounded_to", "notes"),
    [
        (torch.float32, {}, "", []),
        (torch.float16, {}, "float16", ["weights were rounded to float16 by the writer"]),
        (
            torch.bfloat16,
            {"source_file": "old_bfloat16.pt2"},
            "bfloat16",
            [
                "weights were rounded to bfloat16 by the writer",
                "for full precision fetch the float32 file: old.pth or old_torchscript.pt2, by the published naming",
            ],
        ),
        (
            torch.float32,
            CLAIM,
            "bfloat16",
            [
                "weights were rounded to bfloat16 once, as the file says",
                "for full precision fetch the float32 file: old.pth or old_torchscript.pt2, by the published naming",
            ],
        ),
        (torch.float32, {"weights_rounded_to": "\x1b[31mnothing"}, "", []),
    ],
    ids=["whole", "half", "named", "claimed", "forged"],
)
def test_rounded_weights_are_said_to_be(
    tmp_path: Path, dtype: torch.dtype, claim: dict[str, str], rounded_to: str, notes: list[str]
) -> None:
    path = tmp_path / "own.safetensors"
    save_file(tensors(dtype), path, metadata={"vitruvian_config": json.dumps(TINY.to_json()), **claim})
    found = weights.find_weights(path)
    assert found.provenance.rounded_to == rounded_to
    assert list(found.build().notes) == notes


@pytest.mark.parametrize("name", zoo.DEFAULT_MODELS.values())
def test_embedded_files_are_small_on_purpose_and_it_is_not_repeated(name: str) -> None:
    found = weights.find_weights(name)
    assert found.provenance.rounded_to == ""
    assert found.build().notes == ()


def test_noise_for_measurements_has_variances_whose_root_can_be_taken() -> None:
    network = weights.random_weights("metric3d-convnext-tiny").build().network
    variances = [value for key, value in network.state_dict().items() if key.endswith("running_var")]
    assert variances
    assert all(bool((value > 0.5).all()) for value in variances)
