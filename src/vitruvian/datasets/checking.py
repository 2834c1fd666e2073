"""`check_data`: what is wrong with a folder of training data, in seconds.

In: a folder and a task. Out: a `CheckReport`. All names are read, some 200 samples evenly spread are decoded in
threads, each once; a few samples are in memory at a time. Decoding dominates.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Generic, Literal, TypeVar

import numpy as np

from vitruvian.datasets.coco_persons import PersonSample, find_persons
from vitruvian.datasets.dense_checks import DenseCheck
from vitruvian.datasets.findings import CheckReport, Facts, Finding, finding, grouped
from vitruvian.datasets.layouts import DenseKind, Sample, find_samples
from vitruvian.datasets.metric_layouts import MetricFound, find_depth
from vitruvian.datasets.pose_checks import person_facts, person_verdicts
from vitruvian.datasets.preparing import read_person_picture
from vitruvian.datasets.sheet import Sheet, dense_tile, person_tile
from vitruvian.datasets.targets import read_sample
from vitruvian.errors import InputError, UsageError
from vitruvian.hardware.host import usable_cores
from vitruvian.stages import ordered_map
from vitruvian.tasks.normal import CAMERA, NormalFrame

LIMIT = 200
"""Samples that are decoded; of poses, pictures."""
MOST_THREADS = 8
"""Each holds a sample: of 4K pictures with normals some 200 MB."""
DENSE_KINDS: tuple[DenseKind, ...] = ("seg", "depth", "normal")
KINDS_OF_DATA = (*DENSE_KINDS, "pose")

Unit = TypeVar("Unit")
_LEVELS = ("error", "hint", "note")
Pictured = Literal["never", "if wrong", "always"]
"""When a tile is made."""


@dataclass(frozen=True, kw_only=True, slots=True)
class _Seen:
    """What was seen in what is decoded at once."""

    facts: tuple[Facts, ...]
    tile: np.ndarray | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class _Data(Generic[Unit]):
    """A data set as the check goes through it."""

    layout: str
    samples: int
    parts: Counter[str]
    units: Sequence[Unit]
    """What is decoded at once: samples, or the persons of one picture."""
    look: Callable[[Unit, Pictured], _Seen]
    """Facts of a unit, and its tile where wanted; runs in threads."""
    verdicts: Callable[[Sequence[Facts]], list[Finding]]
    found: list[Finding]
    """What its names say already."""


def check_data(
    folder: str | Path,
    task: str,
    *,
    classes: int | None = None,
    keypoints: int | None = None,
    frame: NormalFrame = CAMERA,
    limit: int | None = LIMIT,
    sheet: Sheet | None = None,
) -> CheckReport:
    """Check a folder of training data.

    Args:
        folder: see `layouts.find_samples` and, for pose, `coco_persons.find_persons`.
        task: seg, depth, normal or pose.
        classes: of labels; None: what the layout says, else ids are not checked.
        keypoints: 17, 133 or 308, where annotations of several kinds lie side by side.
        frame: declared axes of normals.
        limit: samples to decode, evenly spread; None: all.
        sheet: takes tiles of some samples and of those with something wrong.

    Raises:
        UsageError: no such task or folder, no known layout, or an argument of another task.
    """
    begun_s = time.perf_counter()
    for option, value, of in (("classes", classes, "seg"), ("keypoints", keypoints, "pose")):
        if value is not None and task != of:
            raise UsageError(f"got {option} {value} for {task}; expected them for {of} alone; leave them out")
    if task == "pose":
        return _checked(_pose_data(Path(folder), keypoints), task, limit, sheet, begun_s)
    kind = next((kind for kind in DENSE_KINDS if kind == task), None)
    if kind is None:
        raise UsageError(f"got the task {task!r}; expected one of {', '.join(KINDS_OF_DATA)}; name one of them")
    return _checked(_dense_data(Path(folder), kind, classes, frame), task, limit, sheet, begun_s)


def _checked(data: _Data[Unit], task: str, limit: int | None, sheet: Sheet | None, begun_s: float) -> CheckReport:
    count = len(data.units) if limit is None else min(limit, len(data.units))
    places = np.linspace(0, max(0, len(data.units) - 1), count).round().astype(int).tolist()
    shown = sheet.spread(count) if sheet is not None else frozenset()
    otherwise: Pictured = "never" if sheet is None else "if wrong"
    threads = min(usable_cores(), MOST_THREADS)
    facts: list[Facts] = []
    with ThreadPoolExecutor(threads, thread_name_prefix="vitruvian-check") as pool:
        jobs = ((data.units[place], "always" if turn in shown else otherwise) for turn, place in enumerate(places))
        seen_in_turn = ordered_map(lambda job: data.look(*job), jobs, pool, ahead=2 * threads)
        for turn, seen in enumerate(seen_in_turn):
            facts += seen.facts
            if sheet is not None and seen.tile is not None:
                sheet.add(seen.tile, _caption(seen.facts), extra=turn not in shown)
    found = [*data.found, *grouped(facts), *data.verdicts(facts)]
    if not data.samples:
        found.append(finding("no samples", [], 0))
    return CheckReport(
        task=task,
        layout=data.layout,
        samples=data.samples,
        parts=dict(data.parts) if set(data.parts) != {""} else {},
        checked=len(facts),
        findings=tuple(sorted(found, key=lambda one: _LEVELS.index(one.level))),
        seconds=round(time.perf_counter() - begun_s, 3),
    )


def _caption(facts: Sequence[Facts]) -> str:
    """Of the first with something to say, else of the first."""
    return next((one.caption for one in facts if one.suspicious), facts[0].caption)


def _dense_data(folder: Path, task: DenseKind, classes: int | None, frame: NormalFrame) -> _Data[Sample]:
    listed = find_depth(folder) if task == "depth" else find_samples(folder, task)
    if isinstance(listed, MetricFound):
        layout, decided = listed.layout, None
    else:
        layout, decided = listed.layout.name, listed.layout.classes
    classes = classes or decided
    check = DenseCheck(task=task, classes=classes, frame=frame)

    def look(sample: Sample, pictured: Pictured) -> _Seen:
        try:
            decoded = read_sample(sample, task)
        except InputError as error:
            return _unusable(sample.name, error)
        facts = check.facts(decoded)
        tile = dense_tile(decoded, classes, frame) if _wanted(pictured, (facts,)) else None
        return _Seen(facts=(facts,), tile=tile)

    found = [finding("without a partner", listed.missing, len(listed.samples) + len(listed.missing))]
    found = found if listed.missing else []
    if task != "seg" and listed.samples and all(sample.mask is None for sample in listed.samples):
        found.append(finding("no masks", [], len(listed.samples), count=len(listed.samples)))
    if task == "seg" and classes is None:
        found.append(finding("classes not named", [], len(listed.samples), count=len(listed.samples)))
    return _Data(
        layout=layout,
        samples=len(listed.samples),
        parts=Counter(sample.split for sample in listed.samples),
        units=listed.samples,
        look=look,
        verdicts=check.verdicts,
        found=found,
    )


def _pose_data(folder: Path, keypoints: int | None) -> _Data[list[PersonSample]]:
    listed = find_persons(folder, keypoints)
    by_picture: dict[Path, list[PersonSample]] = {}
    for sample in listed.samples:
        by_picture.setdefault(sample.image, []).append(sample)

    def look(persons: list[PersonSample], pictured: Pictured) -> _Seen:
        try:
            image_HW3 = read_person_picture(persons[0])
        except InputError as error:
            return _unusable(persons[0].name, error)
        size_hw = image_HW3.shape[0], image_HW3.shape[1]
        facts = tuple(person_facts(person, size_hw, listed.convention) for person in persons)
        tile = person_tile(image_HW3, persons, listed.convention) if _wanted(pictured, facts) else None
        return _Seen(facts=facts, tile=tile)

    found = [finding("without a partner", listed.missing, len(listed.samples) + len(listed.missing))]
    return _Data(
        layout=listed.convention.name,
        samples=len(listed.samples),
        parts=Counter(sample.split for sample in listed.samples),
        units=list(by_picture.values()),
        look=look,
        verdicts=person_verdicts,
        found=found if listed.missing else [],
    )


def _unusable(name: str, error: InputError) -> _Seen:
    return _Seen(facts=(Facts(name=name, problems=(("unusable files", str(error)),)),))


def _wanted(pictured: Pictured, facts: Sequence[Facts]) -> bool:
    return pictured == "always" or (pictured == "if wrong" and any(one.suspicious for one in facts))
