"""MimicMotion's classes at the least size that the libraries take, with random weights."""

from __future__ import annotations

import torch
from torch import Tensor

from vitruvian.models.mimicmotion import (
    PARTS,
    ImageEncoderConfig,
    MimicMotionConfig,
    Part,
    SchedulerConfig,
    UnetConfig,
    VaeConfig,
    build_network,
)

TINY = MimicMotionConfig(
    unet=UnetConfig(
        block_out_channels=(32, 64),
        num_attention_heads=(2, 4),
        cross_attention_dim=16,
        addition_time_embed_dim=8,
        layers_per_block=1,
        sample_size=8,
        num_frames=4,
    ),
    vae=VaeConfig(block_out_channels=(32, 32, 32, 32), layers_per_block=1, sample_size=64),
    image_encoder=ImageEncoderConfig(
        hidden_size=16,
        intermediate_size=32,
        num_hidden_layers=1,
        num_attention_heads=2,
        projection_dim=16,
        patch_size=112,
    ),
    scheduler=SchedulerConfig(),
    tile_frames=4,
    input_hw=(64, 64),
    pose_canvas=128,
)


def tiny_tensors(part: Part, dtype: torch.dtype = torch.float32) -> dict[str, Tensor]:
    """Random weights of one network, by its own keys."""
    generator = torch.Generator().manual_seed(PARTS.index(part))
    shapes = {key: value.shape for key, value in build_network(part, TINY).state_dict().items()}
    return {key: torch.randn(shape, generator=generator).to(dtype) * 0.1 for key, shape in shapes.items()}


def prefixed(*parts: Part, dtype: torch.dtype = torch.float32) -> dict[str, Tensor]:
    """Random weights of several networks, as the official file has them."""
    return {f"{part}.{key}": value for part in parts for key, value in tiny_tensors(part, dtype).items()}
