"""A pose model, or a results file, held against COCO truth.

Annotation file and its pictures -> found persons through the same road as the command line -> `PoseReport`. The network
dominates; kept are numbers alone, some 4 kB a person.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from vitruvian.errors import UsageError
from vitruvian.evaluation.pose_accuracy import PoseAccuracy, check_available, pose_accuracy
from vitruvian.evaluation.pose_sets import FoundPersons, TruePersons, found_persons, read_results, read_truth, together
from vitruvian.media.items import Entry, Failure, Item
from vitruvian.predict import Finished, Model, Road
from vitruvian.tasks.base import Region
from vitruvian.tasks.pose import Pose
from vitruvian.tasks.pose_files import coco_results
from vitruvian.tasks.regions import BoxTable, read_boxes

TRUE_BOXES, FOUND_BOXES = "truth", "found"
"""Persons' boxes: the annotated ones, or what the model's detector finds."""

RegionsById = Callable[[int, str], Sequence[Region]]
"""Image id and file name -> the persons' boxes to look at."""


@dataclass(frozen=True, kw_only=True, slots=True)
class PoseReport:
    """An evaluation and what it was of."""

    subject: str
    """Name of the model or results file."""
    truth: str
    """Name of the annotation file."""
    boxes: str
    """Where the boxes came from; empty for a results file."""
    accuracy: PoseAccuracy
    failures: tuple[Failure, ...]
    """Pictures that could not be used; their persons count as not found."""
    notes: tuple[str, ...]

    def to_json(self) -> dict[str, Any]:
        """Plain values; holds no path."""
        found = self.accuracy.to_json()
        return {
            "task": "pose",
            "subject": self.subject,
            "truth": self.truth,
            "boxes": self.boxes,
            **found,
            "notes": [*self.notes, *found["notes"]],
            "failures": [{"name": failure.name, "reason": failure.reason} for failure in self.failures],
        }

    def text(self) -> str:
        """A table for people."""
        boxes = f", boxes: {self.boxes}" if self.boxes else ""
        notes = "".join(f"\nnote: {note}" for note in self.notes)
        return f"{self.subject} on {self.truth}{boxes}\n{self.accuracy.text()}{notes}"


def evaluate_results(data: Path, results: Path) -> PoseReport:
    """Measure a COCO results file against the truth in `data` (an annotation file, or a folder with one)."""
    check_available()
    truth_path = truth_file(data)
    truth = read_truth(truth_path)
    found = read_results(results, truth)
    accuracy = pose_accuracy(truth, found)
    return PoseReport(subject=results.name, truth=truth_path.name, boxes="", accuracy=accuracy, failures=(), notes=())


def evaluate_model(
    load: Callable[[], Model],
    data: Path,
    *,
    pictures: Path | None = None,
    boxes: str = TRUE_BOXES,
    flip_test: bool = False,
) -> PoseReport:
    """Run a pose model over annotated pictures and measure what it finds.

    Args:
        load: makes the model; called when everything else was found usable.
        data: an annotation file, or a folder with one.
        pictures: their folder; None: that of the annotation file.
        boxes: `truth` (boxes of all persons with a labelled keypoint), `found` (by the model's own detector), or a file
            that `read_boxes` can read.
        flip_test: average with the mirrored crops, as the published numbers do.

    Raises:
        UsageError: unusable files, no picture found, or a model for another task or with other keypoints.
    """
    check_available()
    truth_path = truth_file(data)
    truth = read_truth(truth_path)
    regions = None if boxes == FOUND_BOXES else _known_regions(truth, boxes)
    entries, numbers = _entries(truth, pictures or truth_path.parent)
    missing = len(truth.pictures) - len(entries)
    model = load()
    if model.task.name != "pose":
        raise UsageError(
            f"got the {model.task.name} model {model.spec.name}; expected a pose model; see vitruvian models"
        )
    if regions is None and model.finder is None:
        raise UsageError("got a model without a detector to find persons with; expected one; load it with a detector")
    found, failures = _find(model, truth, entries, numbers, regions, flip_test)
    note = f"{missing} of {len(truth.pictures)} annotated pictures are not there; their persons count as not found"
    return PoseReport(
        subject=model.spec.name,
        truth=truth_path.name,
        boxes=_said(boxes, model),
        accuracy=pose_accuracy(truth, found),
        failures=failures,
        notes=(note,) if missing else (),
    )


def _known_regions(truth: TruePersons, boxes: str) -> RegionsById:
    return true_regions(truth) if boxes == TRUE_BOXES else listed_regions(read_boxes(Path(boxes)))


def _said(boxes: str, model: Model) -> str:
    """Where boxes came from, for people."""
    if boxes == FOUND_BOXES and model.finder is not None:
        return f"found by {model.finder.spec.name}"
    return boxes if boxes == TRUE_BOXES else Path(boxes).name


def truth_file(data: Path) -> Path:
    """`data` itself, or the one JSON file in it; `UsageError` where it takes a choice."""
    if not data.is_dir():
        return data
    files = sorted(path for path in data.iterdir() if path.suffix.lower() == ".json")
    if len(files) != 1:
        listing = f"{len(files)} JSON files ({', '.join(path.name for path in files[:5])})" if files else "no JSON file"
        raise UsageError(
            f"got the folder {data.name} with {listing}; expected one, the annotations; "
            "name that file, and with --pictures the folder of its pictures"
        )
    return files[0]


def true_regions(truth: TruePersons) -> RegionsById:
    """The boxes of all persons that count."""
    regions: dict[int, list[Region]] = {}
    for person in truth.labelled_P.nonzero()[0]:
        x0, y0, x1, y1 = truth.boxes_P4[person].tolist()
        regions.setdefault(int(truth.image_P[person]), []).append(Region(box_xyxy=(x0, y0, x1, y1)))
    return lambda number, name: regions.get(number, ())


def listed_regions(boxes: BoxTable) -> RegionsById:
    """The boxes of a file, by image id, else by name; none for pictures it does not name."""
    return lambda number, name: boxes.by_number.get(number) or boxes.lookup(name) or ()


def _entries(truth: TruePersons, folder: Path) -> tuple[list[Entry], list[int]]:
    """The annotated pictures that are in the folder, by path or by the number their names end with; and their ids."""
    if not folder.is_dir():
        raise UsageError(f"got no folder {folder.name}; expected the one with the annotated pictures; use --pictures")
    by_number: dict[int | None, list[Path]] = {}
    for path in sorted(folder.iterdir()):
        if path.is_file() and path.suffix.lower() != ".json":
            by_number.setdefault(_number(path.name), []).append(path)
    entries: list[Entry] = []
    numbers = []
    for image_id, name in truth.pictures.items():
        of_number = by_number.get(_number(name), []) if _number(name) is not None else []
        candidates = [path for path in (folder / name, folder / Path(name).name) if path.is_file()]
        if candidates or len(of_number) == 1:
            path = (candidates or of_number)[0]
            entries.append(Entry(name=path.name, path=path, payload=None, index=len(entries)))
            numbers.append(image_id)
    if not entries:
        example = next(iter(truth.pictures.values()), "none")
        raise UsageError(
            f"got no annotated picture in {folder.name}; expected names such as {example}; use --pictures DIR"
        )
    return entries, numbers


def _number(name: str) -> int | None:
    """The number that a file's stem ends with."""
    found = re.search(r"(\d+)$", PurePosixPath(name).stem)
    return int(found[1]) if found else None


def _find(
    model: Model,
    truth: TruePersons,
    entries: Sequence[Entry],
    numbers: Sequence[int],
    regions: RegionsById | None,
    flip_test: bool,
) -> tuple[FoundPersons, tuple[Failure, ...]]:
    """Everyone the model finds, in the truth's convention."""

    def regions_of(item: Item) -> Sequence[Region]:
        number = numbers[item.index]
        assert regions is not None
        return regions(number, truth.pictures[number])

    def deliver(finished: Finished) -> list[FoundPersons]:
        number = numbers[finished.item.index]
        return [
            found_persons(coco_results(result.document(), number), truth)
            for result in finished.results
            if isinstance(result, Pose) and len(result.boxes_P4)
        ]

    parts: list[FoundPersons] = []
    failures = []
    road = Road(model=model, regions_of=None if regions is None else regions_of, flip_test=flip_test)
    for outcome in road.run(iter(entries), deliver):
        if isinstance(outcome, Failure):
            failures.append(outcome)
        else:
            parts += outcome
    own = parts[0].points.convention if parts else truth.convention
    return together(parts, own), tuple(failures)
