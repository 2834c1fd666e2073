"""Guidance and tiles by arithmetic that can be followed: a network whose answer is known."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pytest
import torch
from torch import Tensor

from vitruvian.generation.denoising import (
    Conditions,
    Scheduler,
    Step,
    Strategy,
    denoise_step,
    first_latents,
    placed,
    schedule_of,
)
from vitruvian.models.mimicmotion import SchedulerConfig, build_scheduler

FRAMES = 7
STEP = Step(timestep=torch.tensor(0.5), sigma=2.0, next_sigma=1.0)


@pytest.fixture(scope="module")
def scheduler() -> Scheduler:
    return build_scheduler(SchedulerConfig())


def euler(latents: Tensor, v: Tensor, step: Step) -> Tensor:
    """One step of the probability flow by its formulas (Karras et al. 2022; Salimans and Ho 2022), in float64."""
    latents, v = latents.double(), v.double()
    square = step.sigma**2 + 1
    clean = v * (-step.sigma / square**0.5) + latents / square
    return (latents + (latents - clean) / step.sigma * (step.next_sigma - step.sigma)).float()


class Network:
    """Says 1 without conditions and 3 with them, and remembers how it was called."""

    def __init__(self) -> None:
        self.calls: list[tuple[int, int]] = []

    def __call__(self, sample: Tensor, timestep: Tensor, context: Tensor, ids: Tensor, pose: Tensor | None) -> Tensor:
        self.calls.append((sample.shape[0], sample.shape[1]))
        assert len(context) == len(ids) == len(sample)
        bare = context.abs().sum(dim=(1, 2)) == 0
        assert bool((sample[bare, :, 4:] == 0).all())
        assert pose is None or bool((pose[bare] == 0).all())
        said = torch.where(bare, 1.0, 3.0)
        return said[:, None, None, None, None].expand(-1, sample.shape[1], 4, *sample.shape[3:])


def conditions(scale: float | Tensor) -> Conditions:
    guidance = scale if isinstance(scale, Tensor) else torch.full((FRAMES,), scale)
    return Conditions(
        context_11D=torch.ones(1, 1, 5),
        image_14hw=torch.ones(1, 4, 2, 3),
        time_ids_13=torch.zeros(1, 3),
        pose_of=lambda tile: torch.ones(len(tile), 6, 2, 3),
        guidance_F=guidance,
    )


@pytest.mark.parametrize("strategy", ["sequential", "batched"])
def test_guidance_of_each_frame_pushes_away_from_the_branch_without(strategy: Strategy, scheduler: Scheduler) -> None:
    latents, scale = torch.randn(FRAMES, 4, 2, 3), torch.linspace(1.5, 3.0, FRAMES)
    tiles = [[0, 1, 2, 3], [0, 3, 4, 5], [0, 4, 5, 6]]
    found = denoise_step(Network(), scheduler, latents, STEP, conditions(scale), tiles, strategy=strategy)
    v = (1 + scale * 2)[:, None, None, None].expand_as(latents)
    torch.testing.assert_close(found, euler(latents, v, STEP))


def test_strategies_differ_in_their_calls_alone(scheduler: Scheduler) -> None:
    one, other = Network(), Network()
    latents, tiles = torch.randn(FRAMES, 4, 2, 3), [list(range(FRAMES))]
    first = denoise_step(one, scheduler, latents, STEP, conditions(2.0), tiles, strategy="sequential")
    second = denoise_step(other, scheduler, latents, STEP, conditions(2.0), tiles, strategy="batched")
    assert torch.equal(first, second)
    assert (one.calls, other.calls) == ([(1, FRAMES), (1, FRAMES)], [(2, FRAMES)])


@pytest.mark.parametrize("how", ["scale 1", "outside the interval"])
def test_without_guidance_one_branch_runs(how: str, scheduler: Scheduler) -> None:
    network, latents = Network(), torch.randn(FRAMES, 4, 2, 3)
    scale = 1.0 if how == "scale 1" else 2.0
    conditioned, tiles = conditions(scale), [list(range(FRAMES))]
    found = denoise_step(
        network, scheduler, latents, STEP, conditioned, tiles, guided=how == "scale 1", strategy="batched"
    )
    assert network.calls == [(1, FRAMES)]
    torch.testing.assert_close(found, euler(latents, torch.full_like(latents, 3.0), STEP))


def test_a_step_to_zero_gives_the_clean_picture(scheduler: Scheduler) -> None:
    clean, noise = torch.randn(2, 4, 2, 3), torch.randn(2, 4, 2, 3)
    step = Step(timestep=torch.tensor(0.0), sigma=1.7, next_sigma=0.0)
    v = (noise - step.sigma * clean) / (step.sigma**2 + 1) ** 0.5
    noisy = clean + step.sigma * noise
    found = placed(scheduler, step).step(v, step.timestep, noisy, return_dict=False)[0]
    torch.testing.assert_close(found, clean, atol=1e-5, rtol=1e-5)


def test_the_published_noise_levels(scheduler: Scheduler) -> None:
    schedule = schedule_of(scheduler, 25)
    steps = schedule.steps
    known = [700.0, 545.729, 421.569, 322.454, 244.023, 182.547, 134.854, 98.2671, 70.5408, 49.8098, 34.5367, 23.4675]
    known += [15.59, 10.0971, 6.35427, 3.8697, 2.26912, 1.27318, 0.678146, 0.339378, 0.157405, 0.0663991, 0.0248026]
    known += [0.0078825, 0.002]
    assert [step.sigma for step in steps] == pytest.approx(known, rel=2e-5)
    assert [step.next_sigma for step in steps] == [*(step.sigma for step in steps[1:]), 0.0]
    assert float(steps[0].timestep) == pytest.approx(1.63777, abs=1e-5)
    assert float(steps[-1].timestep) == pytest.approx(-1.553652, abs=1e-5)
    assert schedule.first_scale == pytest.approx(700.0007, abs=1e-4)


@contextmanager
def default_type(dtype: torch.dtype) -> Iterator[None]:
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        yield
    finally:
        torch.set_default_dtype(before)


def test_a_low_default_precision_leaves_the_noise_levels_alone(scheduler: Scheduler) -> None:
    plain = schedule_of(scheduler, 25)
    with default_type(torch.float16):
        low = schedule_of(build_scheduler(SchedulerConfig()), 25)
    for one, other in zip(plain.steps, low.steps, strict=True):
        assert other.timestep.dtype == torch.float32
        assert torch.equal(one.timestep, other.timestep)
        assert (one.sigma, one.next_sigma) == (other.sigma, other.next_sigma)
    assert plain.first_scale == low.first_scale


def test_steps_are_those_of_the_librarys_own_loop(scheduler: Scheduler) -> None:
    """Bit by bit, though each step is set up alone; and by the formulas."""
    steps = schedule_of(scheduler, 6).steps
    ours = start = torch.randn(FRAMES, 4, 2, 3) * 700
    library = build_scheduler(SchedulerConfig())
    library.set_timesteps(6)
    assert torch.equal(torch.stack([step.timestep for step in steps]), library.timesteps)
    theirs = start
    for step, timestep in zip(steps, library.timesteps, strict=True):
        v, before = torch.randn_like(start), ours
        alone = placed(scheduler, step)
        assert torch.equal(alone.scale_model_input(before, timestep), library.scale_model_input(theirs, timestep))
        ours = alone.step(v, step.timestep, before, return_dict=False)[0]
        theirs = library.step(v, timestep, theirs, return_dict=False)[0]
        assert torch.equal(ours, theirs)
        torch.testing.assert_close(ours, euler(before, v, step), rtol=1e-6, atol=1e-4)


def test_a_step_can_be_repeated_and_taken_up_anywhere(scheduler: Scheduler) -> None:
    steps, tiles = schedule_of(scheduler, 5).steps, [list(range(FRAMES))]
    latents = torch.randn(FRAMES, 4, 2, 3)
    found = denoise_step(Network(), scheduler, latents, steps[3], conditions(2.0), tiles)
    again = denoise_step(Network(), scheduler, latents, steps[3], conditions(2.0), tiles)
    fresh = denoise_step(Network(), build_scheduler(SchedulerConfig()), latents, steps[3], conditions(2.0), tiles)
    assert torch.equal(found, again)
    assert torch.equal(found, fresh)


def test_noise_of_one_tile_is_repeated_over_the_clip() -> None:
    noise = torch.randn(3, 4, 2, 2)
    latents = first_latents(noise, 7, 700.0007)
    assert torch.equal(latents[0], latents[3])
    assert torch.equal(latents[2], latents[5])
    torch.testing.assert_close(latents[1], noise[1] * 700.0007, rtol=1e-6, atol=1e-3)
