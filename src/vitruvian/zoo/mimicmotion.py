"""MimicMotion in the catalogue: models that make videos, each of several files under licences of their own.

They take two inputs and no picture alone, so they are a table beside that of networks for pictures: no verb for those
can meet one by accident, and `zoo.find` says what to do instead.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from vitruvian.errors import RefusedError, UsageError
from vitruvian.hub import RemoteFile
from vitruvian.models.mimicmotion import (
    BASE_PARTS,
    NANO,
    NANO_PARAMETERS,
    PARTS,
    PUBLISHED,
    PUBLISHED_PARAMETERS,
    MimicMotionConfig,
    Part,
)
from vitruvian.zoo.sources import OWN_LICENCE, UNKNOWN_LICENCE, LocalFile, PackagedFile, WeightSource
from vitruvian.zoo.spec import CONFIG_KEY, LICENCE_KEY, NETWORK_KEY

ANIMATE = "animate"
"""What these models do, in tables, and the verb that runs them."""
FAMILY_NAME = "mimicmotion"
PREFIX = "mimicmotion-"
NANO_ANIMATION_NAME = f"{PREFIX}nano"
"""The embedded one, used where none is named."""
BASE_LICENCE = "stability-community"
"""Of the base; MimicMotion's own weights began as the base's, so they are listed under it, too, whatever the licence of
the code beside them (Apache-2.0)."""
POSE_LICENCE = "apache-2.0"

PoseModel = Literal["person_detector", "whole_body"]
"""What finds persons, and their 133 points, where poses are drawn as published."""
FilePart = Part | PoseModel

_BASE = "stabilityai/stable-video-diffusion-img2vid-xt-1-1"
_POSES = "yzd-v/DWPose"
_CHECKPOINTS = {"1.1": "MimicMotion_1-1.pth", "1.0": "MimicMotion_1.pth"}
_MARKS_OF_1_0 = ("mimicmotion_1.", "mimicmotion.", "1-0", "1_0")
"""In lower-case names of files with the older weights; nothing inside the file tells the versions apart."""


@dataclass(frozen=True, kw_only=True, slots=True)
class PartFile:
    """One file of a model, with what it holds and what it is under."""

    parts: tuple[FilePart, ...]
    source: WeightSource
    licence: str
    """A key of `licences.LICENCES`, or words about a file of one's own."""

    @property
    def file_name(self) -> str:
        """Path inside its repository, or its own name."""
        if isinstance(self.source, RemoteFile):
            return self.source.filename
        return self.source.path.name if isinstance(self.source, LocalFile) else self.source.path


@dataclass(frozen=True, kw_only=True, slots=True)
class AnimationSpec:
    """One model that makes videos."""

    name: str
    config: MimicMotionConfig
    files: tuple[PartFile, ...]
    parameters: int
    """Weights of its four networks."""
    guidance_scale: tuple[float, float] = (2.0, 2.0)
    """Of the first and the last frame, where nobody says otherwise."""
    steps: int | None = None
    """Of denoising, where nobody says otherwise; None: the preset's."""

    @property
    def licences(self) -> tuple[str, ...]:
        """Of its files, each once, in the order of the files."""
        return tuple(dict.fromkeys(file.licence for file in self.files))

    @property
    def embedded(self) -> bool:
        """Whether the weights come with the package."""
        return all(isinstance(file.source, PackagedFile) for file in self.files)

    def files_of(self, *parts: FilePart) -> tuple[PartFile, ...]:
        """The files that hold these."""
        return tuple(file for file in self.files if not set(parts).isdisjoint(file.parts))


def _remote(repo_id: str, filename: str, *parts: FilePart, licence: str) -> PartFile:
    """No id could be confirmed: nobody here reached the hub."""
    file = RemoteFile(
        repo_id=repo_id, filename=filename, revision=None, sha256=None, confirmed=False, index=repo_id.partition("/")[0]
    )
    return PartFile(parts=parts, source=file, licence=licence)


BASE_FILES: tuple[PartFile, ...] = (
    _remote(_BASE, "vae/diffusion_pytorch_model.fp16.safetensors", "vae", licence=BASE_LICENCE),
    _remote(_BASE, "image_encoder/model.fp16.safetensors", "image_encoder", licence=BASE_LICENCE),
)
"""Networks of the base; an account that has accepted its terms is needed."""
POSE_FILES: tuple[PartFile, ...] = (
    _remote(_POSES, "yolox_l.onnx", "person_detector", licence=POSE_LICENCE),
    _remote(_POSES, "dw-ll_ucoco_384.onnx", "whole_body", licence=POSE_LICENCE),
)
"""The published source of poses."""


def _published(version: str) -> AnimationSpec:
    own = _remote("tencent/MimicMotion", _CHECKPOINTS[version], "unet", "pose_net", licence=BASE_LICENCE)
    return AnimationSpec(
        name=f"{PREFIX}{version}",
        config=PUBLISHED[version],
        files=(own, *BASE_FILES, *POSE_FILES),
        parameters=PUBLISHED_PARAMETERS,
    )


_NANO = AnimationSpec(
    name=NANO_ANIMATION_NAME,
    config=NANO,
    files=(PartFile(parts=PARTS, source=PackagedFile(path="nano/animation.safetensors"), licence=OWN_LICENCE),),
    parameters=NANO_PARAMETERS,
    guidance_scale=(1.0, 1.0),
    steps=4,
)

ANIMATION_MODELS: Mapping[str, AnimationSpec] = {
    spec.name: spec for spec in (_NANO, *(_published(version) for version in PUBLISHED))
}
"""Every model that makes videos, by its name."""


def animation_metadata(config: MimicMotionConfig, licence: str) -> dict[str, str]:
    """Safetensors metadata for one file with all networks by prefix; `animation_spec_of_file` knows it again."""
    return {
        NETWORK_KEY: FAMILY_NAME,
        CONFIG_KEY: json.dumps(config.to_json(), sort_keys=True),
        LICENCE_KEY: licence,
    }


def animation_spec_of_file(
    path: Path, parts: Collection[Part], metadata: Mapping[str, str], *, parameters: int
) -> AnimationSpec:
    """A spec for a file of one's own: by the configuration in its metadata, else the published networks.

    The published image codec and image encoder are listed where no configuration says that the file brings its own.

    Args:
        path: of the file; its name tells the version where nothing else does.
        parts: networks in it.
        metadata: text in it.
        parameters: weights in it; they count where it brings its configuration.

    Raises:
        RefusedError: the configuration cannot be read, or a file with one lacks a network.
    """
    stored = metadata.get(CONFIG_KEY)
    held = tuple(part for part in PARTS if part in parts)
    licence = metadata.get(LICENCE_KEY, UNKNOWN_LICENCE if stored else BASE_LICENCE)
    own = PartFile(parts=held, source=LocalFile(path=path), licence=licence)
    if stored is None:
        older = any(mark in path.name.lower() for mark in _MARKS_OF_1_0)
        trained = replace(own, parts=tuple(part for part in held if part not in BASE_PARTS))
        return AnimationSpec(
            name=path.stem,
            config=PUBLISHED["1.0" if older else "1.1"],
            files=(trained, *BASE_FILES, *POSE_FILES),
            parameters=PUBLISHED_PARAMETERS,
        )
    if absent := [part for part in PARTS if part not in held]:
        raise RefusedError(
            f"got {path.name} without {', '.join(absent)}; expected all of {', '.join(PARTS)} beside a "
            "'vitruvian_config'; write the file again"
        )
    config = _stored_config(path, stored)
    return AnimationSpec(name=path.stem, config=config, files=(own, *POSE_FILES), parameters=parameters)


def _stored_config(path: Path, stored: str) -> MimicMotionConfig:
    try:
        return MimicMotionConfig.from_json(json.loads(stored))
    except (ValueError, TypeError, AttributeError, KeyError, RecursionError, UsageError, RefusedError) as error:
        raise RefusedError(
            f"got {path.name} with a 'vitruvian_config' that cannot be read ({error}); expected the JSON of a "
            "MimicMotion configuration; write the file again with this version, or leave the entry out of the metadata"
        ) from error
