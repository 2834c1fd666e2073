"""What a user insists on when a model is loaded, as one value."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import get_args

from vitruvian import zoo
from vitruvian.compiled_loading import Rebuild
from vitruvian.errors import UsageError
from vitruvian.fit.knee import Aim
from vitruvian.fit.plan_values import Objective
from vitruvian.fit.quality import Quality
from vitruvian.hardware import Dtype

DETECTOR_BATCH = 8
"""Pictures per call of a detector: it is fast beside what follows, and whole pictures wait for its batch to fill."""
SCALER_BATCH = 2
"""Pictures per call of a metric network that others wait for."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Wish:
    """What a user insists on; None leaves it to the plan."""

    device: str | None = None
    dtype: Dtype | None = None
    quality: Quality = "balanced"
    budget_bytes: int | None = None
    micro_batch: int | None = None
    objective: Objective = "throughput"
    max_latency_ms: float | None = None
    whole_if_nobody: bool = False
    trust: bool = False
    rebuild: Rebuild = "auto"
    canvas: zoo.CanvasWish = field(default_factory=zoo.CanvasWish)

    @property
    def of_detector(self) -> Wish:
        """What that means for a detector: its compute type is its own choice, its batch is known to do."""
        return replace(
            self,
            dtype=None,
            micro_batch=DETECTOR_BATCH,
            objective="throughput",
            max_latency_ms=None,
            canvas=zoo.CanvasWish(),
        )

    @property
    def of_scaler(self) -> Wish:
        """What that means for a metric network behind another one."""
        return replace(self, dtype=None, micro_batch=SCALER_BATCH, objective="throughput", max_latency_ms=None)

    @property
    def aim(self) -> Aim | None:
        """What the batch is chosen for while running; None: the user chose it."""
        return None if self.micro_batch else Aim(objective=self.objective, max_latency_ms=self.max_latency_ms)


def check_objective(name: str) -> Objective:
    """The objective of this name; `UsageError` where there is none."""
    for objective in get_args(Objective):
        if objective == name:
            return objective
    raise UsageError(f"got --objective {name}; expected one of {', '.join(get_args(Objective))}")
