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

from vitruvian.fit.precision import Precision, apply_precision
from vitruvian.generation import conditioning, decoding
from vitruvian.generation.weights import FoundAnimation
from vitruvian.hardware import free_caches
from vitruvian.models.mimicmotion import Part, PosedUnet

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

    @torch.no_grad()
    def embedding(self, image_HW3: np.ndarray) -> Tensor:
        """float32 (1,1,D) on the device: the reference, uint8 RGB at the video's size, as context."""
        picture_13HW = torch.from_numpy(image_HW3).to(self.device).permute(2, 0, 1)[None].float() / 255
        with self._network("image_encoder", Precision()) as encoder:
            found: Any = encoder(conditioning.clip_input(picture_13HW))
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

    @torch.no_grad()
    def pose_features(self, map_of: Callable[[int], np.ndarray], frames: int, strength: float = 1.0) -> Tensor:
        """(F,C,h,w) in host memory, in the compute type: what PoseNet makes of every frame's map, once.

        Args:
            map_of: frame -> uint8 RGB (3,H,W).
            frames: how many.
            strength: what the features are multiplied with.
        """
        parts: list[Tensor] = []
        with self._network("pose_net", Precision()) as network:
            for start in range(0, frames, POSE_CHUNK):
                maps = np.stack([map_of(frame) for frame in range(start, min(start + POSE_CHUNK, frames))])
                maps_N3HW = torch.from_numpy(maps).to(self.device).float() / 127.5 - 1
                parts.append((strength * network(maps_N3HW)).to(self.precision.torch_dtype).cpu())
        return torch.cat(parts)

    @contextmanager
    def denoiser(self) -> Iterator[PosedUnet]:
        """The denoising network on the device, as long as it is needed."""
        with self._network("unet", self.precision) as network:
            yield PosedUnet(network)

    def frames(self, latents_F4hw: Tensor, chunk: int, overlap: int) -> Iterator[np.ndarray]:
        """uint8 RGB (N,H,W,3), chunk by chunk, rounded to the nearest level."""
        with self._network("vae", self.codec) as codec:
            coded: Any = codec

            def decode(z_N4hw: Tensor) -> Tensor:
                decoded: Tensor = coded.decode(z_N4hw.to(self.codec.torch_dtype), num_frames=len(z_N4hw)).sample
                return decoded

            for frames_N3HW in decoding.decoded(decode, latents_F4hw, chunk, overlap):
                yield (frames_N3HW * 255).round().to(torch.uint8).permute(0, 2, 3, 1).cpu().numpy()

    @contextmanager
    def _network(self, part: Part, precision: Precision) -> Iterator[nn.Module]:
        loaded = self.found.build(part, device=self.device, dtype_of=precision.dtype_of)
        network = apply_precision(loaded.network, precision)
        del loaded
        try:
            yield network
        finally:
            del network
            free_caches(self.device)


def features_of(features_FChw: Tensor, device: str) -> Callable[[Sequence[int]], Tensor]:
    """Frame numbers -> their pose features on the device."""
    return lambda frames: features_FChw[list(frames)].to(device)
