"""Memory plans for one training: what the planner is asked, and predictions for any knobs.

In: a training's workload and recipe. Out: plans and breakdowns, with what lies beside the network: samples that the
loader holds (on a CPU, where device and host are one), an average of the weights.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from vitruvian.fit.footprint.values import Breakdown
from vitruvian.fit.knobs import Knobs
from vitruvian.fit.plan_values import Plan
from vitruvian.fit.workload import Workload
from vitruvian.hardware import probe
from vitruvian.planning import footprints_for
from vitruvian.planning import plan as make_plan

SOURCE_PIXELS = 1920 * 1080
"""Pictures of the data are assumed to be of this size: a thread of the loader holds one, with its target."""
MOST_THREADS = 8


@dataclass(frozen=True, kw_only=True, slots=True)
class SampleBytes:
    """What a sample takes on its way to the network."""

    target: int
    """Per pixel of a canvas, beside the picture."""
    decoded: int
    """Per pixel of a source: picture, target, and what is made on the way."""


@dataclass(frozen=True, kw_only=True, slots=True)
class MemoryPlanner:
    """Plans for one training on one machine."""

    sample: SampleBytes
    workload: Workload
    """At the base's own picture size, or the one asked for."""
    batch_size: int
    averaged: bool
    """Whether an average of the weights is kept."""
    device: str | None
    gpus: int

    def plan(self, settings: Mapping[str, Any], budget_bytes: int | None) -> Plan:
        """The way to train that fits, these settings kept."""
        return make_plan(
            workload=self.workload,
            train=True,
            device=self.device,
            budget=budget_bytes,
            gpus=self.gpus,
            batch=self.batch_size,
            settings=settings,
            beside_bytes=self.beside_bytes,
        )

    def predicted(self, knobs: Knobs) -> Breakdown:
        """What some knobs take, by the footprint alone."""
        footprint = footprints_for(self.workload, self._kind)(knobs)
        return footprint.with_beside(self.beside_bytes).at(knobs.micro_batch)

    @property
    def beside_bytes(self) -> int:
        """What lies on the device beside the network."""
        beside_bytes = self._loader_bytes() if self._kind == "cpu" else 0
        if self.averaged:
            beside_bytes += 4 * sum(parameter.numel() for parameter in self.workload.build().parameters())
        return beside_bytes

    @property
    def _kind(self) -> str:
        hardware = probe()
        return hardware.device(self.device or hardware.default_device).kind

    def _loader_bytes(self) -> int:
        """Samples of two steps and of the one at work, and a source in every thread."""
        assert self.workload.input_hw is not None
        height, width = self.workload.input_hw
        sample_bytes = height * width * (3 + self.sample.target)
        held = 3 * self.batch_size // self.gpus
        return held * sample_bytes + loader_threads() * SOURCE_PIXELS * self.sample.decoded


def loader_threads() -> int:
    """Threads that prepare samples: every core, the network's own included, since they work in bursts."""
    return min(MOST_THREADS, probe().cpu.cores)
