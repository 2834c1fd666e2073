"""Small networks from nothing: plan, folder, pictures, network, training, weight files; in this order.

The pictures are rendered into the folder and stay there for a resumed or another training. Several processes started by
torchrun train together, each on its share of a step; the first one renders and writes. On a CPU one process a core is
fastest. The training dominates time; memory is that of a small network.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from torch import Tensor

from vitruvian.datasets.preparing import sample_rng
from vitruvian.errors import DoesNotFitError, RefusedError
from vitruvian.finetuning.conduct import common_document, conducted, opened_together, predictor
from vitruvian.finetuning.folder import BEST, IDENTITY, LAST, Mode, RunFolder, state_of
from vitruvian.finetuning.joint_nano import JOINT_NANO
from vitruvian.finetuning.loader import Loader
from vitruvian.finetuning.memory import loader_threads
from vitruvian.finetuning.nano_kind import NanoKind, RenderedPictures
from vitruvian.finetuning.nano_plan import PlannedNano, plan_nano
from vitruvian.finetuning.planned import kept_settings
from vitruvian.finetuning.progress import TrainingProgress
from vitruvian.finetuning.rig import Rig
from vitruvian.finetuning.road import own_device
from vitruvian.finetuning.score import Score
from vitruvian.finetuning.shortage import smaller_knobs
from vitruvian.finetuning.state import read_document
from vitruvian.finetuning.training import Outcome, Training
from vitruvian.fit.explain import shortfall
from vitruvian.fit.parts import blocks_of
from vitruvian.hardware import PeakWatch, limit_memory, open_meter, parse_size, probe
from vitruvian.tasks.preprocess import normalise
from vitruvian.training.batches import on_device
from vitruvian.training.drop_path import add_drop_path
from vitruvian.training.losses import LossSum
from vitruvian.training.ranks import Ranks, join_ranks

WEIGHTS = "weights"
"""Folder of the files that come with the package, made of the weights of the end."""
RENDERED, HELD_OUT = "pictures-rendered", "held-out"
BEYOND_EVALUATION = 10_000
"""Held-out seeds that are left to those who measure finished networks."""


@dataclass(frozen=True, kw_only=True, slots=True)
class NanoTrained:
    """A training that is over."""

    folder: Path
    planned: PlannedNano
    outcome: Outcome


def train_nano(
    out: str | Path,
    settings: Sequence[str] = (),
    *,
    kind: NanoKind = JOINT_NANO,
    recipe: str | Path | None = None,
    budget: int | str | None = None,
    device: str | None = None,
    mode: Mode = "new",
    report: Callable[[str], None] = lambda line: None,
    announce: Callable[[PlannedNano], None] = lambda planned: None,
    on_progress: Callable[[TrainingProgress], None] = lambda progress: None,
    **more: Any,
) -> NanoTrained:
    """Train a small network on rendered pictures, inside a memory budget.

    Args:
        out: folder of the training; absent or empty, unless `mode` says otherwise. Rendered pictures in it stay.
        settings: `key=value` texts: `pictures`, fields of `finetuning.recipe.Recipe`, knobs of `fit.settings`.
        kind: which network; `nano_kinds.NANO_KINDS` has all.
        recipe: TOML file with the same keys, but `pictures`.
        budget: bytes or text such as `2GB` that each process may take on its device; None: what is free.
        device: torch device string; None: the machine's first.
        mode: new, resume or overwrite.
        report, announce, on_progress: hear what is worth saying, the plan before anything is rendered, and progress.
        more: the same keys as `settings`, as Python values.

    Raises:
        VitruvianError: what cannot be used, does not fit or is refused, each as its own class, with the next step.
    """
    budget_bytes = parse_size(budget) if isinstance(budget, str) else budget
    file, state = None if recipe is None else Path(recipe), state_of(Path(out)) if mode == "resume" else None
    plan = partial(plan_nano, settings, kind=kind, file=file, more=more)
    plan = partial(plan, budget_bytes=budget_bytes, device=own_device(device))
    if state is not None:
        _check_kind(Path(out), kind)
    planned = plan() if state is None else _as_before(plan, state)
    announce(planned)
    if not planned.plan.fits:
        raise DoesNotFitError(shortfall(planned.plan))
    ranks = join_ranks(torch.device(planned.plan.device).type)
    _check_alike(planned, ranks)
    with ExitStack() as stack:
        folder = opened_together(stack, Path(out), mode, planned.identity, ranks)
        if mode == "overwrite" and ranks.leads:
            _clear(folder.path, kind)
        pictures, held_out = _pictures(planned, folder, ranks, report)
        limit = None
        if budget_bytes is not None:
            limit = stack.enter_context(limit_memory(planned.plan.device, budget_bytes))
            report(limit.sentence)
        watch = stack.enter_context(PeakWatch(open_meter(planned.plan.device)))
        training = _training(planned, pictures, held_out, folder, ranks, watch)
        training.report, training.on_progress = report, on_progress
        if limit is not None:
            training.ease = limit.ease
        stack.callback(training.loader.close)
        outcome = conducted(training, partial(_document, planned, training))
    return NanoTrained(folder=folder.path, planned=planned, outcome=outcome)


def _check_alike(planned: PlannedNano, ranks: Ranks) -> None:
    if ranks.any(ranks.of_first(planned.plan.knobs) != planned.plan.knobs):
        raise DoesNotFitError(
            "got processes whose plans differ, because other memory was free to each; expected one plan for all; give "
            "each the same --budget"
        )


def _check_kind(path: Path, kind: NanoKind) -> None:
    """Before a plan is made with knobs of another network."""
    before = json.loads((path / IDENTITY).read_text(encoding="utf-8")).get("task")
    if before != kind.task:
        raise RefusedError(
            f"got --resume --task {kind.task} for a training of --task {before}; expected the same task; repeat the "
            "first command with --resume, or train into another folder"
        )


def _as_before(plan: Callable[..., PlannedNano], state: Path) -> PlannedNano:
    """The plan of a resumed training, as it was, or where that does not fit any more, with other batches."""
    knobs = read_document(state)["knobs"]
    planned = plan(kept=kept_settings(knobs, exactly=True))
    return planned if planned.plan.fits else plan(kept=kept_settings(knobs, exactly=False))


def _clear(path: Path, kind: NanoKind) -> None:
    """Take away what this training alone leaves; the pictures tell themselves whether they are the right ones."""
    for file in (path / kind.best, *(path / WEIGHTS).glob("*.safetensors")):
        file.unlink(missing_ok=True)


def _pictures(
    planned: PlannedNano, folder: RunFolder, ranks: Ranks, report: Callable[[str], None]
) -> tuple[RenderedPictures, RenderedPictures]:
    """Pictures to train on and to measure on, rendered by the first process where they are not there yet."""
    nano, place, rendered = planned.nano, folder.path / RENDERED, planned.kind.rendered
    count = max(1, planned.recipe.validation_limit)
    apart = replace(nano, pictures=count, seed=nano.held_out_seed + BEYOND_EVALUATION)
    if not ranks.leads:
        ranks.wait()  # until all is there
    workers = probe().cpu.cores if ranks.leads else 1
    pictures = rendered(nano, place, workers=workers, report=report)
    held_out = rendered(apart, place / HELD_OUT, workers=workers, report=report)
    if ranks.leads:
        ranks.wait()
    return pictures, held_out


def _training(
    planned: PlannedNano,
    pictures: RenderedPictures,
    held_out: RenderedPictures,
    folder: RunFolder,
    ranks: Ranks,
    watch: PeakWatch,
) -> Training:
    """The training of a fresh network, with its samples."""
    plan, recipe, nano = planned.plan, planned.recipe, planned.nano
    rig = _rig(planned, ranks)

    def prepare(index: int, rng: np.random.Generator) -> Any:
        return planned.kind.sample(pictures[index], rng, nano)

    return Training(
        rig=rig,
        recipe=recipe,
        steps=planned.steps,
        schedule=recipe.schedule_for(planned.steps, nano.pictures),
        loader=Loader(
            samples=range(nano.pictures),
            name_of=lambda index: f"picture {index}",
            prepare=prepare,
            batch_size=recipe.batch_size,
            seed=recipe.seed,
            threads=loader_threads(),
            corrupt_limit=0,
            ranks=ranks,
        ),
        score=partial(_score, planned, held_out),
        folder=folder,
        write_weights=partial(_write_weights, planned.kind, folder),
        watch=watch,
        predicted_bytes=predictor(plan, planned.planner),
        smaller=partial(
            smaller_knobs,
            batch_size=recipe.batch_size,
            predicted_bytes=lambda knobs: planned.planner.predicted(knobs).total_bytes,
            has_blocks=True,
            on_host=plan.device == "cpu",
        ),
    )


def _rig(planned: PlannedNano, ranks: Ranks) -> Rig:
    """A network that begins alike in every process, and what trains it."""
    kind, recipe, workload = planned.kind, planned.recipe, planned.kind.workload()
    torch.set_num_threads(max(1, probe().cpu.cores // ranks.count))
    cv2.setNumThreads(1)  # many small canvases in threads of our own
    torch.manual_seed(recipe.seed)
    network = kind.network(recipe.seed)
    torch.manual_seed(recipe.seed + ranks.rank)
    add_drop_path(network, blocks_of(network, workload), recipe.drop_path)
    return Rig(
        network=network,
        workload=workload,
        recipe=recipe,
        objective=kind.objective(planned.nano),
        stack=kind.stack,
        family=kind.family,
        device=planned.plan.device,
        knobs=planned.plan.knobs,
        rates=kind.rates,
        ranks=ranks,
    )


@torch.no_grad()
def _score(planned: PlannedNano, held_out: RenderedPictures, rig: Rig, picture: Path | None) -> Score:
    """The loss on held-out pictures, the same ones every time, and each task's part of it."""
    kind = planned.kind
    terms: list[Tensor] = []
    further: dict[str, LossSum] = {}
    rig.network.eval()
    for batch in _held_out_batches(planned, held_out, rig):
        outputs = rig.network(normalise(batch.canvas_BHW3))
        losses = rig.objective.losses(outputs, batch)
        terms.append(torch.stack([torch.stack([term.total.float(), term.count.float()]) for term in losses]).cpu())
        for name, found in kind.measures(outputs, batch).items():
            further[name] = further[name] + found if name in further else found
    rig.network.train()
    if not terms:
        return Score(loss=float("nan"), numbers={}, leading="loss", more_is_better=False)
    total_T, count_T = torch.stack(terms).sum(dim=0).unbind(dim=1)
    parts = kind.parts(total_T, count_T)
    loss = sum(parts.values())
    numbers = {"loss": loss, **parts, **{name: found.mean.item() for name, found in further.items()}}
    return Score(loss=loss, numbers=numbers, leading="loss", more_is_better=False)


def _held_out_batches(planned: PlannedNano, held_out: RenderedPictures, rig: Rig) -> Iterator[Any]:
    """In micro-batches, on the device."""
    kind, nano = planned.kind, planned.nano
    count, size = min(len(held_out), planned.recipe.validation_limit), rig.knobs.micro_batch
    for start in range(0, count, size):
        rows = range(start, min(start + size, count))
        samples = [kind.held_out_sample(held_out[row], sample_rng(nano.held_out_seed, 0, row), nano) for row in rows]
        yield on_device(kind.stack(samples), rig.device)


def _write_weights(kind: NanoKind, folder: RunFolder, name: str, tensors: dict[str, Tensor]) -> None:
    """All of the network in one file; at the end, the files that come with the package, too."""
    if name == LAST:
        kind.write_weights(tensors, folder.path / WEIGHTS)
    folder.write_weights(kind.best if name == BEST else name, tensors, kind.metadata)


def _document(planned: PlannedNano, training: Training, outcome: Outcome | None) -> dict[str, Any]:
    """`run.json`."""
    own = {"task": planned.kind.task, "licence": planned.kind.licence, "nano": asdict(planned.nano)}
    return common_document(training, planned.plan, outcome) | own
