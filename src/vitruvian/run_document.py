"""What `run.json` says: versions, the machine, every automatic choice, time and memory, counts, failures.

In: a road that has been travelled and a job's progress. Out: a JSON-able document without absolute paths.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from vitruvian import __version__
from vitruvian.hardware import probe
from vitruvian.predict import Model, Road
from vitruvian.progress import Progress


def run_document(road: Road, options: Mapping[str, Any], progress: Progress, notes: Sequence[str]) -> dict[str, Any]:
    """The document; `options` are the job's, `notes` what the output folder has to say."""
    wall_s = time.perf_counter() - progress.started
    model = road.model
    return {
        "vitruvian": __version__,
        "finished_utc": datetime.now(UTC).isoformat(timespec="seconds"),
        "task": model.task.name,
        "model": model.spec.name,
        "weights_sha256": model.provenance.weights_sha256,
        "licence": model.provenance.licence,
        "weights_rounded_to": model.provenance.rounded_to or None,
        "machine": probe().line(),
        "device": model.device,
        "precision": str(model.precision),
        "detector": model.finder.spec.name if model.finder else None,
        "micro_batch": road.engine.wanted_batch(model.task.input_hw),
        "decisions": [decision.to_json() for decision in (*model.loading_decisions, *progress.decisions)],
        "plan": _planned(model),
        "memory": _measured(road),
        "notes": [*model.notes, *notes, *progress.warnings],
        "options": dict(options),
        "inputs": {
            "total": progress.total,
            "done": progress.done,
            "skipped": progress.skipped,
            "failed": len(progress.failures),
        },
        "frames": {"done": progress.frames_done, "failed": progress.frames_failed},
        "videos": progress.videos,
        "failures": [{"name": failure.name, "reason": failure.reason} for failure in progress.failures],
        "timings_s": {stage: round(seconds, 4) for stage, seconds in road.timings.seconds.items()},
        "wall_s": round(wall_s, 4),
        "images_per_s": round(progress.per_second, 3),
        "frames_per_s": round(progress.frames_per_second, 3),
    }


def _planned(model: Model) -> dict[str, Any] | None:
    """What was predicted before anything was loaded."""
    if model.plan is None:
        return None
    return {
        "peak_bytes": model.plan.peak_bytes,
        "budget_bytes": model.plan.budget_bytes,
        "breakdown_bytes": model.plan.breakdown.to_json(),
        "micro_batch": model.plan.knobs.micro_batch,
    }


def _measured(road: Road) -> dict[str, Any] | None:
    """What the process took, as budgets count it, beside what was predicted for the largest batch that really ran."""
    watch, batch, predicted = road.timings.watch, road.engine.largest_batch, road.model.predicted
    if watch is None:
        return None
    return {
        "baseline_bytes": watch.baseline_bytes,
        "peak_bytes": watch.peak_bytes,
        "predicted_bytes": predicted(batch).total_bytes if predicted and batch else None,
        "largest_batch": batch,
        "stages": watch.peaks,
    }
