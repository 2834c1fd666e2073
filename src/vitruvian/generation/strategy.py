"""Which strategy of guidance the next step runs in: what fits, and of what fits the faster one.

In: predicted bytes of each strategy, what is free before every step, how long steps took. Out: a strategy a step, and a
decision wherever it changes. Memory that another program takes or gives back changes it in both directions.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Literal, get_args

from vitruvian.errors import DoesNotFitError, UsageError
from vitruvian.fit.decisions import Decision
from vitruvian.generation.denoising import Strategy
from vitruvian.hardware import format_bytes

Wish = Literal["auto", "sequential", "batched"]
BATCHED: Strategy = "batched"
SEQUENTIAL: Strategy = "sequential"
WORTH = 1.02
"""A strategy must be so many times as fast to be changed to: less is noise."""
BEFORE_TIMED = 1
"""The first step of a strategy warms up and is not timed."""


@dataclass(kw_only=True)
class Pilot:
    """Chooses before every step; hears how it went."""

    wish: Wish
    needed_bytes: Mapping[Strategy, int]
    """Of a step beside what is held already, by prediction."""
    free_bytes: Callable[[], int]
    """What a step may take now."""
    decisions: list[Decision] = field(default_factory=list)
    _seconds: dict[Strategy, float] = field(default_factory=dict, init=False)
    _runs: dict[Strategy, int] = field(default_factory=dict, init=False)
    _refuted: dict[Strategy, int] = field(default_factory=dict, init=False)
    """Free bytes with which a strategy ran out of memory, whatever was predicted."""
    _last: Strategy | None = field(default=None, init=False)

    def __post_init__(self) -> None:
        if self.wish not in get_args(Wish):
            raise UsageError(f"got --guidance {self.wish}; expected one of {', '.join(get_args(Wish))}; name one")

    def next(self, step: int) -> Strategy:
        """The strategy of a step.

        Raises:
            DoesNotFitError: not even one branch after the other fits, or the one that the user insists on ran out.
        """
        free = self.free_bytes()
        fitting = [one for one in (BATCHED, SEQUENTIAL) if self._fits(one, free)]
        if self.wish != "auto":
            if self.wish in self._refuted:
                raise DoesNotFitError(
                    f"memory gave out in step {step} of --guidance {self.wish} with {format_bytes(free)} free; "
                    "expected room for it; leave --guidance out, take a shorter --tile, or go on with --resume when "
                    "more is free"
                )
            return self._taken(step, self.wish, "asked for", measured=False)
        if not fitting:
            raise DoesNotFitError(
                f"got {format_bytes(free)} free in step {step}; expected {format_bytes(self.needed_bytes[SEQUENTIAL])} "
                "for one branch of guidance; take a shorter --tile or a lower --resolution, or go on with --resume "
                "when more is free"
            )
        if len(fitting) == 1:
            other = SEQUENTIAL if fitting[0] == BATCHED else BATCHED
            because = f"{other} takes {format_bytes(self.needed_bytes[other])}, {format_bytes(free)} are free"
            if other in self._refuted:
                because = f"{other} ran out of memory with {format_bytes(self._refuted[other])} free"
            return self._taken(step, fitting[0], because, measured=other in self._refuted)
        return self._faster(step)

    def took(self, strategy: Strategy, seconds: float) -> None:
        """How long a step took; the best time counts."""
        runs = self._runs[strategy] = self._runs.get(strategy, 0) + 1
        if runs > BEFORE_TIMED:
            self._seconds[strategy] = min(seconds, self._seconds.get(strategy, seconds))

    def ran_out(self, strategy: Strategy) -> None:
        """A step ran out of memory; the strategy waits until clearly more is free than now."""
        self._refuted[strategy] = self.free_bytes()

    def _fits(self, strategy: Strategy, free: int) -> bool:
        refuted = self._refuted.get(strategy)
        return self.needed_bytes[strategy] <= free and (refuted is None or free > 1.25 * refuted)

    def _faster(self, step: int) -> Strategy:
        """Of two that fit: each is timed once, then the faster one stays."""
        for one in (BATCHED, SEQUENTIAL):
            if one not in self._seconds:
                return self._taken(step, one, "both fit, and it was not timed yet", measured=False)
        batched_s, sequential_s = self._seconds[BATCHED], self._seconds[SEQUENTIAL]
        best, ratio = (BATCHED, sequential_s / batched_s)
        if batched_s * WORTH > sequential_s:
            best, ratio = SEQUENTIAL, batched_s / sequential_s
        return self._taken(step, best, f"{ratio:.2f} times as fast as the other, which fits, too", measured=True)

    def _taken(self, step: int, strategy: Strategy, because: str, *, measured: bool) -> Strategy:
        if strategy != self._last:
            value = f"{strategy} from step {step}"
            self.decisions.append(Decision(what="guidance", value=value, because=because, measured=measured))
            self._last = strategy
        return strategy
