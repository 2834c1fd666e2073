"""Denoising a clip in tiles with guidance: one step at a time, so that everything may change between steps.

Latents of all frames in, latents of all frames out. Each step, every tile goes through the network without and with its
conditions, predictions of overlapping tiles are averaged, guidance pushes away from the one without, and the scheduler
takes one step on the whole clip. The network dominates time and memory; latents are small.

The scheduler is the library's, handed in. It keeps a place in its list of noise levels, which each of its steps moves
on; so it is given the two levels of one step at a time, and a step may be repeated, or taken up at any place.
"""

# Shape suffixes: B branches (without, with), F frames, T those of a tile, D context width, C features, h w latents.

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Literal, Protocol

import torch
from torch import Tensor

from vitruvian.animation.tiles import weights_of

Strategy = Literal["sequential", "batched"]
"""Both branches one after the other, or in one call: the same numbers, twice the activations."""


class Predict(Protocol):
    """The denoising network: (sample, timestep, context, time ids, pose features or None) -> v."""

    def __call__(
        self, sample_BT8hw: Tensor, timestep: Tensor, context_B1D: Tensor, time_ids_B3: Tensor, pose: Tensor | None
    ) -> Tensor: ...


@dataclass(frozen=True, kw_only=True)
class Conditions:
    """What a clip is generated from."""

    context_11D: Tensor
    """Embedding of the reference; the branch without has zeros."""
    image_14hw: Tensor
    """Latents of the reference, not scaled; the branch without has zeros."""
    time_ids_13: Tensor
    pose_of: Callable[[Sequence[int]], Tensor]
    """Frame numbers -> pose features (T,C,h,w)."""
    guidance_F: Tensor
    """Scale for each frame; 1 everywhere: the branch without is never run."""


class Scheduler(Protocol):
    """What is used of the library's; `models.mimicmotion.build_scheduler` makes one."""

    sigmas: Tensor
    init_noise_sigma: Any

    def set_timesteps(self, num_inference_steps: Any = None, *, sigmas: Any = None) -> None: ...
    def set_begin_index(self, begin_index: int) -> None: ...
    def scale_model_input(self, sample: Tensor, timestep: Tensor) -> Tensor: ...
    def step(self, model_output: Tensor, timestep: Tensor, sample: Tensor, *, return_dict: bool) -> Any: ...


@dataclass(frozen=True, kw_only=True)
class Step:
    """One noise level to the next."""

    timestep: Tensor
    """float32, on the CPU."""
    sigma: float
    next_sigma: float


@dataclass(frozen=True, kw_only=True)
class Schedule:
    """The noise levels of a run."""

    steps: tuple[Step, ...]
    first_scale: float
    """What the first noise is multiplied by."""


def schedule_of(scheduler: Scheduler, count: int) -> Schedule:
    """The scheduler's own noise levels for a number of steps."""
    scheduler.set_timesteps(count)
    sigmas = scheduler.sigmas.float()
    return Schedule(steps=steps_between(sigmas), first_scale=float(scheduler.init_noise_sigma))


def steps_between(sigmas: Tensor) -> tuple[Step, ...]:
    """Steps from each noise level to the next, the last of which is 0.

    Timesteps are a quarter of a level's logarithm, in float32 whatever the default type; the library's own would have
    that type, and be wrong by 5e-4 in float16.
    """
    levels = sigmas.float()
    return tuple(
        Step(timestep=0.25 * sigma.log(), sigma=float(sigma), next_sigma=float(after))
        for sigma, after in pairwise(levels)
    )


def first_latents(noise_T4hw: Tensor, frames: int, scale: float) -> Tensor:
    """Latents (F,4,h,w) to begin with: noise of one tile, repeated over the clip; `scale`: the schedule's first."""
    return noise_T4hw[torch.arange(frames) % len(noise_T4hw)] * scale


@torch.no_grad()
def denoise_step(
    predict: Predict,
    scheduler: Scheduler,
    latents_F4hw: Tensor,
    step: Step,
    conditions: Conditions,
    tiles: Sequence[Sequence[int]],
    *,
    strategy: Strategy = "sequential",
    guided: bool = True,
) -> Tensor:
    """Latents after one step.

    Args:
        predict: the network.
        scheduler: the library's; nothing stays in it from one step to the next.
        latents_F4hw: float32, of all frames.
        step: where from and where to.
        conditions: what is generated.
        tiles: frames of each; together all of them.
        strategy: how the branches are run.
        guided: False leaves the branch without conditions out of this step.
    """
    guided = guided and bool((conditions.guidance_F != 1).any())
    total_BF4hw = torch.zeros((1 + guided, *latents_F4hw.shape), dtype=torch.float32, device=latents_F4hw.device)
    weight_F = torch.zeros(len(latents_F4hw), device=latents_F4hw.device)
    scaled_F4hw = placed(scheduler, step).scale_model_input(latents_F4hw, step.timestep)
    for tile in tiles:
        weight_T = torch.from_numpy(weights_of(len(tile))).to(latents_F4hw.device)
        v_BT4hw = _branches(predict, scaled_F4hw[list(tile)], step, conditions, tile, strategy, guided).float()
        total_BF4hw[:, list(tile)] += v_BT4hw * weight_T[:, None, None, None]
        weight_F[list(tile)] += weight_T
    v_BF4hw = total_BF4hw / weight_F[:, None, None, None]
    v_F4hw = v_BF4hw[-1]
    if guided:
        v_F4hw = v_BF4hw[0] + conditions.guidance_F[:, None, None, None].to(v_F4hw) * (v_F4hw - v_BF4hw[0])
    return scheduler.step(v_F4hw, step.timestep, latents_F4hw, return_dict=False)[0]


def placed(scheduler: Scheduler, step: Step) -> Scheduler:
    """The scheduler before one step, whatever it was asked before."""
    scheduler.set_timesteps(sigmas=[step.sigma, step.next_sigma])
    scheduler.set_begin_index(0)
    return scheduler


def _branches(
    predict: Predict,
    scaled_T4hw: Tensor,
    step: Step,
    conditions: Conditions,
    tile: Sequence[int],
    strategy: Strategy,
    guided: bool,
) -> Tensor:
    """v (B,T,4,h,w) without, where guided, and with conditions."""
    image_T4hw = conditions.image_14hw.expand(len(tile), -1, -1, -1)
    sample_1T8hw = torch.cat([scaled_T4hw, image_T4hw.to(scaled_T4hw)], dim=1)[None]
    pose_1TChw = conditions.pose_of(tile)[None]
    context, ids = conditions.context_11D, conditions.time_ids_13
    if not guided:
        return predict(sample_1T8hw, step.timestep, context, ids, pose_1TChw)
    bare_1T8hw = torch.cat([scaled_T4hw, torch.zeros_like(image_T4hw, dtype=scaled_T4hw.dtype)], dim=1)[None]
    nothing = torch.zeros_like(context)
    if strategy == "batched":
        pose_2TChw = torch.cat([torch.zeros_like(pose_1TChw), pose_1TChw])
        both = torch.cat([bare_1T8hw, sample_1T8hw]), torch.cat([nothing, context]), torch.cat([ids, ids])
        return predict(both[0], step.timestep, both[1], both[2], pose_2TChw)
    without = predict(bare_1T8hw, step.timestep, nothing, ids, None)
    return torch.cat([without, predict(sample_1T8hw, step.timestep, context, ids, pose_1TChw)])
