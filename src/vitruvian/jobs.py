"""Files in, files out: the road with a ledger, sinks, a progress report and `run.json`.

In: a loaded model, inputs, an output folder. Out: result files, `run.json`, a summary. A run that was killed goes on
with `resume` and ends with the same set of files as one that was not.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

from vitruvian.coco import gather_coco_results, gather_csv
from vitruvian.errors import InputError, UsageError
from vitruvian.fit.calibration import CalibrationPoint, remember
from vitruvian.fit.knobs import Knobs
from vitruvian.hardware import PeakWatch, open_meter, probe
from vitruvian.media.documents import write_json_atomic
from vitruvian.media.items import Entry, Failure
from vitruvian.media.ledger import Ledger
from vitruvian.media.listing import list_inputs
from vitruvian.media.sinks import FolderSink, check_formats
from vitruvian.media.video.camera import camera_name
from vitruvian.media.video.values import Span
from vitruvian.models.weight_files import sha256_of
from vitruvian.network_stage import Finished, Timings
from vitruvian.picture_cameras import PictureCameras
from vitruvian.predict import Model, RegionsOf, Road, camera_of
from vitruvian.progress import Progress
from vitruvian.run_document import run_document
from vitruvian.tasks.cameras import CameraWish
from vitruvian.tasks.labels import keypoint_set
from vitruvian.tasks.pose import Pose
from vitruvian.tasks.regions import BoxTable, read_boxes
from vitruvian.videos.jobs import VideoJobs
from vitruvian.videos.streams import stamp_of
from vitruvian.videos.wish import FRAME_RATE, LINES, VideoWish, formats_of, is_video_entry

RUN_FILE = "run.json"


@dataclass(frozen=True, kw_only=True, slots=True)
class Job:
    """What to do, apart from the model."""

    out: Path
    inputs: Sequence[str] = ()
    """Pictures, videos, folders, ...; see `vitruvian.media.listing`."""
    camera: str | None = None
    """In the place of inputs: a camera's number or address."""
    formats: tuple[str, ...] = ()
    """Formats to write; empty means the task's defaults."""
    mode: Literal["new", "resume", "overwrite"] = "new"
    recursive: bool = False
    flip_test: bool = False
    boxes: Path | None = None
    """File with persons per picture, or per frame of a video; those that it does not name have none."""
    convention: str | None = None
    """Keypoint set that poses are converted to; None: the network's own."""
    span: Span = field(default_factory=Span)
    """Part of every video."""
    frame_rate: float = FRAME_RATE
    """Of numbered pictures (`frames/%06d.png`)."""
    track: bool = False
    """Follow persons over a video."""
    smooth: bool = False
    """Steady results over a video; persons are followed for it."""
    cameras: CameraWish = field(default_factory=CameraWish)
    """What is known of the cameras behind the inputs, for models that measure in metres."""


def run_job(
    model: Model,
    job: Job,
    on_progress: Callable[[Progress], None] = lambda progress: None,
    watch: PeakWatch | None = None,
) -> Progress:
    """Run a model over inputs into a folder.

    `watch`: a memory watch that is on already; None: one of this run's own.

    Raises:
        UsageError: unknown format, options that do not go together, an output folder that is in use, not empty or not
            writable, no input at all.
        DoesNotFitError: the disk is full.
    """
    formats = _formats(model, job)
    check_job(job)
    _check_persons(model, job)
    boxes = read_boxes(job.boxes) if job.boxes else None
    cameras = camera_of(model, job.cameras)
    with ExitStack() as stack:
        identity = _identity(model, job, formats)
        ledger = stack.enter_context(Ledger.open(job.out, mode=job.mode, run=identity))
        watch = watch or stack.enter_context(PeakWatch(open_meter(model.device)))
        pictures, videos = _listed(job, formats)
        fresh = [entry for entry in pictures if not _is_done(ledger, entry)]
        fresh_videos = [entry for entry in videos if not _is_done(ledger, entry)]
        progress = _progress(model, job, len(pictures), len(videos))
        progress.skipped = len(pictures) + len(videos) - len(fresh) - len(fresh_videos)

        def report() -> None:
            progress.memory_bytes, progress.peak_bytes = watch.last.device_bytes, watch.peak_bytes
            on_progress(progress)

        timings = Timings(watch=watch)
        road = _road(model, job, boxes, timings, cameras)
        frames = VideoJobs(
            model=model,
            wish=_wish(job, formats, boxes, cameras),
            out=job.out,
            identity=identity,
            ledger=ledger,
            timings=timings,
            progress=progress,
            report=report,
        )
        try:
            report()
            _run_pictures(road, job, formats, fresh, ledger, progress, report)
            _gather(job, formats, pictures, progress, ledger)
            for other in frames.camera(job.camera) if job.camera is not None else frames.videos(fresh_videos):
                road = road if road.engine.largest_batch else other
        finally:
            ledger.announce(RUN_FILE)
            progress.decisions = road.decisions()
            progress.warnings += _warnings(road)
            document = run_document(road, _options(job, formats), progress, ledger.notes)
            write_json_atomic(job.out / RUN_FILE, document)
        _learn(road, watch.peak_bytes)
    return progress


def _progress(model: Model, job: Job, pictures: int, videos: int) -> Progress:
    """Where a job stands before anything is done."""
    live = job.camera is not None
    what = "inputs" if videos or live else "pictures"
    planned_bytes = model.plan.peak_bytes if model.plan else 0
    return Progress(total=1 if live else pictures + videos, what=what, planned_bytes=planned_bytes)


def _road(model: Model, job: Job, boxes: BoxTable | None, timings: Timings, cameras: PictureCameras | None) -> Road:
    """Of the pictures."""
    return Road(
        model=model,
        regions_of=_regions_of(boxes),
        flip_test=job.flip_test,
        timings=timings,
        camera_of=cameras,
    )


def _warnings(road: Road) -> list[str]:
    """What a user must know about the results."""
    warning = road.camera_of.warning() if road.camera_of else None
    return [] if warning is None else [warning]


def check_job(job: Job) -> None:
    """Refuse what does not go together, before anything is loaded or touched.

    Raises:
        UsageError: what was asked, and what to do instead.
    """
    if job.convention:
        keypoint_set(job.convention)
    if job.camera is None and not job.inputs:
        raise UsageError("got no input; expected pictures, videos or folders, or --camera NUMBER; name one")
    if job.camera is not None:
        _check_camera(job)


def _check_persons(model: Model, job: Job) -> None:
    """Some networks do not look at persons, and nobody can be followed where nobody is looked for."""
    if job.boxes is not None and not model.spec.family.person_wise:
        raise UsageError(
            f"got --boxes for {model.spec.name}; expected none: it looks at whole pictures; leave them out, or name a "
            "sapiens model"
        )
    if model.finder is None and job.boxes is None and (job.track or (job.smooth and model.task.name == "pose")):
        option = "--track" if job.track else "--smooth"
        raise UsageError(
            f"got {option} for whole pictures; expected persons to follow; let a detector find them (--detector), or "
            "say where they are (--boxes)"
        )


def _check_camera(job: Job) -> None:
    assert job.camera is not None
    camera_name(job.camera)
    if job.inputs:
        raise UsageError("got --camera together with inputs; expected one of them; run them one after the other")
    if job.mode == "resume":
        raise UsageError(
            "got --resume for a camera; expected a new output folder: what it showed does not come again; choose "
            "another with -o, or --overwrite the earlier results"
        )
    given = {"--boxes": job.boxes is not None, "--start": job.span.start_s > 0, "--stride": job.span.stride > 1}
    for option, is_given in given.items():
        if is_given:
            raise UsageError(
                f"got {option} for a camera; expected none: it begins now and gives the newest frame each time; "
                "leave it out"
            )


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

    for outcome in road.run(fresh, deliver):
        if isinstance(outcome, Failure):
            progress.failures.append(outcome)
        else:
            progress.done += 1
            progress.pictures += 1
        report()


def _gather(
    job: Job, formats: Sequence[str], pictures: Sequence[Entry | Failure], progress: Progress, ledger: Ledger
) -> None:
    """Files about all pictures of the run together."""
    if not pictures:
        return
    failed = {failure.index for failure in progress.failures}
    names = [entry.name for entry in pictures if entry.index not in failed]
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
    if job.frame_rate != FRAME_RATE:
        options["frame_rate"] = job.frame_rate
    if job.track or job.smooth or job.span != Span():
        options |= {"track": job.track, "smooth": job.smooth, "span": asdict(job.span)}
    if job.convention:
        options["convention"] = job.convention
    if model.measures:
        spec = (model.scaler or model).spec
        options["cameras"] = job.cameras.document()
        options["canvas"] = [list(spec.input_hw), spec.fit]
    if model.scaler is not None:
        scaler = model.scaler
        options["metric_from"] = [scaler.spec.name, scaler.provenance.weights_sha256, str(scaler.precision)]
    return {"model": model.spec.name, "weights_sha256": model.provenance.weights_sha256, "options": options}


def _formats(model: Model, job: Job) -> tuple[str, ...]:
    kind = model.task.result
    formats = tuple(kind.format_aliases.get(name, name) for name in job.formats) or kind.default_formats
    known = (*kind.formats, LINES)
    unknown = [name for name in formats if name not in known]
    if unknown:
        raise UsageError(
            f"got --format {','.join(unknown)} for {model.task.name}; expected some of {', '.join(known)} (of videos "
            "alone); name them in a comma list"
        )
    check_formats(formats)
    return tuple(formats)


def _regions_of(boxes: BoxTable | None) -> RegionsOf | None:
    if boxes is None:
        return None
    return lambda item: boxes.lookup(item.name) or ()


def _is_done(ledger: Ledger, entry: Entry | Failure) -> bool:
    """Whether an earlier run finished this very file; pictures that are no files are always done again."""
    if isinstance(entry, Failure) or entry.payload is not None:
        return False
    try:
        return ledger.done(entry.name, *stamp_of(entry))
    except InputError:
        return False  # reading it will say why


def _listed(job: Job, formats: Sequence[str]) -> tuple[list[Entry | Failure], list[Entry]]:
    """Pictures, with what cannot be used at all, and videos."""
    pictures: list[Entry | Failure] = []
    videos: list[Entry] = []
    for entry in list_inputs(list(job.inputs), recursive=job.recursive, videos=True):
        if isinstance(entry, Entry) and is_video_entry(entry):
            videos.append(entry)
        else:
            pictures.append(entry)
    if any(isinstance(entry, Entry) for entry in pictures) and not set(formats) - {LINES}:
        raise UsageError(f"got --format {LINES} for pictures; expected one that pictures have; name it, too")
    return pictures, videos


def _wish(job: Job, formats: Sequence[str], boxes: BoxTable | None, cameras: PictureCameras | None) -> VideoWish:
    """What a job wants of every video."""
    return VideoWish(
        formats=formats_of(formats if job.formats else ()),
        span=job.span,
        track=job.track or job.smooth,
        smooth=job.smooth,
        convention=job.convention,
        frame_rate=job.frame_rate,
        boxes=boxes,
        flip_test=job.flip_test,
        cameras=cameras,
    )


def _options(job: Job, formats: Sequence[str]) -> dict[str, Any]:
    """The job for `run.json`."""
    return {
        "formats": list(formats),
        "flip_test": job.flip_test,
        "boxes": job.boxes is not None,
        "convention": job.convention,
        "track": job.track,
        "smooth": job.smooth,
        "span": asdict(job.span),
        "camera": job.camera is not None,
        "recursive": job.recursive,
        "mode": job.mode,
    }
