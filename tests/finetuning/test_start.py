"""What a fine-tuning starts from: everything of the base that fits, first values for the rest, and nothing unsaid."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from vitruvian import zoo
from vitruvian.errors import UsageError
from vitruvian.finetuning.start import Start, start, start_spec
from vitruvian.models.sapiens import BackboneConfig, HeadConfig, SapiensConfig, build_network
from vitruvian.models.sapiens.backbone import resize_position_table
from vitruvian.models.sapiens.config import HeadKind
from vitruvian.models.sapiens.resampling import resample_patch_kernel
from vitruvian.tasks.normal import CAMERA, PUBLISHED
from vitruvian.weights import RANDOM_NOTE, FoundWeights, find_weights, random_weights

TRUNK = BackboneConfig(width=8, depth=2, heads=2, mlp_width=16, input_hw=(64, 48), patch_padding=2)
NORMAL_HEAD = HeadConfig(kind="normal", channels=3, deconv_widths=(4,), conv_widths=(4,))
POSE_HEAD = HeadConfig(kind="pose", channels=17, deconv_widths=(8,), conv_widths=())
TABLE, KERNEL = "backbone.pos_embed", "backbone.patch_embed.projection.weight"


def saved(folder: Path, config: SapiensConfig, *, dtype: torch.dtype = torch.float32, **fields: Any) -> FoundWeights:
    """A tiny network of noise in a file of its own."""
    torch.manual_seed(0)
    tensors = {key: torch.randn(value.shape).to(dtype) for key, value in build_network(config).state_dict().items()}
    spec = replace(zoo.find("sapiens-normal-nano"), config=config, licence="mine", **fields)
    path = folder / "base.safetensors"
    save_file(tensors, path, metadata=zoo.metadata_of(spec))
    return find_weights(path)


def begun(found: FoundWeights, task: HeadKind, *, seed: int = 0, **wishes: Any) -> Start:
    return start(found, start_spec(found.spec, task, **wishes), seed=seed)


def raw(network: nn.Module, input_hw: tuple[int, int] = (64, 48)) -> Tensor:
    picture_B3HW = torch.randn(2, 3, *input_hw, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        (output,) = network.eval()(picture_B3HW).values()
    return output


def equal_keys(ours: nn.Module, base: nn.Module) -> set[str]:
    before = base.state_dict()
    return {key for key, value in ours.state_dict().items() if key in before and torch.equal(value, before[key])}


@pytest.mark.parametrize("task", ["pose", "seg", "depth", "normal"])
def test_a_network_of_the_task_goes_on_as_it_is(task: HeadKind) -> None:
    found = find_weights(f"sapiens-{task}-nano")
    begin = begun(found, task)
    base = found.build().network
    assert (begin.fresh, begin.notes, begin.base) == ((), (), found.provenance)
    assert begin.spec == replace(found.spec, files=())
    assert begin.network.state_dict().keys() == base.state_dict().keys()
    assert torch.equal(raw(begin.network, (256, 192)), raw(base, (256, 192)))


def test_all_of_it_learns_in_float32_and_in_memory_of_its_own(tmp_path: Path) -> None:
    found = saved(tmp_path, SapiensConfig(backbone=TRUNK, head=NORMAL_HEAD), dtype=torch.bfloat16)
    file = found.paths[0]
    digest = hashlib.sha256(file.read_bytes()).hexdigest()
    begin = begun(found, "normal")
    assert begin.network.training
    assert any("bfloat16" in note for note in begin.notes)
    for parameter in begin.network.parameters():
        assert parameter.requires_grad
        assert parameter.dtype == torch.float32
        assert parameter.untyped_storage().nbytes() == parameter.nbytes, "a view of something larger"
        parameter.data.fill_(0)
    assert hashlib.sha256(file.read_bytes()).hexdigest() == digest


def test_gradients_reach_everything(tmp_path: Path) -> None:
    begin = begun(saved(tmp_path, SapiensConfig(backbone=TRUNK, head=NORMAL_HEAD)), "normal", input_hw=(32, 48))
    begin.network(torch.randn(2, 3, 32, 48))["normal"].square().sum().backward()
    assert all(parameter.grad is not None for parameter in begin.network.parameters())


@pytest.mark.parametrize("name", ["sapiens-pretrain-nano", "sapiens-normal-nano"])
def test_an_encoder_and_a_network_of_another_task_give_their_trunk(name: str) -> None:
    found = find_weights(name)
    begin = begun(found, "pose")
    assert begin.spec.config == zoo.find("sapiens-pose-nano").config
    assert begin.fresh == ("head.",)
    assert any("whole head" in note for note in begin.notes)
    base = zoo.SAPIENS_MODELS["sapiens-pose-nano"].family.build(begin.spec.config)
    trunk = {key for key in base.state_dict() if key.startswith("backbone.")}
    assert equal_keys(begin.network, find_weights("sapiens-pose-nano").build().network) == trunk


def test_other_channels_keep_all_of_the_head_but_its_last_layer(tmp_path: Path) -> None:
    found = saved(tmp_path, SapiensConfig(backbone=TRUNK, head=POSE_HEAD), task="pose")
    begin = begun(found, "pose", channels=133)
    keys = set(begin.network.state_dict())
    last = {"head.final_layer.weight", "head.final_layer.bias"}
    assert begin.fresh == ("head.final_layer.",)
    assert equal_keys(begin.network, found.build().network) == keys - last
    assert raw(begin.network).shape == (2, 133, 8, 6)
    assert any("last layer" in note for note in begin.notes)


@pytest.mark.parametrize("channels", [17, 133])
def test_the_seed_decides_what_begins_anew(tmp_path: Path, channels: int) -> None:
    head = replace(POSE_HEAD, channels=17 + 133 - channels)
    found = saved(tmp_path, SapiensConfig(backbone=TRUNK, head=head), task="pose")
    first, again, other = (begun(found, "pose", channels=channels, seed=seed).network for seed in (0, 0, 1))
    keys = set(first.state_dict())
    assert equal_keys(first, again) == keys
    assert equal_keys(first, other) == keys - {"head.final_layer.weight"}


def test_a_class_token_goes_and_the_table_is_cut_to_the_crop(tmp_path: Path) -> None:
    trunk = replace(TRUNK, class_token=True, input_hw=(64, 64), patch_padding="corner")
    found = saved(tmp_path, SapiensConfig(backbone=trunk, head=None), task="features")
    begin = begun(found, "pose", input_hw=(64, 48))
    base, ours = found.build().network.state_dict(), begin.network.state_dict()
    assert "backbone.cls_token" not in ours
    assert torch.equal(ours[TABLE], resize_position_table(base["pos_embed"][:, 1:], (4, 4), (4, 3)))
    assert torch.equal(ours[KERNEL], base["patch_embed.projection.weight"])
    assert zoo.sapiens_config(begin.spec).backbone.patch_padding == 2
    text = "; ".join(begin.notes)
    assert all(part in text for part in ("class token", "4x4 to 4x3", "padding is 2"))


def test_a_crop_keeps_what_a_token_sees(tmp_path: Path) -> None:
    found = saved(tmp_path, SapiensConfig(backbone=TRUNK, head=NORMAL_HEAD))
    begin = begun(found, "normal", input_hw=(32, 96))
    assert zoo.sapiens_config(begin.spec).backbone == replace(TRUNK, input_hw=(32, 96))
    # The base at this canvas resizes its own table on every pass.
    assert torch.equal(raw(begin.network, (32, 96)), raw(found.build().network, (32, 96)))
    assert any("4x3 to 2x6" in note for note in begin.notes)


@pytest.mark.parametrize(("patch", "output_hw"), [(8, (16, 12)), (32, (4, 2))])
def test_another_patch_resamples_kernel_and_table(tmp_path: Path, patch: int, output_hw: tuple[int, int]) -> None:
    found = saved(tmp_path, SapiensConfig(backbone=TRUNK, head=NORMAL_HEAD))
    input_hw = (64, 32) if patch == 32 else (64, 48)
    begin = begun(found, "normal", patch_size=patch, input_hw=input_hw)
    base, ours = found.build().network.state_dict(), begin.network.state_dict()
    grid_hw = (input_hw[0] // patch, input_hw[1] // patch)
    assert torch.equal(ours[KERNEL], resample_patch_kernel(base[KERNEL], patch))
    assert torch.equal(ours[TABLE], resize_position_table(base[TABLE], (4, 3), grid_hw))
    assert raw(begin.network, input_hw).shape[2:] == output_hw
    assert any("leaves the pretrained" in note for note in begin.notes)


def test_a_crop_that_is_no_multiple_is_refused() -> None:
    with pytest.raises(UsageError, match="multiples"):
        start_spec(zoo.find("sapiens-normal-1b"), "normal", input_hw=(1000, 768))


@pytest.mark.parametrize(
    ("name", "task", "wish", "frame"),
    [
        ("sapiens-normal-1b", "normal", None, PUBLISHED),
        ("sapiens-normal-1b", "normal", CAMERA, CAMERA),
        ("sapiens-pretrain-1b", "normal", None, CAMERA),
        ("sapiens-seg-1b", "normal", PUBLISHED, PUBLISHED),
        ("sapiens-normal-nano", "normal", None, CAMERA),
    ],
)
def test_normals_keep_their_frame_and_new_ones_are_the_cameras(
    name: str, task: HeadKind, wish: Any, frame: Any
) -> None:
    base = zoo.find(name)
    spec = start_spec(base, task, normal_frame=wish)
    assert spec.normal_frame == frame
    assert (spec.name, spec.licence, spec.files, spec.task) == (name, base.licence, (), task)


def test_another_frame_is_said(tmp_path: Path) -> None:
    found = saved(tmp_path, SapiensConfig(backbone=TRUNK, head=NORMAL_HEAD), normal_frame=PUBLISHED)
    assert not begun(found, "normal").notes
    assert any("'camera'" in note for note in begun(found, "normal", normal_frame=CAMERA).notes)


def test_random_weights_stay_noise() -> None:
    found = random_weights("sapiens-pretrain-nano")
    begin = begun(found, "depth", input_hw=(64, 48))
    assert begin.notes == (RANDOM_NOTE,)
    assert begin.fresh == ()
    assert begin.spec.name == found.spec.name
    assert begin.base == found.provenance
    assert raw(begin.network).shape == (2, 1, 64, 48)
    assert all(parameter.requires_grad and parameter.any() for parameter in begin.network.parameters())


@pytest.mark.parametrize(("name", "task"), [("sapiens-normal-0.3b", "normal"), ("sapiens-seg-0.3b", "seg")])
def test_a_spec_of_another_base_is_refused(name: str, task: HeadKind) -> None:
    found = find_weights("sapiens-normal-nano")
    with pytest.raises(UsageError, match="start_spec"):
        start(found, start_spec(zoo.find(name), task), seed=0)
    with pytest.raises(UsageError, match="start_spec"):
        start(found, zoo.find("sapiens-pretrain-nano"), seed=0)
