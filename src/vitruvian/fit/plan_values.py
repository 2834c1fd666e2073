"""What goes into a plan and what comes out, as values that print and serialise."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from vitruvian.fit.decisions import Decision
from vitruvian.fit.footprint.values import Breakdown
from vitruvian.fit.knobs import Knobs
from vitruvian.hardware import Dtype

Objective = Literal["throughput", "latency"]
Offer = Literal["chunked_head", "blocks", "head", "crop"]
"""What a workload lets a planner turn: a head in strips, blocks that can be checkpointed, adapted or frozen, a head of
its own, another picture size."""


@dataclass(frozen=True, kw_only=True, slots=True)
class PlanJob:
    """What is wanted, apart from the network and the machine."""

    train: bool = False
    device: str | None = None
    """torch device string; None: the machine's default."""
    budget_bytes: int | None = None
    """Memory the whole process may take, context and cache included; None: what is free on the device."""
    gpus: int = 1
    batch: int | None = None
    """Inference: a fixed micro-batch. Training: the effective batch."""
    dtypes: tuple[Dtype, ...] | None = None
    """Compute types that may be used, best first; None: by the device's support."""
    max_batch: int = 64
    objective: Objective = "throughput"
    fixed: Mapping[str, Any] = field(default_factory=dict)
    """Knobs the user set, by field name, training knobs among them; a planner never changes them."""
    offers: frozenset[Offer] = frozenset()
    """What may be turned beside types, batches and the optimizer."""
    input_hw: tuple[int, int] | None = None
    """Picture height and width the network was made for; None: it takes no pictures."""
    patch_size: int | None = None
    """Side of its ViT patch; None: it has none."""
    stride: int | None = None
    """What the sides of other pictures are multiples of, where it has none."""
    parameters: int | None = None
    """Of the network, where they are known beforehand: spares traces of what cannot fit, and tells large networks."""
    published: bool = True
    """Whether to look at the published settings, too; they cost traces of their own."""
    upsampled_bytes_per_item: int = 0
    """What published inference code holds per item beside the network: raw outputs at source size."""


@dataclass(frozen=True, kw_only=True, slots=True)
class PlanRow:
    """One way to run that was looked at."""

    label: str
    """What this row changes, in words."""
    knobs: Knobs
    breakdown: Breakdown
    fits: bool
    items_per_s: float | None
    """Estimated; None where the device's rates are unknown."""
    price: str
    """What it costs in quality and time; empty: nothing."""
    starves: bool = False
    """Under half the images per second of the best row that fits."""
    at_least: bool = False
    """Not traced: weights, gradients and optimizer state alone exceed the budget, and only they are counted."""
    host_bytes: int = 0
    """Host memory of what was moved off the device."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Plan:
    """What was decided, what it takes, and what else was looked at."""

    workload: str
    device: str
    fits: bool
    knobs: Knobs
    """Of the row that fits best; of the smallest one where none fits."""
    breakdown: Breakdown
    budget_bytes: int
    margin_bytes: int = 0
    """Part of the budget that the prediction must leave free; it fits when peak + margin <= budget."""
    items_per_s: float | None = None
    """Estimated; None where the device's rates are unknown."""
    missing_bytes: int = 0
    """How much device and host are short of, the margin included; 0 where it fits."""
    host_bytes: int = 0
    """Host memory for what is moved off the device."""
    rows: tuple[PlanRow, ...] = ()
    decisions: tuple[Decision, ...] = ()
    smallest_machine: str = ""
    """Where nothing fits: the smallest catalogue machine that would do."""
    remarks: tuple[str, ...] = field(default=())
    """Sentences for people: assumptions, warnings."""

    @property
    def peak_bytes(self) -> int:
        """Predicted peak."""
        return self.breakdown.total_bytes

    def to_json(self) -> dict[str, Any]:
        """One object: fits, peak_bytes, budget_bytes, knobs, decisions, breakdown_bytes, rows, ..."""
        return {
            "workload": self.workload,
            "device": self.device,
            "fits": self.fits,
            "peak_bytes": self.peak_bytes,
            "budget_bytes": self.budget_bytes,
            "margin_bytes": self.margin_bytes,
            "missing_bytes": self.missing_bytes,
            "items_per_s": self.items_per_s,
            "smallest_machine": self.smallest_machine,
            "host_bytes": self.host_bytes,
            "knobs": self.knobs.to_json(),
            "breakdown_bytes": self.breakdown.to_json(),
            "decisions": [decision.to_json() for decision in self.decisions],
            "remarks": list(self.remarks),
            "rows": [
                {
                    "label": row.label,
                    "fits": row.fits,
                    "peak_bytes": row.breakdown.total_bytes,
                    "breakdown_bytes": row.breakdown.to_json(),
                    "items_per_s": row.items_per_s,
                    "price": row.price,
                    "starves": row.starves,
                    "at_least": row.at_least,
                    "knobs": row.knobs.to_json(),
                }
                for row in self.rows
            ],
        }
