"""One run of the road: its job and device, and everything it has to tell in the end."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from vitruvian.animating.wish import AnimateJob, AnimateWish
from vitruvian.errors import DoesNotFitError
from vitruvian.fit.decisions import Decision
from vitruvian.hardware import PeakWatch, free_memory_now, out_of_memory

OnProgress = Callable[[str, int, int | None], None]
"""Hears what is going on, how much of it is done, and of how much."""


@dataclass(frozen=True, kw_only=True)
class Session:
    """What all stages share."""

    job: AnimateJob
    device: str
    watch: PeakWatch
    on_progress: OnProgress
    decisions: list[Decision] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    seconds: dict[str, float] = field(default_factory=dict)
    planned: dict[str, Any] = field(default_factory=dict)
    made_of: dict[str, Any] = field(default_factory=dict)
    """Everything that decides the video, but for the way it is made."""

    @property
    def wish(self) -> AnimateWish:
        """What is wanted."""
        return self.job.wish

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """A part of the run, its time and its peak.

        Raises:
            DoesNotFitError: memory gave out inside.
        """
        began = time.perf_counter()
        self.on_progress(name, 0, None)
        try:
            with self.watch.stage(name):
                yield
        except Exception as error:
            if not out_of_memory(error):
                raise
            raise DoesNotFitError(
                f"got no more memory in {name}; expected room for it; raise --budget, close other programs, or take a "
                "lower --resolution; steps that were taken are kept, --resume goes on with them"
            ) from error
        self.seconds[name] = self.seconds.get(name, 0.0) + time.perf_counter() - began

    def free_bytes(self) -> int:
        """What a step may take now: what the device has, and what the budget leaves."""
        _, free = free_memory_now(self.device)
        budget = self.wish.budget_bytes
        return free if budget is None else min(free, budget - self.watch.sample().device_bytes)
