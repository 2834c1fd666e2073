"""True and found persons of many pictures, read from COCO files.

COCO keypoint truth or results of 17, 133 or 308 keypoints, whole bodies in their fields or in one -> arrays. The files
are read whole: a full validation set is some 100 MB.
"""

# Shape suffixes: P persons, K keypoints, 2 = x y, 3 = x y and visibility or score, 4 = x0 y0 x1 y1.

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from vitruvian.errors import UsageError
from vitruvian.tasks.conventions import Points
from vitruvian.tasks.labels import KEYPOINT_SETS, KeypointSet, keypoint_set
from vitruvian.tasks.pose_files import WHOLE_BODY_FIELDS
from vitruvian.tasks.regions import PERSON_CATEGORY

_TRUTH = "COCO keypoint annotations {images, annotations: [{image_id, keypoints, bbox, ...}]}"
_RESULTS = "COCO keypoint results [{image_id, keypoints, score}]"


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class TruePersons:
    """Everyone annotated in a set of pictures."""

    convention: KeypointSet
    pictures: Mapping[int, str]
    """File name of each image id."""
    image_P: np.ndarray
    """int64 image id of each person."""
    points_PK3: np.ndarray
    """float64 x, y in source pixels and visibility: 0 not labelled, 1 covered, 2 visible."""
    boxes_P4: np.ndarray
    area_P: np.ndarray
    """Square pixels of the person's outline, or of its box where the file has no area."""
    crowd_P: np.ndarray
    """bool; True for a box round a crowd."""

    @property
    def labelled_P(self) -> np.ndarray:
        """bool; single persons with at least one keypoint: those that count."""
        return (self.points_PK3[..., 2] > 0).any(axis=1) & ~self.crowd_P


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class FoundPersons:
    """Everyone a model found in a set of pictures."""

    image_P: np.ndarray
    """int64 image id of each person."""
    points: Points
    """Source pixels; a keypoint at exactly 0, 0 with score 0 has no location."""
    scores_P: np.ndarray
    """Confidence of each person; only the order matters."""
    boxes_P4: np.ndarray
    """The person's box; that of its keypoints where the file has none."""


def read_truth(path: Path) -> TruePersons:
    """Persons of a COCO keypoint annotation file; `UsageError` says what is wrong with it."""
    document = _read(path, _TRUTH)
    if not isinstance(document, dict) or not all(isinstance(document.get(k), list) for k in ("images", "annotations")):
        raise UsageError(f"got {path.name} without images and annotations; expected {_TRUTH}; name another file")
    pictures = {}
    for index, image in enumerate(document["images"]):
        if not isinstance(image, dict) or not isinstance(image.get("id"), int) or "file_name" not in image:
            raise UsageError(f"got image {index} without id and file_name; expected {_TRUTH}; correct {path.name}")
        pictures[image["id"]] = str(image["file_name"])
    persons = [
        (f"annotation {index} of {path.name}", entry)
        for index, entry in enumerate(document["annotations"])
        if not isinstance(entry, dict) or entry.get("category_id", PERSON_CATEGORY) == PERSON_CATEGORY
    ]
    if not persons:
        raise UsageError(f"got {path.name}, which has no persons; expected {_TRUTH}; name another file")
    convention, points_PK3 = _keypoints(persons, _TRUTH)
    boxes_P4 = _boxes(persons, points_PK3)
    sides_P2 = boxes_P4[:, 2:] - boxes_P4[:, :2]
    areas = [_number(entry.get("area"), float(np.prod(s))) for (_, entry), s in zip(persons, sides_P2, strict=True)]
    return TruePersons(
        convention=convention,
        pictures=pictures,
        image_P=_image_ids(persons, pictures, _TRUTH),
        points_PK3=points_PK3,
        boxes_P4=boxes_P4,
        area_P=np.array(areas),
        crowd_P=np.array([bool(entry.get("iscrowd", 0)) for _, entry in persons]),
    )


def read_results(path: Path, truth: TruePersons) -> FoundPersons:
    """Persons of a COCO keypoint results file about the pictures of `truth`; `UsageError` says what is wrong."""
    entries = _read(path, _RESULTS)
    if not isinstance(entries, list):
        raise UsageError(f"got {path.name}, which is no list; expected {_RESULTS}; name another file")
    return found_persons(entries, truth, path.name)


def found_persons(entries: Sequence[Mapping[str, Any]], truth: TruePersons, name: str = "results") -> FoundPersons:
    """Persons of entries of a COCO results list, which all have the same keypoints; a null score counts as 0."""
    persons = [(f"entry {index} of {name}", entry) for index, entry in enumerate(entries)]
    if not persons:
        return nobody(truth.convention)
    convention, points_PK3 = _keypoints(persons, _RESULTS)
    valid_PK = (points_PK3 != 0).any(axis=2)
    xy_PK2 = np.where(valid_PK[..., None], points_PK3[..., :2], np.nan)
    return FoundPersons(
        image_P=_image_ids(persons, truth.pictures, _RESULTS),
        points=Points(convention=convention, xy_PK2=xy_PK2, scores_PK=points_PK3[..., 2], valid_PK=valid_PK),
        scores_P=np.array([_number(entry.get("score"), 0.0) for _, entry in persons]),
        boxes_P4=_boxes(persons, points_PK3),
    )


def nobody(convention: KeypointSet) -> FoundPersons:
    """No person at all."""
    count = convention.count
    points = Points(
        convention=convention,
        xy_PK2=np.zeros((0, count, 2)),
        scores_PK=np.zeros((0, count)),
        valid_PK=np.zeros((0, count), bool),
    )
    return FoundPersons(image_P=np.zeros(0, np.int64), points=points, scores_P=np.zeros(0), boxes_P4=np.zeros((0, 4)))


def together(parts: Sequence[FoundPersons], convention: KeypointSet) -> FoundPersons:
    """Persons of several pictures, all in `convention`, in one value."""
    parts = [nobody(convention), *parts]
    points = Points(
        convention=convention,
        xy_PK2=np.concatenate([part.points.xy_PK2 for part in parts]),
        scores_PK=np.concatenate([part.points.scores_PK for part in parts]),
        valid_PK=np.concatenate([part.points.valid_PK for part in parts]),
    )
    return FoundPersons(
        image_P=np.concatenate([part.image_P for part in parts]),
        points=points,
        scores_P=np.concatenate([part.scores_P for part in parts]),
        boxes_P4=np.concatenate([part.boxes_P4 for part in parts]),
    )


_Persons = Sequence[tuple[str, Any]]
"""Entries of a file, each with the words for its place."""


def _read(path: Path, form: str) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, json.JSONDecodeError, RecursionError) as error:
        raise UsageError(f"got {path.name}, which cannot be read ({error}); expected {form}") from error


def _keypoints(persons: _Persons, form: str) -> tuple[KeypointSet, np.ndarray]:
    """The convention of all entries, told by the number of keypoints, and (P,K,3)."""
    rows = [_triples(entry, place, form) for place, entry in persons]
    counts = sorted({len(row) for row in rows})
    if len(counts) != 1 or counts[0] not in KEYPOINT_SETS.values():
        expected = ", ".join(map(str, KEYPOINT_SETS.values()))
        raise UsageError(
            f"got persons of {', '.join(map(str, counts))} keypoints; expected all of one of {expected}; "
            "evaluate one kind at a time"
        )
    return keypoint_set(counts[0]), np.array(rows, np.float64)


def _triples(entry: Any, place: str, form: str) -> np.ndarray:
    """(K,3) of one entry; a whole body may be spread over the fields of its benchmark."""
    if not isinstance(entry, dict):
        raise UsageError(f"got {place}, which is no object; expected {form}; correct the file")
    values = []
    for field in WHOLE_BODY_FIELDS if "foot_kpts" in entry else ("keypoints",):
        if not isinstance(entry.get(field), list):
            raise UsageError(f"got {place} without {field}; expected {form}; correct the file")
        values += entry[field]
    try:
        row = np.array([0.0 if value is None else value for value in values], np.float64)
    except (TypeError, ValueError) as error:
        raise UsageError(f"got {place} with keypoints that are no numbers; expected {form}; correct it") from error
    if row.ndim != 1 or len(row) % 3 or not np.isfinite(row).all():
        raise UsageError(f"got {place} with {row.size} keypoint values; expected finite x, y, v triples; correct it")
    return row.reshape(-1, 3)


def _image_ids(persons: _Persons, pictures: Mapping[int, str], form: str) -> np.ndarray:
    for place, entry in persons:
        image_id = entry.get("image_id")
        if not isinstance(image_id, int) or image_id not in pictures:
            raise UsageError(
                f"got {place} of image_id {image_id!r}, which is none of the annotated pictures; "
                f"expected {form} of the same pictures; use the file that belongs to them"
            )
    return np.array([entry["image_id"] for _, entry in persons], np.int64)


def _boxes(persons: _Persons, points_PK3: np.ndarray) -> np.ndarray:
    return np.array([_box(entry, place, own_K3) for (place, entry), own_K3 in zip(persons, points_PK3, strict=True)])


def _box(entry: Mapping[str, Any], place: str, points_K3: np.ndarray) -> list[float]:
    """x0, y0, x1, y1 of `bbox`, or of the keypoints that have a location."""
    box = entry.get("bbox")
    if not box:
        there_K2 = points_K3[points_K3.any(axis=1), :2]
        if not len(there_K2):
            return [0.0, 0.0, 0.0, 0.0]
        return [*there_K2.min(axis=0).tolist(), *there_K2.max(axis=0).tolist()]
    if not isinstance(box, list) or len(box) != 4 or not all(isinstance(v, (int, float)) for v in box):
        raise UsageError(f"got the bbox {str(box)[:60]} in {place}; expected [x, y, width, height]; correct the file")
    x, y, width, height = map(float, box)
    return [x, y, x + width, y + height]


def _number(value: Any, otherwise: float) -> float:
    usable = isinstance(value, (int, float)) and np.isfinite(value)
    return float(value) if usable else otherwise
