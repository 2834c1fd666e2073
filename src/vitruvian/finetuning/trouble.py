"""When a training goes wrong: steps that cannot be taken, and losses that run away.

In: the result of every step. Out: a sentence where something must be done. Losses are compared by medians of a window,
so that single bad batches say nothing.
"""

from __future__ import annotations

import statistics
from collections import deque
from dataclasses import dataclass, field
from typing import Any

from vitruvian.training.step import StepResult

IN_A_ROW = 5
"""Steps that may be skipped one after the other; float16 needs some until its losses are scaled right."""
IN_A_ROW_SCALED = 30
WINDOW = 25
"""Losses that are looked at together."""
RUNAWAY = 5.0
"""A median so many times the lowest one is no learning any more. Losses that may be negative come near zero on their
way, where times mean nothing: of those one must be above the first, too."""


@dataclass(kw_only=True)
class Trouble:
    """Watches the steps of one training."""

    scaled: bool = False
    """Whether losses are scaled for float16."""
    from_zero: bool = True
    """Whether losses cannot fall below 0; likelihoods can."""
    skipped: int = 0
    """Steps skipped one after the other."""
    skipped_in_all: int = 0
    first: float | None = None
    """The first median."""
    lowest: float | None = None
    """Lowest median so far."""
    losses: deque[float] = field(default_factory=lambda: deque(maxlen=WINDOW))

    def seen(self, result: StepResult) -> str | None:
        """Take note of a step; says what is wrong, if something is."""
        if result.skipped is not None:
            self.skipped += 1
            self.skipped_in_all += 1
            if self.skipped > (IN_A_ROW_SCALED if self.scaled else IN_A_ROW):
                return f"{self.skipped} steps in a row could not be taken, the last for {result.skipped}"
            return None
        self.skipped = 0
        self.losses.append(result.loss)
        if len(self.losses) < WINDOW:
            return None
        median = statistics.median(self.losses)
        if self.first is None or self.lowest is None:
            self.first = self.lowest = median
        if median > self._limit(self.first, self.lowest):
            return f"the loss runs away: {median:.4g} over {WINDOW} steps, {self.lowest:.4g} at its best"
        self.lowest = min(self.lowest, median)
        return None

    def _limit(self, first: float, lowest: float) -> float:
        """What no median may exceed."""
        if self.from_zero:
            return RUNAWAY * lowest
        return max(first, RUNAWAY * lowest)

    def state_dict(self) -> dict[str, Any]:
        """What a resumed training needs."""
        return {
            "skipped": self.skipped,
            "skipped_in_all": self.skipped_in_all,
            "first": self.first,
            "lowest": self.lowest,
            "losses": list(self.losses),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from this."""
        self.skipped, self.skipped_in_all, self.lowest = state["skipped"], state["skipped_in_all"], state["lowest"]
        self.first = state.get("first", self.lowest)  # states of the first releases have none
        self.losses = deque(state["losses"], maxlen=WINDOW)
