"""The stages of a clip, each with the one network that it needs: built when it begins, let go when it ends.

Reference picture -> embedding and latents; pose maps -> features, once a frame; noise -> latents; latents -> frames.
The largest network and the largest activations are never in memory at once with those of another stage.
"""

# Shape suffixes: F frames, N frames of a chunk, C features, D embedding width, H W frame, h w latents, 3 = RGB.

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from vitruvian.errors import CheckFailedError
from vitruvian.fit.precision import Precision, apply_precision
from vitruvian.generation import conditioning, decoding
from vitruvian.generation.denoising import Predict
from vitruvian.generation.measures import Measures, apply_measures, attention_kernel
from vitruvian.generation.weights import FoundAnimation
from vitruvian.hardware import free_caches
from vitruvian.models.mimicmotion import Constants, Part, PosedUnet, constant_cross_attention

ISLANDS = ("time_embedding", "add_embedding", "time_proj", "add_time_proj")
"""Of the denoising network: what becomes of noise levels, which smaller types would round."""
POSE_CHUNK = 8
"""Frames whose maps go through PoseNet at once."""


@dataclass(frozen=True, kw_only=True)
class Stages:
    """Files of the networks, and how they are run."""

    found: FoundAnimation
    device: str
    precision: Precision = field(default_factory=Precision)
    """Of the denoising network and PoseNet."""
    codec: Precision = field(default_factory=Precision)
    """Of the image codec, which its makers advise to run in float32."""
    encoder: Precision = field(default_factory=Precision)
    """Of the image encoder."""
    measures: Measures = field(default_factory=Measures)
    """Of the denoising network."""

    @torch.no_grad()
    def embedding(self, image_HW3: np.ndarray) -> Tensor:
        """float32 (1,1,D) on the device: the reference, uint8 RGB at the video's size, as context."""
        picture_13HW = torch.from_numpy(image_HW3).to(self.device).permute(2, 0, 1)[None].float() / 255
        with self._network("image_encoder", self.encoder) as encoder:
            found: Any = encoder(conditioning.clip_input(picture_13HW).to(self.encoder.torch_dtype))
            return found.image_embeds[:, None].float()

    @torch.no_grad()
    def image_latents(self, image_HW3: np.ndarray, noise_13HW: Tensor, strength: float) -> Tensor:
        """float32 (1,4,h,w) on the device: the reference's latents, not scaled."""
        picture_13HW = conditioning.noised_picture(
            torch.from_numpy(image_HW3).to(self.device), noise_13HW.to(self.device), strength
        )
        with self._network("vae", self.codec) as codec:
            coded: Any = codec
            inputs = picture_13HW.to(self.codec.torch_dtype)
            return conditioning.image_latents(lambda x: coded.encode(x).latent_dist.mode(), inputs).float()

    @contextmanager
    def pose_network(self, strength: float = 1.0) -> Iterator[Callable[[Sequence[np.ndarray]], Tensor]]:
        """What makes features (N,C,h,w), in the compute type on the device, of maps, uint8 RGB (3,H,W).

        Args:
            strength: what the features are multiplied with.
        """
        with self._network("pose_net", Precision()) as network:

            @torch.no_grad()
            def features_of_maps(maps: Sequence[np.ndarray]) -> Tensor:
                parts = []
                for start in range(0, len(maps), POSE_CHUNK):
                    maps_N3HW = torch.from_numpy(np.stack(maps[start : start + POSE_CHUNK])).to(self.device)
                    features_NChw = strength * network(maps_N3HW.float() / 127.5 - 1)
                    parts.append(features_NChw.to(self.precision.torch_dtype))
                return torch.cat(parts)

            yield features_of_maps

    @contextmanager
    def denoiser(self, context_11D: Tensor) -> Iterator[Predict]:
        """The denoising network for one clip, as long as it is needed.

        Its attention to the context is computed once: `context_11D` is all that it is ever shown, beside zeros.
        """
        streamed = self.measures.streamed
        with self._network("unet", self.precision, device="cpu" if streamed else self.device) as network:
            apply_measures(
                network, self.measures, device=self.device, dtype=self.precision.dtype, islands=self.precision.islands
            )
            both_21D = torch.cat([torch.zeros_like(context_11D), context_11D])
            kernel = attention_kernel(self.measures.attention)
            with kernel, constant_cross_attention(network, both_21D) as constants:
                yield _OfBranches(PosedUnet(network), constants)

    def frames(self, latents_F4hw: Tensor, chunk: int, overlap: int) -> Iterator[np.ndarray]:
        """uint8 RGB (N,H,W,3), chunk by chunk, rounded to the nearest level."""
        with self._network("vae", self.codec) as codec:
            coded: Any = codec

            def decode(z_N4hw: Tensor) -> Tensor:
                decoded: Tensor = coded.decode(z_N4hw.to(self.codec.torch_dtype), num_frames=len(z_N4hw)).sample
                return decoded

            for frames_N3HW in decoding.decoded(decode, latents_F4hw, chunk, overlap):
                if not bool(frames_N3HW.isfinite().all()):
                    raise CheckFailedError(
                        f"got frames with values that are no numbers from the image codec in {self.codec}; expected "
                        "numbers; it is run in float32 instead, where that is another type"
                    )
                yield (frames_N3HW * 255).round().to(torch.uint8).permute(0, 2, 3, 1).cpu().numpy()

    @contextmanager
    def _network(self, part: Part, precision: Precision, device: str = "") -> Iterator[nn.Module]:
        loaded = self.found.build(part, device=device or self.device, dtype_of=precision.dtype_of)
        network = apply_precision(loaded.network, precision)
        del loaded
        try:
            yield network
        finally:
            _empty(network)
            free_caches(self.device, cycles=False)


def _empty(network: nn.Module) -> None:
    """Let the weights go whoever still holds the module: the caller's variables, or hooks in a cycle with it."""
    for value in (*network.parameters(), *network.buffers()):
        value.data = value.data.new_empty(0)


@dataclass(frozen=True, kw_only=True, slots=True)
class StoredFeatures:
    """Pose features of all frames, made once."""

    features_FChw: Tensor
    device: str

    def __call__(self, frames: Sequence[int]) -> Tensor:
        """Those of some frames, on the device."""
        return self.features_FChw[list(frames)].to(self.device)


def stored_features(
    of_maps: Callable[[Sequence[np.ndarray]], Tensor],
    map_of: Callable[[int], np.ndarray],
    frames: int,
    *,
    device: str,
    on_device: bool,
) -> StoredFeatures:
    """Features of all frames, a few maps at a time.

    Args:
        of_maps: what `Stages.pose_network` gives.
        map_of: frame -> uint8 RGB (3,H,W).
        frames: how many.
        device: where they are used.
        on_device: whether they lie there; else in host memory.
    """
    parts = []
    for start in range(0, frames, POSE_CHUNK):
        found_NChw = of_maps([map_of(frame) for frame in range(start, min(start + POSE_CHUNK, frames))])
        parts.append(found_NChw if on_device else found_NChw.cpu())
    return StoredFeatures(features_FChw=torch.cat(parts), device=device)


class _OfBranches:
    """The denoising network, told which branches of guidance a call has: those without conditions have no pose."""

    def __init__(self, unet: PosedUnet, constants: Constants) -> None:
        self._unet, self._constants = unet, constants

    def __call__(
        self, sample_BT8hw: Tensor, timestep: Tensor, context_B1D: Tensor, time_ids_B3: Tensor, pose: Tensor | None
    ) -> Tensor:
        both = len(sample_BT8hw) == 2
        self._constants.rows = slice(None) if both else slice(0, 1) if pose is None else slice(1, 2)
        v: Tensor = self._unet(sample_BT8hw, timestep, context_B1D, time_ids_B3, pose)
        return v
