"""Where a training stands, for whoever watches."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True, kw_only=True, slots=True)
class TrainingProgress:
    """One moment of a training."""

    step: int
    steps: int
    loss: float
    """Mean of the latest steps."""
    score: str
    """The number that decides, of the last validation, in words; empty before the first one."""
    images_per_s: float
    waited_share: float
    """Of the time, spent waiting for samples."""
    memory_bytes: int
    """What the process takes of the device now: the figure that budgets mean."""
    peak_bytes: int
    predicted_bytes: int
    left_s: float

    def line(self) -> str:
        """In one line."""
        memory = (
            f"{self.memory_bytes / 1e9:.1f} GB now, {self.peak_bytes / 1e9:.1f} at most, "
            f"{self.predicted_bytes / 1e9:.1f} predicted"
        )
        parts = [f"step {self.step} of {self.steps}", f"loss {self.loss:.4g}", self.score]
        parts += [f"{self.images_per_s:.3g} images/s", memory]
        if self.waited_share >= 0.02:
            parts.append(f"{self.waited_share:.0%} waiting for samples")
        return ", ".join([*filter(None, parts), f"{duration(self.left_s)} left"])


@dataclass(kw_only=True, slots=True)
class Pace:
    """What a training has taken so far, over all its interruptions."""

    images: int = 0
    seconds: float = 0.0
    """In steps; validations and savings apart."""
    waited_s: float = 0.0
    """Of these, waiting for samples."""
    peak_bytes: int = 0

    @property
    def images_per_s(self) -> float:
        """Over all processes."""
        return self.images / max(1e-9, self.seconds)

    @property
    def waited_share(self) -> float:
        """Of the time in steps."""
        return self.waited_s / max(1e-9, self.seconds)

    def to_json(self) -> dict[str, Any]:
        """Plain containers."""
        return asdict(self)


def duration(seconds: float) -> str:
    """Hours, minutes and seconds as far as they matter."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes} min"
    return f"{minutes} min {rest} s" if minutes else f"{rest} s"
