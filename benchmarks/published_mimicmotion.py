"""The published loop of MimicMotion, re-implemented from its description, over the library's networks.

What the original does and we do not: pose features of every tile at every step, both branches of guidance one after the
other whatever fits, attention to the one token of context at every call, a last tile that repeats its neighbour, all
maps and all frames in memory. Same weights and noise, same numbers where the tiles are the same.
"""

# Shape suffixes: F frames, T those of a tile, H W frame, h w latents, 3 = RGB, 4 = latent channels.

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from vitruvian.animation.tiles import published_tiles, weights_of
from vitruvian.generation.conditioning import time_ids
from vitruvian.generation.decoding import LATENT_SCALE
from vitruvian.generation.denoising import placed, schedule_of
from vitruvian.generation.presets import FRAME_RATE_ID, MOTION
from vitruvian.models.mimicmotion import PosedUnet

DECODE_CHUNK = 8


@torch.no_grad()
def published_frames(
    unet: nn.Module,
    pose_net: nn.Module,
    codec: Any,
    scheduler: Any,
    *,
    maps_F3HW: np.ndarray,
    context_11D: Tensor,
    image_14hw: Tensor,
    latents_F4hw: Tensor,
    tile: int,
    overlap: int,
    steps: int,
    scale: float,
) -> np.ndarray:
    """uint8 frames (F,3,H,W) of a clip.

    Args:
        unet: the library's denoising network.
        pose_net: pose maps to features.
        codec: the library's image codec.
        scheduler: the library's.
        maps_F3HW: uint8 pose maps of all frames.
        context_11D: embedding of the reference.
        image_14hw: latents of the reference, not scaled.
        latents_F4hw: noise before it is multiplied by the schedule's first scale.
        tile: frames of a tile.
        overlap: the published number.
        steps: denoising steps.
        scale: of guidance.
    """
    frames = len(maps_F3HW)
    posed = PosedUnet(unet)
    maps = torch.from_numpy(maps_F3HW).float() / 127.5 - 1
    ids = time_ids(FRAME_RATE_ID, MOTION, 0.0)
    schedule = schedule_of(scheduler, steps)
    latents = latents_F4hw * schedule.first_scale
    image_F4hw = image_14hw.expand(frames, -1, -1, -1)
    for step in schedule.steps:
        both_2F8hw = torch.stack(
            [torch.cat([latents, torch.zeros_like(image_F4hw)], dim=1), torch.cat([latents, image_F4hw], dim=1)]
        )
        both_2F8hw[:, :, :4] = placed(scheduler, step).scale_model_input(both_2F8hw[:, :, :4], step.timestep)
        total_2F4hw, weight_F = torch.zeros(2, *latents.shape), torch.zeros(frames)
        for one in published_tiles(frames, tile, overlap):
            pose_1TChw = pose_net(maps[one])[None]
            weight_T = torch.from_numpy(weights_of(len(one)))
            for branch, (context, pose) in enumerate(
                ((torch.zeros_like(context_11D), None), (context_11D, pose_1TChw))
            ):
                v_T4hw = posed(both_2F8hw[branch : branch + 1, one], step.timestep, context, ids, pose)[0]
                total_2F4hw[branch, one] += v_T4hw * weight_T[:, None, None, None]
            weight_F[one] += weight_T
        v_2F4hw = total_2F4hw / weight_F[:, None, None, None]
        v_F4hw = v_2F4hw[0] + scale * (v_2F4hw[1] - v_2F4hw[0])
        latents = scheduler.step(v_F4hw, step.timestep, latents, return_dict=False)[0]
    return _decoded(codec, latents)


def _decoded(codec: Any, latents_F4hw: Tensor) -> np.ndarray:
    parts: Sequence[Tensor] = [
        codec.decode(chunk / LATENT_SCALE, num_frames=len(chunk)).sample for chunk in latents_F4hw.split(DECODE_CHUNK)
    ]
    frames_F3HW = (torch.cat(list(parts)) / 2 + 0.5).clamp(0, 1)
    return (frames_F3HW * 255).to(torch.uint8).numpy()
