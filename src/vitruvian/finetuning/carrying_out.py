"""A planned training carried out: weights, network, optimizer, samples and folder are put together, then it runs.

In: a `PlannedTraining`, weights, a folder. Out: an `Outcome`, and `run.json` beside what the training writes. The
budget is enforced from when the weights are loaded: before that they are mapped, which counts without taking memory.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

import cv2
import torch

from vitruvian import weights, zoo
from vitruvian.finetuning.conduct import common_document, conducted, predictor
from vitruvian.finetuning.folder import RunFolder
from vitruvian.finetuning.loader import Loader, plain_samples
from vitruvian.finetuning.memory import loader_threads
from vitruvian.finetuning.planned import PlannedTraining
from vitruvian.finetuning.progress import TrainingProgress
from vitruvian.finetuning.rig import Rig
from vitruvian.finetuning.score import Score
from vitruvian.finetuning.shortage import smaller_knobs
from vitruvian.finetuning.start import Start
from vitruvian.finetuning.trainee import Measures
from vitruvian.finetuning.training import Outcome, Training
from vitruvian.fit.calibration import CalibrationPoint, remember
from vitruvian.fit.knobs import Knobs
from vitruvian.fit.parts import blocks_of
from vitruvian.hardware import PeakWatch, large_blocks_apart, limit_memory, open_meter, probe
from vitruvian.tasks.base import Provenance
from vitruvian.training.batches import Canvases, on_device
from vitruvian.training.drop_path import add_drop_path
from vitruvian.training.ranks import Ranks

LEAST_CORRUPT, CORRUPT_SHARE = 10, 0.01
"""Samples that may be no use where nobody said how many."""
LISTED = 20
"""Files that `run.json` names as left out."""


def trained(
    planned: PlannedTraining,
    found: weights.FoundWeights,
    folder: RunFolder,
    ranks: Ranks,
    report: Callable[[str], None],
    on_progress: Callable[[TrainingProgress], None],
) -> Outcome:
    """Carry out a planned training.

    Args:
        planned: what to do; it fits.
        found: weights to begin with.
        folder: of the training; what it holds of it already is taken up.
        ranks: processes that train together.
        report: hears what is worth saying.
        on_progress: hears where the training stands.
    """
    with ExitStack() as stack:
        training = put_together(planned, found, folder, ranks, report, on_progress, stack)
        outcome = conducted(training, partial(_document, planned, found.provenance, training))
    if ranks.leads and training.steps_here and training.rig.knobs == planned.plan.knobs:
        _learn(planned, training.rig.knobs, training.watch.peak_bytes)
    return outcome


def put_together(
    planned: PlannedTraining,
    found: weights.FoundWeights,
    folder: RunFolder,
    ranks: Ranks,
    report: Callable[[str], None],
    on_progress: Callable[[TrainingProgress], None],
    stack: ExitStack,
) -> Training:
    """Network, optimizer, samples and folder as a training; `stack` lets go of what it holds."""
    plan, recipe = planned.plan, planned.recipe
    cpu = probe().cpu
    torch.set_num_threads(max(1, cpu.cores // ranks.count))
    cv2.setNumThreads(1)  # many small pictures in threads of our own
    torch.manual_seed(recipe.seed)
    with large_blocks_apart():
        begun = planned.trainee.begin(found, planned.spec, recipe.seed)
    for note in begun.notes:
        report(f"note: {note}")
    limit = None
    if planned.budget_bytes is not None:
        limit = stack.enter_context(limit_memory(plan.device, planned.budget_bytes))
        report(limit.sentence)
    watch = stack.enter_context(PeakWatch(open_meter(plan.device)))
    add_drop_path(begun.network, _block_names(planned, begun), recipe.drop_path)
    with large_blocks_apart():  # weights in another type, and moments
        rig = _rig(planned, begun, ranks)
    torch.manual_seed(recipe.seed + ranks.rank)  # weights begin alike in all processes, chance does not
    training = _training(planned, begun, rig, folder, watch, report, on_progress)
    if limit is not None:
        training.ease = limit.ease
    stack.callback(training.loader.close)
    return training


def _rig(planned: PlannedTraining, begun: Start, ranks: Ranks) -> Rig:
    recipe, plan = planned.recipe, planned.plan
    return Rig(
        network=begun.network,
        workload=planned.workload,
        recipe=recipe,
        objective=planned.trainee.objective(planned.spec, recipe),
        stack=planned.data.stack,
        family=planned.spec.family,
        device=plan.device,
        knobs=plan.knobs,
        rates=planned.trainee.rates,
        ranks=ranks,
    )


def _block_names(planned: PlannedTraining, begun: Start) -> tuple[str, ...]:
    return blocks_of(begun.network, planned.workload)


def _training(
    planned: PlannedTraining,
    begun: Start,
    rig: Rig,
    folder: RunFolder,
    watch: PeakWatch,
    report: Callable[[str], None],
    on_progress: Callable[[TrainingProgress], None],
) -> Training:
    """The training of a rig, with its samples."""
    plan, recipe, data = planned.plan, planned.recipe, planned.data
    limit = recipe.corrupt_limit
    loader = Loader(
        samples=data.train,
        name_of=lambda sample: str(sample.name),
        prepare=data.prepare,
        batch_size=recipe.batch_size,
        seed=recipe.seed,
        threads=loader_threads(),
        corrupt_limit=max(LEAST_CORRUPT, int(CORRUPT_SHARE * len(data.train))) if limit is None else limit,
        ranks=rig.ranks,
    )
    validation = planned.trainee.validation(planned.spec, rig.objective)
    return Training(
        rig=rig,
        recipe=recipe,
        steps=planned.steps,
        schedule=recipe.schedule_for(planned.steps, len(data.train)),
        loader=loader,
        score=partial(_score, planned, loader, validation),
        folder=folder,
        write_weights=partial(folder.write_weights, metadata=zoo.metadata_of(planned.spec)),
        watch=watch,
        predicted_bytes=predictor(plan, planned.planner),
        smaller=partial(
            smaller_knobs,
            batch_size=recipe.batch_size,
            predicted_bytes=lambda knobs: planned.planner.predicted(knobs).total_bytes,
            has_blocks=bool(_block_names(planned, begun)),
            on_host=plan.device == "cpu",
        ),
        on_progress=on_progress,
        report=report,
    )


def _score(
    planned: PlannedTraining, loader: Loader[Any, Any], validation: Measures, rig: Rig, picture: Path | None
) -> Score:
    """Measure the network on the samples to validate on."""
    return validation.score(rig.network, _validation_batches(planned, loader, rig), picture)


def _validation_batches(planned: PlannedTraining, loader: Loader[Any, Any], rig: Rig) -> Iterator[Canvases]:
    """In micro-batches, on the device."""
    data = planned.data
    samples = plain_samples(
        data.validation, data.prepare_plain, loader.name_of, loader.corrupt_elsewhere, max(1, loader.threads)
    )
    while rows := list(islice(samples, rig.knobs.micro_batch)):
        yield on_device(data.stack(rows), rig.device)


def _document(
    planned: PlannedTraining, base: Provenance, training: Training, outcome: Outcome | None
) -> dict[str, Any]:
    """`run.json`."""
    data = planned.data
    own = {
        "task": planned.task,
        "model": planned.base.name,
        "weights_sha256": base.weights_sha256,
        "licence": base.licence,
        "data": {
            "name": planned.data_name,
            "layout": data.layout,
            "train": len(data.train),
            "validation": len(data.validation),
            "left_out": list(data.missing[:LISTED]),
        },
    }
    document = common_document(training, planned.plan, outcome)
    document["decisions"] = [*(one.to_json() for one in planned.decisions), *document["decisions"]]
    return own | document


def _learn(planned: PlannedTraining, knobs: Knobs, peak_bytes: int) -> None:
    """Remember how far the prediction was from what the training took."""
    predicted, device = planned.planner.predicted(knobs), planned.plan.device
    point = CalibrationPoint.of(predicted, peak_bytes, knobs, planned.workload.name)
    remember(point, probe().device(device).name)
