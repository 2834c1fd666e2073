"""The running verbs: pictures in, result files out."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from vitruvian.cli.options import (
    Accept,
    Batch,
    Budget,
    Device,
    Dtype,
    FlipTest,
    Objective,
    Quality,
    Quiet,
    Rebuild,
    Trust,
)
from vitruvian.errors import EXIT_OK, InputError, InterruptedRunError, UsageError

if TYPE_CHECKING:
    from vitruvian.jobs import Job
    from vitruvian.predict import Model
    from vitruvian.tasks.cameras import CameraWish
    from vitruvian.zoo import TaskName

Inputs = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="INPUT...",
        help="Pictures, videos, folders, patterns, list files (.txt), or - for standard input.",
        show_default=False,
    ),
]
Out = Annotated[Path, typer.Option("--out", "-o", help="Folder for the results.", show_default=False)]
ModelName = Annotated[
    str | None,
    typer.Option("--model", "-m", help="Catalogue name, weight file or artefact. (default: the embedded nano)"),
]
Formats = Annotated[str, typer.Option("--format", help="Comma list of formats. (default: the task's usual ones)")]
Recursive = Annotated[bool, typer.Option("--recursive", "-r", help="Enter sub-folders.")]
Resume = Annotated[bool, typer.Option("--resume", help="Go on in an output folder; redo only what does not match.")]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace the results of an earlier run.")]
MaxLatency = Annotated[
    float | None, typer.Option("--max-latency", min=0.0, metavar="MS", help="Longest network call in milliseconds.")
]
Explain = Annotated[bool, typer.Option("--explain", "-v", help="Print every automatic choice and why.")]
Json = Annotated[bool, typer.Option("--json", help="Print the content of run.json instead of a summary.")]
Boxes = Annotated[
    Path | None,
    typer.Option("--boxes", help="Persons, as JSON: COCO detections, COCO annotations, or boxes by picture name."),
]
Detector = Annotated[
    str,
    typer.Option(
        "--detector", metavar="NAME", help="What finds persons: a catalogue name, auto (the embedded one) or none."
    ),
]
PersonsBy = Annotated[
    str,
    typer.Option(
        "--detector",
        metavar="NAME",
        help="Look at one person after the other, except for features: what finds them, e.g. detector-nano.",
    ),
]
WholeImage = Annotated[
    bool, typer.Option("--whole-image", help="Take the whole picture as one person where nobody is found.")
]
Convention = Annotated[
    str | None,
    typer.Option(
        "--convention",
        metavar="NAME",
        help="sapiens308, wholebody133, coco17, openpose18 or openpose25. (default: the network's)",
    ),
]
Start = Annotated[float, typer.Option("--start", min=0.0, metavar="SECONDS", help="Begin a video here.")]
End = Annotated[
    float | None,
    typer.Option("--end", min=0.0, metavar="SECONDS", help="End a video, or a camera, here."),
]
Stride = Annotated[int, typer.Option("--stride", min=1, help="Take every n-th frame of a video.")]
Fps = Annotated[float, typer.Option("--fps", min=0.001, help="Frames a second of numbered pictures (frames/%06d.png).")]
Camera = Annotated[
    str | None,
    typer.Option(
        "--camera",
        metavar="N|URL",
        help="Instead of inputs: a camera by its number (0 is the first), or rtsp://, http://. Ctrl-C ends it.",
    ),
]
Track = Annotated[bool, typer.Option("--track", help="Follow persons over a video: stable numbers.")]
Smooth = Annotated[bool, typer.Option("--smooth", help="Steady results over a video; follows persons, too.")]


@dataclass(frozen=True, kw_only=True, slots=True)
class Options:
    """What the running verbs have in common, as typed."""

    inputs: list[str] | None
    out: Path
    model: str | None
    formats: str
    recursive: bool
    resume: bool
    overwrite: bool
    device: str | None
    dtype: str | None
    quality: str
    budget: str | None
    batch: int | None
    objective: str
    max_latency: float | None
    accept_licence: list[str] | None
    explain: bool
    json: bool
    quiet: bool
    boxes: Path | None = None
    flip_test: bool = False
    detector: str = "auto"
    whole_image: bool = False
    convention: str | None = None
    start: float = 0.0
    end: float | None = None
    stride: int = 1
    fps: float = 25.0
    track: bool = False
    smooth: bool = False
    camera: str | None = None
    trust: bool = False
    rebuild: str = "auto"
    focal_px: float | None = None
    fov_deg: float | None = None
    intrinsics: Path | None = None
    canvas: str | None = None
    tokens: int | None = None
    metric_from: str | None = None

    @property
    def of_persons(self) -> bool:
        """Whether something was said that only a model of persons can do."""
        return self.boxes is not None or self.metric_from is not None or self.detector not in ("auto", "none")


def pose(
    out: Out,
    inputs: Inputs = None,
    camera: Camera = None,
    model: ModelName = None,
    detector: Detector = "auto",
    boxes: Boxes = None,
    whole_image: WholeImage = False,
    convention: Convention = None,
    track: Track = False,
    smooth: Smooth = False,
    start: Start = 0.0,
    end: End = None,
    stride: Stride = 1,
    fps: Fps = 25.0,
    flip_test: FlipTest = False,
    formats: Formats = "",
    recursive: Recursive = False,
    resume: Resume = False,
    overwrite: Overwrite = False,
    device: Device = None,
    dtype: Dtype = None,
    quality: Quality = "balanced",
    budget: Budget = None,
    batch: Batch = None,
    objective: Objective = "throughput",
    max_latency: MaxLatency = None,
    trust: Trust = False,
    rebuild: Rebuild = "auto",
    accept_licence: Accept = None,
    explain: Explain = False,
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Keypoints of every person: JSON, CSV, COCO and OpenPose files, drawings."""
    run_verb("pose", Options(**locals()))


def _dense_verb(task: TaskName, description: str) -> Callable[..., None]:
    """A verb for whole pictures, person by person on request; all take the same options."""

    def verb(
        out: Out,
        inputs: Inputs = None,
        camera: Camera = None,
        model: ModelName = None,
        detector: PersonsBy = "auto",
        boxes: Boxes = None,
        track: Track = False,
        smooth: Smooth = False,
        start: Start = 0.0,
        end: End = None,
        stride: Stride = 1,
        fps: Fps = 25.0,
        formats: Formats = "",
        recursive: Recursive = False,
        resume: Resume = False,
        overwrite: Overwrite = False,
        device: Device = None,
        dtype: Dtype = None,
        quality: Quality = "balanced",
        budget: Budget = None,
        batch: Batch = None,
        objective: Objective = "throughput",
        max_latency: MaxLatency = None,
        trust: Trust = False,
        rebuild: Rebuild = "auto",
        accept_licence: Accept = None,
        explain: Explain = False,
        json: Json = False,
        quiet: Quiet = False,
    ) -> None:
        run_verb(task, Options(**{name: value for name, value in locals().items() if name != "task"}))

    verb.__name__, verb.__doc__ = task, description
    return verb


seg = _dense_verb("seg", "Body parts: palette PNG at source size, drawings.")
normal = _dense_verb("normal", "Surface normals: float32 NPY, 16-bit PNG, EXR, drawings.")
features = _dense_verb("features", "Feature maps of the encoder: float32 NPY (C,h,w).")


def run_verb(task: TaskName, options: Options) -> None:
    """Run one task over the inputs as typed, and end with its exit code."""
    if options.resume and options.overwrite:
        raise UsageError("got --resume and --overwrite; expected one of them; --resume keeps what matches")
    if options.boxes is not None and options.detector not in ("auto", "none"):
        raise UsageError(
            f"got --boxes and --detector {options.detector}; expected one of them; leave out what is not to say where "
            "persons are"
        )
    if options.camera is not None and options.batch is not None:
        raise UsageError("got --batch for a camera; expected none: crops run one by one, so that no frame waits")
    from vitruvian.cli.screen import progress_line, say, say_failures, summary
    from vitruvian.jobs import check_job, run_job

    job = _job(options)
    check_job(job)
    limit = _limit(options)
    model = _load(task, options)
    for line in (*limit, *model.notes):
        say(line)
    if options.explain:
        print("\n".join(map(str, model.loading_decisions)))
    try:
        with progress_line(quiet=options.quiet or options.json) as on_progress:
            progress = run_job(model, job, on_progress)
    except KeyboardInterrupt as stop:
        goes_on = "" if options.camera is not None else "; --resume goes on"
        raise InterruptedRunError(f"interrupted; what is whole was kept in {options.out}{goes_on}") from stop
    if options.json:
        print((options.out / "run.json").read_text(encoding="utf-8"), end="")
    elif options.explain:
        print("\n".join(map(str, progress.decisions)))
        print(summary(progress, options.out))
    elif not options.quiet:
        print(summary(progress, options.out))
    say_failures(progress)
    raise typer.Exit(InputError.exit_code if progress.failures else EXIT_OK)


def _limit(options: Options) -> list[str]:
    """Hold the process to the budget before anything is loaded; what was set, for people."""
    if options.budget is None:
        return []
    import vitruvian.loading  # noqa: F401  # libraries count, so they come first
    from vitruvian.hardware import limit_memory, parse_size, probe

    hardware = probe()
    device = hardware.device(options.device or hardware.default_device).device
    return [limit_memory(device, parse_size(options.budget)).sentence]


def _load(task: TaskName, options: Options) -> Model:
    from vitruvian.cli.screen import ask_on_terminal, say
    from vitruvian.loading import load
    from vitruvian.zoo import CanvasWish, default_model

    model = load(
        options.model or default_model(task, of_persons=options.of_persons),
        device=options.device,
        dtype=options.dtype,
        quality=options.quality,
        budget=options.budget,
        micro_batch=options.batch,
        objective=options.objective,
        max_latency_ms=options.max_latency,
        detector="none" if options.boxes else options.detector,
        whole_if_nobody=options.whole_image,
        trust=options.trust,
        rebuild=options.rebuild,
        canvas=CanvasWish(canvas=options.canvas, tokens=options.tokens),
        metric_from=options.metric_from,
        accept_licence=options.accept_licence or (),
        ask=ask_on_terminal(),
        report=say,
    )
    if model.task.name != task:
        raise UsageError(
            f"got the {model.task.name} model {model.spec.name} for `vitruvian {task}`; expected a {task} model; "
            f"`vitruvian models` lists them, `vitruvian {model.task.name}` runs this one"
        )
    return model


def _job(options: Options) -> Job:
    from vitruvian.jobs import Job
    from vitruvian.media.video.values import Span

    return Job(
        inputs=options.inputs or (),
        camera=options.camera,
        out=options.out,
        formats=tuple(part.strip() for part in options.formats.split(",") if part.strip()),
        mode="resume" if options.resume else "overwrite" if options.overwrite else "new",
        recursive=options.recursive,
        flip_test=options.flip_test,
        boxes=options.boxes,
        convention=options.convention,
        span=Span(start_s=options.start, end_s=options.end, stride=options.stride),
        frame_rate=options.fps,
        track=options.track,
        smooth=options.smooth,
        cameras=_cameras(options),
    )


def _cameras(options: Options) -> CameraWish:
    from vitruvian.tasks.cameras import CameraWish
    from vitruvian.tasks.intrinsics_files import read_intrinsics

    table = None if options.intrinsics is None else read_intrinsics(options.intrinsics)
    return CameraWish(focal_px=options.focal_px, fov_deg=options.fov_deg, table=table)
