"""All steps of a clip: each in the strategy that fits and is fast at that moment, from any step on.

Latents and a place to begin in, latents out; whoever listens hears the latents after every step, which are all that a
run needs to go on. A step that runs out of memory is taken again in another strategy: it changes nothing till its end.
"""

# Shape suffixes: F frames, h w latents.

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from torch import Tensor

from vitruvian.errors import UsageError
from vitruvian.generation.denoising import Conditions, Predict, Schedule, Scheduler, denoise_step
from vitruvian.generation.strategy import SEQUENTIAL, Pilot
from vitruvian.hardware import free_caches, out_of_memory, synchronize


@dataclass(frozen=True, kw_only=True, slots=True)
class Interval:
    """Which part of the steps is guided, as shares of all; the rest runs one branch only (Kynkaanniemi et al. 2024)."""

    begin: float = 0.0
    end: float = 1.0

    def __post_init__(self) -> None:
        if not 0 <= self.begin < self.end <= 1:
            raise UsageError(
                f"got --guidance-interval {self.begin:g}:{self.end:g}; expected shares of the steps from 0 to 1, the "
                "first below the second, such as 0.1:0.8"
            )

    def holds(self, step: int, steps: int) -> bool:
        """Whether a step, counted from 0, is guided."""
        return self.begin * steps <= step < self.end * steps


@dataclass(frozen=True, kw_only=True, slots=True)
class Clip:
    """What stays the same over all steps."""

    predict: Predict
    scheduler: Scheduler
    schedule: Schedule
    conditions: Conditions
    tiles: Sequence[Sequence[int]]
    interval: Interval
    device: str

    @property
    def is_guided(self) -> bool:
        """Whether any frame is guided at all: a scale of 1 everywhere leaves the conditioned branch alone."""
        return bool((self.conditions.guidance_F != 1).any())


def denoised(
    clip: Clip, latents_F4hw: Tensor, pilot: Pilot, *, first: int = 0, on_step: Callable[[int, Tensor], None]
) -> Tensor:
    """Latents after the last step.

    Args:
        clip: what is generated.
        latents_F4hw: before step `first`.
        pilot: chooses the strategy of guided steps.
        first: step to begin with, from 0.
        on_step: hears the number of steps taken and the latents after each.

    Raises:
        DoesNotFitError: no strategy fits; what was heard last can be gone on with.
    """
    steps = clip.schedule.steps
    for index in range(first, len(steps)):
        guided = clip.is_guided and clip.interval.holds(index, len(steps))
        latents_F4hw = _step(clip, latents_F4hw, pilot, index, guided=guided)
        on_step(index + 1, latents_F4hw)
    return latents_F4hw


def _step(clip: Clip, latents_F4hw: Tensor, pilot: Pilot, index: int, *, guided: bool) -> Tensor:
    """One step, in as many tries as there are strategies that may fit."""
    while True:
        strategy = pilot.next(index + 1) if guided else SEQUENTIAL
        began = time.perf_counter()
        try:
            latents = denoise_step(
                clip.predict,
                clip.scheduler,
                latents_F4hw,
                clip.schedule.steps[index],
                clip.conditions,
                clip.tiles,
                strategy=strategy,
                guided=guided,
            )
            synchronize(clip.device)
        except Exception as error:
            if not (guided and out_of_memory(error)):
                raise
        else:
            if guided:
                pilot.took(strategy, time.perf_counter() - began)
            return latents
        free_caches(clip.device)  # outside the handler, whose traceback holds the activations
        pilot.ran_out(strategy)
