"""Learning rates of the published recipes as factors of the base rate: values that are called with the step.

In: a step, from 0. Out: a factor from 0 to 1. All begin with a linear warm-up from 0.001; what follows is one of five.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Protocol

from vitruvian.errors import UsageError

WARMUP_START = 0.001
"""Factor of the very first step where there is a warm-up."""


class Schedule(Protocol):
    """Factor of the base rate at a step."""

    def __call__(self, step: int, /) -> float:
        """The factor, from 0 to 1."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Constant:
    """The full rate after the warm-up."""

    warmup: int = 0
    """Steps until the rate is full."""

    def __post_init__(self) -> None:
        _check_steps(self.warmup, None)

    def __call__(self, step: int) -> float:
        return _warm(step, self.warmup)


@dataclass(frozen=True, kw_only=True, slots=True)
class Stepwise:
    """A tenth of the rate from each mark on; the pose recipes have theirs after 170 and 200 of 210 epochs."""

    steps: int
    """Of the whole training, the warm-up included."""
    warmup: int = 0
    marks: tuple[float, ...] = (170 / 210, 200 / 210)
    """Shares of the whole training, ascending."""
    drop: float = 0.1
    """What the rate is multiplied by at each mark."""

    def __post_init__(self) -> None:
        _check_steps(self.warmup, self.steps)
        if list(self.marks) != sorted(self.marks) or not all(0 < mark < 1 for mark in self.marks):
            raise UsageError(
                f"got marks of a learning rate at {self.marks}; expected ascending shares of the training between 0 "
                "and 1; write epoch / epochs"
            )

    def __call__(self, step: int) -> float:
        passed = sum(step >= round(mark * self.steps) for mark in self.marks)
        return _warm(step, self.warmup) * self.drop**passed


@dataclass(frozen=True, kw_only=True, slots=True)
class Linear:
    """Straight to zero, as the dense recipes have it."""

    steps: int
    warmup: int = 0
    held: int = 1
    """Steps between two changes: those of an epoch where the rate changes from epoch to epoch, as published."""

    def __post_init__(self) -> None:
        _check_steps(self.warmup, self.steps)
        if self.held < 1:
            raise UsageError(f"got a rate that is held for {self.held} steps; expected 1 or more; 1 changes every step")

    def __call__(self, step: int) -> float:
        progress = _progress(step - step % self.held, self.warmup, self.steps)
        return _warm(step, self.warmup) * (1 - progress)


@dataclass(frozen=True, kw_only=True, slots=True)
class Cosine:
    """Half a cosine to zero."""

    steps: int
    warmup: int = 0

    def __post_init__(self) -> None:
        _check_steps(self.warmup, self.steps)

    def __call__(self, step: int) -> float:
        progress = _progress(step, self.warmup, self.steps)
        return _warm(step, self.warmup) * 0.5 * (1 + math.cos(math.pi * progress))


@dataclass(frozen=True, kw_only=True, slots=True)
class Poly:
    """A power of what is left of the training, as the published metric-depth training has it."""

    steps: int
    warmup: int = 0
    power: float = 0.9
    """1 is a straight line."""

    def __post_init__(self) -> None:
        _check_steps(self.warmup, self.steps)
        if self.power <= 0:
            raise UsageError(f"got a learning rate with the power {self.power}; expected one above 0 such as 0.9")

    def __call__(self, step: int) -> float:
        return _warm(step, self.warmup) * float((1 - _progress(step, self.warmup, self.steps)) ** self.power)


def _warm(step: int, warmup: int) -> float:
    if step >= warmup:
        return 1.0
    return WARMUP_START + (1 - WARMUP_START) * step / warmup


def _progress(step: int, warmup: int, steps: int) -> float:
    """Share of what comes after the warm-up, from 0 to 1."""
    return min(1.0, max(0, step - warmup) / (steps - warmup))


def _check_steps(warmup: int, steps: int | None) -> None:
    if warmup < 0 or (steps is not None and steps <= warmup):
        raise UsageError(
            f"got {warmup} steps of warm-up{'' if steps is None else f' in a training of {steps} steps'}; expected 0 "
            "or more, and fewer than the training has; train longer or shorten the warm-up"
        )
