"""Person detectors in the catalogue: the embedded one here, the published ones from `published_detectors`."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from pathlib import Path

import torch
from torch import Tensor, nn

from vitruvian.errors import RefusedError, UsageError
from vitruvian.models.assembly import DtypeOf, Loaded, all_float32, assemble
from vitruvian.models.detectors import NANO_DETECTOR, DetectorConfig, build_detector
from vitruvian.tasks.detect import DetectTask
from vitruvian.zoo.published_detectors import PUBLISHED_DETECTORS
from vitruvian.zoo.sources import OWN_LICENCE, UNKNOWN_LICENCE, LocalFile, PackagedFile, WeightSource
from vitruvian.zoo.spec import CONFIG_KEY, LICENCE_KEY, Family, ModelSpec

NANO_DETECTOR_NAME = "detector-nano"
NANO_OVERLAP, NANO_SCORE = 0.5, 0.4
"""Of two boxes that overlap more, the lower score goes: cells side by side answer for the same person. From this score
on 82 % of boxes are right and 74 % of persons found (synthetic scenes never seen), the best balance of both."""


def _load(
    config: DetectorConfig,
    tensors: Mapping[str, Tensor],
    *,
    device: str | torch.device = "cpu",
    dtype_of: DtypeOf = all_float32,
) -> Loaded:
    network = build_detector(config)
    assemble(network, dict(tensors), device=device, dtype_of=dtype_of)
    return Loaded(network=network, notes=())


def _build(config: DetectorConfig) -> nn.Module:
    return build_detector(config)


def _make_task(spec: ModelSpec) -> DetectTask:
    return DetectTask(input_hw=spec.config.input_hw, overlap=NANO_OVERLAP, min_score=NANO_SCORE)


NANO_FAMILY = Family(name="detector-nano", build=_build, load=_load, make_task=_make_task, islands=("logit", "box"))


def _spec(name: str, config: DetectorConfig, file: WeightSource, licence: str) -> ModelSpec:
    return ModelSpec(name=name, task="detect", family=NANO_FAMILY, config=config, files=(file,), licence=licence)


DETECTORS: Mapping[str, ModelSpec] = {
    NANO_DETECTOR_NAME: _spec(
        NANO_DETECTOR_NAME, NANO_DETECTOR, PackagedFile(path="nano/detector.safetensors"), OWN_LICENCE
    ),
    **PUBLISHED_DETECTORS,
}
"""Every detector by its name."""


def is_nano_detector(keys: Collection[str]) -> bool:
    """Whether a weight file with these keys holds a detector of the embedded one's layout."""
    return "logit.weight" in keys and "box.weight" in keys


def nano_spec_of_file(path: Path, metadata: Mapping[str, str]) -> ModelSpec:
    """A spec for a detector trained here, by the configuration that the training wrote into its file.

    Raises:
        RefusedError: there is none, or it is not that of such a detector.
    """
    try:
        config = DetectorConfig.from_json(json.loads(metadata[CONFIG_KEY]))
    except (ValueError, TypeError, AttributeError, KeyError, RecursionError, UsageError) as error:
        raise RefusedError(
            f"got {path.name} with a 'vitruvian_config' that cannot be read ({error}); expected the JSON of a "
            "detector's configuration; write the file again with `python -m vitruvian.training.detector`"
        ) from error
    return _spec(path.stem, config, LocalFile(path=path), metadata.get(LICENCE_KEY, UNKNOWN_LICENCE))
