"""The image codec's training: frames to latents and back; in the end latents as wide as the scheduler wants them.

In: single frames. Out: one scalar, then weights. The codec begins as a thumbnail (`thumbnail`), which has all colours
from the first step on. The decoder has layers that look at neighbours in time: they begin by changing nothing, and stay
so, for they cost half of the time. The decoder's other layers at full size dominate.
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
from vitruvian.training.animation.thumbnail import begin_as_thumbnail

MOMENTUM = 0.02
"""Of the running middle and spread of latents."""
_LEAST_SPREAD = 1e-4


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class CodecBatch:
    """Frames of a step."""

    image_BHW3: Tensor
    """uint8 RGB."""


class TrainableCodec(nn.Module):
    """The codec, with latents disturbed between its halves by a share of their spread."""

    def __init__(self, codec: nn.Module, latents: int) -> None:
        super().__init__()
        self.codec = codec
        self.register_buffer("middle_4", torch.zeros(latents))
        self.register_buffer("spread_4", torch.ones(latents))

    def forward(self, frames_B3HW: Tensor, noise: float) -> Tensor:
        """Frames as they come back; -1 to 1 in and out."""
        codec: Any = self.codec
        z_B4hw = codec.encode(frames_B3HW).latent_dist.mode()
        self._remember(z_B4hw.detach())
        disturbance_B4hw = noise * self.get_buffer("spread_4")[:, None, None] * torch.randn_like(z_B4hw)
        back: Tensor = codec.decode(z_B4hw + disturbance_B4hw, num_frames=1).sample
        return back

    @torch.no_grad()
    def _remember(self, z_B4hw: Tensor) -> None:
        """Running middle and spread: of a batch alone they would tell its colours, not those of all pictures."""
        middle_4, spread_4 = self.get_buffer("middle_4"), self.get_buffer("spread_4")
        middle_4.lerp_(z_B4hw.mean(dim=(0, 2, 3)), MOMENTUM)
        away_4 = (z_B4hw - middle_4[:, None, None]).square().mean(dim=(0, 2, 3)).sqrt()
        spread_4.lerp_(away_4.clamp_min(_LEAST_SPREAD), MOMENTUM)


def trainable_codec(config: MimicMotionConfig) -> TrainableCodec:
    """A codec that nobody has trained."""
    codec = fresh_network("vae", config)
    _without_time(codec)
    begin_as_thumbnail(codec)
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
    """Weights of the codec alone, with the latents' spread in its last and first convolution.

    Its latents times the configuration's scale are one wide; its decoder takes them as they are. Their middle stays:
    at the border a convolution sees zeros, which a shift would turn into something else.
    """
    wanted_4 = average["spread_4"] * config.vae.scaling_factor
    tensors = {key.removeprefix("codec."): value.clone() for key, value in average.items() if key.startswith("codec.")}
    means = slice(0, len(wanted_4))  # the other half of its outputs is a variance that nobody uses
    tensors["quant_conv.weight"][means] /= wanted_4[:, None, None, None]
    tensors["quant_conv.bias"][means] /= wanted_4
    tensors["decoder.conv_in.weight"] *= wanted_4[None, :, None, None]
    return tensors
