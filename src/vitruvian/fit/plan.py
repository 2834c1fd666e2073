"""From footprints, a job, a machine and what was measured there to a plan: four values in, one out, nothing asked.

Time is spent in the footprints alone: a way to run that was never traced before costs seconds.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace

from vitruvian.errors import UsageError
from vitruvian.fit.budget import Budget, budget_of
from vitruvian.fit.calibration import Calibration
from vitruvian.fit.decisions import Decision
from vitruvian.fit.estimate import assumptions
from vitruvian.fit.footprint.values import Footprints
from vitruvian.fit.measures import MEASURES, knob_of
from vitruvian.fit.patches import patch_remark, patch_rows
from vitruvian.fit.plan_values import Plan, PlanJob, PlanRow
from vitruvian.fit.precision import usable_types
from vitruvian.fit.presets import INFERENCE_ASSUMPTIONS, TRAINING_ASSUMPTIONS, published_rows
from vitruvian.fit.released import check_released, is_released, released_remark
from vitruvian.fit.search import Found, Remembered, Walk, batches_of, with_batch
from vitruvian.hardware import Device, Hardware
from vitruvian.hardware.sizes import format_bytes

FASTER_HERE = "on a CPU strips stay in its cache: faster, with less memory"
"""Why a large network's head works in strips there (`ladder`)."""


def make_plan(
    footprints: Footprints,
    job: PlanJob,
    hardware: Hardware,
    calibration: Calibration | None = None,
    machines: Mapping[str, Hardware] | None = None,
) -> Plan:
    """What to do so that it fits, or what is missing.

    Args:
        footprints: of the workload on this kind of device.
        job: what is wanted.
        hardware: the machine, probed, from the catalogue or typed.
        calibration: what was measured on it; None: nothing.
        machines: known machines with this kind of device, to name the smallest one that would do.

    Raises:
        UsageError: no such device, more devices than there are, an unknown knob, or knobs that exclude each other.
    """
    _check(job, hardware)
    budget = budget_of(job, hardware, calibration)
    walk = Walk(footprints=Remembered(footprints=footprints), job=job, budget=budget)
    found = walk.find()
    published = published_rows(walk) if job.published else ()
    patches = patch_rows(walk, found.best) if "patch_size" in job.fixed else ()
    best = found.best
    remarks = [patch_remark(walk, best, patches), released_remark(walk, found), _oversized(budget)]
    if published:
        remarks.append(TRAINING_ASSUMPTIONS if job.train else INFERENCE_ASSUMPTIONS)
    if budget.device.rates is not None:
        remarks.append(assumptions(budget.device.rates))
    smallest = "" if best.fits else smallest_machine(walk.footprints, job, machines or {})
    footprint = walk.footprints(best.knobs)
    return Plan(
        workload=footprint.workload,
        device=budget.device.device,
        fits=best.fits,
        knobs=best.knobs,
        breakdown=best.breakdown,
        budget_bytes=budget.total_bytes,
        margin_bytes=budget.margin_bytes(best.breakdown, best.knobs),
        items_per_s=best.items_per_s,
        missing_bytes=walk.missing_bytes(best),
        host_bytes=best.host_bytes,
        rows=(*_starving((*published, *found.rows)), *patches),
        decisions=tuple(_decisions(walk, found)),
        smallest_machine=smallest,
        remarks=(*(remark for remark in remarks if remark), *footprint.remarks),
    )


def _check(job: PlanJob, hardware: Hardware) -> None:
    if job.gpus > 1 and not job.train:
        raise UsageError(
            f"got --gpus {job.gpus} for inference; expected 1: every device runs its own copy; leave --gpus out, the "
            "numbers hold for each"
        )
    if job.gpus < 1 or job.max_batch < 1 or (job.batch is not None and job.batch < 1):
        raise UsageError("got a number of devices or items below 1; expected 1 or more")
    check_released(job)


def _oversized(budget: Budget) -> str:
    if budget.total_bytes <= budget.device.total_bytes:
        return ""
    there = format_bytes(budget.device.total_bytes)
    return f"a budget of {format_bytes(budget.total_bytes)} is more than {budget.device.name} has: {there}"


def _starving(rows: Iterable[PlanRow]) -> tuple[PlanRow, ...]:
    rows = tuple(rows)
    best = max((row.items_per_s for row in rows if row.fits and row.items_per_s is not None), default=0.0)
    return tuple(
        replace(row, starves=row.items_per_s is not None and row.fits and row.items_per_s < best / 2) for row in rows
    )


def smallest_machine(footprints: Footprints, job: PlanJob, machines: Mapping[str, Hardware]) -> str:
    """The machine with least memory on which some way fits at full picture size; empty: none.

    The job's device and budget are forgotten. The footprints must be those of the machines' kind of device.
    """
    remembered = Remembered(footprints=footprints)
    anywhere = replace(job, device=None, budget_bytes=None)

    def fits(machine: Hardware) -> bool:
        return Walk(footprints=remembered, job=anywhere, budget=budget_of(anywhere, machine)).feasible()

    by_memory = sorted(machines.items(), key=lambda entry: entry[1].device(entry[1].default_device).total_bytes)
    return next((name for name, machine in by_memory if fits(machine)), "")


def _decisions(walk: Walk, found: Found) -> Iterable[Decision]:
    job, budget, best = walk.job, walk.budget, found.best
    asked = "as asked for" if job.device is not None else "the machine's default"
    yield Decision(what="device", value=budget.device.device, because=asked)
    yield Decision(what="budget_bytes", value=budget.total_bytes, because=budget.because)
    margin = budget.margin_bytes(best.breakdown, best.knobs)
    yield Decision(what="margin_bytes", value=margin, because=budget.margin_text(best.knobs))
    yield Decision(what="dtype", value=best.knobs.dtype, because=_why_dtype(job, budget.device, best))
    yield Decision(what="micro_batch", value=best.knobs.micro_batch, because=_why_batch(walk, best))
    training = best.knobs.training
    if training is not None and job.batch is not None:
        because = (
            f"{best.knobs.micro_batch} x {training.gpus} x {training.accumulation} items a step, {job.batch} wanted"
        )
        yield Decision(what="accumulation", value=training.accumulation, because=because)
    for measure in MEASURES:
        if measure.active(best.knobs):
            because = "as asked for" if measure.knob in job.fixed else _why_measure(walk, found, measure.knob)
            price = f"; price: {measure.price}" if measure.price else ""
            yield Decision(what=measure.knob, value=measure.value, because=f"{because}{price}")
    if best.knobs.input_hw != job.input_hw and best.knobs.input_hw is not None:
        because = "as asked for" if "input_hw" in job.fixed else _why_measure(walk, found, "input_hw")
        yield Decision(what="crop", value="x".join(map(str, best.knobs.input_hw)), because=because)
    if "patch_size" in job.fixed:
        yield Decision(what="patch_size", value=job.fixed["patch_size"], because="as asked for; never chosen by itself")


def _why_dtype(job: PlanJob, device: Device, best: PlanRow) -> str:
    dtype = best.knobs.dtype
    if job.dtypes is not None:
        return "as asked for"
    supports = f"bfloat16 {device.bf16}, float16 {device.fp16} on {device.name}"
    if dtype == usable_types(device)[0]:
        return f"{supports}; float32 islands and the audit guard the numbers" if dtype != "float32" else supports
    if dtype == "float32" and is_released(best.knobs):
        return f"{supports}; float16's loss scaling needs all gradients at once"
    return f"{supports}; float32 does not fit"


def _why_batch(walk: Walk, best: PlanRow) -> str:
    job, batch = walk.job, best.knobs.micro_batch
    if "micro_batch" in job.fixed or (not job.train and job.batch is not None):
        return "as asked for"
    if is_released(best.knobs) and job.batch is not None:
        return "the whole batch: released gradients do not accumulate"
    if not best.fits:
        return "the smallest there is"
    larger = [size for size in batches_of(job, best.knobs) if size > batch]
    if not larger:
        return "smallest latency" if job.objective == "latency" and not job.train else "the largest one wanted"
    next_up = walk.peak(with_batch(best.knobs, job, larger[0]))
    need_bytes = next_up.total_bytes + walk.budget.margin_bytes(next_up, best.knobs)
    needed = f"{format_bytes(need_bytes)} with margin, of {format_bytes(walk.budget.total_bytes)}"
    return f"the largest that fits: {larger[0]} would need {needed}"


def _why_measure(walk: Walk, found: Found, knob: str) -> str:
    """What the rows without it came to."""
    budget, value = walk.budget, knob_of(found.best.knobs, knob)
    if not found.best.fits:
        return "part of the thriftiest way there is"
    without = [row for row in found.rows if knob_of(row.knobs, knob) != value]
    running = [row for row in without if row.fits and row.items_per_s is not None]
    if running:
        fastest = max(running, key=lambda row: row.items_per_s or 0)
        return f"faster: {found.best.items_per_s:g} items/s, without it {fastest.items_per_s:g}"
    if not without:
        return FASTER_HERE if knob == "chunked_head" else "every way that was looked at has it"
    least = min(without, key=walk.need_bytes)
    more = "at least " if least.at_least else ""
    return f"without it {more}{format_bytes(walk.need_bytes(least))} with margin, of {format_bytes(budget.total_bytes)}"
