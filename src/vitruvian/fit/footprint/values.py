"""What memory a workload takes, part by part, as values that are linear in the batch."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass, fields, replace

from vitruvian.fit.knobs import Knobs


@dataclass(frozen=True, kw_only=True, slots=True)
class Breakdown:
    """Bytes alive at one moment, by what they are."""

    weights_bytes: int = 0
    gradients_bytes: int = 0
    optimizer_bytes: int = 0
    activations_bytes: int = 0
    """Tensors that operators make, inputs included."""
    workspace_bytes: int = 0
    """Scratch inside operators, which no tensor shows."""
    results_bytes: int = 0
    """Buffers beside the network: pictures in flight, outputs on their way to files."""
    process_bytes: int = 0
    """Interpreter and libraries on a CPU, the driver's context on an accelerator."""

    @property
    def total_bytes(self) -> int:
        """All of it."""
        return sum(getattr(self, part.name) for part in fields(self))

    def __add__(self, other: Breakdown) -> Breakdown:
        return Breakdown(**{part.name: getattr(self, part.name) + getattr(other, part.name) for part in fields(self)})

    def times(self, factor: float) -> Breakdown:
        """Every part multiplied."""
        return Breakdown(**{part.name: round(getattr(self, part.name) * factor) for part in fields(self)})

    def to_json(self) -> dict[str, int]:
        """Plain container."""
        return asdict(self)


@dataclass(frozen=True, kw_only=True, slots=True)
class Phase:
    """A part of a run with a peak of its own: a stage of inference, or of training forward, backward and step (update,
    inside backward, where gradients are released)."""

    name: str
    fixed: Breakdown
    per_item: Breakdown
    at_operator: str = ""
    """The operator that runs at the peak."""

    def at(self, batch: int) -> Breakdown:
        """Its peak for a batch."""
        return self.fixed + self.per_item.times(batch)


@dataclass(frozen=True, kw_only=True, slots=True)
class Footprint:
    """Predicted memory and arithmetic of one workload under given knobs; the knobs' micro-batch plays no part."""

    workload: str
    knobs: Knobs
    phases: tuple[Phase, ...]
    parameters: int
    flops_per_item: float
    """Multiplications and additions, each counted; forward and backward with recomputation in training."""
    bytes_moved_per_item: float
    """Activations written and read again: what the memory's speed limits."""
    operators: int
    """Operator calls of one pass: what launch times limit."""
    host_bytes: int = 0
    """Host memory for what was moved off the device."""
    remarks: tuple[str, ...] = ()
    """Sentences for people on how the prediction was made."""

    def with_beside(self, beside_bytes: int) -> Footprint:
        """With what lies on the device beside the network all the time: pictures in flight, another copy of weights."""
        beside = Breakdown(results_bytes=beside_bytes)
        return replace(self, phases=tuple(replace(phase, fixed=phase.fixed + beside) for phase in self.phases))

    def peak_phase(self, batch: int) -> Phase:
        """The phase that decides."""
        return max(self.phases, key=lambda phase: phase.at(batch).total_bytes)

    def at(self, batch: int) -> Breakdown:
        """What is alive at the peak."""
        return self.peak_phase(batch).at(batch)

    def peak_bytes(self, batch: int) -> int:
        """Peak of the whole run."""
        return self.at(batch).total_bytes


Footprints = Callable[[Knobs], Footprint]
"""Footprints of one workload for any knobs; deterministic, so that a plan made of them is."""
