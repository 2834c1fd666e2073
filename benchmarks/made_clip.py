"""Latents of a clip as the project makes them of given pose maps: what the benchmarks of animation time and judge."""

# Shape suffixes: F frames, h w latents, D width of the embedding, 3 = RGB, 4 = latent channels.

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from vitruvian.animation.tiles import even_tiles
from vitruvian.generation.conditioning import time_ids
from vitruvian.generation.denoised import Clip, Interval, denoised
from vitruvian.generation.denoising import Conditions, first_latents, schedule_of
from vitruvian.generation.presets import FRAME_RATE_ID, MOTION
from vitruvian.generation.stages import Stages, stored_features
from vitruvian.generation.strategy import Pilot
from vitruvian.models.mimicmotion import build_scheduler


def made_latents(
    stages: Stages,
    map_of: Callable[[int], np.ndarray],
    frames: int,
    *,
    context_11D: Tensor,
    image_14hw: Tensor,
    noise_T4hw: Tensor,
    steps: int,
    scale: float,
    overlap: int,
    pilot: Pilot,
) -> Tensor:
    """Latents (F,4,h,w) of a clip whose frame 0 is the reference; float32 on the processor.

    Args:
        stages: of the networks.
        map_of: frame -> uint8 RGB (3,H,W).
        frames: with the reference.
        context_11D: the reference's embedding.
        image_14hw: its latents.
        noise_T4hw: of a tile.
        steps: of denoising.
        scale: of guidance.
        overlap: frames that neighbouring tiles share.
        pilot: chooses the strategy of guidance.
    """
    config = stages.found.spec.config
    scheduler = build_scheduler(config.scheduler)
    schedule = schedule_of(scheduler, steps)
    with stages.pose_network() as of_maps:
        pose_of = stored_features(of_maps, map_of, frames, device="cpu", on_device=False)
    with stages.denoiser(context_11D) as predict:
        clip = Clip(
            predict=predict,
            scheduler=scheduler,
            schedule=schedule,
            conditions=Conditions(
                context_11D=context_11D,
                image_14hw=image_14hw,
                time_ids_13=time_ids(FRAME_RATE_ID, MOTION, 0.0),
                pose_of=pose_of,
                guidance_F=torch.full((frames,), scale),
            ),
            tiles=even_tiles(frames, config.tile_frames, overlap),
            interval=Interval(),
            device="cpu",
        )
        noisy_F4hw = first_latents(noise_T4hw, frames, schedule.first_scale)
        return denoised(clip, noisy_F4hw, pilot, on_step=lambda *heard: None)
