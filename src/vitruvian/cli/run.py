"""The running verbs: pictures in, result files out."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from vitruvian.errors import EXIT_OK, InputError, InterruptedRunError, UsageError

if TYPE_CHECKING:
    from vitruvian.jobs import Job
    from vitruvian.predict import Model
    from vitruvian.zoo import TaskName

Inputs = Annotated[
    list[str],
    typer.Argument(
        metavar="INPUT...",
        help="Pictures, folders, patterns, list files (.txt), or - for standard input.",
        show_default=False,
    ),
]
Out = Annotated[Path, typer.Option("--out", "-o", help="Folder for the results.", show_default=False)]
ModelName = Annotated[
    str | None, typer.Option("--model", "-m", help="Catalogue name or weight file. (default: the embedded nano)")
]
Formats = Annotated[str, typer.Option("--format", help="Comma list of formats. (default: the task's usual ones)")]
Recursive = Annotated[bool, typer.Option("--recursive", "-r", help="Enter sub-folders.")]
Resume = Annotated[bool, typer.Option("--resume", help="Go on in an output folder; redo only what does not match.")]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace the results of an earlier run.")]
Device = Annotated[str | None, typer.Option("--device", help="cpu, cuda, cuda:1, mps. (default: chosen)")]
Batch = Annotated[int | None, typer.Option("--batch", min=1, help="Crops per network call. (default: chosen)")]
Accept = Annotated[
    list[str] | None,
    typer.Option("--accept-licence", metavar="NAME", help="Accept a licence of weights, e.g. cc-by-nc-4.0."),
]
Explain = Annotated[bool, typer.Option("--explain", "-v", help="Print every automatic choice and why.")]
Json = Annotated[bool, typer.Option("--json", help="Print the content of run.json instead of a summary.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Print errors only.")]
Boxes = Annotated[
    Path | None,
    typer.Option("--boxes", help="Persons, as JSON: COCO detections, COCO annotations, or boxes by picture name."),
]
FlipTest = Annotated[bool, typer.Option("--flip-test", help="Average with the mirrored picture; twice the time.")]


@dataclass(frozen=True, kw_only=True, slots=True)
class Options:
    """What the running verbs have in common, as typed."""

    inputs: list[str]
    out: Path
    model: str | None
    formats: str
    recursive: bool
    resume: bool
    overwrite: bool
    device: str | None
    batch: int | None
    accept_licence: list[str] | None
    explain: bool
    json: bool
    quiet: bool
    boxes: Path | None = None
    flip_test: bool = False


def pose(
    inputs: Inputs,
    out: Out,
    model: ModelName = None,
    boxes: Boxes = None,
    flip_test: FlipTest = False,
    formats: Formats = "",
    recursive: Recursive = False,
    resume: Resume = False,
    overwrite: Overwrite = False,
    device: Device = None,
    batch: Batch = None,
    accept_licence: Accept = None,
    explain: Explain = False,
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Keypoints of persons: JSON, COCO results, drawings. Without --boxes the whole picture is one person."""
    _run("pose", Options(**locals()))


def _dense_verb(task: TaskName, description: str) -> Callable[..., None]:
    """A verb for whole pictures; all take the same options."""

    def verb(
        inputs: Inputs,
        out: Out,
        model: ModelName = None,
        formats: Formats = "",
        recursive: Recursive = False,
        resume: Resume = False,
        overwrite: Overwrite = False,
        device: Device = None,
        batch: Batch = None,
        accept_licence: Accept = None,
        explain: Explain = False,
        json: Json = False,
        quiet: Quiet = False,
    ) -> None:
        _run(task, Options(**{name: value for name, value in locals().items() if name != "task"}))

    verb.__name__, verb.__doc__ = task, description
    return verb


seg = _dense_verb("seg", "Body parts: palette PNG at source size, drawings.")
depth = _dense_verb(
    "depth", "Relative depth of persons (0 nearest, larger is farther): float32 NPY, 16-bit PNG, EXR, drawings."
)
normal = _dense_verb("normal", "Surface normals: float32 NPY, 16-bit PNG, EXR, drawings.")
features = _dense_verb("features", "Feature maps of the encoder: float32 NPY (C,h,w).")


def _run(task: TaskName, options: Options) -> None:
    if options.resume and options.overwrite:
        raise UsageError("got --resume and --overwrite; expected one of them; --resume keeps what matches")
    from vitruvian.cli.screen import progress_line, say_failures, summary
    from vitruvian.jobs import run_job

    model = _load(task, options)
    if options.explain:
        for decision in model.decisions:
            print(decision)
    try:
        with progress_line(quiet=options.quiet or options.json) as on_progress:
            progress = run_job(model, _job(options), on_progress)
    except KeyboardInterrupt as stop:
        raise InterruptedRunError(f"interrupted; what is whole was kept in {options.out}; --resume goes on") from stop
    if options.json:
        print((options.out / "run.json").read_text(encoding="utf-8"), end="")
    elif not options.quiet:
        print(summary(progress, options.out))
    say_failures(progress)
    raise typer.Exit(InputError.exit_code if progress.failures else EXIT_OK)


def _load(task: TaskName, options: Options) -> Model:
    from vitruvian.cli.screen import ask_on_terminal, say
    from vitruvian.predict import load
    from vitruvian.zoo import DEFAULT_MODELS

    model = load(
        options.model or DEFAULT_MODELS[task],
        device=options.device,
        micro_batch=options.batch,
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

    return Job(
        inputs=options.inputs,
        out=options.out,
        formats=tuple(part.strip() for part in options.formats.split(",") if part.strip()),
        mode="resume" if options.resume else "overwrite" if options.overwrite else "new",
        recursive=options.recursive,
        flip_test=options.flip_test,
        boxes=options.boxes,
    )
