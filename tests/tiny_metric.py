"""A tiny metric-depth network with noise for weights, and its weight file; the same bytes each time."""

from __future__ import annotations

from pathlib import Path

import torch
from safetensors.torch import save_file

from vitruvian.models.metric3d import Metric3dConfig, RefinerConfig, VitConfig, build_network
from vitruvian.zoo import LocalFile, ModelSpec, metadata_of
from vitruvian.zoo.metric3d import METRIC3D

HEIGHT, WIDTH = 112, 196
WIDTH_OF_TOKENS = 10
CONFIG = Metric3dConfig(
    encoder=VitConfig(width=WIDTH_OF_TOKENS, depth=4, heads=2, mlp_width=20, grid=10),
    decoder=RefinerConfig(
        quarter_width=6, seventh_width=6, shared_width=6, hidden=5, steps=1, anchors=16, normal_width=6
    ),
    input_hw=(HEIGHT, WIDTH),
)


def tiny_spec(path: Path) -> ModelSpec:
    """The network as the catalogue would have it, with its weights in a file."""
    return ModelSpec(
        name=path.stem,
        task="depth",
        family=METRIC3D,
        config=CONFIG,
        files=(LocalFile(path=path),),
        licence="apache-2.0",
    )


def tiny_weights(seed: int = 0) -> dict[str, torch.Tensor]:
    """Noise that keeps values near 1 from layer to layer, so that depth differs from pixel to pixel."""
    generator = torch.Generator().manual_seed(seed)
    tensors = {}
    for key, value in build_network(CONFIG).state_dict().items():
        noise = torch.randn(value.shape, generator=generator)
        if value.ndim > 1:
            tensors[key] = noise * (1.2 / value[0].numel() ** 0.5)
        else:
            is_scale = key.endswith("gamma") or ("norm" in key and key.endswith("weight"))
            tensors[key] = 0.05 * noise + is_scale
    return tensors


def weight_file(path: Path) -> Path:
    """The network in a file that says what it is."""
    save_file(tiny_weights(), path, metadata=metadata_of(tiny_spec(path)))
    return path
