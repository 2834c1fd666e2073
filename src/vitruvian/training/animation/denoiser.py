"""The training of what denoises: tiles of a clip, each led by a reference of the same person in another pose.

In: tiles with latents, pose maps and the reference's picture. Out: one scalar. Noise levels are drawn as a run visits
them, so that the first steps, in which a person is put into its pose, get their share. The denoising network dominates.
"""

# Shape suffixes: B tiles, F frames, H W frame, h w latents, K = 17 keypoints, W = 133 points, 3 = RGB, 4 = latents.

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from vitruvian.animation.drive_poses import drive_poses
from vitruvian.animation.pose_maps import draw_pose_map
from vitruvian.generation.conditioning import clip_input, time_ids
from vitruvian.generation.decoding import LATENT_SCALE
from vitruvian.generation.presets import FRAME_RATE_ID, MOTION
from vitruvian.models.mimicmotion import MimicMotionConfig, PosedUnet, SchedulerConfig, fresh_network
from vitruvian.models.mimicmotion.pose_net import LAYERS
from vitruvian.training.animation.latents import CodedClips
from vitruvian.training.animation.recipe import DenoiserRecipe

KARRAS_POWER = 7.0
"""Of the scheduler's noise levels (Karras et al. 2022)."""
WHOLE_BODY = 133
SURE, HALF_SURE = (0.75, 1.0), (0.35, 0.85)
"""Scores of points that are seen, and of covered ones."""


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class DenoiserBatch:
    """Tiles of a step; frame 0 of each is its reference."""

    reference_B3HW: Tensor
    """uint8 RGB."""
    latents_BF4hw: Tensor
    """float32, one wide."""
    map_BF3HW: Tensor
    """uint8 RGB."""
    noise_BF4hw: Tensor
    sigma_B: Tensor
    kept_B: Tensor
    """0 where conditions are dropped."""


class TrainableDenoiser(nn.Module):
    """The networks that learn together."""

    def __init__(self, config: MimicMotionConfig) -> None:
        super().__init__()
        self.unet = PosedUnet(fresh_network("unet", config))
        self.pose_net = fresh_network("pose_net", config)
        self.image_encoder = fresh_network("image_encoder", config)
        _begin_pose_net(self.pose_net)

    def forward(self, batch: DenoiserBatch, sample_BF4hw: Tensor) -> Tensor:
        """v (B,F,4,h,w) of samples as the network takes them."""
        kept_B, frames = batch.kept_B, sample_BF4hw.shape[1]
        encoder: Any = self.image_encoder
        picture_B3HW = batch.reference_B3HW.float() / 255
        context_BD = torch.cat([encoder(clip_input(one[None])).image_embeds for one in picture_B3HW])
        context_B1D = (context_BD * kept_B[:, None])[:, None]
        pose_BFChw = self.pose_net(batch.map_BF3HW.float() / 127.5 - 1) * kept_B[:, None, None, None, None]
        image_B4hw = batch.latents_BF4hw[:, 0] / LATENT_SCALE * kept_B[:, None, None, None]
        image_BF4hw = image_B4hw[:, None].expand(-1, frames, -1, -1, -1)
        ids_B3 = time_ids(FRAME_RATE_ID, MOTION, 0.0, device=kept_B.device).expand(len(kept_B), -1)
        timestep_B = 0.25 * batch.sigma_B.log()
        v: Tensor = self.unet(
            torch.cat([sample_BF4hw, image_BF4hw], dim=2), timestep_B, context_B1D, ids_B3, pose_BFChw
        )
        return v


def trainable_denoiser(config: MimicMotionConfig) -> TrainableDenoiser:
    """Networks that nobody has trained."""
    return TrainableDenoiser(config)


def denoiser_batch(coded: CodedClips, recipe: DenoiserRecipe, config: MimicMotionConfig, number: int) -> DenoiserBatch:
    """The tiles of a step; the same for the same number."""
    rng = np.random.default_rng([recipe.seed, 1, number])
    size_hw, tile = config.input_hw, config.tile_frames
    references, latents, maps = [], [], []
    for _ in range(recipe.batch):
        clip = int(rng.integers(len(coded)))
        start = int(rng.integers(recipe.frames - (tile - 1) + 1))
        frames = [int(rng.integers(recipe.frames)), *range(start, start + tile - 1)]
        references.append(np.asarray(coded.clips.image_NFHW3[clip, frames[0]]).transpose(2, 0, 1))
        latents.append(np.asarray(coded.latents_NF4hw[clip][frames], np.float32))
        keypoints_NFK3 = coded.clips.keypoints_NFK3
        seen = [found_points(keypoints_NFK3[clip, frame], size_hw, recipe, rng) for frame in frames]
        maps.append(np.stack([_map_of(points_W2, scores_W, config) for points_W2, scores_W in seen]))
    latents_BF4hw = torch.from_numpy(np.stack(latents)) * LATENT_SCALE
    sigmas_B = _levels(config.scheduler, rng.random(recipe.batch))
    return DenoiserBatch(
        reference_B3HW=torch.from_numpy(np.stack(references)),
        latents_BF4hw=latents_BF4hw,
        map_BF3HW=torch.from_numpy(np.stack(maps)),
        noise_BF4hw=torch.from_numpy(rng.standard_normal(latents_BF4hw.shape, dtype=np.float32)),
        sigma_B=torch.from_numpy(sigmas_B.astype(np.float32)),
        kept_B=torch.from_numpy((rng.random(recipe.batch) >= recipe.drop).astype(np.float32)),
    )


def denoiser_loss(
    network: nn.Module, batch: DenoiserBatch, recipe: DenoiserRecipe, *, autocast_bf16: bool
) -> tuple[Tensor, dict[str, float]]:
    """Squared differences of v (Salimans and Ho 2022)."""
    sigma = batch.sigma_B[:, None, None, None, None]
    noisy_BF4hw = batch.latents_BF4hw + sigma * batch.noise_BF4hw
    wide = (sigma.square() + 1).sqrt()
    wanted_BF4hw = (batch.noise_BF4hw - sigma * batch.latents_BF4hw) / wide
    del autocast_bf16  # see the codec's
    v_BF4hw = network(batch, noisy_BF4hw / wide)
    wrong_B = (v_BF4hw - wanted_BF4hw)[:, 1:].square().mean(dim=(1, 2, 3, 4))
    high_B, kept_B = batch.sigma_B > 20, batch.kept_B > 0
    told = {
        name: wrong_B[chosen_B].mean().item()
        for name, chosen_B in (("v_high", high_B & kept_B), ("v_low", ~high_B & kept_B), ("v_bare", ~kept_B))
        if chosen_B.any()
    }
    return wrong_B.mean(), told


def found_points(
    keypoints_K3: np.ndarray, size_hw: tuple[int, int], recipe: DenoiserRecipe, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Whole-body points (133,2) in pixels and scores (133), as a pose network would have found them."""
    points_W2, scores_W = np.zeros((WHOLE_BODY, 2)), np.zeros(WHOLE_BODY)
    known = len(keypoints_K3)
    points_W2[:known] = keypoints_K3[:, :2] + rng.normal(0, recipe.jitter * size_hw[0], (known, 2))
    seen_K, covered_K = keypoints_K3[:, 2] == 2, keypoints_K3[:, 2] == 1
    scores_W[:known] = np.where(
        seen_K, rng.uniform(*SURE, known), np.where(covered_K, rng.uniform(*HALF_SURE, known), 0)
    )
    scores_W[:known] *= rng.random(known) >= recipe.missed
    return points_W2, scores_W


def _map_of(points_W2: np.ndarray, scores_W: np.ndarray, config: MimicMotionConfig) -> np.ndarray:
    poses = drive_poses(points_W2[None], scores_W[None], config.input_hw)
    return draw_pose_map(poses, config.input_hw, canvas_side=config.pose_canvas)


def _levels(scheduler: SchedulerConfig, places_B: np.ndarray) -> np.ndarray:
    """Noise levels at shares of a run, 0 its beginning."""
    first, last = (level ** (1 / KARRAS_POWER) for level in (scheduler.sigma_max, scheduler.sigma_min))
    return np.asarray((first + places_B * (last - first)) ** KARRAS_POWER)


@torch.no_grad()
def _begin_pose_net(network: nn.Module) -> None:
    """First values as published: as wide as their inputs ask for, nothing out."""
    layers = [module for module in network.modules() if isinstance(module, nn.Conv2d)]
    for layer, (before, _, kernel, _) in zip(layers, LAYERS, strict=False):
        layer.weight.normal_(0, math.sqrt(2 / (kernel * kernel * before)))
    for layer in layers:
        assert layer.bias is not None
        layer.bias.zero_()
    layers[-1].weight.zero_()
