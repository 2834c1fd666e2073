"""Where the networks of an animation come from: catalogue, files of one's own, folders; and who must agree before."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from tiny_animation import TINY, prefixed, tiny_tensors
from vitruvian import hub, weights, zoo
from vitruvian.errors import RefusedError, UsageError
from vitruvian.generation.weights import Access, FoundAnimation, find_weights, locate_pose_models
from vitruvian.hub import RemoteFile
from vitruvian.models.mimicmotion import PARTS, POSE_NET_NAME, Part
from vitruvian.zoo import animation_metadata, mimicmotion

BASE_KEYS: tuple[Part, ...] = ("vae", "image_encoder")
ACCEPTED = Access(accept_licence=("stability-community",))


@pytest.fixture(autouse=True)
def tiny(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """What is published is tiny here, and this machine has agreed to nothing."""
    monkeypatch.setattr(mimicmotion, "PUBLISHED", {"1.1": TINY, "1.0": replace(TINY, tile_frames=2)})
    table = {name: replace(spec, config=TINY) for name, spec in zoo.ANIMATION_MODELS.items()}
    monkeypatch.setattr(zoo, "ANIMATION_MODELS", table)
    monkeypatch.setenv("VITRUVIAN_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def hub_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Published files lie here instead of on the hub; what is asked for is remembered in `asked`."""
    folder = tmp_path / "hub"

    def fetch(file: RemoteFile, *, report: Callable[[str], None]) -> Path:
        (tmp_path / "asked").open("a").write(f"{file.repo_id}/{file.filename}\n")
        return folder / file.filename

    monkeypatch.setattr(hub, "fetch", fetch)
    folder.mkdir()
    torch.save(prefixed("unet", "pose_net", dtype=torch.float16), folder / "MimicMotion_1-1.pth")
    base(folder)
    return folder


def asked(tmp_path: Path) -> list[str]:
    path = tmp_path / "asked"
    return path.read_text().splitlines() if path.exists() else []


def base(folder: Path) -> Path:
    for part, name in (("vae", "diffusion_pytorch_model"), ("image_encoder", "model")):
        (folder / part).mkdir(parents=True)
        save_file(tiny_tensors(part, torch.float16), folder / part / f"{name}.fp16.safetensors")  # type: ignore[arg-type]
    return folder


def check_networks(found: FoundAnimation, tensors: dict[str, Tensor] | None = None) -> None:
    expected = tensors or prefixed(*PARTS, dtype=torch.float16)
    for part in PARTS:
        network = found.build(part).network
        for key, value in network.state_dict().items():
            assert torch.equal(value, expected[f"{part}.{key}"].float())


def test_a_name_brings_all_networks_after_its_licence(hub_folder: Path, tmp_path: Path) -> None:
    with pytest.raises(RefusedError, match="--accept-licence stability-community"):
        find_weights("mimicmotion-1.1")
    assert asked(tmp_path) == [], "nothing is fetched before consent"
    found = find_weights("mimicmotion-1.1", access=ACCEPTED)
    assert [line.rpartition("/")[2] for line in asked(tmp_path)] == [
        "MimicMotion_1-1.pth",
        "diffusion_pytorch_model.fp16.safetensors",
        "model.fp16.safetensors",
    ]
    assert found.provenance.model == "mimicmotion-1.1"
    assert found.provenance.licence == "stability-community"
    assert found.provenance.rounded_to == "float16"
    assert len(found.provenance.weights_sha256) == 64
    assert found.notes == ()
    check_networks(found)


def test_the_licence_is_shown_with_the_files(
    hub_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    questions: list[str] = []

    def ask(question: str) -> bool:
        questions.append(question)
        return True

    find_weights("mimicmotion-1.1", access=Access(ask=ask))
    shown = capsys.readouterr().err
    assert len(questions) == 1
    assert "vae/diffusion_pytorch_model.fp16.safetensors of stabilityai/" in shown
    assert "MimicMotion_1-1.pth of tencent/MimicMotion" in shown


def test_pose_models_are_free_and_fetched_when_asked_for(hub_folder: Path, tmp_path: Path) -> None:
    detector, points = locate_pose_models(zoo.find_animation("mimicmotion-1.1"))
    assert (detector.name, points.name) == ("yolox_l.onnx", "dw-ll_ucoco_384.onnx")
    assert asked(tmp_path) == ["yzd-v/DWPose/yolox_l.onnx", "yzd-v/DWPose/dw-ll_ucoco_384.onnx"]


def test_an_official_file_with_a_base_needs_no_hub(hub_folder: Path, tmp_path: Path) -> None:
    torch.save(prefixed("unet", "pose_net"), tmp_path / "MimicMotion_1.pth")
    found = find_weights(tmp_path / "MimicMotion_1.pth", base=base(tmp_path / "svd"))
    assert asked(tmp_path) == []
    assert (found.spec.name, found.spec.config.tile_frames) == ("MimicMotion_1", 2)
    check_networks(found, prefixed("unet", "pose_net") | prefixed(*BASE_KEYS, dtype=torch.float16))


def test_a_re_packed_file_finds_what_lies_beside_it(hub_folder: Path, tmp_path: Path) -> None:
    folder = base(tmp_path / "packed")
    save_file(tiny_tensors("unet", torch.float16), folder / "MimicMotionMergedUnet_1-1-fp16.safetensors")
    with pytest.raises(RefusedError, match=f"without pose_net; expected it inside, or {POSE_NET_NAME} beside it"):
        find_weights(folder)
    save_file(tiny_tensors("pose_net", torch.float16), folder / POSE_NET_NAME)
    found = find_weights(folder)
    assert asked(tmp_path) == []
    assert found.spec.config.tile_frames == TINY.tile_frames
    check_networks(found)


def test_missing_parts_of_ones_own_file_come_from_the_hub_after_consent(hub_folder: Path, tmp_path: Path) -> None:
    path = tmp_path / "own.pth"
    torch.save(prefixed("unet", "pose_net"), path)
    with pytest.raises(RefusedError, match="--accept-licence stability-community"):
        find_weights(path)
    assert asked(tmp_path) == []
    find_weights(path, access=ACCEPTED)
    assert len(asked(tmp_path)) == 2


def test_a_checkpoints_own_codec_is_used_where_it_is_whole(hub_folder: Path, tmp_path: Path) -> None:
    own = {key: value + 1 for key, value in prefixed("vae").items()}
    torch.save(prefixed("unet", "pose_net") | own, tmp_path / "own.pth")
    found = find_weights(tmp_path / "own.pth", access=ACCEPTED)
    assert [line.partition("/")[2].rpartition("/")[2] for line in asked(tmp_path)] == ["model.fp16.safetensors"]
    kept = found.build("vae").network.state_dict()
    assert all(torch.equal(kept[key.removeprefix("vae.")], value) for key, value in own.items())


def test_a_part_of_a_codec_is_left_out_and_said(hub_folder: Path, tmp_path: Path) -> None:
    some = dict(list(prefixed("vae").items())[:3])
    torch.save(prefixed("unet", "pose_net") | some, tmp_path / "own.pth")
    found = find_weights(tmp_path / "own.pth", access=ACCEPTED)
    assert found.notes == ("left out 3 tensors of vae in own.pth: not whole; the base's own are used",)
    assert found.paths["vae"].name == "diffusion_pytorch_model.fp16.safetensors"


def nano(path: Path, *parts: Part) -> Path:
    save_file(prefixed(*parts), path, metadata=animation_metadata(TINY, "apache-2.0"))
    return path


def test_our_own_file_holds_all_and_says_what_it_is(hub_folder: Path, tmp_path: Path) -> None:
    path = nano(tmp_path / "mimicmotion-nano.safetensors", *PARTS)
    found = find_weights(path)
    assert asked(tmp_path) == []
    assert (found.spec.name, found.spec.config, found.spec.licences) == ("mimicmotion-nano", TINY, ("apache-2.0",))
    assert found.spec.parameters == sum(value.numel() for value in prefixed(*PARTS).values())
    assert found.provenance.rounded_to == ""
    check_networks(found, prefixed(*PARTS))


def test_our_own_file_must_be_whole(hub_folder: Path, tmp_path: Path) -> None:
    with pytest.raises(RefusedError, match=r"got n\.safetensors without vae; expected all of unet, pose_net, vae"):
        find_weights(nano(tmp_path / "n.safetensors", "unet", "pose_net", "image_encoder"))


def test_a_wrong_file_in_the_base_is_refused_when_it_is_built(hub_folder: Path, tmp_path: Path) -> None:
    torch.save(prefixed("unet", "pose_net"), tmp_path / "own.pth")
    folder = base(tmp_path / "svd")
    wrong = folder / "vae" / "diffusion_pytorch_model.fp16.safetensors"
    save_file(tiny_tensors("pose_net"), wrong)
    found = find_weights(tmp_path / "own.pth", base=folder)
    with pytest.raises(RefusedError, match=r"with pose_net; expected the weights of vae"):
        found.build("vae")


@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
def test_a_cut_off_file_is_refused(hub_folder: Path, tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"own{suffix}"
    torch.save(prefixed("unet", "pose_net"), path) if suffix == ".pth" else save_file(prefixed("unet"), path)
    path.write_bytes(path.read_bytes()[:-20_000])
    with pytest.raises(RefusedError, match=rf"own\{suffix}.*cut.off"):
        find_weights(path)


@pytest.mark.parametrize(
    ("name", "error", "words"),
    [
        ("mimicmotion-1.2", UsageError, "such as mimicmotion-1"),
        (
            "sapiens-seg-1b",
            UsageError,
            r"looks at pictures \(seg\); expected one that makes videos: mimicmotion-nano",
        ),
        ("nowhere/checkpoint.pth", UsageError, "which is no file"),
        ("vae-only", RefusedError, "got model.safetensors with vae; expected a checkpoint with the denoising network"),
        ("empty", UsageError, "with 0 weight files"),
        ("x" * 5000, UsageError, "expected a name of the catalogue"),
    ],
)
def test_names_and_paths_that_lead_nowhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, error: type[Exception], words: str
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty").mkdir()
    (tmp_path / "vae-only").mkdir()
    save_file(tiny_tensors("vae"), tmp_path / "vae-only" / "model.safetensors")
    with pytest.raises(error, match=words):
        find_weights(name)


def test_a_base_without_its_networks_is_refused(tmp_path: Path) -> None:
    torch.save(prefixed("unet", "pose_net"), tmp_path / "own.pth")
    (tmp_path / "svd").mkdir()
    with pytest.raises(UsageError, match=r"without weights in vae/; expected a folder laid out as"):
        find_weights(tmp_path / "own.pth", base=tmp_path / "svd")


def test_verbs_for_pictures_refuse_such_a_file(tmp_path: Path) -> None:
    torch.save(prefixed("unet", "pose_net"), tmp_path / "own.pth")
    with pytest.raises(UsageError, match=r"got own\.pth, which makes a video of a person"):
        weights.spec_of(tmp_path / "own.pth")
    nano(tmp_path / "nano.safetensors", *PARTS)
    with pytest.raises(UsageError, match=r"got nano\.safetensors, which makes a video"):
        weights.spec_of(tmp_path / "nano.safetensors")
