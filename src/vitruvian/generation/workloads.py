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
from vitruvian.generation.conditioning import CLIP_SIDE
from vitruvian.generation.measures import in_parts
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


class Embedder(nn.Module):
    """Prepared pictures -> embeddings."""

    def __init__(self, encoder: nn.Module) -> None:
        super().__init__()
        self.encoder = encoder

    def forward(self, x_B3HW: Tensor) -> Tensor:
        encoder: Any = self.encoder
        embedding_BD: Tensor = encoder(x_B3HW).image_embeds
        return embedding_BD


def denoising_workload(
    config: MimicMotionConfig, size_hw: tuple[int, int], *, branches: int, feed_forward_parts: int = 1
) -> Workload:
    """One call of the denoising network; its batch is the frames of a tile.

    Args:
        config: of the model.
        size_hw: of the video.
        branches: 1, or 2 where both branches of guidance go through in one call.
        feed_forward_parts: see `Measures`.
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
        build=partial(_denoiser, config, feed_forward_parts),
        inputs=inputs,
        islands=tuple(f"unet.{island}" for island in ISLANDS),
        key=_key("denoising", config, size_hw, branches, feed_forward_parts),
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


def embedding_workload(config: MimicMotionConfig) -> Workload:
    """The reference picture to its embedding."""
    return Workload(
        name="embedding",
        build=partial(_embedder, config),
        inputs=lambda pictures: {"x_B3HW": TensorSpec(shape=(pictures, 3, CLIP_SIDE, CLIP_SIDE))},
        key=_key("embedding", config, (CLIP_SIDE, CLIP_SIDE), 1),
    )


def _embedder(config: MimicMotionConfig) -> nn.Module:
    return Embedder(build_network("image_encoder", config))


def _denoiser(config: MimicMotionConfig, feed_forward_parts: int) -> nn.Module:
    unet = build_network("unet", config)
    in_parts(unet, feed_forward_parts)
    return PosedUnet(unet)


def _decoder(config: MimicMotionConfig) -> nn.Module:
    return CodecDecoder(build_network("vae", config))


def _encoder(config: MimicMotionConfig) -> nn.Module:
    return CodecEncoder(build_network("vae", config))


def _key(
    stage: str, config: MimicMotionConfig, size_hw: tuple[int, int], branches: int, feed_forward_parts: int = 1
) -> str:
    document = {"mimicmotion": stage, "size_hw": size_hw, "branches": branches, "config": config.to_json()}
    if feed_forward_parts > 1:
        document["feed_forward_parts"] = feed_forward_parts
    return json.dumps(document, sort_keys=True)
