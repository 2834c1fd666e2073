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
from torch.nn import functional as F

from vitruvian import zoo
from vitruvian.errors import UsageError
from vitruvian.fit.workload import Workload
from vitruvian.models.sapiens import SIZES, HeadConfig, SapiensConfig, nano_config
from vitruvian.models.sapiens.config import HEAD_WIDTHS, PATCH_PADDING, HeadKind
from vitruvian.training.losses import depth_silog, normal_cosine, normal_l1, pose_mse, seg_cross_entropy
from vitruvian.weights import spec_of

FRESH_CHANNELS: Mapping[HeadKind, int] = {"pose": 17, "seg": 28, "depth": 1, "normal": 3}
"""Outputs of a head that starts anew: COCO keypoints, body parts, relative depth, a vector."""
RECIPE_BATCH: Mapping[HeadKind, int] = {"pose": 32, "seg": 16, "depth": 16, "normal": 16}
"""Effective batch of the published scripts: 4 (pose) or 2 pictures on each of 8 devices."""
FINE_TUNED_HW = (1024, 768)


def trainable_spec(name: str | Path) -> zoo.ModelSpec:
    """The spec to start from: a name, a weight file, or `sapiens-2b` for the encoder `sapiens-pretrain-2b`.

    Raises:
        UsageError: no such name.
        RefusedError: a file that is no weight file of a known network.
    """
    size = str(name).removeprefix("sapiens-")
    return zoo.find(f"sapiens-pretrain-{size}") if size in (*SIZES, "nano") else spec_of(name)


def training_config(spec: zoo.ModelSpec, task: HeadKind) -> SapiensConfig:
    """The network to train: the spec's own where it does the task already, else its encoder with a fresh head.

    Raises:
        UsageError: no such task.
    """
    if task not in get_args(HeadKind):
        raise UsageError(f"got the task {task!r} to train; expected one of {', '.join(get_args(HeadKind))}")
    if spec.task == task:
        return zoo.sapiens_config(spec)
    if spec.embedded:
        return nano_config(task)
    channels, pretrained = FRESH_CHANNELS[task], zoo.sapiens_config(spec)
    backbone = replace(
        pretrained.backbone,
        class_token=False,
        input_hw=FINE_TUNED_HW if pretrained.head is None else pretrained.input_hw,
        patch_padding=PATCH_PADDING[task, channels],
    )
    return SapiensConfig(backbone=backbone, head=HeadConfig(kind=task, channels=channels, **HEAD_WIDTHS[task]))


def training_workload(spec: zoo.ModelSpec, task: HeadKind) -> Workload:
    """A training step of a spec for a task, at the network's own picture size.

    Raises:
        UsageError: no such task.
    """
    config = training_config(spec, task)
    return _workload(replace(spec, task=task, config=config))


def recipe_loss(task: HeadKind, input_hw: tuple[int, int], outputs: Mapping[str, Tensor]) -> Tensor:
    """The published loss of raw network outputs against targets of ones; scalar.

    Dense outputs are enlarged to the picture size first, as the recipes do; heat maps keep theirs.
    """
    (raw_BCHW,) = outputs.values()
    if task == "pose":
        return pose_mse(
            raw_BCHW, torch.ones_like(raw_BCHW, dtype=torch.float32), raw_BCHW.new_ones(raw_BCHW.shape[:2])
        ).mean
    raw_BCHW = F.interpolate(raw_BCHW, size=input_hw, mode="bilinear", align_corners=False)
    if task == "seg":
        labels_BHW = torch.zeros((raw_BCHW.shape[0], *input_hw), dtype=torch.long, device=raw_BCHW.device)
        return seg_cross_entropy(raw_BCHW, labels_BHW).mean
    target_BCHW = torch.ones_like(raw_BCHW, dtype=torch.float32)
    if task == "depth":
        return depth_silog(raw_BCHW[:, 0], target_BCHW[:, 0]).mean
    return normal_cosine(raw_BCHW, target_BCHW).mean + normal_l1(raw_BCHW, target_BCHW).mean


def _workload(spec: zoo.ModelSpec) -> Workload:
    task = spec.task
    assert task != "features"
    assert task != "detect"
    plain = spec.workload
    return replace(
        plain,
        name=f"{spec.name}, training {task}",
        loss=partial(recipe_loss, task, spec.config.input_hw),
        resized=partial(_resized, spec),
        knobs=frozenset(),
        key=json.dumps({"train": task, "config": spec.config.to_json()}, sort_keys=True),
    )


def _resized(spec: zoo.ModelSpec, input_hw: tuple[int, int], patch_size: int) -> Workload:
    return _workload(replace(spec, config=zoo.resized_config(zoo.sapiens_config(spec), input_hw, patch_size)))
