"""Trained joint weights -> the five embedded files: one trunk and four heads, float16, official key names."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor

from vitruvian.media.atomic import replacing
from vitruvian.models.sapiens.config import NANO_BACKBONE, NANO_HEADS, SapiensConfig
from vitruvian.models.sapiens.heads import HEAD_PREFIX
from vitruvian.tasks.normal import CAMERA

LICENCE = "apache-2.0"


def write_weights(average: Mapping[str, Tensor], folder: Path) -> int:
    """Write `trunk.safetensors` and one file per head into the folder; returns their size in bytes together."""
    folder.mkdir(parents=True, exist_ok=True)
    trunk = {key: value for key, value in average.items() if key.startswith("backbone.")}
    files = {"trunk": (trunk, SapiensConfig(backbone=NANO_BACKBONE, head=None))}
    for kind, head in NANO_HEADS.items():
        prefix = f"heads.{kind}."
        tensors = {
            f"{HEAD_PREFIX[head.kind]}.{key.removeprefix(prefix)}": value
            for key, value in average.items()
            if key.startswith(prefix)
        }
        files[kind] = (tensors, SapiensConfig(backbone=NANO_BACKBONE, head=head))
    for name, (tensors, config) in files.items():
        halves = {key: value.to(torch.float16).contiguous() for key, value in tensors.items()}
        metadata = {"vitruvian_config": json.dumps(config.to_json()), "licence": LICENCE, "normal_frame": CAMERA.name}
        with replacing(folder / f"{name}.safetensors") as temporary:
            save_file(halves, temporary, metadata=metadata)
    return sum((folder / f"{name}.safetensors").stat().st_size for name in files)
