"""What a training step is made of: which network, which head, which loss, at which size."""

from __future__ import annotations

import pickle
from dataclasses import replace
from typing import get_args

import pytest
import torch

from vitruvian import zoo
from vitruvian.errors import UsageError
from vitruvian.models.sapiens import build_network
from vitruvian.models.sapiens.config import HeadKind
from vitruvian.models.sapiens.heads import OUTPUT_NAME
from vitruvian.training.workload import RECIPE_BATCH, recipe_loss, trainable_spec, training_config, training_workload

TASKS: tuple[HeadKind, ...] = get_args(HeadKind)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("sapiens-2b", "sapiens-pretrain-2b"),
        ("sapiens-pretrain-2b", "sapiens-pretrain-2b"),
        ("sapiens-normal-1b", "sapiens-normal-1b"),
        ("sapiens-nano", "sapiens-pretrain-nano"),
    ],
)
def test_a_size_means_its_pretrained_encoder(name: str, expected: str) -> None:
    assert trainable_spec(name).name == expected


def test_a_wrong_name_is_explained() -> None:
    with pytest.raises(UsageError, match="sapiens-"):
        trainable_spec("sapiens-9b")


@pytest.mark.parametrize("task", TASKS)
def test_a_pretrained_encoder_gets_the_published_head(task: HeadKind) -> None:
    published = {"pose": "sapiens-pose-1b-17", "seg": "sapiens-seg-1b"}.get(task, f"sapiens-{task}-1b")
    assert training_config(trainable_spec("sapiens-1b"), task) == zoo.find(published).config


def test_a_network_of_the_task_goes_on_as_it_is() -> None:
    spec = zoo.find("sapiens-pose-1b-308")
    assert training_config(spec, "pose") == spec.config
    assert training_config(spec, "normal").head == zoo.find("sapiens-normal-1b").config.head


def test_unknown_tasks_are_refused() -> None:
    with pytest.raises(UsageError, match="pose, seg, depth, normal"):
        training_workload(zoo.find("sapiens-pretrain-0.3b"), "features")  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("name", "task", "channels", "padding"),
    [
        ("sapiens-pretrain-1b", "pose", 133, 2),
        ("sapiens-pretrain-1b", "seg", 20, 2),
        ("sapiens-pretrain-1b", "seg", 5, "corner"),
        ("sapiens-seg-1b-lip20", "seg", 5, 2),  # goes on with the padding it was trained with
        ("sapiens-normal-1b", "seg", 2, "corner"),
        ("sapiens-pretrain-nano", "pose", 308, "corner"),
        ("sapiens-depth-1b", "depth", 1, "corner"),
    ],
)
def test_the_last_layer_has_the_channels_asked_for(name: str, task: HeadKind, channels: int, padding: object) -> None:
    spec = zoo.find(name)
    config, usual = training_config(spec, task, channels), training_config(spec, task)
    assert config.head is not None
    assert usual.head is not None
    assert config.head == replace(usual.head, channels=channels)
    assert config.backbone == replace(usual.backbone, patch_padding=padding)
    assert (
        training_workload(spec, task, channels).build().state_dict().keys() == build_network(config).state_dict().keys()
    )
    assert (training_workload(spec, task, channels).key == training_workload(spec, task).key) is (config == usual)


@pytest.mark.parametrize(
    ("task", "channels", "expected"),
    [
        ("pose", 18, "17 or 133 or 308"),
        ("seg", 1, "2 classes or more"),
        ("seg", 0, "2 classes or more"),
        ("depth", 2, "expected 1;"),
        ("normal", 4, "expected 3;"),
    ],
)
def test_other_channels_are_refused(task: HeadKind, channels: int, expected: str) -> None:
    with pytest.raises(UsageError, match=expected):
        training_config(zoo.find("sapiens-pretrain-0.3b"), task, channels)


def test_a_network_of_ones_own_keeps_its_channels() -> None:
    spec = zoo.find("sapiens-pose-nano")
    config = zoo.sapiens_config(spec)
    assert config.head is not None
    own = replace(config, head=replace(config.head, channels=21))
    for channels in (None, 21):
        assert training_config(replace(spec, config=own), "pose", channels) == own


def test_a_nano_trunk_gets_a_nano_head_wherever_it_comes_from() -> None:
    spec = zoo.find("sapiens-pretrain-nano")
    for base in (spec, replace(spec, files=())):
        assert training_config(base, "normal") == zoo.find("sapiens-normal-nano").config


@pytest.mark.parametrize("name", ["sapiens-normal-1b", "sapiens-depth-1b"])
def test_a_crop_keeps_the_padding_and_another_patch_does_not(name: str) -> None:
    spec = zoo.find(name)
    task, backbone = spec.task, zoo.sapiens_config(spec).backbone
    assert task == "normal" or task == "depth"
    cropped = training_config(spec, task, input_hw=(512, 384)).backbone
    assert cropped == replace(backbone, input_hw=(512, 384))
    assert cropped.grid_hw() == (32, 24)
    coarse = training_config(spec, task, patch_size=32).backbone
    assert coarse == replace(backbone, patch=32, patch_padding="corner")
    workload = training_workload(spec, task, input_hw=(512, 384), patch_size=8)
    assert (workload.input_hw, workload.patch_size) == ((512, 384), 8)


@pytest.mark.parametrize(("input_hw", "patch_size"), [((500, 384), None), ((0, 384), None), (None, 20), (None, 0)])
def test_crops_are_multiples_of_the_patch(input_hw: tuple[int, int] | None, patch_size: int | None) -> None:
    with pytest.raises(UsageError, match="multiples"):
        training_workload(zoo.find("sapiens-normal-0.3b"), "normal", input_hw=input_hw, patch_size=patch_size)


@pytest.mark.parametrize("task", TASKS)
def test_workloads_travel_to_other_processes_and_name_themselves_fully(task: HeadKind) -> None:
    workload = training_workload(trainable_spec("sapiens-0.3b"), task)
    there = pickle.loads(pickle.dumps(workload))
    assert there.key == workload.key
    assert there.build().state_dict().keys() == workload.build().state_dict().keys()
    keys = {training_workload(trainable_spec("sapiens-0.3b"), other).key for other in TASKS}
    assert len(keys) == len(TASKS)
    assert workload.key != zoo.find("sapiens-pretrain-0.3b").workload.key


@pytest.mark.parametrize("task", TASKS)
def test_the_loss_of_a_network_is_a_scalar_with_gradients(task: HeadKind) -> None:
    config = zoo.sapiens_config(zoo.find(f"sapiens-{task}-nano"))
    network = build_network(config, device="cpu")
    outputs = network(torch.randn(2, 3, *config.input_hw))
    loss = recipe_loss(config, outputs)
    assert loss.shape == ()
    assert loss.isfinite()
    loss.backward()
    assert all(parameter.grad is not None for parameter in network.parameters())


@pytest.mark.parametrize("task", [task for task in TASKS if task != "pose"])
def test_dense_losses_are_computed_at_picture_size(task: HeadKind, monkeypatch: pytest.MonkeyPatch) -> None:
    config = zoo.sapiens_config(zoo.find(f"sapiens-{task}-nano"))
    assert config.head is not None
    sizes = []
    plain = torch.nn.functional.interpolate

    def watching(tensor: torch.Tensor, **options: object) -> torch.Tensor:
        sizes.append(options["size"])
        return plain(tensor, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(torch.nn.functional, "interpolate", watching)
    recipe_loss(config, {OUTPUT_NAME[task]: torch.randn(1, config.head.channels, 32, 24)})
    assert sizes == [config.input_hw]


def test_another_size_is_another_network_with_its_own_loss() -> None:
    workload = training_workload(trainable_spec("sapiens-0.3b"), "normal")
    assert workload.resized is not None
    small = workload.resized((512, 384), 32)
    assert (small.input_hw, small.patch_size) == ((512, 384), 32)
    assert small.inputs(1)["x_B3HW"].shape == (1, 3, 512, 384)
    assert small.key != workload.key
    assert small.build().backbone.pos_embed.shape[1] == 16 * 12  # type: ignore[union-attr, attr-defined]


def test_effective_batches_are_those_of_the_scripts() -> None:
    assert dict(RECIPE_BATCH) == {"pose": 32, "seg": 16, "depth": 16, "normal": 16}
