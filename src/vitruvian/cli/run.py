"""The running verbs: pictures in, result files out."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from vitruvian.errors import EXIT_OK, InputError, InterruptedRunError, UsageError

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
    str | None, typer.Option("--model", "-m", help="Catalogue name or weight file. [default: the embedded nano]")
]
Formats = Annotated[str, typer.Option("--format", help="Comma list of formats. [default: the task's usual ones]")]
Recursive = Annotated[bool, typer.Option("--recursive", "-r", help="Enter sub-folders.")]
Resume = Annotated[bool, typer.Option("--resume", help="Go on in an output folder; redo only what does not match.")]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace the results of an earlier run.")]
Device = Annotated[str | None, typer.Option("--device", help="cpu, cuda, cuda:1, mps. [default: chosen]")]
Batch = Annotated[int | None, typer.Option("--batch", min=1, help="Crops per network call. [default: chosen]")]
Accept = Annotated[
    list[str] | None,
    typer.Option("--accept-licence", metavar="NAME", help="Accept a licence of weights, e.g. cc-by-nc-4.0."),
]
Explain = Annotated[bool, typer.Option("--explain", help="Print every automatic choice and why.")]
Json = Annotated[bool, typer.Option("--json", help="Print the content of run.json instead of a summary.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Print errors only.")]
Boxes = Annotated[
    Path | None,
    typer.Option("--boxes", help="Persons: COCO detections or annotations, or {name: [[x0,y0,x1,y1,score]]} as JSON."),
]
FlipTest = Annotated[bool, typer.Option("--flip-test", help="Average with the mirrored picture; twice the time.")]


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
    _run("pose", **locals())


def seg(
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
    """Body parts: palette PNG at source size, drawings."""
    _run("seg", **locals())


def depth(
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
    """Relative depth of persons (0 nearest, larger is farther): float32 NPY, 16-bit PNG, EXR, drawings."""
    _run("depth", **locals())


def normal(
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
    """Surface normals: float32 NPY, 16-bit PNG, EXR, drawings."""
    _run("normal", **locals())


def features(
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
    """Feature maps of the encoder: float32 NPY (C,h,w)."""
    _run("features", **locals())


def _run(
    task: Literal["pose", "seg", "depth", "normal", "features"],
    *,
    inputs: list[str],
    out: Path,
    model: str | None,
    formats: str,
    recursive: bool,
    resume: bool,
    overwrite: bool,
    device: str | None,
    batch: int | None,
    accept_licence: list[str] | None,
    explain: bool,
    json: bool,
    quiet: bool,
    boxes: Path | None = None,
    flip_test: bool = False,
) -> None:
    if resume and overwrite:
        raise UsageError("got --resume and --overwrite; expected one of them; --resume keeps what matches")
    from vitruvian.cli.screen import ask_on_terminal, progress_line, say_failures, summary
    from vitruvian.jobs import Job, run_job
    from vitruvian.predict import load
    from vitruvian.zoo import DEFAULT_MODELS

    loaded = load(
        model or DEFAULT_MODELS[task],
        device=device,
        micro_batch=batch,
        accept_licence=accept_licence or (),
        ask=ask_on_terminal(),
    )
    if loaded.task.name != task:
        raise UsageError(
            f"got the {loaded.task.name} model {loaded.spec.name} for `vitruvian {task}`; expected a {task} model; "
            f"`vitruvian models` lists them, `vitruvian {loaded.task.name}` runs this one"
        )
    job = Job(
        inputs=inputs,
        out=out,
        formats=tuple(part.strip() for part in formats.split(",") if part.strip()),
        mode="resume" if resume else "overwrite" if overwrite else "new",
        recursive=recursive,
        flip_test=flip_test,
        boxes=boxes,
    )
    if explain:
        for decision in loaded.decisions:
            print(decision)
    try:
        with progress_line(quiet=quiet or json) as on_progress:
            progress = run_job(loaded, job, on_progress)
    except KeyboardInterrupt as stop:
        raise InterruptedRunError(f"interrupted; what is whole was kept in {out}; --resume goes on") from stop
    if json:
        print((out / "run.json").read_text(encoding="utf-8"), end="")
    elif not quiet:
        print(summary(progress, out))
    say_failures(progress)
    if progress.failures:
        raise typer.Exit(InputError.exit_code)
    raise typer.Exit(EXIT_OK)
