"""What it takes as published: the settings of the original scripts, as knobs, with their assumptions in words."""

from __future__ import annotations

from dataclasses import replace

from vitruvian.fit.footprint.values import Breakdown
from vitruvian.fit.knobs import Knobs, TrainingKnobs
from vitruvian.fit.ladder import Rung
from vitruvian.fit.plan_values import PlanJob, PlanRow
from vitruvian.fit.search import Walk

TRAINING_BATCHES = (1, 2)
"""Per device: the configurations say 1, the published scripts 2."""
INFERENCE_BATCHES = (2, 8)
TRAINING_ASSUMPTIONS = (
    "as published: float32 weights, gradients and arithmetic; a bucket copy of all gradients (DDP); AdamW in its "
    "foreach form, which copies what it trains once more in the step; no checkpointing, no accumulation; attention "
    "fused, or materialised where no fused kernel runs"
)
INFERENCE_ASSUMPTIONS = (
    "as published: float32, the whole head at once, every raw output of a batch enlarged to 1920x1080 at a time"
)


def published_training(job: PlanJob) -> tuple[Rung, ...]:
    """Fused and materialised attention."""
    knobs = [
        Knobs(
            input_hw=job.input_hw,
            patch_size=job.patch_size,
            training=TrainingKnobs(optimizer="adamw-foreach", parallel="ddp", gpus=job.gpus, attention=attention),
        )
        for attention in ("fused", "materialised")
    ]
    return tuple(
        Rung(knobs=one, tier=0, label=f"as published, {one.training.attention} attention", price="")
        for one in knobs
        if one.training is not None
    )


def published_inference(job: PlanJob) -> Rung:
    """One float32 network for everything."""
    knobs = Knobs(input_hw=job.input_hw, patch_size=job.patch_size)
    return Rung(knobs=knobs, tier=0, label="as published", price="")


def published_rows(walk: Walk) -> tuple[PlanRow, ...]:
    """The rows of a plan that nothing was changed in; the effective batch is theirs, not the job's."""
    job = replace(walk.job, batch=None, fixed={})
    walk = replace(walk, job=job)
    if job.train:
        return tuple(walk.row_at(rung, batch) for rung in published_training(job) for batch in TRAINING_BATCHES)
    rung = published_inference(job)
    rows = [walk.row_at(rung, batch) for batch in INFERENCE_BATCHES]
    return tuple(_with_outputs(walk, row) for row in rows)


def _with_outputs(walk: Walk, row: PlanRow) -> PlanRow:
    """The row with every raw output of the batch at source size, as the published code holds them."""
    outputs = Breakdown(results_bytes=walk.job.upsampled_bytes_per_item * row.knobs.micro_batch)
    row = replace(row, breakdown=row.breakdown + outputs)
    return replace(row, fits=walk.need_bytes(row) <= walk.budget.total_bytes)
