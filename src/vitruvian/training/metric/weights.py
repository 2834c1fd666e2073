"""Trained weights of a Metric3D network -> a weight file that `zoo.spec_of_file` knows: float16, official key names."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor

from vitruvian.media.atomic import replacing
from vitruvian.models.metric3d import Metric3dConfig
from vitruvian.zoo.metric3d import METRIC3D
from vitruvian.zoo.spec import CONFIG_KEY, LICENCE_KEY, NETWORK_KEY

METRIC = "metric.safetensors"


def metric_metadata(config: Metric3dConfig, licence: str) -> dict[str, str]:
    """Family, configuration and licence as text."""
    config_text = json.dumps(config.to_json(), sort_keys=True)
    return {NETWORK_KEY: METRIC3D.name, CONFIG_KEY: config_text, LICENCE_KEY: licence}


def write_metric_weights(weights: Mapping[str, Tensor], config: Metric3dConfig, folder: Path, licence: str) -> int:
    """Write `metric.safetensors` into the folder; returns its size in bytes."""
    folder.mkdir(parents=True, exist_ok=True)
    halves = {key: value.to(torch.float16).contiguous() for key, value in weights.items()}
    path = folder / METRIC
    with replacing(path) as temporary:
        save_file(halves, temporary, metadata=metric_metadata(config, licence))
    return path.stat().st_size
