"""Gradients that are applied as they are made: what a job must not ask for beside it, and what its batch is up to.

Never chosen by itself, because it takes clipping and accumulation away. The whole effective batch then goes through the
network at once; where that is too much, a smaller batch is the user's choice, not the planner's.
"""

from __future__ import annotations

from dataclasses import replace

from vitruvian.errors import UsageError
from vitruvian.fit.knobs import Knobs
from vitruvian.fit.measures import active
from vitruvian.fit.plan_values import PlanJob
from vitruvian.fit.search import Found, Walk


def is_released(knobs: Knobs) -> bool:
    """Whether gradients are dropped one by one."""
    return knobs.training is not None and knobs.training.gradients == "released"


def check_released(job: PlanJob) -> None:
    """Nothing may need all gradients at once.

    Raises:
        UsageError: it is asked for beside several devices, accumulation, or float16's loss scaling.
    """
    fixed = job.fixed
    if not job.train or fixed.get("gradients") != "released":
        return
    dtype = fixed.get("dtype") or (job.dtypes[0] if job.dtypes else None)
    split = "micro_batch" in fixed and job.batch not in (None, fixed["micro_batch"])
    reasons = {
        f"{job.gpus} devices": job.gpus > 1,
        f"parallel={fixed.get('parallel')}": fixed.get("parallel", "none") != "none",
        f"accumulation={fixed.get('accumulation')}": fixed.get("accumulation", 1) > 1,
        f"micro_batch={fixed.get('micro_batch')} of a batch of {job.batch}": split,
        "dtype=float16": dtype == "float16" and fixed.get("precision") != "float32",
    }
    found = [reason for reason, applies in reasons.items() if applies]
    if found:
        raise UsageError(
            f"got gradients=released with {' and '.join(found)}, which need all gradients at once; expected one "
            "device, the whole batch in one piece and another type than float16; use batch_size= to make the batch "
            "smaller, or gradients=kept"
        )


def released_remark(walk: Walk, found: Found) -> str:
    """The batch with which less would have to be altered; empty where nothing was."""
    job, best = walk.job, found.best
    if not is_released(best.knobs) or job.batch is None or (best.fits and not _altered(best.knobs, job)):
        return ""
    smaller = replace(walk, job=replace(job, batch=None))
    before = found.rows[: found.rows.index(best)] if best.fits else found.rows
    for row in before:
        sizes = () if row.fits or row.at_least else range(row.knobs.micro_batch - 1, 0, -1)
        batch = next((size for size in sizes if smaller.fits(row.knobs, size)), None)
        if batch is not None:
            return (
                f"gradients=released takes the batch of {job.batch} through the network in one piece; "
                f"batch_size={batch} would fit with {row.label}"
            )
    return ""


def _altered(knobs: Knobs, job: PlanJob) -> bool:
    """Whether something is altered that the user did not ask for."""
    chosen = any(measure.alters and measure.knob not in job.fixed for measure in active(knobs))
    return chosen or ("input_hw" not in job.fixed and knobs.input_hw != job.input_hw)
