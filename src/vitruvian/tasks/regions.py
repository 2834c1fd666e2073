"""Persons' boxes from a file: COCO detections, COCO ground truth, or a plain table of names.

JSON text -> boxes per picture, validated one by one. The whole file is read, up to 512 MB.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from vitruvian.errors import UsageError
from vitruvian.tasks.base import Region

MAX_FILE_BYTES = 512_000_000
"""Larger files are refused: they are not what this reader is for, and JSON takes ten times its size in memory."""

PERSON_CATEGORY = 1
"""COCO's category of persons; entries of other categories, and boxes round crowds, are passed over."""

_FORMS = (
    "COCO detections [{image_id, bbox: [x, y, w, h], score}], COCO ground truth {images, annotations}, "
    'or {"name.jpg": [[x0, y0, x1, y1, score], ...]}'
)


@dataclass(frozen=True, kw_only=True, slots=True)
class BoxTable:
    """Boxes of many pictures, by name, by number, or both."""

    by_name: Mapping[str, tuple[Region, ...]]
    """Boxes by relative path or file name as the file has it."""
    by_number: Mapping[int, tuple[Region, ...]]
    """Boxes by COCO image id."""

    def lookup(self, name: str) -> tuple[Region, ...] | None:
        """Boxes of the input with this relative path.

        Tried in turn: the whole path, the file name, the number its stem ends with as image id. None means the file has
        no entry for it; an empty tuple means that it says there is no person.
        """
        path = PurePosixPath(name)
        for key in (str(path), path.name):
            if key in self.by_name:
                return self.by_name[key]
        number = re.search(r"(\d+)$", path.stem)
        return self.by_number.get(int(number[1])) if number else None


def read_boxes(path: Path, *, min_score: float = 0.0) -> BoxTable:
    """Read a boxes file; boxes that score below `min_score` (0..1) are left out. `UsageError` says what is wrong."""
    try:
        size_bytes = path.stat().st_size
        if size_bytes > MAX_FILE_BYTES:
            raise UsageError(
                f"got a boxes file of {size_bytes / 1e6:.0f} MB; "
                f"expected at most {MAX_FILE_BYTES / 1e6:.0f} MB; split it"
            )
        document = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, json.JSONDecodeError, RecursionError) as error:
        raise UsageError(f"got {path.name}, which cannot be read ({error}); expected JSON: {_FORMS}") from error
    return parse_boxes(document, min_score=min_score)


def parse_boxes(document: Any, *, min_score: float = 0.0) -> BoxTable:
    """Boxes of an already parsed JSON document, see `read_boxes`."""
    if isinstance(document, list):
        return _from_detections(document, min_score)
    if isinstance(document, dict) and "annotations" in document:
        return _from_ground_truth(document, min_score)
    if isinstance(document, dict):
        return _from_names(document, min_score)
    raise UsageError(f"got a {type(document).__name__} as boxes; expected {_FORMS}; convert the file")


def _from_detections(entries: list[Any], min_score: float) -> BoxTable:
    by_number = _by_number(entries, "entry", {}, min_score)
    return BoxTable(by_name={}, by_number=by_number)


def _from_ground_truth(document: Mapping[str, Any], min_score: float) -> BoxTable:
    images, annotations = document.get("images", []), document["annotations"]
    if not isinstance(images, list) or not isinstance(annotations, list):
        raise UsageError(f"got images and annotations that are not lists; expected {_FORMS}; correct the boxes file")
    found: dict[int, list[Region]] = {}
    names: dict[str, int] = {}
    for index, image in enumerate(images):
        if not isinstance(image, dict) or not isinstance(image.get("id"), int):
            raise UsageError(
                f"got image {index} without a whole-number id; expected COCO images; correct the boxes file"
            )
        found[image["id"]] = []
        if isinstance(image.get("file_name"), str):
            names[image["file_name"]] = image["id"]
    by_number = _by_number(annotations, "annotation", found, min_score)
    return BoxTable(by_name={name: by_number[number] for name, number in names.items()}, by_number=by_number)


def _by_number(
    entries: list[Any], word: str, found: dict[int, list[Region]], min_score: float
) -> dict[int, tuple[Region, ...]]:
    """Persons' boxes by image id; an image with other entries alone is known to show nobody."""
    for index, entry in enumerate(entries):
        place = f"{word} {index}"
        if not isinstance(entry, dict) or "bbox" not in entry or not isinstance(entry.get("image_id"), int):
            raise UsageError(
                f"got {place} without bbox and a whole-number image_id; expected {_FORMS}; correct the boxes file"
            )
        kept = found.setdefault(entry["image_id"], [])
        if entry.get("category_id", PERSON_CATEGORY) != PERSON_CATEGORY or entry.get("iscrowd", 0):
            continue
        x, y, width, height = _numbers(entry["bbox"], (4,), f"bbox of {place}")
        score = _numbers([entry.get("score", 1.0)], (1,), f"score of {place}")[0]
        region = _region((x, y, x + width, y + height), score, place)
        if region.score >= min_score:
            kept.append(region)
    return {number: tuple(regions) for number, regions in found.items()}


def _from_names(document: Mapping[str, Any], min_score: float) -> BoxTable:
    by_name: dict[str, tuple[Region, ...]] = {}
    for name, boxes in document.items():
        if not isinstance(boxes, list):
            raise UsageError(f"got {type(boxes).__name__} for {name!r}; expected a list of boxes: {_FORMS}")
        regions = []
        for index, box in enumerate(boxes):
            place = f"box {index} of {name!r}"
            x0, y0, x1, y1, *score = _numbers(box, (4, 5), place)
            regions.append(_region((x0, y0, x1, y1), score[0] if score else 1.0, place))
        by_name[str(PurePosixPath(name))] = tuple(region for region in regions if region.score >= min_score)
    return BoxTable(by_name=by_name, by_number={})


def _numbers(values: Any, lengths: tuple[int, ...], place: str) -> list[float]:
    """Finite numbers, as many as allowed."""
    expected = " or ".join(map(str, lengths))
    usable = isinstance(values, list) and len(values) in lengths
    if not usable or not all(
        isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value) for value in values
    ):
        shown = str(values)[:80]
        raise UsageError(f"got {shown} as {place}; expected {expected} finite numbers; correct the boxes file")
    return [float(value) for value in values]


def _region(box_xyxy: tuple[float, float, float, float], score: float, place: str) -> Region:
    x0, y0, x1, y1 = box_xyxy
    if not (x1 > x0 and y1 > y0):
        raise UsageError(
            f"got the empty box {list(box_xyxy)} in {place}; expected x0 < x1 and y0 < y1; correct the file"
        )
    if not 0 <= score <= 1:
        raise UsageError(f"got the score {score} in {place}; expected 0..1; correct the boxes file")
    return Region(box_xyxy=box_xyxy, score=score)
