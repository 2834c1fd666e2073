"""What the networks of a clip are asked when their compute type is chosen: small calls, the same in every type.

In: files of the networks, a type, a device. Out: the answers in float32 on the host, and seconds. One network is in
memory at a time. Seconds a call for the published networks.
"""

# Shape suffixes: F frames, D context width, C features, h w latents.

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from vitruvian.fit.precision import Precision, apply_precision
from vitruvian.generation.conditioning import time_ids
from vitruvian.generation.presets import FRAME_RATE_ID, MOTION
from vitruvian.generation.stages import ISLANDS
from vitruvian.generation.weights import FoundAnimation
from vitruvian.generation.workloads import CodecDecoder
from vitruvian.hardware import Dtype, free_caches
from vitruvian.models.mimicmotion import MimicMotionConfig, Part, PosedUnet, SchedulerConfig, build_network
from vitruvian.models.mimicmotion.config import LATENT_STRIDE

LEVELS = (700.0, 20.0, 1.0, 0.05)
"""Noise levels that are looked at, from the beginning of a run to its end, as far as a model's own reach."""
FRAMES, SIZE_HW = 2, (320, 192)
"""Of the calls: spatial layers see every frame alone, and what a type rounds does not depend on how many there are."""

Opened = Callable[..., Tensor]


@dataclass(frozen=True, kw_only=True, slots=True)
class Subject:
    """A network whose compute type is chosen."""

    knob: Literal["dtype", "codec"]
    """What its type is called among the knobs of a clip."""
    part: Part
    islands: tuple[str, ...]
    opened: Callable[[nn.Module, torch.dtype], Opened]
    """Network and compute type -> what takes the arguments of a call."""
    arguments: Callable[[MimicMotionConfig], Iterator[Sequence[Tensor]]]
    """Of every call, float32 on the host: noise as wide as what a clip brings."""
    apart: Callable[[Tensor, Tensor], dict[str, float]]
    """An answer and float32's -> how far apart they are, in units of `fit.quality`."""

    def precision(self, dtype: Dtype) -> Precision:
        """The network's in this type."""
        return Precision() if dtype == "float32" else Precision(dtype=dtype, islands=self.islands)

    def weights(self, config: MimicMotionConfig) -> int:
        """How many it has."""
        return sum(weight.numel() for weight in build_network(self.part, config).parameters())


@torch.no_grad()
def answers(found: FoundAnimation, subject: Subject, dtype: Dtype, device: str) -> tuple[list[Tensor], float]:
    """What the network answers, float32 on the host, and the seconds of the fastest call."""
    precision = subject.precision(dtype)
    loaded = found.build(subject.part, device=device, dtype_of=precision.dtype_of)
    ask = subject.opened(apply_precision(loaded.network, precision), precision.torch_dtype)
    del loaded
    given, seconds = [], []
    for arguments in subject.arguments(found.spec.config):
        placed = [value.to(device) for value in arguments]
        began = time.perf_counter()
        given.append(ask(*placed).float().cpu())
        seconds.append(time.perf_counter() - began)
    del ask
    free_caches(device)
    return given, min(seconds)


def levels_of(scheduler: SchedulerConfig) -> list[float]:
    """Noise levels to look at, the largest first."""
    return sorted({min(max(level, scheduler.sigma_min), scheduler.sigma_max) for level in LEVELS}, reverse=True)


def _denoising_arguments(config: MimicMotionConfig) -> Iterator[Sequence[Tensor]]:
    h, w = (side // LATENT_STRIDE for side in SIZE_HW)
    channels = config.vae.latent_channels
    for level in levels_of(config.scheduler):
        noise = _noise(round(level * 100))
        wide = (level * level + 1) ** 0.5
        noisy = (noise(1, FRAMES, channels, h, w) + level * noise(1, FRAMES, channels, h, w)) / wide
        image = noise(1, 1, channels, h, w).expand(-1, FRAMES, -1, -1, -1) / config.vae.scaling_factor
        yield (
            torch.cat([noisy, image], dim=2),
            0.25 * torch.tensor(level).log(),
            noise(1, 1, config.unet.cross_attention_dim),
            time_ids(FRAME_RATE_ID, MOTION, 0.0),
            0.1 * noise(1, FRAMES, config.pose_features, h, w),
        )


def _decoding_arguments(config: MimicMotionConfig) -> Iterator[Sequence[Tensor]]:
    h, w = (side // LATENT_STRIDE for side in SIZE_HW)
    yield (_noise(0)(FRAMES, config.vae.latent_channels, h, w) / config.vae.scaling_factor,)


def _decoder(codec: nn.Module, dtype: torch.dtype) -> Opened:
    decoder = CodecDecoder(codec)
    return lambda z_F4hw: decoder(z_F4hw.to(dtype)).clamp(-1, 1)


def _relative_l2(found: Tensor, true: Tensor) -> dict[str, float]:
    return {"relative_l2": float((found - true).norm() / true.norm())}


def _levels_mean(found: Tensor, true: Tensor) -> dict[str, float]:
    """Of frames, -1 to 1."""
    return {"levels_mean": float((found - true).abs().mean()) * 255 / 2}


def _noise(seed: int) -> Callable[..., Tensor]:
    """The same for the same seed, on every device."""
    generator = torch.Generator().manual_seed(seed)
    return lambda *shape: torch.randn(shape, generator=generator)


DENOISER = Subject(
    knob="dtype",
    part="unet",
    islands=ISLANDS,
    opened=lambda network, dtype: PosedUnet(network),
    arguments=_denoising_arguments,
    apart=_relative_l2,
)
CODEC = Subject(
    knob="codec", part="vae", islands=(), opened=_decoder, arguments=_decoding_arguments, apart=_levels_mean
)
"""What it decodes is looked at: that is where a clip's time goes."""
