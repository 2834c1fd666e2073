"""A model for body parts, depth or normals, held against a folder of true maps.

Folder of pictures and targets -> results through the same road as the command line -> `DenseReport`. The network
dominates; one picture's maps are held beside what the road has in flight.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from vitruvian.datasets.layouts import DenseKind, Found, Sample, find_samples
from vitruvian.datasets.metric_layouts import MetricFound, find_depth
from vitruvian.datasets.targets import IGNORE, decode_sample
from vitruvian.errors import InputError, UsageError
from vitruvian.evaluation.dense_accuracy import DepthTally, LabelTally, NormalTally, text_table
from vitruvian.evaluation.metric_accuracy import MetricTally
from vitruvian.evaluation.metric_run import USUAL, MetricWish, camera_notes, metric_setting
from vitruvian.media.items import Entry, Failure
from vitruvian.media.names import shown
from vitruvian.picture_cameras import PictureCameras
from vitruvian.predict import Finished, Model, Road
from vitruvian.tasks.base import Result, Task
from vitruvian.tasks.depth import Depth
from vitruvian.tasks.inside import InsideTask
from vitruvian.tasks.metric_depth import MetricDepthTask
from vitruvian.tasks.metric_result import MetricDepth
from vitruvian.tasks.normal import CAMERA, Normals, NormalTask
from vitruvian.tasks.seg import Segmentation, SegTask

Tally = LabelTally | DepthTally | NormalTally | MetricTally


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
    settings: Mapping[str, str] = field(default_factory=dict)
    """How depth in metres was measured; empty for what has no choices."""

    def to_json(self) -> dict[str, Any]:
        """Plain values; holds no path."""
        return {
            "task": self.task,
            "subject": self.subject,
            "truth": self.truth,
            "pictures": self.pictures,
            "settings": dict(self.settings),
            "numbers": self.numbers,
            "iou_by_class": self.by_class,
            "notes": list(self.notes),
            "failures": [{"name": failure.name, "reason": failure.reason} for failure in self.failures],
        }

    def text(self) -> str:
        """A table for people."""
        rows = {**self.numbers, **{f"IoU {name}": value for name, value in self.by_class.items()}}
        notes = "".join(f"\nnote: {note}" for note in self.notes)
        settings = "".join(f"{what}: {how}\n" for what, how in self.settings.items())
        return f"{self.subject} on {self.truth}: {self.pictures} pictures\n{settings}{text_table(rows)}{notes}"


def evaluate_dense(
    load: Callable[[], Model],
    data: Path,
    task: DenseKind,
    *,
    frame: str = "camera",
    wish: MetricWish = USUAL,
) -> DenseReport:
    """Run a model over a folder of samples and measure what it gives, on persons where the samples have masks.

    Args:
        load: makes the model; called when the folder was found usable.
        data: folder in one of the layouts of `vitruvian.datasets`; of one with parts the one to validate on.
        task: seg, depth or normal.
        frame: axes of the true normals, by name.
        wish: how depth in metres is measured.

    Raises:
        UsageError: no such folder or no sample in it, or a model for another task, with normals in another frame, or
            without metres where metres are to be measured.
    """
    found = find_depth(data) if task == "depth" else find_samples(data, task)
    if not found.samples:
        raise UsageError(f"got {shown(data)} without a whole sample ({found.missing[0]}); expected some; add them")
    model = load()
    setting = _setting(model, found, task, frame, wish)
    sources, failures = _measured(model, task, setting)
    tally, missing = setting.tally, found.missing
    metric = tally if isinstance(tally, MetricTally) else None
    return DenseReport(
        task=task,
        subject=model.spec.name,
        truth=data.resolve().name,
        pictures=sources.total() - (metric.blank if metric else 0),
        numbers=tally.numbers(),
        by_class=tally.by_class() if isinstance(tally, LabelTally) else {},
        failures=tuple(failures),
        notes=(
            *((f"{len(missing)} files have no partner", *missing[:3]) if missing else ()),
            *((*metric.notes(), *camera_notes(sources)) if metric else ()),
        ),
        settings=metric.settings() if metric else {},
    )


@dataclass(frozen=True, kw_only=True, slots=True)
class _Setting:
    """What is measured, and by what."""

    tally: Tally
    samples: Sequence[Sample]
    cameras: PictureCameras | None = None


def _setting(model: Model, found: Found | MetricFound, wanted: DenseKind, frame: str, wish: MetricWish) -> _Setting:
    task = model.task.task if isinstance(model.task, InsideTask) else model.task
    name, metric = model.spec.name, isinstance(task, MetricDepthTask)
    if task.name != wanted and not (metric and wanted == "normal"):
        raise UsageError(f"got the {task.name} model {name}; expected one for {wanted}; see vitruvian models")
    held_out = [sample for sample in found.samples if sample.split == "val"]
    samples = held_out or found.samples
    if wanted == "normal":
        _check_frame(task, name, frame)
        return _Setting(tally=NormalTally(), samples=samples)
    if isinstance(found, MetricFound) and metric:
        setting = metric_setting(found, wish, samples)
        return _Setting(tally=setting.tally, samples=setting.samples, cameras=setting.cameras)
    if isinstance(found, MetricFound) and (wish != USUAL or found.own is not None):
        asked = f"{found.own.name} data" if found.own else "--protocol, --align or --log-base"
        raise UsageError(
            f"got {asked} for {name}, whose depth is not in metres; expected a metric3d model; name one, or leave the "
            "options out and give a plain folder"
        )
    return _Setting(
        tally=LabelTally(labels=task.labels) if isinstance(task, SegTask) else DepthTally(), samples=samples
    )


def _check_frame(task: Task, name: str, frame: str) -> None:
    if isinstance(task, MetricDepthTask) and not task.has_normals:
        raise UsageError(f"got {name}, which gives no normals; expected a model that does; take a metric3d-vit model")
    given = task.frame if isinstance(task, NormalTask) else CAMERA
    if given.name != frame:
        raise UsageError(
            f"got true normals in the frame {frame} for {name}, which gives {given.name}; expected one and "
            "the same; say with --frame which one the data have"
        )


def _measured(model: Model, task: DenseKind, setting: _Setting) -> tuple[Counter[str], list[Failure]]:
    """How many pictures were added to the tally, by who said what their camera is, and what failed."""
    samples, tally = setting.samples, setting.tally
    entries = [
        Entry(name=sample.name, path=sample.image, payload=None, index=index) for index, sample in enumerate(samples)
    ]

    def deliver(finished: Finished) -> _Pair | Failure:
        item = finished.item
        try:
            (result,) = finished.results
            true = decode_sample(samples[item.index], task).target
            _check(tally, true)
        except InputError as error:
            return Failure(name=item.name, index=item.index, reason=str(error))
        source = result.camera.source if isinstance(result, MetricDepth) else ""
        return _Pair(found=_map_of(result, task), true=true, camera=source)

    sources: Counter[str] = Counter()
    failures = []
    for outcome in Road(model=model, camera_of=setting.cameras).run(iter(entries), deliver):
        if isinstance(outcome, Failure):
            failures.append(outcome)
        else:
            tally.add(outcome.found, outcome.true)
            sources[outcome.camera] += 1
    return sources, failures


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class _Pair:
    """Maps of one picture."""

    found: np.ndarray
    true: np.ndarray
    camera: str
    """Who said what the camera is."""


def _check(tally: Tally, true: np.ndarray) -> None:
    """`InputError` where this truth cannot be held against the model's results."""
    if isinstance(tally, MetricTally):
        tally.check(true)
    if not isinstance(tally, LabelTally):
        return
    largest = int(true.max(where=true != IGNORE, initial=0))
    if largest >= tally.labels.count:
        raise InputError(
            f"holds the label {largest}; expected 0 to {tally.labels.count - 1} or 255, as the model's classes are "
            "numbered; take a model of these classes"
        )


def _map_of(result: Result, wanted: DenseKind) -> np.ndarray:
    if isinstance(result, Segmentation):
        return result.labels_HW
    if isinstance(result, Depth):
        return result.depth_HW
    if isinstance(result, Normals):
        return result.normals_HW3
    assert isinstance(result, MetricDepth)
    if wanted == "depth":
        return result.depth_m_HW
    assert result.normals_HW3 is not None
    return result.normals_HW3
