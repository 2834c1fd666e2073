"""Person detectors in the catalogue: the embedded one."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from vitruvian.models.assembly import DtypeOf, Loaded, all_float32, assemble
from vitruvian.models.detectors import NANO_DETECTOR, DetectorConfig, build_detector
from vitruvian.tasks.detect import DetectTask
from vitruvian.zoo.sources import OWN_LICENCE, PackagedFile
from vitruvian.zoo.spec import Family, ModelSpec

NANO_DETECTOR_NAME = "detector-nano"
NANO_OVERLAP, NANO_SCORE = 0.5, 0.35
"""Of two boxes that overlap more, the lower score goes: cells side by side answer for the same person. From this score
on seven in ten boxes are right and seven in ten persons found (synthetic scenes never seen)."""


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


NANO_FAMILY = Family(build=_build, load=_load, make_task=_make_task, islands=("logit", "box"))

DETECTORS: Mapping[str, ModelSpec] = {
    NANO_DETECTOR_NAME: ModelSpec(
        name=NANO_DETECTOR_NAME,
        task="detect",
        family=NANO_FAMILY,
        config=NANO_DETECTOR,
        files=(PackagedFile(path="nano/detector.safetensors"),),
        licence=OWN_LICENCE,
    )
}
"""Every detector by its name."""
