"""Where a job stands: what its reporter is told after every input and frame, and what `run.json` counts."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import Any

from vitruvian.fit.decisions import Decision
from vitruvian.media.items import Failure


@dataclass(kw_only=True, slots=True)
class Progress:
    """Inputs are pictures, videos and cameras; each is done, skipped or failed, once."""

    total: int
    """Inputs."""
    what: str = "pictures"
    """What they are called: `inputs` where some are videos."""
    done: int = 0
    """Inputs of which everything could be used."""
    skipped: int = 0
    """Inputs that an earlier run did."""
    failures: list[Failure] = field(default_factory=list)
    """Inputs of which something could not be used; what could be is there."""
    pictures: int = 0
    """Pictures done."""
    frames_done: int = 0
    """Frames of videos done by this run."""
    frames_failed: int = 0
    """Frames of videos that could not be used; their video is among `failures`."""
    memory_bytes: int = 0
    """What the process takes of the device now: the figure that budgets mean."""
    peak_bytes: int = 0
    """The highest so far."""
    planned_bytes: int = 0
    """Peak that the plan allows; 0 without a plan."""
    video: str = ""
    """The video that is on its way."""
    frames: int = 0
    """Its frames so far."""
    frames_total: int | None = None
    """Its frames in all, if known."""
    live: dict[str, Any] | None = None
    """Dropped frames and latency, while it is a camera."""
    videos: list[dict[str, Any]] = field(default_factory=list)
    """What became of each video, for `run.json`."""
    decisions: tuple[Decision, ...] = ()
    """What was chosen and what happened while running; complete at the end."""
    warnings: list[str] = field(default_factory=list)
    """What a user must know about the results."""
    started: float = field(default_factory=time.perf_counter)
    videos_started: float | None = None
    """When the first video began: pictures come first."""

    @property
    def seen(self) -> int:
        """Inputs that are over."""
        return self.done + self.skipped + len(self.failures)

    @property
    def per_second(self) -> float:
        """Pictures done per second, videos' time apart."""
        end = time.perf_counter() if self.videos_started is None else self.videos_started
        return self.pictures / max(1e-9, end - self.started)

    @property
    def frames_per_second(self) -> float:
        """Frames of videos done per second, pictures' time apart."""
        if self.videos_started is None:
            return 0.0
        return self.frames_done / max(1e-9, time.perf_counter() - self.videos_started)

    @property
    def left_s(self) -> float | None:
        """Estimated seconds to the end of the pictures, or of the video that is on its way; None where unknown."""
        if self.video:
            known = self.frames_total is not None and self.frames_done
            return max(0, (self.frames_total or 0) - self.frames) / self.frames_per_second if known else None
        return (self.total - self.seen) / self.per_second if self.pictures else None
