"""The walk down the ladder: for each way to run, the largest micro-batch that fits, until one does.

In: rungs, footprints, a budget. Out: the rows looked at and the one to take. A footprint may cost seconds, so it is
asked for once per way and not at all where what must be held exceeds the budget by itself.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from vitruvian.fit.budget import Budget
from vitruvian.fit.estimate import items_per_s
from vitruvian.fit.footprint.values import Breakdown, Footprint, Footprints
from vitruvian.fit.knobs import Knobs
from vitruvian.fit.ladder import PARTIAL_TIER, Rung, least_bytes, needs_no_more, rungs, thrift
from vitruvian.fit.plan_values import PlanJob, PlanRow


@dataclass(kw_only=True)
class Remembered:
    """Footprints asked for once: of the batch only whether gradients wait for another micro-batch plays a part."""

    footprints: Footprints
    known: dict[Knobs, Footprint] = field(default_factory=dict)

    def __call__(self, knobs: Knobs) -> Footprint:
        training = knobs.training and replace(knobs.training, accumulation=min(2, knobs.training.accumulation))
        key = replace(knobs, micro_batch=1, training=training)
        if key not in self.known:
            self.known[key] = self.footprints(key)
        return self.known[key]

    @property
    def parameters(self) -> int | None:
        """Parameters of the workload, once any way to run was traced; adapters of one do not count."""
        return min((footprint.parameters for footprint in self.known.values()), default=None)


@dataclass(frozen=True, kw_only=True, slots=True)
class Found:
    """What a walk came to."""

    best: PlanRow
    """The way to take; the smallest one where none fits."""
    rows: tuple[PlanRow, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class Walk:
    """A job on one device."""

    footprints: Remembered
    job: PlanJob
    budget: Budget

    def find(self) -> Found:
        """The best way that fits: least altered, then fastest."""
        rows: list[PlanRow] = []
        for group in rungs(self.job, self.budget.device):
            tried = self._group(group)
            rows += tried
            fitting = [row for row in tried if row.fits]
            if fitting:
                return Found(best=max(fitting, key=lambda row: row.items_per_s or 0), rows=tuple(rows))
            if not any(self._a_crop_could_help(row) for row in tried):
                break
        traced = [row for row in rows if not row.at_least]
        return Found(best=min(traced, key=self.missing_bytes), rows=tuple(rows))

    def feasible(self) -> bool:
        """Whether any way fits at the first picture size; needs one footprint."""
        group, *_ = rungs(self.job, self.budget.device)
        return self.row(_thriftiest(group)).fits

    def row(self, rung: Rung) -> PlanRow:
        """One way at the largest micro-batch that fits, or at the smallest one where none does."""
        batches = batches_of(self.job, rung.knobs)
        largest = next((batch for batch in reversed(batches) if self.fits(rung.knobs, batch)), batches[0])
        return self.row_at(rung, largest)

    def row_at(self, rung: Rung, batch: int) -> PlanRow:
        """One way at a given micro-batch."""
        knobs = with_batch(rung.knobs, self.job, batch)
        footprint = self.footprints(knobs)
        return PlanRow(
            label=rung.label,
            knobs=knobs,
            breakdown=self.peak(knobs),
            fits=self.fits(rung.knobs, batch),
            items_per_s=items_per_s(footprint, knobs, self.budget.device),
            price=rung.price,
            host_bytes=footprint.host_bytes,
        )

    def peak(self, knobs: Knobs) -> Breakdown:
        """What is alive at the peak, corrected by what was measured."""
        return self.budget.corrected(self.footprints(knobs).at(knobs.micro_batch), knobs)

    def bound(self, rung: Rung) -> PlanRow | None:
        """A row without tracing, where weights, gradients and state alone exceed the budget."""
        parameters = self.job.parameters or self.footprints.parameters
        if parameters is None:
            return None
        weights, gradients, state = least_bytes(parameters, rung.knobs)
        least = Breakdown(weights_bytes=weights, gradients_bytes=gradients, optimizer_bytes=state)
        if least.total_bytes <= self.budget.total_bytes:
            return None
        knobs = with_batch(rung.knobs, self.job, batches_of(self.job, rung.knobs)[0])
        return PlanRow(
            label=rung.label,
            knobs=knobs,
            breakdown=least,
            fits=False,
            items_per_s=None,
            price=rung.price,
            at_least=True,
        )

    def fits(self, knobs: Knobs, batch: int) -> bool:
        """Whether a micro-batch stays under the budget with the margin, on the device and on the host."""
        knobs = with_batch(knobs, self.job, batch)
        return self._missing_bytes(self.peak(knobs), knobs, self.footprints(knobs).host_bytes) == 0

    def need_bytes(self, row: PlanRow) -> int:
        """Peak and margin of a row."""
        return row.breakdown.total_bytes + self.budget.margin_bytes(row.breakdown, row.knobs)

    def missing_bytes(self, row: PlanRow) -> int:
        """What the device and the host are short of; 0 where a row fits."""
        return self._missing_bytes(row.breakdown, row.knobs, row.host_bytes)

    def _missing_bytes(self, breakdown: Breakdown, knobs: Knobs, host_bytes: int) -> int:
        need = breakdown.total_bytes + self.budget.margin_bytes(breakdown, knobs)
        gpus = knobs.training.gpus if knobs.training else 1
        return max(0, need - self.budget.total_bytes) + max(0, host_bytes * gpus - self.budget.host_bytes)

    def _group(self, group: Sequence[Rung]) -> list[PlanRow]:
        """Rows of one picture size, tier by tier until one fits, in the ladder's order.

        Before a part of the network is frozen the thriftiest way of all is tried: where that does not fit, none does.
        """
        tiers = sorted({rung.tier for rung in group})
        thriftiest = _thriftiest(group)
        rows: dict[Rung, PlanRow] = {}
        for tier in tiers:
            tried = [rung for rung in group if rung.tier == tier]
            if tier >= PARTIAL_TIER and thriftiest not in rows:
                rows[thriftiest] = self.row(thriftiest)
            # Thrifty ways first: those that need more than one that failed are not traced.
            for rung in sorted(tried, key=lambda rung: thrift(rung.knobs)):
                if rung not in rows and not self._hopeless(rung, rows):
                    rows[rung] = self.bound(rung) or self.row(rung)
            if any(rows[rung].fits for rung in tried if rung in rows):
                rows = {rung: row for rung, row in rows.items() if rung.tier <= tier}
                break
        if not any(not row.at_least for row in rows.values()):
            rows[thriftiest] = self.row(thriftiest)
        return [rows[rung] for rung in group if rung in rows]

    def _hopeless(self, rung: Rung, rows: Mapping[Rung, PlanRow]) -> bool:
        """Whether a way that needs no more in any respect was too large for the device already."""
        return any(
            self.need_bytes(row) > self.budget.total_bytes and needs_no_more(other.knobs, rung.knobs)
            for other, row in rows.items()
        )

    def _a_crop_could_help(self, smallest: PlanRow) -> bool:
        held = smallest.breakdown
        kept = held.weights_bytes + held.gradients_bytes + held.optimizer_bytes + held.process_bytes
        return kept < self.budget.total_bytes


def _thriftiest(group: Sequence[Rung]) -> Rung:
    return min(group, key=lambda rung: thrift(rung.knobs))


def batches_of(job: PlanJob, knobs: Knobs) -> Sequence[int]:
    """Micro-batches that may be taken, ascending.

    Training keeps the effective batch: the micro-batch divides each device's share of it.
    """
    if "micro_batch" in job.fixed:
        return (job.fixed["micro_batch"],)
    if knobs.training is None:
        if job.batch is not None:
            return (job.batch,)
        return (1,) if job.objective == "latency" else range(1, job.max_batch + 1)
    if job.batch is None:
        return range(1, job.max_batch + 1)
    share = math.ceil(job.batch / knobs.training.gpus)
    if knobs.training.gradients == "released":  # they do not wait for a second micro-batch
        return (share,)
    return [size for size in range(1, min(share, job.max_batch) + 1) if share % size == 0]


def with_batch(knobs: Knobs, job: PlanJob, batch: int) -> Knobs:
    """Knobs with a micro-batch and the accumulation that makes up the effective batch."""
    training = knobs.training
    if training is None or job.batch is None or "accumulation" in job.fixed:
        return replace(knobs, micro_batch=batch)
    steps = math.ceil(job.batch / (batch * training.gpus))
    return replace(knobs, micro_batch=batch, training=replace(training, accumulation=steps))
