"""The measured half of `demo fit`: pictures through a model in a process of its own that is held to a budget.

A `FitJob` as JSON on standard input -> a `Measured` as JSON on the last line of standard output, or the error with its
exit code. Libraries are loaded before the limit is set; weights, pictures and results come after it.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from vitruvian.errors import VitruvianError
from vitruvian.hardware import Meter, PeakWatch, format_bytes, limit_memory, open_meter
from vitruvian.jobs import Job, Progress, run_job
from vitruvian.loading import load

LOADING = "load"
"""Stage that ends with the network in memory; those of the run have the road's names."""


@dataclass(frozen=True, kw_only=True, slots=True)
class FitJob:
    """What the child does."""

    model: str
    random_weights: bool
    device: str
    budget_bytes: int
    pictures: str
    """Folder."""
    out: str
    """Folder for results."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Measured:
    """What the child saw."""

    precision: str
    micro_batch: int
    chunked_head: bool
    predicted_bytes: int
    done: int
    failed: int
    baseline_bytes: int
    peak_bytes: int
    curve: tuple[tuple[float, int], ...]
    """(seconds since the beginning, highest bytes since the point before)."""
    stages: tuple[tuple[str, float, float], ...]
    """(name, begin, end) in seconds, in the order they ended; they may overlap."""
    limited: bool
    """Whether the system or torch enforced the budget."""
    limit: str
    """How, in a sentence."""

    @classmethod
    def from_json(cls, document: dict[str, Any]) -> Measured:
        """The value that `asdict` made a document of."""
        curve = tuple((float(time_s), int(value)) for time_s, value in document["curve"])
        stages = tuple((str(name), float(begin), float(end)) for name, begin, end in document["stages"])
        return cls(**{**document, "curve": curve, "stages": stages})


class SpanWatch(PeakWatch):
    """A watch that also keeps when each stage began and ended."""

    def __init__(self, meter: Meter) -> None:
        self._zero_s = time.monotonic()
        self.spans: list[tuple[str, float, float]] = []
        super().__init__(meter, clock_s=time.monotonic)

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        begin_s = time.monotonic() - self._zero_s
        try:
            with super().stage(name):
                yield
        finally:
            self.spans.append((name, begin_s, time.monotonic() - self._zero_s))


def run(job: FitJob) -> Measured:
    """Hold this process to the budget and do the job."""
    meter = open_meter(job.device)
    with limit_memory(job.device, job.budget_bytes) as limit, SpanWatch(meter) as watch:
        with watch.stage(LOADING):
            model = load(
                job.model, device=job.device, budget=job.budget_bytes, random_weights=job.random_weights, report=_say
            )
        what = Job(inputs=[job.pictures], out=Path(job.out), mode="overwrite")
        done = run_job(model, what, _say_progress, watch=watch)
    assert model.plan is not None
    batches = [decision.value for decision in done.decisions if decision.what == "micro_batch"]
    return Measured(
        precision=str(model.precision),
        micro_batch=int(batches[-1]) if batches else model.max_batch,
        chunked_head=model.plan.knobs.chunked_head,
        predicted_bytes=model.plan.peak_bytes,
        done=done.done,
        failed=len(done.failures),
        baseline_bytes=watch.baseline_bytes,
        peak_bytes=watch.peak_bytes,
        curve=tuple((round(time_s, 3), value) for time_s, value in watch.curve),
        stages=tuple((name, round(begin_s, 3), round(end_s, 3)) for name, begin_s, end_s in watch.spans),
        limited=limit.limited,
        limit=limit.sentence,
    )


def _say_progress(progress: Progress) -> None:
    if progress.seen:
        memory = f"{format_bytes(progress.memory_bytes)} now, {format_bytes(progress.peak_bytes)} at most"
        _say(f"{progress.seen} of {progress.total} pictures; {memory}")


def _say(line: str) -> None:
    print(line, file=sys.stderr)


def main() -> None:
    """Read the job, do it, answer."""
    job = FitJob(**json.load(sys.stdin))
    try:
        answer = {"measured": asdict(run(job))}
    except VitruvianError as error:
        answer = {"error": {"message": str(error), "exit_code": error.exit_code}}
    print(json.dumps(answer))


if __name__ == "__main__":
    main()
