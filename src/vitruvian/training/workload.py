"""What one training step of a published network takes, for planners: the network with the task's head and its loss.

In: a spec of the zoo and a task. Out: a `Workload` on meta, picklable, with the loss of the published recipe at the
size the recipe computes it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import get_args

import torch
from torch import Tensor

from vitruvian import zoo
from vitruvian.errors import UsageError
from vitruvian.fit.workload import Workload
from vitruvian.models.sapiens import SIZES, HeadConfig, SapiensConfig, nano_config
from vitruvian.models.sapiens.config import HEAD_WIDTHS, PATCH_PADDING, HeadKind
from vitruvian.tasks.labels import KEYPOINT_SETS
from vitruvian.training.batches import blank_batch
from vitruvian.training.objectives import objective_for, raw_of
from vitruvian.weights import spec_of

FRESH_CHANNELS: Mapping[HeadKind, int] = {"pose": 17, "seg": 28, "depth": 1, "normal": 3}
"""Outputs of a head that starts anew: COCO keypoints, body parts, relative depth, a vector."""
RECIPE_BATCH: Mapping[HeadKind, int] = {"pose": 32, "seg": 16, "depth": 16, "normal": 16}
"""Effective batch of the published scripts: 4 (pose) or 2 pictures on each of 8 devices."""
FINE_TUNED_HW = (1024, 768)
PUBLISHED_PATCH = 16
"""Side of a token that the published patch paddings belong to."""
LOSSES = 2
"""Counts up when a step comes to hold other tensors than before: what is remembered of it is void then."""
NANO_WIDTH = nano_config("features").backbone.width


def trainable_spec(name: str | Path) -> zoo.ModelSpec:
    """The spec to start from: a name, a weight file, or `sapiens-2b` for the encoder `sapiens-pretrain-2b`.

    Raises:
        UsageError: no such name.
        RefusedError: a file that is no weight file of a known network.
    """
    size = str(name).removeprefix("sapiens-")
    return zoo.find(f"sapiens-pretrain-{size}") if size in (*SIZES, "nano") else spec_of(name)


def training_config(
    spec: zoo.ModelSpec,
    task: HeadKind,
    channels: int | None = None,
    *,
    input_hw: tuple[int, int] | None = None,
    patch_size: int | None = None,
) -> SapiensConfig:
    """The network to train: the spec's own where it does the task already, else its encoder with a fresh head.

    Args:
        spec: what to start from.
        task: of the network to train.
        channels: outputs of its head: 17, 133 or 308 keypoints, classes from 2 on, 1 for depth, 3 for normals. None: as
            the spec's own head has, or else `FRESH_CHANNELS`.
        input_hw: canvas height and width, multiples of the patch; None: those of the spec, or of the recipes.
        patch_size: side of a token in pixels; None: as pretrained, and anything else leaves the pretrained network.

    Raises:
        UsageError: no such task, no Sapiens network, or channels, a canvas or a patch that the network cannot have.
    """
    if task not in get_args(HeadKind):
        raise UsageError(f"got the task {task!r} to train; expected one of {', '.join(get_args(HeadKind))}")
    pretrained = zoo.sapiens_config(spec)
    own = pretrained.head if spec.task == task else None
    if channels is not None and (own is None or channels != own.channels):
        _check_channels(task, channels)
    if own is not None:
        config = replace(pretrained, head=replace(own, channels=channels or own.channels))
    else:
        config = _with_fresh_head(pretrained, task, channels or FRESH_CHANNELS[task])
    if input_hw is None and patch_size is None:
        return config
    return _at_size(config, input_hw or config.input_hw, config.backbone.patch if patch_size is None else patch_size)


def training_workload(
    spec: zoo.ModelSpec,
    task: HeadKind,
    channels: int | None = None,
    input_hw: tuple[int, int] | None = None,
    patch_size: int | None = None,
) -> Workload:
    """A training step of a spec for a task, at the network's own picture size where none is given.

    Raises:
        UsageError: as `training_config`, whose network this is.
    """
    config = training_config(spec, task, channels, input_hw=input_hw, patch_size=patch_size)
    return _workload(replace(spec, task=task, config=config, canvas_hw=None))


def recipe_loss(config: SapiensConfig, outputs: Mapping[str, Tensor]) -> Tensor:
    """The published loss of raw network outputs against a batch of nothing; scalar."""
    raw_BChw = raw_of(outputs)
    head = config.head
    assert head is not None
    batch = blank_batch(head.kind, len(raw_BChw), head.channels, config.input_hw, raw_BChw.device)
    return torch.stack([term.mean for term in objective_for(config).losses(outputs, batch)]).sum()


def _workload(spec: zoo.ModelSpec) -> Workload:
    task = spec.task
    assert task != "features"
    assert task != "detect"
    plain = spec.workload
    return replace(
        plain,
        name=f"{spec.name}, training {task}",
        loss=partial(recipe_loss, zoo.sapiens_config(spec)),
        resized=partial(_resized, spec),
        knobs=frozenset(),
        key=json.dumps({"train": task, "losses": LOSSES, "config": spec.config.to_json()}, sort_keys=True),
    )


def _resized(spec: zoo.ModelSpec, input_hw: tuple[int, int], patch_size: int) -> Workload:
    return _workload(replace(spec, config=zoo.resized_config(zoo.sapiens_config(spec), input_hw, patch_size)))


def _check_channels(task: HeadKind, channels: int) -> None:
    if task == "seg":
        fits, expected = channels >= 2, "2 classes or more, background included"
    else:
        known = sorted(KEYPOINT_SETS.values()) if task == "pose" else [FRESH_CHANNELS[task]]
        fits, expected = channels in known, " or ".join(map(str, known))
    if not fits:
        raise UsageError(
            f"got {channels} channels for a {task} head; expected {expected}; correct the number or leave it out"
        )


def _with_fresh_head(pretrained: SapiensConfig, task: HeadKind, channels: int) -> SapiensConfig:
    """An encoder under a new head as the recipes have it; what has the width of nano gets a nano head."""
    backbone = replace(pretrained.backbone, class_token=False)
    if backbone.width == NANO_WIDTH:
        head = nano_config(task).head
        assert head is not None
        return SapiensConfig(backbone=backbone, head=replace(head, channels=channels))
    if pretrained.head is None:
        backbone = replace(backbone, input_hw=FINE_TUNED_HW)
    if backbone.patch == PUBLISHED_PATCH:
        usual = PATCH_PADDING[task, FRESH_CHANNELS[task]]
        backbone = replace(backbone, patch_padding=PATCH_PADDING.get((task, channels), usual))
    return SapiensConfig(backbone=backbone, head=HeadConfig(kind=task, channels=channels, **HEAD_WIDTHS[task]))


def _at_size(config: SapiensConfig, input_hw: tuple[int, int], patch_size: int) -> SapiensConfig:
    if patch_size < 1 or any(side < patch_size or side % patch_size for side in input_hw):
        raise UsageError(
            f"got a crop of {input_hw[0]}x{input_hw[1]} with patches of {patch_size}; expected a patch of 1 pixel or "
            "more and a height and width that are multiples of it; change one of them"
        )
    return zoo.resized_config(config, input_hw, patch_size)
