"""Sapiens (v1) in the catalogue: every published checkpoint and the embedded nano networks."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from importlib import resources
from pathlib import Path
from typing import Any, Literal

from torch import Tensor

from vitruvian.errors import RefusedError, UsageError
from vitruvian.hub import RemoteFile
from vitruvian.models.sapiens import SIZES, SapiensConfig, build_network, config_of, load_network, published_config
from vitruvian.models.sapiens.config import HEAD_WIDTHS, HeadKind, nano_config
from vitruvian.tasks.base import Task
from vitruvian.tasks.depth import DepthTask
from vitruvian.tasks.features import FeaturesTask
from vitruvian.tasks.labels import keypoint_set
from vitruvian.tasks.normal import CAMERA, NORMAL_FRAMES, PUBLISHED, NormalTask
from vitruvian.tasks.own_labels import labels_of
from vitruvian.tasks.pose import PoseTask
from vitruvian.tasks.seg import SegTask
from vitruvian.zoo.sources import OWN_LICENCE, UNKNOWN_LICENCE, LocalFile, PackagedFile
from vitruvian.zoo.spec import CONFIG_KEY, LICENCE_KEY, Family, ModelSpec, plain_metadata

SapiensTask = Literal["pose", "seg", "depth", "normal", "features"]
SAPIENS_LICENCE = "cc-by-nc-4.0"
FRAME_KEY = "normal_frame"
ISLANDS = ("head.final_layer", "decode_head.conv_seg", "*pos_embed")
"""Last convolutions: in bfloat16 they leave 8 bits of mantissa and band depth maps. The position table: in float32 it
makes the whole residual stream float32, which halves the error of features at next to no time."""


def sapiens_config(spec: ModelSpec) -> SapiensConfig:
    """The configuration of a spec of this family.

    Raises:
        UsageError: the spec is of another family.
    """
    if not isinstance(spec.config, SapiensConfig):
        raise UsageError(f"got {spec.name}; expected a Sapiens network; `vitruvian models` lists them")
    return spec.config


def _make_task(spec: ModelSpec) -> Task:
    config = sapiens_config(spec)
    head, input_hw = config.head, config.input_hw
    if head is None:
        return FeaturesTask(input_hw=input_hw)
    if head.kind == "pose":
        return PoseTask(keypoints=keypoint_set(head.channels), input_hw=input_hw)
    if head.kind == "seg":
        return SegTask(labels=labels_of(head.channels), input_hw=input_hw)
    if head.kind == "depth":
        return DepthTask(input_hw=input_hw)
    return NormalTask(input_hw=input_hw, frame=spec.normal_frame)


def _knobs(config: SapiensConfig) -> frozenset[str]:
    return frozenset() if config.head is None else frozenset({"chunked_head"})


def _metadata(spec: ModelSpec) -> dict[str, str]:
    return plain_metadata(spec) | {FRAME_KEY: spec.normal_frame.name}


def _patch_size(config: SapiensConfig) -> int:
    return config.backbone.patch


def resized_config(config: SapiensConfig, input_hw: tuple[int, int], patch_size: int) -> SapiensConfig:
    """The network at another crop and patch size; positions are resampled, so it is not the pretrained one.

    A crop alone keeps the padding that the weights were trained with; a padding made for one patch fits no other.
    """
    padding = config.backbone.patch_padding if patch_size == config.backbone.patch else "corner"
    return replace(
        config, backbone=replace(config.backbone, input_hw=input_hw, patch=patch_size, patch_padding=padding)
    )


SAPIENS = Family(
    name="sapiens",
    build=build_network,
    load=load_network,
    make_task=_make_task,
    metadata=_metadata,
    islands=ISLANDS,
    blocks=("backbone.layers.*", "layers.*"),
    head=("head", "decode_head"),
    stem=("*patch_embed.*", "*pos_embed", "*cls_token"),
    undecayed=("*pos_embed",),
    knobs=_knobs,
    patch_size=_patch_size,
    stride=_patch_size,
    resized=resized_config,
)

NANO_MODELS: Mapping[SapiensTask, str] = {
    "pose": "sapiens-pose-nano",
    "seg": "sapiens-seg-nano",
    "depth": "sapiens-depth-nano",
    "normal": "sapiens-normal-nano",
    "features": "sapiens-pretrain-nano",
}
"""Embedded network of each task."""

_STEMS: dict[str, dict[str, str]] = json.loads(
    resources.files("vitruvian").joinpath("data", "sapiens_files.json").read_text(encoding="utf-8")
)
"""Published file stems by kind and size."""

_COCO_POSE_REPO = "noahcao/sapiens-pose-coco"


def _published_file(kind: str, size: str) -> RemoteFile:
    stem = _STEMS[kind][size]
    if kind in ("pose17", "pose133"):
        filename = f"sapiens_host/pose/checkpoints/sapiens_{size}/{stem}.pth"
        return RemoteFile(repo_id=_COCO_POSE_REPO, filename=filename, revision=None, sha256=None, confirmed=False)
    task = kind.rstrip("0123456789")
    filename = f"{stem}_clean.pth" if task == "pretrain" else f"{stem}.pth"
    repo_id = f"facebook/sapiens-{task}-{size}"
    return RemoteFile(repo_id=repo_id, filename=filename, revision=None, sha256=None, confirmed=False)


_HEADS: dict[str, tuple[SapiensTask, HeadKind | Literal["features"], int]] = {
    "pose17": ("pose", "pose", 17),
    "pose133": ("pose", "pose", 133),
    "pose308": ("pose", "pose", 308),
    "seg28": ("seg", "seg", 28),
    "seg20": ("seg", "seg", 20),
    "seg19": ("seg", "seg", 19),
    "depth": ("depth", "depth", 1),
    "normal": ("normal", "normal", 3),
    "pretrain": ("features", "features", 0),
}
_SUFFIX = {"pose17": "-17", "pose133": "-133", "pose308": "-308", "seg20": "-lip20", "seg19": "-face19"}


def _published_specs() -> dict[str, ModelSpec]:
    specs = {}
    for kind, (task, head, channels) in _HEADS.items():
        for size in SIZES:
            published = size in _STEMS.get(kind, {})
            if not published and kind == "pose308":
                continue  # the 2b was never listed; the shorter name then means 133 keypoints
            name = f"sapiens-{kind.rstrip('0123456789')}-{size}{_SUFFIX.get(kind, '')}"
            specs[name] = ModelSpec(
                name=name,
                task=task,
                family=SAPIENS,
                config=published_config(size, head, channels),
                files=(_published_file(kind, size),) if published else (),
                licence=SAPIENS_LICENCE,
            )
    return specs


def _nano_specs() -> dict[str, ModelSpec]:
    trunk = PackagedFile(path="nano/trunk.safetensors")
    return {
        name: ModelSpec(
            name=name,
            task=task,
            family=SAPIENS,
            config=nano_config(task),
            files=(trunk,) if task == "features" else (trunk, PackagedFile(path=f"nano/{task}.safetensors")),
            licence=OWN_LICENCE,
            normal_frame=CAMERA,
        )
        for task, name in NANO_MODELS.items()
    }


SAPIENS_MODELS: Mapping[str, ModelSpec] = _nano_specs() | _published_specs()
"""Every Sapiens model by its full name."""

SAPIENS_ALIASES: Mapping[str, str] = {
    f"sapiens-pose-{size}": f"sapiens-pose-{size}-{max(k for k in (17, 133, 308) if size in _STEMS[f'pose{k}'])}"
    for size in SIZES
}
"""`sapiens-pose-1b` is the network with the highest published keypoint count of that size."""


def sapiens_spec_of_file(path: Path, tensors: Mapping[str, Tensor], metadata: Mapping[str, str]) -> ModelSpec:
    """A spec for a weight file, by the configuration in its metadata or else by its shapes.

    Raises:
        RefusedError: neither tells what it is, or the metadata is not a configuration.
    """
    stored = metadata.get(CONFIG_KEY)
    config = _stored_config(path, stored) if stored else _config_by_shapes(path, tensors)
    task: Any = "features" if config.head is None else config.head.kind
    return ModelSpec(
        name=path.stem,
        task=task,
        family=SAPIENS,
        config=config,
        files=(LocalFile(path=path),),
        licence=metadata.get(LICENCE_KEY, UNKNOWN_LICENCE if stored else SAPIENS_LICENCE),
        normal_frame=NORMAL_FRAMES.get(metadata.get(FRAME_KEY, ""), PUBLISHED),
    )


def _config_by_shapes(path: Path, tensors: Mapping[str, Tensor]) -> SapiensConfig:
    try:
        return config_of(tensors)
    except RefusedError as error:
        raise RefusedError(
            f"{error}; a file that cannot carry it may have it beside it in {path.name}.json (docs/command-line.md, "
            "old files)"
        ) from error


def _stored_config(path: Path, stored: str) -> SapiensConfig:
    try:
        config = SapiensConfig.from_json(json.loads(stored))
        if config.head is not None and config.head.kind not in HEAD_WIDTHS:
            raise ValueError(f"head kind {config.head.kind!r}")
    except (ValueError, TypeError, KeyError, RecursionError) as error:
        raise RefusedError(
            f"got {path.name} with a 'vitruvian_config' that cannot be read ({error}); expected the JSON of a Sapiens "
            "configuration; write the file again with this version, or leave the entry out of the metadata"
        ) from error
    return config
