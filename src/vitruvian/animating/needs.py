"""What a clip takes, stage by stage: bytes at each stage's peak and seconds, predicted on shapes alone.

In: a configuration, a size, a way to generate. Out: needs. Traces take seconds each, once on a machine.
"""

# Shape suffixes: none; sizes are (height, width).

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from typing import Literal

from vitruvian.animating.way import Way
from vitruvian.animation.tiles import even_tiles
from vitruvian.fit.estimate import items_per_s, link_bytes_s
from vitruvian.fit.footprint import footprints_of
from vitruvian.fit.footprint.values import Breakdown, Footprint
from vitruvian.fit.knobs import Knobs
from vitruvian.fit.ladder import WEIGHT_BYTES
from vitruvian.fit.workload import Workload
from vitruvian.generation.measures import largest_layer_weights
from vitruvian.generation.workloads import (
    decoding_workload,
    denoising_workload,
    embedding_workload,
    encoding_workload,
)
from vitruvian.hardware import Device, Dtype
from vitruvian.models.mimicmotion import MimicMotionConfig, build_network
from vitruvian.models.mimicmotion.config import LATENT_STRIDE

StageName = Literal["embedding", "encoding", "denoising", "denoising, batched", "decoding"]
FLOAT8_BYTES = 1
LATENT_COPIES = 6
"""Of all frames, in float32, alive during a step: before and after, the sums of both branches, their mean, its use."""
LAYERS_HERE = 2
"""Streamed weights: of the layer that runs, and of the one that is brought meanwhile."""


@dataclass(frozen=True, kw_only=True, slots=True)
class StageNeed:
    """One stage of a clip at its peak."""

    name: StageName
    breakdown: Breakdown
    seconds: float | None
    """All of it, estimated; None where the device's rates are unknown."""
    calls: int
    """Of its network."""


@dataclass(frozen=True, kw_only=True)
class Clipping:
    """A clip whose needs are asked for."""

    config: MimicMotionConfig
    size_hw: tuple[int, int]
    frames: int
    """The reference among them."""
    steps: int
    guided_steps: int
    """Those that run both branches."""
    device: Device
    _footprints: dict[tuple[str, Knobs], Footprint] = field(default_factory=dict)

    def needs(self, way: Way) -> tuple[StageNeed, ...]:
        """Every stage, one branch of guidance after the other."""
        return (self.embedding(way), self.encoding(way), self.denoising(way, 1), self.decoding(way))

    def denoising(self, way: Way, branches: int) -> StageNeed:
        """The stage that takes longest, with one or both branches in a call."""
        tiles = even_tiles(self.frames, way.tile, way.overlap)
        parts = way.measures.feed_forward_parts
        workload = denoising_workload(self.config, self.size_hw, branches=branches, feed_forward_parts=parts)
        footprint = self._footprint(workload, way.dtype)
        longest = max(len(tile) for tile in tiles)
        breakdown = self._held(footprint.at(longest), way) + Breakdown(results_bytes=self._beside_bytes(way))
        singles, doubles = self.steps - self.guided_steps, self.guided_steps
        rounds = singles + doubles * (3 - branches)  # a guided step is two calls of one branch, or one of two
        one_s = [self._seconds(footprint, way.dtype, len(tile)) for tile in tiles]
        seconds = None
        if all(value is not None for value in one_s):
            streamed_s = self._streamed_s(way) * len(tiles)
            seconds = rounds * (sum(value for value in one_s if value is not None) + streamed_s)
        name: StageName = "denoising" if branches == 1 else "denoising, batched"
        return StageNeed(name=name, breakdown=breakdown, seconds=seconds, calls=rounds * len(tiles))

    def decoding(self, way: Way) -> StageNeed:
        """Latents to frames."""
        footprint = self._footprint(decoding_workload(self.config, self.size_hw), way.codec)
        chunk = min(way.decode_chunk, self.frames)
        calls = -(-max(self.frames - way.decode_overlap, 1) // max(chunk - way.decode_overlap, 1))
        one_s = self._seconds(footprint, way.codec, chunk)
        seconds = None if one_s is None else one_s * calls
        breakdown = footprint.at(chunk) + Breakdown(results_bytes=self._latents_bytes)
        return StageNeed(name="decoding", breakdown=breakdown, seconds=seconds, calls=calls)

    def encoding(self, way: Way) -> StageNeed:
        """The reference to latents."""
        footprint = self._footprint(encoding_workload(self.config, self.size_hw), way.codec)
        return self._once("encoding", footprint, way.codec)

    def embedding(self, way: Way) -> StageNeed:
        """The reference to its embedding."""
        return self._once("embedding", self._footprint(embedding_workload(self.config), way.encoder), way.encoder)

    def features_bytes(self, dtype: Dtype) -> int:
        """Pose features of all frames."""
        h, w = self._latent_hw
        return self.frames * self.config.pose_features * h * w * WEIGHT_BYTES[dtype]

    def _once(self, name: StageName, footprint: Footprint, dtype: Dtype) -> StageNeed:
        return StageNeed(name=name, breakdown=footprint.at(1), seconds=self._seconds(footprint, dtype, 1), calls=1)

    @property
    def _latent_hw(self) -> tuple[int, int]:
        return self.size_hw[0] // LATENT_STRIDE, self.size_hw[1] // LATENT_STRIDE

    @property
    def _latents_bytes(self) -> int:
        h, w = self._latent_hw
        return 4 * self.frames * self.config.vae.latent_channels * h * w

    def _beside_bytes(self, way: Way) -> int:
        """On the device beside the network's own call."""
        shared = self.device.kind == "cpu"
        here = way.features == "device" or (shared and way.features == "host")
        return LATENT_COPIES * self._latents_bytes + (self.features_bytes(way.dtype) if here else 0)

    def _held(self, breakdown: Breakdown, way: Way) -> Breakdown:
        """With weights as the measures hold them."""
        measures = way.measures
        width = FLOAT8_BYTES if measures.storage == "float8" else WEIGHT_BYTES[way.dtype]
        if measures.streamed:
            layer, _ = _denoiser_weights(self.config)
            return replace(breakdown, weights_bytes=LAYERS_HERE * layer * WEIGHT_BYTES[way.dtype])
        return replace(breakdown, weights_bytes=breakdown.weights_bytes * width // WEIGHT_BYTES[way.dtype])

    def _streamed_s(self, way: Way) -> float:
        """Of one call, where bringing the weights takes longer than computing hides; all of it, to be safe."""
        if not way.measures.streamed:
            return 0.0
        _, weights = _denoiser_weights(self.config)
        return weights * WEIGHT_BYTES[way.dtype] / link_bytes_s(self.device)

    def _seconds(self, footprint: Footprint, dtype: Dtype, frames: int) -> float | None:
        rate = items_per_s(footprint, Knobs(dtype=dtype, micro_batch=frames), self.device)
        return None if rate is None else frames / rate

    def _footprint(self, workload: Workload, dtype: Dtype) -> Footprint:
        key = workload.key, Knobs(dtype=dtype)
        if key not in self._footprints:
            self._footprints[key] = footprints_of(workload, self.device.kind)(key[1])
        return self._footprints[key]


@cache
def _denoiser_weights(config: MimicMotionConfig) -> tuple[int, int]:
    """Weights of the denoising network's largest layer, and all of them."""
    network = build_network("unet", config)
    return largest_layer_weights(network), sum(weight.numel() for weight in network.parameters())


def seconds_of(needs: Sequence[StageNeed]) -> float | None:
    """Of all stages together."""
    known = [need.seconds for need in needs]
    return None if any(value is None for value in known) else sum(value for value in known if value is not None)
