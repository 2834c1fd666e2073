"""The catalogue: model name -> network, task, weight files, licence, workload.

A path to a weight file makes a spec, too.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from pathlib import Path

from torch import Tensor

from vitruvian.errors import UsageError
from vitruvian.hub import RemoteFile
from vitruvian.zoo.detectors import DETECTORS, NANO_DETECTOR_NAME, is_nano_detector, nano_spec_of_file
from vitruvian.zoo.published_detectors import is_published_detector, published_spec_of_file
from vitruvian.zoo.sapiens import (
    ISLANDS,
    NANO_MODELS,
    SAPIENS_ALIASES,
    SAPIENS_LICENCE,
    SAPIENS_MODELS,
    resized_config,
    sapiens_config,
    sapiens_spec_of_file,
)
from vitruvian.zoo.sources import OWN_LICENCE, UNKNOWN_LICENCE, WEIGHTS_NAME, LocalFile, PackagedFile, WeightSource
from vitruvian.zoo.spec import Family, ModelSpec, TaskName

DEFAULT_MODELS: Mapping[TaskName, str] = dict(NANO_MODELS) | {"detect": NANO_DETECTOR_NAME}
"""Embedded model of each task, used when none is named."""

MODELS: Mapping[str, ModelSpec] = {**SAPIENS_MODELS, **DETECTORS}
"""Every model by its full name."""

ALIASES: Mapping[str, str] = SAPIENS_ALIASES
"""Shorter names."""


def find(name: str) -> ModelSpec:
    """The spec of a model name.

    Raises:
        UsageError: no such name; the message lists the nearest ones.
    """
    spec = MODELS.get(ALIASES.get(name, name))
    if spec is not None:
        return spec
    near = difflib.get_close_matches(name, [*MODELS, *ALIASES], n=4, cutoff=0.3)
    raise UsageError(
        f"got the model {name!r}; expected a name of the catalogue{' such as ' + ', '.join(near) if near else ''} "
        "or the path of a weight file; `vitruvian models` lists all"
    )


def spec_of_file(path: Path, tensors: Mapping[str, Tensor], metadata: Mapping[str, str]) -> ModelSpec:
    """A spec for a weight file, by the configuration in its metadata or beside it, or else by its shapes.

    Raises:
        RefusedError: nothing tells what it is, or the configuration is none.
        UsageError: a detector, and the library that builds it is missing.
    """
    if is_published_detector(tensors):
        return published_spec_of_file(path)
    if is_nano_detector(tensors):
        return nano_spec_of_file(path, metadata)
    return sapiens_spec_of_file(path, tensors, metadata)


__all__ = [
    "ALIASES",
    "DEFAULT_MODELS",
    "ISLANDS",
    "MODELS",
    "NANO_MODELS",
    "OWN_LICENCE",
    "SAPIENS_LICENCE",
    "SAPIENS_MODELS",
    "UNKNOWN_LICENCE",
    "WEIGHTS_NAME",
    "Family",
    "LocalFile",
    "ModelSpec",
    "PackagedFile",
    "RemoteFile",
    "TaskName",
    "WeightSource",
    "find",
    "resized_config",
    "sapiens_config",
    "spec_of_file",
]
