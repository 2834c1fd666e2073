"""The image codec's training: frames to latents and back, with latents whose spread is even.

In: single frames. Out: one scalar; in the end, weights whose latents the scheduler's scale makes one wide. The decoder
has layers that look at neighbours in time: they begin by changing nothing, and stay so, for they cost half of the time.
The decoder's other layers at full size dominate.
"""

# Shape suffixes: B frames, H W frame, h w latents, 3 = RGB, 4 = latent channels.

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from vitruvian.models.mimicmotion import MimicMotionConfig, fresh_network
from vitruvian.training.animation.clips import Clips
from vitruvian.training.animation.recipe import CodecRecipe

MOMENTUM = 0.02
"""Of the running middle and spread of latents."""
_LEAST_SPREAD = 1e-4


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class CodecBatch:
    """Frames of a step."""

    image_BHW3: Tensor
    """uint8 RGB."""


class TrainableCodec(nn.Module):
    """The codec, with latents normalised between its halves and disturbed a little."""

    def __init__(self, codec: nn.Module, latents: int) -> None:
        super().__init__()
        self.codec = codec
        self.register_buffer("middle_4", torch.zeros(latents))
        self.register_buffer("spread_4", torch.ones(latents))

    def forward(self, frames_B3HW: Tensor, noise: float) -> Tensor:
        """Frames as they come back; -1 to 1 in and out."""
        codec: Any = self.codec
        z_B4hw = codec.encode(frames_B3HW).latent_dist.mode().float()
        middle_4, spread_4 = z_B4hw.mean(dim=(0, 2, 3)), z_B4hw.std(dim=(0, 2, 3)).clamp_min(_LEAST_SPREAD)
        self._remember(middle_4.detach(), spread_4.detach())
        even_B4hw = (z_B4hw - middle_4[:, None, None]) / spread_4[:, None, None]
        back: Tensor = codec.decode(even_B4hw + noise * torch.randn_like(even_B4hw), num_frames=1).sample
        return back

    @torch.no_grad()
    def _remember(self, middle_4: Tensor, spread_4: Tensor) -> None:
        self.get_buffer("middle_4").lerp_(middle_4, MOMENTUM)
        self.get_buffer("spread_4").lerp_(spread_4, MOMENTUM)


def trainable_codec(config: MimicMotionConfig) -> TrainableCodec:
    """A codec that nobody has trained."""
    codec = fresh_network("vae", config)
    _without_time(codec)
    return TrainableCodec(codec, config.vae.latent_channels)


def codec_batch(clips: Clips, recipe: CodecRecipe, number: int) -> CodecBatch:
    """The frames of a step, half of them mirrored; the same for the same number."""
    rng = np.random.default_rng([recipe.seed, number])
    images = []
    for _ in range(recipe.batch):
        image_HW3 = np.asarray(clips.image_NFHW3[rng.integers(len(clips)), rng.integers(recipe.frames)])
        images.append(image_HW3[:, ::-1] if rng.random() < 0.5 else image_HW3)
    return CodecBatch(image_BHW3=torch.from_numpy(np.ascontiguousarray(np.stack(images))))


@torch.no_grad()
def _without_time(codec: nn.Module) -> None:
    """Let layers that look along time pass on what they get, and leave them out of the training."""
    for module in codec.modules():
        block = getattr(module, "temporal_res_block", None)
        if block is not None:
            for weight in block.conv2.parameters():
                weight.zero_()
            block.forward = lambda hidden, *_: hidden
    last = codec.get_submodule("decoder.time_conv_out")
    assert isinstance(last, nn.Conv3d)
    nn.init.dirac_(last.weight)
    assert last.bias is not None
    last.bias.zero_()


def codec_loss(
    network: nn.Module, batch: CodecBatch, recipe: CodecRecipe, *, autocast_bf16: bool
) -> tuple[Tensor, dict[str, float]]:
    """Squared differences of pixels, and of their differences to their neighbours."""
    del (
        autocast_bf16
    )  # torch 2.13 ended with a segmentation fault in convolutions' gradients in bfloat16 on a processor
    frames_B3HW = batch.image_BHW3.permute(0, 3, 1, 2).float() / 127.5 - 1
    wrong_B3HW = network(frames_B3HW, recipe.noise) - frames_B3HW
    pixels = wrong_B3HW.square().mean()
    edges = wrong_B3HW.diff(dim=-1).square().mean() + wrong_B3HW.diff(dim=-2).square().mean()
    psnr_db = 10 * torch.log10(4 / pixels.detach())
    return pixels + recipe.gradient_weight * edges, {"psnr_db": psnr_db.item()}


def folded_codec(average: Mapping[str, Tensor], config: MimicMotionConfig) -> dict[str, Tensor]:
    """Weights of the codec alone, with the normalisation in its last and first convolution.

    Its latents times the configuration's scale are one wide; its decoder takes them as they are.
    """
    scale = config.vae.scaling_factor
    tensors = {key.removeprefix("codec."): value.clone() for key, value in average.items() if key.startswith("codec.")}
    middle_4, spread_4 = average["middle_4"], average["spread_4"] * scale
    means = slice(0, len(middle_4))  # the other half of its outputs is a variance that nobody uses
    tensors["quant_conv.weight"][means] /= spread_4[:, None, None, None]
    tensors["quant_conv.bias"][means] = (tensors["quant_conv.bias"][means] - middle_4) / spread_4
    tensors["decoder.conv_in.weight"] *= scale
    return tensors
