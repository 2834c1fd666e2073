"""A model for body parts, depth or normals, held against a folder of true maps.

Folder of pictures and targets -> results through the same road as the command line -> `DenseReport`. The network
dominates; one picture's maps are held beside what the road has in flight.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from vitruvian.datasets.layouts import DenseKind, Sample, find_samples
from vitruvian.datasets.targets import IGNORE, decode_sample
from vitruvian.errors import InputError, UsageError
from vitruvian.evaluation.dense_accuracy import DepthTally, LabelTally, NormalTally, text_table
from vitruvian.media.items import Entry, Failure
from vitruvian.media.names import shown
from vitruvian.predict import Finished, Model, Road
from vitruvian.tasks.base import Result, Task
from vitruvian.tasks.depth import Depth
from vitruvian.tasks.inside import InsideTask
from vitruvian.tasks.normal import Normals, NormalTask
from vitruvian.tasks.seg import Segmentation, SegTask

Tally = LabelTally | DepthTally | NormalTally


@dataclass(frozen=True, kw_only=True, slots=True)
class DenseReport:
    """An evaluation and what it was of."""

    task: str
    subject: str
    """Name of the model."""
    truth: str
    """Name of the data folder."""
    pictures: int
    """That were measured."""
    numbers: dict[str, float]
    by_class: dict[str, float]
    """Intersection over union; empty for other tasks than seg."""
    failures: tuple[Failure, ...]
    """Pictures or targets that could not be used; they do not count."""
    notes: tuple[str, ...]

    def to_json(self) -> dict[str, Any]:
        """Plain values; holds no path."""
        return {
            "task": self.task,
            "subject": self.subject,
            "truth": self.truth,
            "pictures": self.pictures,
            "numbers": self.numbers,
            "iou_by_class": self.by_class,
            "notes": list(self.notes),
            "failures": [{"name": failure.name, "reason": failure.reason} for failure in self.failures],
        }

    def text(self) -> str:
        """A table for people."""
        rows = {**self.numbers, **{f"IoU {name}": value for name, value in self.by_class.items()}}
        notes = "".join(f"\nnote: {note}" for note in self.notes)
        return f"{self.subject} on {self.truth}: {self.pictures} pictures\n{text_table(rows)}{notes}"


def evaluate_dense(load: Callable[[], Model], data: Path, task: DenseKind, *, frame: str = "camera") -> DenseReport:
    """Run a model over a folder of samples and measure what it gives, on persons where the samples have masks.

    Args:
        load: makes the model; called when the folder was found usable.
        data: folder in one of the layouts of `vitruvian.datasets`; of one with parts the one to validate on.
        task: seg, depth or normal.
        frame: axes of the true normals, by name.

    Raises:
        UsageError: no such folder or no sample in it, or a model for another task or with normals in another frame.
    """
    found = find_samples(data, task)
    held_out = [sample for sample in found.samples if sample.split == "val"]
    samples = held_out or list(found.samples)
    if not samples:
        raise UsageError(f"got {shown(data)} without a whole sample ({found.missing[0]}); expected some; add them")
    model = load()
    tally = _tally(_plain(model.task), model.spec.name, task, frame)
    pictures, failures = _measured(model, samples, task, tally)
    return DenseReport(
        task=task,
        subject=model.spec.name,
        truth=data.resolve().name,
        pictures=pictures,
        numbers=tally.numbers(),
        by_class=tally.by_class() if isinstance(tally, LabelTally) else {},
        failures=tuple(failures),
        notes=(f"{len(found.missing)} files have no partner", *found.missing[:3]) if found.missing else (),
    )


def _plain(task: Task) -> Task:
    return task.task if isinstance(task, InsideTask) else task


def _tally(task: Task, name: str, wanted: DenseKind, frame: str) -> Tally:
    if task.name != wanted:
        raise UsageError(f"got the {task.name} model {name}; expected one for {wanted}; see vitruvian models")
    if isinstance(task, SegTask):
        return LabelTally(labels=task.labels)
    if isinstance(task, NormalTask):
        if task.frame.name != frame:
            raise UsageError(
                f"got true normals in the frame {frame} for {name}, which gives {task.frame.name}; expected one and "
                "the same; say with --frame which one the data have"
            )
        return NormalTally()
    return DepthTally()


def _measured(model: Model, samples: list[Sample], task: DenseKind, tally: Tally) -> tuple[int, list[Failure]]:
    """How many pictures were added to the tally, and what failed."""
    entries = [
        Entry(name=sample.name, path=sample.image, payload=None, index=index) for index, sample in enumerate(samples)
    ]

    def deliver(finished: Finished) -> tuple[np.ndarray, np.ndarray] | Failure:
        item = finished.item
        try:
            (result,) = finished.results
            true = decode_sample(samples[item.index], task).target
            _check_labels(tally, true)
            return _map_of(result), true
        except InputError as error:
            return Failure(name=item.name, index=item.index, reason=str(error))

    pictures, failures = 0, []
    for outcome in Road(model=model).run(iter(entries), deliver):
        if isinstance(outcome, Failure):
            failures.append(outcome)
        else:
            tally.add(*outcome)
            pictures += 1
    return pictures, failures


def _check_labels(tally: Tally, true: np.ndarray) -> None:
    if not isinstance(tally, LabelTally):
        return
    largest = int(true.max(where=true != IGNORE, initial=0))
    if largest >= tally.labels.count:
        raise InputError(
            f"holds the label {largest}; expected 0 to {tally.labels.count - 1} or 255, as the model's classes are "
            "numbered; take a model of these classes"
        )


def _map_of(result: Result) -> np.ndarray:
    if isinstance(result, Segmentation):
        return result.labels_HW
    if isinstance(result, Depth):
        return result.depth_HW
    assert isinstance(result, Normals)
    return result.normals_HW3
