"""From a command to trained weights: plan, folder, weights, network, training, document; in this order.

Nothing is loaded for a plan that does not fit. Several processes started by torchrun train together; the first one
writes.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from vitruvian import weights, zoo
from vitruvian.errors import DoesNotFitError, UsageError
from vitruvian.finetuning.carrying_out import trained
from vitruvian.finetuning.conduct import opened_together
from vitruvian.finetuning.folder import Mode, state_of
from vitruvian.finetuning.planned import PlannedTraining, kept_settings, plan_training
from vitruvian.finetuning.progress import TrainingProgress
from vitruvian.finetuning.state import read_document
from vitruvian.finetuning.training import Outcome
from vitruvian.finetuning.wishes import Wishes, read_wishes
from vitruvian.fit.explain import shortfall
from vitruvian.hardware import make_current, parse_size, probe
from vitruvian.media.names import shown
from vitruvian.training.ranks import Ranks, announced_ranks, join_ranks


@dataclass(frozen=True, kw_only=True, slots=True)
class Job:
    """What was asked for; see `finetune`."""

    task: str
    model: str | Path
    data: Path
    out: Path
    wishes: Wishes
    budget_bytes: int | None
    device: str | None
    frame: str | None
    mode: Mode
    random_weights: bool


@dataclass(frozen=True, kw_only=True, slots=True)
class FineTuned:
    """A training that is over."""

    folder: Path
    planned: PlannedTraining
    outcome: Outcome


def finetune(
    task: str,
    model: str | Path,
    data: str | Path,
    out: str | Path,
    settings: Sequence[str] = (),
    *,
    recipe: str | Path | None = None,
    budget: int | str | None = None,
    device: str | None = None,
    frame: str | None = None,
    mode: Mode = "new",
    random_weights: bool = False,
    accept_licence: Collection[str] = (),
    ask: Callable[[str], bool] | None = None,
    report: Callable[[str], None] = lambda line: None,
    announce: Callable[[PlannedTraining], None] = lambda planned: None,
    on_progress: Callable[[TrainingProgress], None] = lambda progress: None,
    **more: Any,
) -> FineTuned:
    """Train a network on a folder of samples, inside a memory budget; `mode="resume"` goes on bit for bit (on a CPU).

    Args:
        task: pose, seg, depth or normal.
        model: a name (`sapiens-2b`: the pretrained encoder, a fresh head), a weight file, the folder of a training. A
            Metric3D network (v2) learns depth in metres, and normals with it, as the task depth.
        data: folder in one of the layouts of docs/training-data.md.
        out: folder of the training; absent or empty, unless `mode` says otherwise.
        settings: `key=value` texts: fields of `finetuning.recipe.Recipe`, knobs of `fit.settings`, `channels`.
        recipe: TOML file with the same keys.
        budget: bytes or text such as `24GB` that each process may take on its device; None: what is free.
        device: torch device string; None: the machine's first.
        frame: axes of the data's normals, by name.
        mode: new, resume or overwrite.
        random_weights: noise instead of the base's weights, for measurements.
        accept_licence: licences that were read and accepted; `ask` asks a person about others.
        report: hears what is worth saying; `on_progress`: where the training stands; `announce`: the plan, first.
        more: the same keys as `settings`, as Python values.

    Raises:
        VitruvianError: what cannot be used, does not fit or is refused, each as its own class, with the next step.
    """
    _check_apart(mode, Path(model), Path(out))
    job = Job(
        task=task,
        model=model,
        data=Path(data),
        out=Path(out),
        wishes=read_wishes(settings, None if recipe is None else Path(recipe), more),
        budget_bytes=parse_size(budget) if isinstance(budget, str) else budget,
        device=own_device(device),
        frame=frame,
        mode=mode,
        random_weights=random_weights,
    )
    access = {"accept_licence": accept_licence, "ask": ask, "report": report}
    return _carried_out(job, access, announce, on_progress)


def _check_apart(mode: Mode, model: Path, out: Path) -> None:
    """What is begun from must not be what is removed first."""
    if mode == "overwrite" and model.resolve() in (out.resolve(), *out.resolve().glob("*.safetensors")):
        raise UsageError(f"got {shown(out)} to overwrite and to begin from; expected two folders; choose another -o")


def _carried_out(
    job: Job,
    access: dict[str, Any],
    announce: Callable[[PlannedTraining], None],
    on_progress: Callable[[TrainingProgress], None],
) -> FineTuned:
    planned = _planned(job)
    announce(planned)
    if not planned.plan.fits:
        raise DoesNotFitError(shortfall(planned.plan))
    make_current(planned.plan.device)
    ranks = join_ranks(torch.device(planned.plan.device).type)
    planned = _as_the_first(job, planned, ranks)
    found = _found(job, planned, access)
    identity = planned.identity | {"weights_sha256": found.provenance.weights_sha256}
    with ExitStack() as stack:
        folder = opened_together(stack, job.out, job.mode, identity, ranks)
        outcome = trained(planned, found, folder, ranks, access["report"], on_progress)
    return FineTuned(folder=job.out, planned=planned, outcome=outcome)


def own_device(device: str | None) -> str | None:
    """The device of this process: where several train on one machine, each has a GPU of its own."""
    place, count = announced_ranks()
    gpus = [one.device for one in probe().accelerators if one.kind == "cuda"]
    if count == 1 or not gpus or device not in (None, "cuda"):
        return device
    if place >= len(gpus):
        raise UsageError(
            f"got {place + 1} or more processes on a machine of {len(gpus)} GPUs; expected one a GPU; start fewer"
        )
    return gpus[place]


def _planned(job: Job) -> PlannedTraining:
    """The plan; of a resumed training as it was, or where that does not fit any more, with other batches."""
    state = state_of(job.out) if job.mode == "resume" else None
    if state is None:
        return _plan(job, job.wishes)
    knobs = read_document(state)["knobs"]
    exactly, loosely = ({**kept_settings(knobs, exactly=how), **job.wishes.knobs} for how in (True, False))
    planned = _plan(job, replace(job.wishes, knobs=exactly))
    return planned if planned.plan.fits else _plan(job, replace(job.wishes, knobs=loosely))


def _plan(job: Job, wishes: Wishes) -> PlannedTraining:
    return plan_training(
        job.task,
        job.model,
        job.data,
        wishes,
        budget_bytes=job.budget_bytes,
        device=job.device,
        frame=job.frame,
    )


def _as_the_first(job: Job, planned: PlannedTraining, ranks: Ranks) -> PlannedTraining:
    """The plan with the first process's knobs: each saw the memory that was free to it at its own moment."""
    knobs = ranks.of_first(planned.plan.knobs.to_json())
    if knobs != planned.plan.knobs.to_json():
        planned = _plan(job, replace(job.wishes, knobs={**job.wishes.knobs, **kept_settings(knobs, exactly=True)}))
    if ranks.any(not planned.plan.fits or planned.plan.knobs.to_json() != knobs):
        raise DoesNotFitError(
            "got processes with unequal memory, and what fits one does not fit another; expected one plan for all; "
            "give each the --budget of the smallest"
        )
    return planned


def _found(job: Job, planned: PlannedTraining, access: dict[str, Any]) -> weights.FoundWeights:
    """The weights to begin with; `sapiens-2b` means an encoder of another name."""
    if job.random_weights:
        return weights.random_weights(planned.base.name)
    own_file = any(isinstance(file, zoo.LocalFile) for file in planned.base.files)
    return weights.find_weights(job.model if own_file else planned.base.name, **access)
