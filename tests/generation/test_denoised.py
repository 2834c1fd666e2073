"""All steps of a clip: resumed, out of memory on the way, guided in a part of the steps."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from tolerances import ANIMATION_CALL_ABS
from vitruvian.errors import DoesNotFitError, UsageError
from vitruvian.generation.denoised import Clip, Interval, denoised
from vitruvian.generation.denoising import Conditions, Strategy, first_latents, schedule_of
from vitruvian.generation.strategy import Pilot
from vitruvian.models.mimicmotion import SchedulerConfig, build_scheduler

FRAMES, STEPS = 9, 4
TILES = [[0, 1, 2, 3, 4], [0, 3, 4, 5, 6], [0, 5, 6, 7, 8]]
NEEDED: dict[Strategy, int] = {"sequential": 1, "batched": 2}


class Network:
    """Mixes what it is given; `dies_at`: calls of two branches from here on run out of memory, so many times."""

    def __init__(self, dies_at: int = 10**9, times: int = 0) -> None:
        self.batches: list[int] = []
        self.dies_at, self.times = dies_at, times

    def __call__(self, sample: Tensor, timestep: Tensor, context: Tensor, ids: Tensor, pose: Tensor | None) -> Tensor:
        self.batches.append(len(sample))
        if len(sample) == 2 and len(self.batches) >= self.dies_at and self.times > 0:
            self.times -= 1
            raise torch.OutOfMemoryError("no room for two")
        poses = 0 if pose is None else pose.mean(dim=2, keepdim=True)
        shift = context.mean(dim=(1, 2))[:, None, None, None, None]
        return torch.sin(sample[:, :, :4] + sample[:, :, 4:]) + shift * timestep + poses


def clip(network: Network, scale: float = 2.0, interval: Interval | None = None) -> Clip:
    generator = torch.Generator().manual_seed(1)
    scheduler = build_scheduler(SchedulerConfig())
    poses = torch.randn(FRAMES, 6, 2, 3, generator=generator)
    return Clip(
        predict=network,
        scheduler=scheduler,
        schedule=schedule_of(scheduler, STEPS),
        conditions=Conditions(
            context_11D=torch.ones(1, 1, 5),
            image_14hw=torch.randn(1, 4, 2, 3, generator=generator),
            time_ids_13=torch.zeros(1, 3),
            pose_of=lambda tile: poses[list(tile)],
            guidance_F=torch.full((FRAMES,), scale),
        ),
        tiles=TILES,
        interval=interval or Interval(),
        device="cpu",
    )


def start(of: Clip) -> Tensor:
    noise = torch.randn(5, 4, 2, 3, generator=torch.Generator().manual_seed(2))
    return first_latents(noise, FRAMES, of.schedule.first_scale)


def pilot(wish: str = "sequential", free: int = 5) -> Pilot:
    return Pilot(wish=wish, needed_bytes=NEEDED, free_bytes=lambda: free)  # type: ignore[arg-type]


def run(network: Network, chosen: Pilot, scale: float = 2.0, interval: Interval | None = None) -> list[Tensor]:
    """Latents before the first step and after each."""
    whole = clip(network, scale, interval)
    heard = [start(whole)]
    denoised(whole, heard[0], chosen, on_step=lambda step, latents: heard.append(latents))
    return heard


def test_a_run_that_goes_on_at_any_step_ends_with_the_same_bits() -> None:
    heard = run(Network(), pilot())
    assert len(heard) == STEPS + 1
    for first in range(STEPS):
        last = denoised(clip(Network()), heard[first], pilot(), first=first, on_step=lambda step, latents: None)
        assert torch.equal(last, heard[-1])


def test_strategies_agree_and_change_on_the_way() -> None:
    network, chosen = Network(), pilot("auto")
    found = run(network, chosen)[-1]
    assert set(network.batches) == {1, 2}
    assert [decision.what for decision in chosen.decisions] == ["guidance"] * len(chosen.decisions)
    expected = run(Network(), pilot())[-1]
    torch.testing.assert_close(found, expected, atol=ANIMATION_CALL_ABS, rtol=1e-5)


def test_a_step_that_runs_out_of_memory_is_taken_again_in_the_other_strategy() -> None:
    network, chosen = Network(dies_at=5, times=1), pilot("auto")
    found = run(network, chosen)[-1]
    assert network.times == 0
    assert "batched ran out of memory" in " ".join(decision.because for decision in chosen.decisions)
    torch.testing.assert_close(found, run(Network(), pilot())[-1], atol=ANIMATION_CALL_ABS, rtol=1e-5)


def test_who_insists_on_what_does_not_fit_can_go_on_later() -> None:
    heard: list[tuple[int, Tensor]] = []
    whole = clip(Network(dies_at=5, times=9))
    with pytest.raises(DoesNotFitError, match="memory gave out in step 2"):
        denoised(whole, start(whole), pilot("batched"), on_step=lambda step, latents: heard.append((step, latents)))
    ((step, latents),) = heard
    last = denoised(clip(Network()), latents, pilot("batched"), first=step, on_step=lambda step, latents: None)
    assert torch.equal(last, run(Network(), pilot("batched"))[-1])


def test_another_error_is_not_taken_for_want_of_memory() -> None:
    def broken(*inputs: object) -> Tensor:
        raise ValueError("not this")

    whole = clip(Network())
    object.__setattr__(whole, "predict", broken)
    with pytest.raises(ValueError, match="not this"):
        denoised(whole, start(whole), pilot(), on_step=lambda step, latents: None)


def test_a_scale_of_one_runs_one_branch() -> None:
    network = Network()
    run(network, pilot("auto"), scale=1.0)
    assert network.batches == [1] * len(TILES) * STEPS


def test_outside_the_interval_one_branch_runs() -> None:
    network = Network()
    run(network, pilot("batched"), interval=Interval(begin=0.25, end=0.75))
    assert network.batches == [1] * 3 + [2] * 6 + [1] * 3


@pytest.mark.parametrize(("begin", "end"), [(0.5, 0.5), (-0.1, 1.0), (0.0, 1.5), (0.8, 0.2), (float("nan"), 1.0)])
def test_an_interval_that_is_none_is_refused(begin: float, end: float) -> None:
    with pytest.raises(UsageError, match="got --guidance-interval"):
        Interval(begin=begin, end=end)
