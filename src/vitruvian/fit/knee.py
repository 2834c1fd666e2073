"""The batch is the knee of the speed curve, not the largest that fits: a short ramp over the first batches finds it.

In: how long calls of each batch size took. Out: the size to gather next and, at the end, the choice in words. Pure
arithmetic on a handful of numbers; the pictures that the ramp uses are pictures of the run, nothing is computed twice.
"""

from __future__ import annotations

from dataclasses import dataclass

from vitruvian.errors import UsageError
from vitruvian.fit.decisions import Decision
from vitruvian.fit.plan_values import Objective

MIN_GAIN = 0.05
"""A larger batch must give this much more images/s than the one before it."""

SAME_LATENCY = 1.03
"""Calls whose times differ by less than this factor count as equally fast: readings of one size differ as much."""

READINGS = 2
"""Timed calls per size, of which the faster one counts; the call before them warms caches and kernels up."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Aim:
    """What a batch size is chosen for."""

    objective: Objective = "throughput"
    """throughput: most images/s. latency: shortest call; larger batches only where a call takes no longer."""
    max_latency_ms: float | None = None
    """No call may take longer than this, whatever the objective."""

    def __post_init__(self) -> None:
        if self.max_latency_ms is not None and self.max_latency_ms <= 0:
            raise UsageError(
                f"got --max-latency {self.max_latency_ms:g}; expected milliseconds above 0; leave it out for no bound"
            )


class Knee:
    """The ramp 1, 2, 4, ... up to a maximum, for one canvas shape in one precision. Not locked: the owner does that."""

    def __init__(self, *, maximum: int, aim: Aim) -> None:
        """`maximum`: largest size of the plan, at least 1; it ends the ramp even where it is no power of two."""
        self._aim = aim
        self._sizes = (*(1 << power for power in range((maximum - 1).bit_length())), maximum)
        self._at = 0
        self._readings: list[float] = []
        self._best_s: dict[int, float] = {}
        self._settled: tuple[int, str] | None = None

    @property
    def next_batch(self) -> int:
        """The size to gather now: the one being measured, or the one that was chosen."""
        return self._settled[0] if self._settled else self._sizes[self._at]

    @property
    def settled(self) -> bool:
        """Whether the ramp is over."""
        return self._settled is not None

    def record(self, batch: int, seconds: float) -> None:
        """One call of the network took this long; calls of another size than the one being measured do not count."""
        if self._settled or batch != self._sizes[self._at]:
            return
        self._readings.append(seconds)
        if len(self._readings) <= READINGS:
            return
        self._best_s[batch] = max(min(self._readings[1:]), 1e-9)
        self._readings.clear()
        refused = self._objection(batch)
        if refused:
            self._settled = (self._sizes[max(0, self._at - 1)], refused)
        elif batch == self._sizes[-1]:
            self._settled = (batch, self._at_the_end(batch))
        else:
            self._at += 1

    def decision(self, limit: int | None = None) -> Decision:
        """The choice so far. `limit`: what memory allows at the moment, where that is known to be less than planned."""
        if limit is not None and limit < self.next_batch:
            because = f"{self.next_batch} does not go through at the moment: out of memory"
            return Decision(what="micro_batch", value=limit, because=because, measured=True)
        if self._settled:
            batch, because = self._settled
            return Decision(what="micro_batch", value=batch, because=because, measured=True)
        if self._best_s:
            because = f"the run was too short to measure {self.next_batch} or more"
            return Decision(what="micro_batch", value=max(self._best_s), because=because, measured=True)
        because = "the plan allows no more" if self._sizes == (1,) else "the run was too short to measure any size"
        return Decision(what="micro_batch", value=1, because=because)

    def _objection(self, batch: int) -> str:
        """Why the size just measured is not to be used; empty where it is fine."""
        taken_s, bound_ms = self._best_s[batch], self._aim.max_latency_ms
        if bound_ms is not None and taken_s * 1e3 > bound_ms:
            told = f"{_ms(taken_s)} a call, over the {bound_ms:g} ms asked for"
            return f"{batch} takes {told}" if batch > 1 else f"even 1 takes {told}; no batch is smaller"
        if batch == 1:
            return ""
        if self._aim.objective == "latency":
            slower = taken_s / self._best_s[1]
            return f"a call of {batch} takes {_times(slower)} as long as one of 1" if slower > SAME_LATENCY else ""
        before = self._sizes[self._at - 1]
        gain = self._gain(batch, before)
        if gain >= MIN_GAIN:
            return ""
        return f"{batch} fits but is {_faster(gain)} for {_times(taken_s / self._best_s[before])} the latency"

    def _at_the_end(self, batch: int) -> str:
        if batch == 1:
            return "the plan allows no more"
        if self._aim.objective == "latency":
            return "the largest of the plan, and a call takes no longer than one of 1"
        before = self._sizes[self._at - 1]
        return f"the largest of the plan, {_faster(self._gain(batch, before))} than {before}"

    def _gain(self, batch: int, before: int) -> float:
        """How much more images/s a size gives than a smaller one."""
        return batch / self._best_s[batch] * self._best_s[before] / before - 1


def _faster(gain: float) -> str:
    percent = round(100 * gain)
    return "no faster" if percent == 0 else f"{abs(percent)} % {'faster' if percent > 0 else 'slower'}"


def _times(factor: float) -> str:
    shown = f"{factor:.2f}" if factor < 1.1 else f"{factor:.1f}"
    return "twice" if shown == "2.0" else f"{shown} times"


def _ms(seconds: float) -> str:
    return f"{seconds * 1e3:.3g} ms"
