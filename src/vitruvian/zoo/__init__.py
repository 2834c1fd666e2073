"""The catalogue: model name -> network, task, weight files, licence, workload.

A path to a weight file makes a spec, too.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from pathlib import Path

from torch import Tensor

from vitruvian.errors import UsageError
from vitruvian.hub import RemoteFile
from vitruvian.models.mimicmotion import is_mimicmotion
from vitruvian.zoo.canvases import CanvasWish
from vitruvian.zoo.detectors import DETECTORS, NANO_DETECTOR_NAME, NANO_FAMILY, is_nano_detector, nano_spec_of_file
from vitruvian.zoo.metric3d import (
    METRIC3D,
    METRIC3D_MODELS,
    METRIC_NANO_NAME,
    is_metric3d,
    metric3d_spec_of_file,
)
from vitruvian.zoo.mimicmotion import (
    ANIMATE,
    ANIMATION_MODELS,
    FAMILY_NAME,
    NANO_ANIMATION_NAME,
    POSE_FILES,
    AnimationSpec,
    FilePart,
    PartFile,
    animation_metadata,
    animation_spec_of_file,
)
from vitruvian.zoo.published_detectors import PUBLISHED_FAMILY, is_published_detector, published_spec_of_file
from vitruvian.zoo.sapiens import (
    ISLANDS,
    NANO_MODELS,
    SAPIENS_ALIASES,
    SAPIENS_LICENCE,
    SAPIENS_MODELS,
    SapiensTask,
    resized_config,
    sapiens_config,
    sapiens_spec_of_file,
)
from vitruvian.zoo.sources import OWN_LICENCE, UNKNOWN_LICENCE, WEIGHTS_NAME, LocalFile, PackagedFile, WeightSource
from vitruvian.zoo.spec import CONFIG_KEY, LICENCE_KEY, NETWORK_KEY, Family, ModelSpec, TaskName

DEFAULT_MODELS: Mapping[TaskName, str] = {
    "pose": NANO_MODELS["pose"],
    "seg": NANO_MODELS["seg"],
    "depth": METRIC_NANO_NAME,
    "normal": NANO_MODELS["normal"],
    "features": NANO_MODELS["features"],
    "detect": NANO_DETECTOR_NAME,
}
"""Embedded model of each task, used when none is named."""

MODELS: Mapping[str, ModelSpec] = {**SAPIENS_MODELS, **METRIC3D_MODELS, **DETECTORS}
"""Every model by its full name."""

ALIASES: Mapping[str, str] = SAPIENS_ALIASES
"""Shorter names."""

ROUNDED_SUFFIX, CLEAN_SUFFIX = "_bfloat16", "_clean"
"""End the stems of published files whose weights were rounded, and of pretrained ones without the training's rest."""


def default_model(task: TaskName, *, of_persons: bool = False) -> str:
    """The embedded model of a task; `of_persons`: one that can look at one person after the other, where there is one.

    Metric depth is of whole pictures; a person's own depth is the relative one.
    """
    return NANO_MODELS["depth"] if of_persons and task == "depth" else DEFAULT_MODELS[task]


def find(name: str) -> ModelSpec:
    """The spec of a model name.

    Raises:
        UsageError: no such name; the message lists the nearest ones. Or a model that makes videos.
    """
    spec = MODELS.get(ALIASES.get(name, name))
    if spec is not None:
        return spec
    if name in ANIMATION_MODELS:
        raise _makes_videos(name)
    raise _unknown(name, [*MODELS, *ALIASES])


def find_animation(name: str) -> AnimationSpec:
    """The spec of a model that makes videos.

    Raises:
        UsageError: no such name, or a model for pictures.
    """
    spec = ANIMATION_MODELS.get(name)
    if spec is not None:
        return spec
    if is_name(name):
        raise UsageError(
            f"got the model {name!r}, which looks at pictures ({find(name).task}); expected one that makes videos: "
            f"{', '.join(ANIMATION_MODELS)}"
        )
    raise _unknown(name, [*ANIMATION_MODELS])


def is_name(name: str) -> bool:
    """Whether the catalogue has a model of this name, whatever it does."""
    return name in MODELS or name in ALIASES or name in ANIMATION_MODELS


def _unknown(name: str, names: Sequence[str]) -> UsageError:
    near = difflib.get_close_matches(name, names, n=4, cutoff=0.3)
    return UsageError(
        f"got the model {name!r}; expected a name of the catalogue{' such as ' + ', '.join(near) if near else ''} "
        "or the path of a weight file; `vitruvian models` lists all"
    )


def _makes_videos(name: str) -> UsageError:
    return UsageError(
        f"got {name}, which makes a video of a person and takes no pictures alone; expected a model for "
        f"{', '.join(DEFAULT_MODELS)}; `vitruvian animate` runs it"
    )


def spec_of_file(path: Path, tensors: Mapping[str, Tensor], metadata: Mapping[str, str]) -> ModelSpec:
    """A spec for a weight file, by the configuration in its metadata or beside it, or else by its shapes.

    Raises:
        RefusedError: nothing tells what it is, or the configuration is none.
        UsageError: a detector, and the library that builds it is missing; or a model that makes videos.
    """
    family = metadata.get(NETWORK_KEY)
    if family == FAMILY_NAME or (family is None and is_mimicmotion(tensors)):
        raise _makes_videos(path.name)
    if family == PUBLISHED_FAMILY.name or (family is None and is_published_detector(tensors)):
        return published_spec_of_file(path, metadata)
    if family == NANO_FAMILY.name or (family is None and is_nano_detector(tensors)):
        return nano_spec_of_file(path, metadata)
    if family == METRIC3D.name or (family is None and is_metric3d(tensors)):
        return metric3d_spec_of_file(path, tensors, metadata)
    return sapiens_spec_of_file(path, tensors, metadata)


def metadata_of(spec: ModelSpec) -> dict[str, str]:
    """Safetensors metadata for a file with a network's weights; `spec_of_file` makes the same spec of it.

    The same but for name and files: those are the new file's own.
    """
    return {NETWORK_KEY: spec.family.name, **spec.family.metadata(spec)}


def same_layout(spec: ModelSpec) -> ModelSpec | None:
    """The catalogue's model with the same configuration, whatever the weights."""
    return next((known for known in MODELS.values() if known.config == spec.config), None)


def float32_original(spec: ModelSpec, file_name: str) -> str:
    """Where the float32 weights of a file with rounded ones are to be had, in words; empty where nobody knows.

    By the published file names (`STEM_bfloat16.pt2` was made from `STEM.pth`), else by an equal configuration.

    Args:
        spec: what the file holds.
        file_name: under which name it was published.
    """
    stem = file_name.rpartition("/")[2].rpartition(".")[0]
    bare = stem.removesuffix(ROUNDED_SUFFIX)
    named = next((known for known in MODELS.values() if bare.removesuffix(CLEAN_SUFFIX) in _stems(known)), None)
    if named is not None:
        return _where(named)
    alike = same_layout(spec)
    if alike is not None and _remote(alike):
        return f"{_where(alike)}, if these are the published weights"
    if bare != stem:
        return f"{bare}.pth or {bare}_torchscript.pt2, by the published naming"
    return ""


def _remote(spec: ModelSpec) -> RemoteFile | None:
    file = spec.files[0] if spec.files else None
    return file if isinstance(file, RemoteFile) else None


def _stems(spec: ModelSpec) -> tuple[str, ...]:
    """What the names of all published forms of a model's file begin with, where they are its own."""
    file = _remote(spec)
    if file is None or file.filename == WEIGHTS_NAME:
        return ()
    return (file.filename.rpartition("/")[2].removesuffix(".pth").removesuffix(CLEAN_SUFFIX),)


def _where(spec: ModelSpec) -> str:
    file = _remote(spec)
    assert file is not None
    doubt = "" if file.confirmed else ", an id that nobody has confirmed yet"
    return f"{file.filename} of {file.repo_id} on the hub (`--model {spec.name}` fetches it{doubt})"


__all__ = [
    "ALIASES",
    "ANIMATE",
    "ANIMATION_MODELS",
    "CONFIG_KEY",
    "DEFAULT_MODELS",
    "ISLANDS",
    "LICENCE_KEY",
    "METRIC3D_MODELS",
    "MODELS",
    "NANO_ANIMATION_NAME",
    "NANO_MODELS",
    "OWN_LICENCE",
    "POSE_FILES",
    "SAPIENS_LICENCE",
    "SAPIENS_MODELS",
    "UNKNOWN_LICENCE",
    "WEIGHTS_NAME",
    "AnimationSpec",
    "CanvasWish",
    "Family",
    "FilePart",
    "LocalFile",
    "ModelSpec",
    "PackagedFile",
    "PartFile",
    "RemoteFile",
    "SapiensTask",
    "TaskName",
    "WeightSource",
    "animation_metadata",
    "animation_spec_of_file",
    "default_model",
    "find",
    "find_animation",
    "float32_original",
    "is_name",
    "metadata_of",
    "resized_config",
    "same_layout",
    "sapiens_config",
    "spec_of_file",
]
