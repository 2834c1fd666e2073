"""Trained weights -> files: float16, by the networks' prefixes, configuration inside."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from vitruvian.models.mimicmotion import MimicMotionConfig, check_layout, load_network
from vitruvian.training.animation.codec import folded_codec
from vitruvian.zoo.mimicmotion import animation_metadata
from vitruvian.zoo.sources import OWN_LICENCE

CODEC_NAME, WHOLE_NAME = "codec.safetensors", "animation.safetensors"


def write_codec(average: Mapping[str, Tensor], config: MimicMotionConfig, run: Path) -> int:
    """Write the codec alone; returns the file's size in bytes."""
    tensors = {f"vae.{key}": value for key, value in folded_codec(average, config).items()}
    return _written(tensors, config, run / CODEC_NAME)


def read_codec(path: Path, config: MimicMotionConfig) -> torch.nn.Module:
    """The codec that `write_codec` wrote, in float32."""
    tensors = load_file(path)
    prefix = check_layout(tensors, path.name)["vae"]
    return load_network("vae", config, {key.removeprefix(prefix): value for key, value in tensors.items()}).network


def write_whole(average: Mapping[str, Tensor], codec: Path, config: MimicMotionConfig, run: Path) -> int:
    """Write all networks as one file; returns its size in bytes.

    Args:
        average: weights of `trainable_denoiser`'s network.
        codec: the file with the codec.
        config: of all networks.
        run: the folder.
    """
    return _written(load_file(codec) | _by_part(average), config, run / WHOLE_NAME)


def _by_part(average: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Keys as our files have them: the denoising network's lie a level deeper in training."""
    return {key.removeprefix("unet.") if key.startswith("unet.unet.") else key: value for key, value in average.items()}


def _written(tensors: Mapping[str, Tensor], config: MimicMotionConfig, path: Path) -> int:
    path.parent.mkdir(parents=True, exist_ok=True)
    halves = {key: value.to(torch.float16).contiguous() for key, value in tensors.items()}
    save_file(halves, path, metadata=animation_metadata(config, OWN_LICENCE))
    return path.stat().st_size
