"""Guidance and tiles by arithmetic that can be followed: a network whose answer is known."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from vitruvian.generation.denoising import (
    Conditions,
    Step,
    Strategy,
    denoise_step,
    euler,
    first_latents,
    karras_sigmas,
    steps_of,
)

FRAMES = 7
STEP = Step(timestep=torch.tensor(0.5), sigma=2.0, next_sigma=1.0)


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
def test_guidance_of_each_frame_pushes_away_from_the_branch_without(strategy: Strategy) -> None:
    latents, scale = torch.randn(FRAMES, 4, 2, 3), torch.linspace(1.5, 3.0, FRAMES)
    tiles = [[0, 1, 2, 3], [0, 3, 4, 5], [0, 4, 5, 6]]
    found = denoise_step(Network(), latents, STEP, conditions(scale), tiles, strategy=strategy)
    v = (1 + scale * 2)[:, None, None, None].expand_as(latents)
    torch.testing.assert_close(found, euler(latents, v, STEP))


def test_strategies_differ_in_their_calls_alone() -> None:
    one, other = Network(), Network()
    latents, tiles = torch.randn(FRAMES, 4, 2, 3), [list(range(FRAMES))]
    first = denoise_step(one, latents, STEP, conditions(2.0), tiles, strategy="sequential")
    second = denoise_step(other, latents, STEP, conditions(2.0), tiles, strategy="batched")
    assert torch.equal(first, second)
    assert (one.calls, other.calls) == ([(1, FRAMES), (1, FRAMES)], [(2, FRAMES)])


@pytest.mark.parametrize("how", ["scale 1", "outside the interval"])
def test_without_guidance_one_branch_runs(how: str) -> None:
    network, latents = Network(), torch.randn(FRAMES, 4, 2, 3)
    scale = 1.0 if how == "scale 1" else 2.0
    found = denoise_step(
        network, latents, STEP, conditions(scale), [list(range(FRAMES))], guided=how == "scale 1", strategy="batched"
    )
    assert network.calls == [(1, FRAMES)]
    torch.testing.assert_close(found, euler(latents, torch.full_like(latents, 3.0), STEP))


def test_a_step_to_zero_gives_the_clean_picture() -> None:
    clean, noise = torch.randn(2, 4, 2, 3), torch.randn(2, 4, 2, 3)
    step = Step(timestep=torch.tensor(0.0), sigma=1.7, next_sigma=0.0)
    root = (step.sigma**2 + 1) ** 0.5
    v = (noise - step.sigma * clean) / root
    torch.testing.assert_close(euler(clean + step.sigma * noise, v, step), clean, atol=1e-5, rtol=1e-5)


def test_the_published_noise_levels() -> None:
    sigmas = karras_sigmas(25)
    known = [700.0, 545.729, 421.569, 322.454, 244.023]
    torch.testing.assert_close(sigmas[:5], torch.tensor(known), atol=1e-3, rtol=0)
    assert float(sigmas[-2]) == pytest.approx(0.002)
    assert float(sigmas[-1]) == 0.0
    steps = steps_of(sigmas)
    assert len(steps) == 25
    assert float(steps[0].timestep) == pytest.approx(1.63777, abs=1e-5)
    assert float(steps[-1].timestep) == pytest.approx(-1.553652, abs=1e-5)


def test_noise_of_one_tile_is_repeated_over_the_clip() -> None:
    noise = torch.randn(3, 4, 2, 2)
    latents = first_latents(noise, 7)
    assert torch.equal(latents[0], latents[3])
    assert torch.equal(latents[2], latents[5])
    torch.testing.assert_close(latents[1], noise[1] * 700.0007, rtol=1e-6, atol=1e-3)
