"""The stages of a clip as planners see them: networks on meta, with the frames of a tile or of a chunk as their batch.

In: a configuration and a size. Out: workloads whose memory is traced on shapes alone. Frames are what memory is linear
in: spatial layers hold every frame's maps, and attention over time is small beside them.
"""

# Shape suffixes: B branches, F frames, C features, D embedding width, H W frame, h w latents, 3 = RGB.

from __future__ import annotations

import json
from functools import partial
from typing import Any

from torch import Tensor, nn

from vitruvian.fit.workload import TensorSpec, Workload
from vitruvian.generation.stages import ISLANDS
from vitruvian.models.mimicmotion import MimicMotionConfig, PosedUnet, build_network
from vitruvian.models.mimicmotion.config import LATENT_STRIDE


class CodecDecoder(nn.Module):
    """Latents of a chunk, not scaled -> frames."""

    def __init__(self, codec: nn.Module) -> None:
        super().__init__()
        self.codec = codec

    def forward(self, z_F4hw: Tensor) -> Tensor:
        codec: Any = self.codec
        frames: Tensor = codec.decode(z_F4hw, num_frames=len(z_F4hw)).sample
        return frames


class CodecEncoder(nn.Module):
    """Pictures, -1 to 1 -> the middle of the codec's distribution."""

    def __init__(self, codec: nn.Module) -> None:
        super().__init__()
        self.codec = codec

    def forward(self, x_13HW: Tensor) -> Tensor:
        codec: Any = self.codec
        latents: Tensor = codec.encode(x_13HW).latent_dist.mode()
        return latents


def denoising_workload(config: MimicMotionConfig, size_hw: tuple[int, int], *, branches: int) -> Workload:
    """One call of the denoising network; its batch is the frames of a tile.

    Args:
        config: of the model.
        size_hw: of the video.
        branches: 1, or 2 where both branches of guidance go through in one call.
    """
    h, w = (side // LATENT_STRIDE for side in size_hw)

    def inputs(frames: int) -> dict[str, TensorSpec]:
        return {
            "sample_BF8hw": TensorSpec(shape=(branches, frames, config.unet.in_channels, h, w)),
            "timestep": TensorSpec(shape=()),
            "context_B1D": TensorSpec(shape=(branches, 1, config.unet.cross_attention_dim)),
            "time_ids_B3": TensorSpec(shape=(branches, 3)),
            "pose_BFChw": TensorSpec(shape=(branches, frames, config.pose_features, h, w)),
        }

    return Workload(
        name=f"denoising, {branches} branch{'es' if branches > 1 else ''}",
        build=partial(_denoiser, config),
        inputs=inputs,
        islands=tuple(f"unet.{island}" for island in ISLANDS),
        key=_key("denoising", config, size_hw, branches),
    )


def decoding_workload(config: MimicMotionConfig, size_hw: tuple[int, int]) -> Workload:
    """One chunk of latents to frames; its batch is the frames of a chunk."""
    h, w = (side // LATENT_STRIDE for side in size_hw)
    return Workload(
        name="decoding",
        build=partial(_decoder, config),
        inputs=lambda frames: {"z_F4hw": TensorSpec(shape=(frames, config.vae.latent_channels, h, w))},
        key=_key("decoding", config, size_hw, 1),
    )


def encoding_workload(config: MimicMotionConfig, size_hw: tuple[int, int]) -> Workload:
    """The reference picture to latents."""
    return Workload(
        name="encoding",
        build=partial(_encoder, config),
        inputs=lambda pictures: {"x_13HW": TensorSpec(shape=(pictures, 3, *size_hw))},
        key=_key("encoding", config, size_hw, 1),
    )


def _denoiser(config: MimicMotionConfig) -> nn.Module:
    return PosedUnet(build_network("unet", config))


def _decoder(config: MimicMotionConfig) -> nn.Module:
    return CodecDecoder(build_network("vae", config))


def _encoder(config: MimicMotionConfig) -> nn.Module:
    return CodecEncoder(build_network("vae", config))


def _key(stage: str, config: MimicMotionConfig, size_hw: tuple[int, int], branches: int) -> str:
    document = {"mimicmotion": stage, "size_hw": size_hw, "branches": branches, "config": config.to_json()}
    return json.dumps(document, sort_keys=True)
