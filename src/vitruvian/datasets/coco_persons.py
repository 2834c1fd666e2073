"""Persons to train pose on, from COCO-style annotations of 17, 133 or 308 keypoints and their pictures.

In: a folder (or an annotation file). Out: persons as paths, boxes and keypoints, and a sentence for everything that
cannot be used. Annotation files are read whole: reading a full training set takes a few GB for a while, 12 bytes a
keypoint stay.
"""

# Shape suffixes: P persons, K keypoints, 3 = x y visibility, 4 = x0 y0 x1 y1.

from __future__ import annotations

import json
import math
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from vitruvian.datasets.layouts import Split
from vitruvian.errors import UsageError
from vitruvian.media.names import printable, shown
from vitruvian.tasks.labels import KEYPOINT_SETS, KeypointSet, keypoint_set
from vitruvian.tasks.pose_files import WHOLE_BODY_FIELDS
from vitruvian.tasks.regions import PERSON_CATEGORY

FORM = "COCO keypoint annotations {images, annotations: [{image_id, keypoints, bbox, ...}]}"
_LIKELY = ("keypoint", "wholebody", "pose")
"""Parts of the names of annotation files that hold keypoints; others of a COCO tree hold captions and outlines."""


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class PersonSample:
    """One person of one picture."""

    name: str
    """The picture's path below the data folder and the annotation's number."""
    image: Path
    box_xyxy: tuple[float, float, float, float]
    """Source pixels."""
    keypoints_K3: np.ndarray
    """float32 x, y in source pixels and visibility: 0 not labelled, 1 covered, 2 visible."""
    split: Split = ""
    """By the name of the annotation file."""


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class PersonsFound:
    """The persons of a data folder."""

    convention: KeypointSet
    samples: tuple[PersonSample, ...]
    """In the order of the annotations; single persons with at least one keypoint."""
    missing: tuple[str, ...]
    """A sentence for every picture that is not there and every annotation that cannot be used."""
    left_out: int
    """Crowds, and persons without any keypoint: nothing is wrong with them."""


@dataclass(frozen=True, kw_only=True, slots=True)
class _Part:
    """One annotation file."""

    path: Path
    document: Mapping[str, Any]
    split: Split
    keypoints: int
    """Of the first person that has any."""


def find_persons(folder: Path, keypoints: int | None = None) -> PersonsFound:
    """Persons of `annotations/*.json` or `*.json` in a folder, or of one file.

    Pictures lie in `train2017/` or `val2017/` by the file's name, in `train/`, `val/` or `images/`, or beside the file.

    Args:
        folder: the data folder, or an annotation file inside it.
        keypoints: 17, 133 or 308, where annotations of several kinds lie side by side; None: there is one kind.

    Raises:
        UsageError: no annotations with keypoints, or of several kinds.
    """
    root = folder.parent if folder.is_file() else folder
    if root.name == "annotations":
        root = root.parent
    parts = [part for path in _annotation_files(folder) if (part := _part(path))]
    kinds = sorted({part.keypoints for part in parts})
    if keypoints is not None:
        parts = [part for part in parts if part.keypoints == keypoints]
    elif len(kinds) > 1:
        raise UsageError(
            f"got annotations of {' and '.join(map(str, kinds))} keypoints in {shown(folder)}; "
            "expected one kind; name the one to use (--keypoints)"
        )
    if not parts:
        wanted = f"of {keypoints} keypoints; found: {', '.join(map(str, kinds)) or 'none'}" if keypoints else "at all"
        raise UsageError(f"got {shown(folder)} without persons {wanted}; expected {FORM}; name another folder")
    convention = keypoint_set(parts[0].keypoints)
    samples: list[PersonSample] = []
    missing: list[str] = []
    left_out = 0
    for part in parts:
        for one in _persons(part, root, convention):
            if isinstance(one, PersonSample):
                samples.append(one)
            elif one:
                missing.append(one)
            else:
                left_out += 1
    return PersonsFound(
        convention=convention, samples=tuple(samples), missing=tuple(dict.fromkeys(missing)), left_out=left_out
    )


def _annotation_files(folder: Path) -> list[Path]:
    if folder.is_file():
        return [folder]
    for place in (folder / "annotations", folder):
        files = sorted(place.glob("*.json")) if place.is_dir() else []
        likely = [path for path in files if any(word in path.name.lower() for word in _LIKELY)]
        if files:
            return likely or files
    raise UsageError(
        f"got {shown(folder)} without annotation files; expected annotations/*.json or one .json beside the pictures; "
        "name the folder that holds them"
    )


def _part(path: Path) -> _Part | None:
    """An annotation file that has keypoints; None for one without."""
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, json.JSONDecodeError, RecursionError) as error:
        raise UsageError(f"got {printable(path.name)}, which cannot be read ({error}); expected {FORM}") from error
    if not isinstance(document, dict) or not all(isinstance(document.get(k), list) for k in ("images", "annotations")):
        return None
    counts = (_count(entry) for entry in document["annotations"])
    keypoints = next((count for count in counts if count in KEYPOINT_SETS.values()), 0)
    name = path.name.lower()
    split: Split = "train" if "train" in name else "val" if "val" in name else ""
    return _Part(path=path, document=document, split=split, keypoints=keypoints) if keypoints else None


def _fields(entry: Mapping[str, Any]) -> Sequence[str]:
    return tuple(WHOLE_BODY_FIELDS) if "foot_kpts" in entry else ("keypoints",)


def _count(entry: Any) -> int:
    """Keypoints of an entry; 0 where it has none."""
    if not isinstance(entry, dict) or not all(isinstance(entry.get(field), list) for field in _fields(entry)):
        return 0
    return sum(len(entry[field]) for field in _fields(entry)) // 3


def _persons(part: _Part, root: Path, convention: KeypointSet) -> Iterator[PersonSample | str]:
    """Persons, sentences about those that cannot be used, and empty words for those that are left out."""
    names = {
        image["id"]: image["file_name"]
        for image in part.document["images"]
        if isinstance(image, dict) and isinstance(image.get("file_name"), str) and isinstance(image.get("id"), int)
    }
    pictures = _Pictures(part, root, list(names.values()))
    entries = part.document["annotations"]
    points_PK3 = np.zeros((len(entries), convention.count, 3), np.float32)
    for index, entry in enumerate(entries):
        place = f"annotation {entry.get('id', index) if isinstance(entry, dict) else index} of {part.path.name}"
        if not isinstance(entry, dict):
            yield f"{place} is no object; left out: expected {FORM}"
        elif entry.get("category_id", PERSON_CATEGORY) != PERSON_CATEGORY or entry.get("iscrowd") or not _count(entry):
            yield ""
        elif not isinstance(entry.get("image_id"), int) or entry["image_id"] not in names:
            yield f"{place} belongs to none of the pictures of its file"
        else:
            name = names[entry["image_id"]]
            path = pictures.path(name)
            problem = (
                _read_into(points_PK3[index], entry) if path else f"has no picture: {printable(name)} is not there"
            )
            box = _box(entry, points_PK3[index])
            if problem is None and box is None:
                problem = "has no box with a size; left out: expected bbox [x, y, width, height]"
            if problem is not None or path is None or box is None:
                yield f"{place} {problem}"
            elif not (points_PK3[index, :, 2] > 0).any():
                yield ""
            else:
                yield PersonSample(
                    name=f"{printable(os.path.relpath(path, root))}#{entry.get('id', index)}",
                    image=path,
                    box_xyxy=box,
                    keypoints_K3=points_PK3[index],
                    split=part.split,
                )


def _read_into(points_K3: np.ndarray, entry: Mapping[str, Any]) -> str | None:
    """Fill a row with an entry's keypoints, or say what is wrong with them."""
    count = _count(entry)
    if count != len(points_K3):
        return f"has {count} keypoints, others {len(points_K3)}; left out"
    values = [value for field in _fields(entry) for value in entry[field]]
    try:
        numbers = np.array([0.0 if value is None else value for value in values], np.float64)
    except (TypeError, ValueError, OverflowError):
        return "has keypoints that are no numbers; left out"
    if numbers.size != points_K3.size or not np.isfinite(numbers).all():
        return "has keypoints that are no finite x, y, v triples; left out"
    points_K3[:] = numbers.reshape(-1, 3)
    return None


def _box(entry: Mapping[str, Any], points_K3: np.ndarray) -> tuple[float, float, float, float] | None:
    """x0, y0, x1, y1 of `bbox`, or of the labelled keypoints where there is none; None without a size."""
    box = entry.get("bbox")
    if not box:
        labelled_K2 = points_K3[points_K3[:, 2] > 0, :2].astype(np.float64)
        if not len(labelled_K2):
            return None
        (x0, y0), (x1, y1) = labelled_K2.min(axis=0).tolist(), labelled_K2.max(axis=0).tolist()
    elif isinstance(box, list) and len(box) == 4 and all(_is_modest(value) for value in box):
        x0, y0, width, height = map(float, box)
        x1, y1 = x0 + width, y0 + height
    else:
        return None
    return (x0, y0, x1, y1) if all(map(math.isfinite, (x0, y0, x1, y1))) and x1 > x0 and y1 > y0 else None


def _is_modest(value: Any) -> bool:
    """Whether this is a number that a float holds."""
    return isinstance(value, (int, float)) and abs(value) < 1e9


class _Pictures:
    """Where the pictures of an annotation file are; each folder is listed once."""

    def __init__(self, part: _Part, root: Path, names: Sequence[str]) -> None:
        split = part.split
        by_split = [f"{split}2017", split, f"images/{split}2017", f"images/{split}"] if split else []
        folders = [root / name for name in (*by_split, "images", ".")] + [part.path.parent]
        first = next((name for name in names if _is_inside(name)), "")
        self._base = next((folder for folder in folders if first and (folder / first).is_file()), folders[-1])
        self._listed: dict[Path, frozenset[str]] = {}

    def path(self, name: str) -> Path | None:
        """The picture of this name; None where it is not there or the name leads out of the folder."""
        if not _is_inside(name):
            return None
        path = self._base / name
        if path.parent not in self._listed:
            self._listed[path.parent] = frozenset(os.listdir(path.parent) if path.parent.is_dir() else ())
        return path if path.name in self._listed[path.parent] else None


def _is_inside(name: str) -> bool:
    parts = PurePosixPath(name).parts
    return bool(parts) and not PurePosixPath(name).is_absolute() and ".." not in parts
