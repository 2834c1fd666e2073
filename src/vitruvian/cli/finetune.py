"""`vitruvian finetune`: a network trained on a folder of samples, inside a memory budget."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from vitruvian.cli.options import Accept, Budget, Device, Quiet

if TYPE_CHECKING:
    from vitruvian.finetuning.nano import NanoTrained
    from vitruvian.finetuning.nano_plan import PlannedNano
    from vitruvian.finetuning.planned import PlannedTraining
    from vitruvian.finetuning.progress import TrainingProgress
    from vitruvian.finetuning.road import FineTuned

NANO, METRIC_NANO = "nano", "metric-nano"
BASE = "sapiens-nano"

Settings = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="[KEY=VALUE]...",
        help="Recipe: steps=, epochs=, batch_size= (effective), lr=, schedule=, warmup=, weight_decay=, layer_decay=, "
        "clip_norm=, drop_path=, augment.KEY=, augment=false, channels= (classes or keypoints), ... "
        "Memory: crop=768x576, checkpointing=blocks, precision=pure, optimizer=adamw-8bit, trainable=lora|half|head, "
        "state=host, gradients=released, micro_batch=, ... (docs/fine-tuning.md) nano and metric-nano: pictures=, too.",
        show_default=False,
    ),
]
Task = Annotated[
    str,
    typer.Option(
        "--task",
        metavar="TASK",
        help="pose, seg, depth or normal; a metric3d model learns depth in metres, normals with it (--task depth). "
        "nano, metric-nano: the embedded networks anew, on synthetic pictures.",
        show_default=False,
    ),
]
Base = Annotated[
    str,
    typer.Option(
        "--model",
        "-m",
        help="What to start from: a name (sapiens-2b: the encoder, a new head; metric3d-vit-small), a file, a RUN.",
    ),
]
Data = Annotated[
    Path | None,
    typer.Option("--data", metavar="DIR", help="Folder of samples; none for nano and metric-nano.", show_default=False),
]
Out = Annotated[Path, typer.Option("--out", "-o", metavar="RUN", help="Folder of the training.", show_default=False)]
RecipeFile = Annotated[Path | None, typer.Option("--recipe", metavar="FILE", help="TOML file with the same keys.")]
Frame = Annotated[
    str | None, typer.Option("--frame", help="Axes of the data's normals: camera or published. (default: the base's)")
]
Resume = Annotated[bool, typer.Option("--resume", help="Go on with an interrupted training.")]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Remove an earlier training there.")]
DryRun = Annotated[bool, typer.Option("--plan-only", help="Print what it would take, then stop.")]
Random = Annotated[bool, typer.Option("--random-weights", help="Noise to start from, for measurements.")]


def finetune(
    task: Task,
    out: Out,
    settings: Settings = None,
    data: Data = None,
    model: Base = BASE,
    recipe: RecipeFile = None,
    budget: Budget = None,
    device: Device = None,
    frame: Frame = None,
    resume: Resume = False,
    overwrite: Overwrite = False,
    plan_only: DryRun = False,
    random_weights: Random = False,
    accept_licence: Accept = None,
    quiet: Quiet = False,
) -> None:
    """Train a network on your own samples: plans first, keeps to the budget, can be resumed; RUN is a model then."""
    from vitruvian.cli.screen import ask_on_terminal, say
    from vitruvian.errors import UsageError
    from vitruvian.finetuning.nano import train_nano
    from vitruvian.finetuning.nano_kinds import NANO_KINDS
    from vitruvian.finetuning.road import finetune as run
    from vitruvian.training.ranks import announced_ranks

    if resume and overwrite:
        raise UsageError("got --resume and --overwrite; expected one of them; leave one out")
    if task in NANO_KINDS:
        given = {"--data": data, "--model": model != BASE, "--frame": frame, "--random-weights": random_weights}
        _refuse(task, given)
        road: Callable[..., FineTuned | NanoTrained] = partial(train_nano, out, settings or (), kind=NANO_KINDS[task])
    elif data is None:
        raise UsageError(f"got --task {task} without --data; expected a folder of samples; name one (--data DIR)")
    else:
        road = partial(run, task, model, data, out, settings or (), frame=frame, random_weights=random_weights)
        road = partial(road, accept_licence=accept_licence or (), ask=ask_on_terminal())
    silent = quiet or announced_ranks()[0] > 0
    with _progress(silent=silent) as (on_progress, line):
        done = road(
            recipe=recipe,
            budget=budget,
            device=device,
            mode="resume" if resume else "overwrite" if overwrite else "new",
            report=(lambda text: None) if silent else line or say,
            announce=lambda planned: _announce(planned, silent=silent, stop=plan_only),
            on_progress=on_progress,
        )
    if not silent:
        print(_summary(done, task))


def _refuse(task: str, given: Mapping[str, object]) -> None:
    """Options that small networks, which begin from nothing, cannot have."""
    from vitruvian.errors import UsageError

    first = next((name for name, value in given.items() if value), None)
    if first is not None:
        raise UsageError(
            f"got {first} with --task {task}, which begins from nothing and renders its own pictures; leave it out"
        )


def _announce(planned: PlannedTraining | PlannedNano, *, silent: bool, stop: bool) -> None:
    """The plan, before anything is loaded."""
    from vitruvian.errors import DoesNotFitError
    from vitruvian.fit.explain import plan_text, shortfall

    if not silent:
        print(planned.text())
        print(plan_text(planned.plan), flush=True)
    if stop and planned.plan.fits:
        raise typer.Exit(0)
    if stop:
        raise DoesNotFitError(shortfall(planned.plan))


@contextmanager
def _progress(*, silent: bool) -> Iterator[tuple[Callable[[TrainingProgress], None], Callable[[str], None] | None]]:
    """(hears where the training stands, says a line above it): a live line on a terminal, a line each elsewhere."""
    if silent:
        yield (lambda progress: None), None
        return
    if not sys.stderr.isatty():
        yield (lambda progress: print(progress.line(), file=sys.stderr, flush=True)), None
        return
    from rich.console import Console
    from rich.live import Live
    from rich.text import Text

    console = Console(stderr=True)
    with Live(console=console, refresh_per_second=4, transient=True) as live:
        yield (lambda progress: live.update(Text(progress.line()))), lambda text: console.print(Text(text))


def _summary(done: FineTuned | NanoTrained, task: str) -> str:
    """What came of it, and how to use it."""
    from vitruvian.hardware import format_bytes

    outcome = done.outcome
    lines = []
    if outcome.last is not None and outcome.last.numbers:
        first = f"{outcome.first.value:.4g} before, " if outcome.first and outcome.first.numbers else ""
        best = "" if outcome.best_value is None else f", {outcome.best_value:.4g} at best (step {outcome.best_step})"
        lines.append(f"{outcome.last.leading}: {first}{outcome.last.value:.4g} at the end{best}")
    lines.append(
        f"{outcome.images_per_s:.3g} images/s, {outcome.waited_share:.0%} of the time waiting for samples; peak "
        f"{format_bytes(outcome.peak_bytes)}, {format_bytes(done.planned.plan.peak_bytes)} predicted"
    )
    if outcome.skipped:
        lines.append(f"{outcome.skipped} steps could not be taken; log.jsonl has them")
    for name, reason in list(outcome.corrupt.items())[:5]:
        lines.append(f"  no use: {name}: {reason}")
    if outcome.corrupt:
        lines.append(f"{len(outcome.corrupt)} samples were no use; run.json has all")
    if task in (NANO, METRIC_NANO):
        lines.append(f"the files that come with the package, made anew: {done.folder / 'weights'}")
    if task == METRIC_NANO:
        lines.append(f"use it: vitruvian depth PICTURES -o OUT --model {done.folder}")
    elif task != NANO:
        lines.append(f"use it: vitruvian {task} PICTURES -o OUT --model {done.folder}")
    return "\n".join(lines)
