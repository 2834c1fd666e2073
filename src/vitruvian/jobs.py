"""Files in, files out: the road with a ledger, sinks, a progress report and `run.json`.

In: a loaded model, inputs, an output folder. Out: result files, `run.json`, a summary. A run that was killed goes on
with `resume` and ends with the same set of files as one that was not.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

from vitruvian import __version__
from vitruvian.coco import gather_coco_results, gather_csv
from vitruvian.errors import UsageError
from vitruvian.fit.calibration import CalibrationPoint, remember
from vitruvian.fit.decisions import Decision
from vitruvian.fit.knobs import Knobs
from vitruvian.hardware import PeakWatch, open_meter, probe
from vitruvian.media.documents import write_json_atomic
from vitruvian.media.items import Entry, Failure
from vitruvian.media.ledger import Ledger
from vitruvian.media.listing import list_inputs
from vitruvian.media.sinks import FolderSink, check_formats
from vitruvian.media.video.values import Span
from vitruvian.models.weight_files import sha256_of
from vitruvian.network_stage import Finished, Timings
from vitruvian.predict import Model, RegionsOf, Road
from vitruvian.tasks.base import Result
from vitruvian.tasks.depth import Depth
from vitruvian.tasks.features import Features
from vitruvian.tasks.labels import keypoint_set
from vitruvian.tasks.normal import Normals
from vitruvian.tasks.pose import Pose
from vitruvian.tasks.regions import BoxTable, read_boxes
from vitruvian.tasks.seg import Segmentation
from vitruvian.video_jobs import run_videos
from vitruvian.video_run import LINES, is_video_entry

RUN_FILE = "run.json"

RESULT_KINDS: dict[str, type[Result]] = {kind.kind: kind for kind in (Pose, Segmentation, Depth, Normals, Features)}
"""Result type of each task; knows its formats."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Job:
    """What to do, apart from the model."""

    inputs: Sequence[str]
    out: Path
    formats: tuple[str, ...] = ()
    """Formats to write; empty means the task's defaults."""
    mode: Literal["new", "resume", "overwrite"] = "new"
    recursive: bool = False
    flip_test: bool = False
    boxes: Path | None = None
    """File with persons per picture; pictures that it does not name have none."""
    convention: str | None = None
    """Keypoint set that poses are converted to; None: the network's own."""
    span: Span = field(default_factory=Span)
    """Part of every video."""
    frame_rate: float = 25.0
    """Of numbered pictures (`frames/%06d.png`)."""
    track: bool = False
    """Follow persons over a video."""
    smooth: bool = False
    """Steady results over a video; persons are followed for it."""


@dataclass(kw_only=True, slots=True)
class Progress:
    """Where a job stands; handed to the reporter after every input."""

    total: int
    done: int = 0
    skipped: int = 0
    failures: list[Failure] = field(default_factory=list)
    memory_bytes: int = 0
    """What the process takes of the device now: the figure that budgets mean."""
    peak_bytes: int = 0
    """The highest so far."""
    planned_bytes: int = 0
    """Peak that the plan allows; 0 without a plan."""
    video: str = ""
    """The video that is on its way."""
    frames: int = 0
    """Its frames so far."""
    frames_total: int | None = None
    """Its frames in all, if known."""
    videos: list[dict[str, Any]] = field(default_factory=list)
    """What became of each video, for `run.json`."""
    decisions: tuple[Decision, ...] = ()
    """What was chosen and what happened while running; complete at the end."""
    started: float = field(default_factory=time.perf_counter)

    @property
    def seen(self) -> int:
        return self.done + self.skipped + len(self.failures)

    @property
    def per_second(self) -> float:
        """Pictures done per second so far."""
        return self.done / max(1e-9, time.perf_counter() - self.started)

    @property
    def frames_per_second(self) -> float:
        """Frames of videos, and pictures, done per second so far."""
        frames = sum(video["frames"] for video in self.videos) + self.done - len(self.videos)
        return max(frames, 0) / max(1e-9, time.perf_counter() - self.started)

    @property
    def left_s(self) -> float | None:
        """Estimated seconds to the end; None before the first picture is done."""
        return (self.total - self.seen) / self.per_second if self.done else None


def run_job(
    model: Model,
    job: Job,
    on_progress: Callable[[Progress], None] = lambda progress: None,
    watch: PeakWatch | None = None,
) -> Progress:
    """Run a model over inputs into a folder.

    `watch`: a memory watch that is on already; None: one of this run's own.

    Raises:
        UsageError: unknown format, an output folder that is in use, not empty or not writable, no input at all.
        DoesNotFitError: the disk is full.
    """
    formats = _formats(model, job)
    if job.convention:
        keypoint_set(job.convention)
    boxes = read_boxes(job.boxes) if job.boxes else None
    with ExitStack() as stack:
        identity = _identity(model, job, formats)
        ledger = stack.enter_context(Ledger.open(job.out, mode=job.mode, run=identity))
        watch = watch or stack.enter_context(PeakWatch(open_meter(model.device)))
        entries = list(list_inputs(list(job.inputs), recursive=job.recursive))
        fresh = [entry for entry in entries if not _is_done(ledger, entry)]
        planned_bytes = model.plan.peak_bytes if model.plan else 0
        progress = Progress(total=len(entries), skipped=len(entries) - len(fresh), planned_bytes=planned_bytes)

        def report() -> None:
            progress.memory_bytes, progress.peak_bytes = watch.last.device_bytes, watch.peak_bytes
            on_progress(progress)

        timings = Timings(watch=watch)
        road = Road(model=model, regions_of=_regions_of(boxes), flip_test=job.flip_test, timings=timings)
        try:
            report()
            _run_pictures(road, job, formats, fresh, ledger, progress, report)
            _gather(job, formats, entries, progress, ledger)
            videos = [entry for entry in fresh if isinstance(entry, Entry) and is_video_entry(entry)]
            for road_of_video in run_videos(videos, model, job, identity, ledger, timings, progress, report):
                road = road if road.engine.largest_batch else road_of_video
        finally:
            ledger.announce(RUN_FILE)
            progress.decisions = road.decisions()
            document = _run_document(road, job, formats, progress, ledger.notes)
            write_json_atomic(job.out / RUN_FILE, document)
        _learn(road, watch.peak_bytes)
    return progress


def _run_pictures(
    road: Road,
    job: Job,
    formats: Sequence[str],
    fresh: Sequence[Entry | Failure],
    ledger: Ledger,
    progress: Progress,
    report: Callable[[], None],
) -> None:
    sink = FolderSink(job.out, frozenset(formats), announce=ledger.announce)

    def deliver(finished: Finished) -> None:
        with road.timings.measure("write"):
            item = finished.item
            item_sink = sink.item(item.name)
            for result in finished.results:
                if job.convention and isinstance(result, Pose):
                    result = result.converted(job.convention)
                result.write(item_sink)
            ledger.record(item.name, item.size_bytes, item.modified_ns, item_sink.written)

    for outcome in road.run((entry for entry in fresh if not is_video_entry(entry)), deliver):
        if isinstance(outcome, Failure):
            progress.failures.append(outcome)
        else:
            progress.done += 1
        report()


def _gather(
    job: Job, formats: Sequence[str], entries: Sequence[Entry | Failure], progress: Progress, ledger: Ledger
) -> None:
    """Files about all pictures of the run together."""
    if entries and all(is_video_entry(entry) for entry in entries):
        return
    failed = {failure.index for failure in progress.failures}
    names = [entry.name for entry in entries if entry.index not in failed and not is_video_entry(entry)]
    if "coco" in formats:
        gather_coco_results(job.out, names, announce=ledger.announce)
    if "csv" in formats:
        gather_csv(job.out, names, announce=ledger.announce)


def _learn(road: Road, peak_bytes: int) -> None:
    """Remember how far the prediction was from what the run took: later plans on this device are corrected by it."""
    model, batch = road.model, road.engine.largest_batch
    if model.predicted is None or not batch:
        return
    knobs = Knobs(dtype=model.precision.dtype, micro_batch=batch)
    point = CalibrationPoint.of(model.predicted(batch), peak_bytes, knobs, model.spec.name)
    remember(point, probe().device(model.device).name)


def _identity(model: Model, job: Job, formats: Sequence[str]) -> dict[str, Any]:
    """What decides the results; a resumed run redoes what was made with anything else."""
    boxes = sha256_of(job.boxes) if job.boxes else None
    precision = str(model.precision)
    options: dict[str, Any] = {
        "flip_test": job.flip_test,
        "boxes": boxes,
        "formats": sorted(formats),
        "precision": precision,
    }
    if model.finder is not None and boxes is None:
        finder = model.finder
        options["detector"] = [finder.spec.name, finder.provenance.weights_sha256, str(finder.precision)]
        options["whole_if_nobody"] = model.whole_if_nobody
    if job.track or job.smooth or job.span != Span():
        options |= {"track": job.track, "smooth": job.smooth, "span": asdict(job.span)}
    if job.convention:
        options["convention"] = job.convention
    return {"model": model.spec.name, "weights_sha256": model.provenance.weights_sha256, "options": options}


def _formats(model: Model, job: Job) -> tuple[str, ...]:
    kind = RESULT_KINDS[model.task.name]
    formats = job.formats or kind.default_formats
    unknown = [name for name in formats if name not in (*kind.formats, LINES)]
    if unknown:
        raise UsageError(
            f"got --format {','.join(unknown)} for {model.task.name}; expected some of {', '.join(kind.formats)}; "
            "name them in a comma list"
        )
    check_formats(formats)
    return tuple(formats)


def _regions_of(boxes: BoxTable | None) -> RegionsOf | None:
    if boxes is None:
        return None
    return lambda item: boxes.lookup(item.name) or ()


def _is_done(ledger: Ledger, entry: Entry | Failure) -> bool:
    """Whether an earlier run finished this very file; pictures that are no files are always done again."""
    if isinstance(entry, Failure) or entry.path is None:
        return False
    try:
        status = entry.path.stat()
    except OSError:
        return False  # reading it will say why
    return ledger.done(entry.name, status.st_size, status.st_mtime_ns)


def _run_document(
    road: Road, job: Job, formats: Sequence[str], progress: Progress, notes: Sequence[str]
) -> dict[str, Any]:
    wall_s = time.perf_counter() - progress.started
    model = road.model
    return {
        "vitruvian": __version__,
        "finished_utc": datetime.now(UTC).isoformat(timespec="seconds"),
        "task": model.task.name,
        "model": model.spec.name,
        "weights_sha256": model.provenance.weights_sha256,
        "licence": model.provenance.licence,
        "machine": probe().line(),
        "device": model.device,
        "precision": str(model.precision),
        "detector": model.finder.spec.name if model.finder else None,
        "micro_batch": road.engine.wanted_batch(model.task.input_hw),
        "decisions": [decision.to_json() for decision in (*model.loading_decisions, *progress.decisions)],
        "plan": _planned(model),
        "memory": _measured(road),
        "notes": [*model.notes, *notes],
        "options": {
            "formats": list(formats),
            "flip_test": job.flip_test,
            "boxes": job.boxes is not None,
            "convention": job.convention,
            "track": job.track,
            "smooth": job.smooth,
            "recursive": job.recursive,
            "mode": job.mode,
        },
        "inputs": {
            "total": progress.total,
            "done": progress.done,
            "skipped": progress.skipped,
            "failed": len(progress.failures),
        },
        "videos": progress.videos,
        "failures": [{"name": failure.name, "reason": failure.reason} for failure in progress.failures],
        "timings_s": {stage: round(seconds, 4) for stage, seconds in road.timings.seconds.items()},
        "wall_s": round(wall_s, 4),
        "images_per_s": round(progress.done / max(wall_s, 1e-9), 3),
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
