"""Boxes files in their three forms, how pictures find their boxes, and what is refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from vitruvian.errors import UsageError
from vitruvian.tasks import regions
from vitruvian.tasks.regions import parse_boxes, read_boxes

DETECTIONS = [
    {"image_id": 785, "category_id": 1, "bbox": [10, 20, 30, 40], "score": 0.9},
    {"image_id": 785, "category_id": 1, "bbox": [1, 2, 3, 4], "score": 0.2},
    {"image_id": 785, "category_id": 18, "bbox": [5, 5, 5, 5], "score": 0.99},
    {"image_id": 7, "category_id": 18, "bbox": [5, 5, 5, 5], "score": 0.99},
    {"image_id": 9, "bbox": [0, 0, 5, 5], "score": 0.1},
]
GROUND_TRUTH = {
    "images": [{"id": 785, "file_name": "000000000785.jpg"}, {"id": 3, "file_name": "empty.jpg"}],
    "annotations": [
        {"image_id": 785, "category_id": 1, "bbox": [10, 20, 30, 40]},
        {"image_id": 785, "category_id": 1, "bbox": [0, 0, 300, 400], "iscrowd": 1},
    ],
}
NAMES = {"a/one.jpg": [[10, 20, 40, 60], [0, 0, 5, 6, 0.3]], "two.jpg": []}


@pytest.mark.parametrize(
    ("document", "name", "boxes"),
    [
        (DETECTIONS, "coco_000000000785.jpg", [(10, 20, 40, 60)]),
        (DETECTIONS, "deep/in/785.png", [(10, 20, 40, 60)]),
        (DETECTIONS, "9.jpg", []),
        (DETECTIONS, "7.jpg", []),
        (DETECTIONS, "10.jpg", None),
        (DETECTIONS, "785_a.jpg", None),
        (GROUND_TRUTH, "000000000785.jpg", [(10, 20, 40, 60)]),
        (GROUND_TRUTH, "val/coco_785.jpg", [(10, 20, 40, 60)]),
        (GROUND_TRUTH, "x/empty.jpg", []),
        (GROUND_TRUTH, "other.jpg", None),
        (NAMES, "a/one.jpg", [(10, 20, 40, 60)]),
        (NAMES, "two.jpg", []),
        (NAMES, "sub/two.jpg", []),
        (NAMES, "one.jpg", None),
    ],
)
def test_pictures_find_their_boxes(document: Any, name: str, boxes: list[tuple[float, ...]] | None) -> None:
    found = parse_boxes(document, min_score=0.5).lookup(name)
    assert (None if found is None else [region.box_xyxy for region in found]) == boxes


def test_scores_are_kept_and_default_to_one() -> None:
    one = parse_boxes(NAMES).lookup("a/one.jpg")
    assert one is not None
    assert [region.score for region in one] == [1.0, 0.3]


@pytest.mark.parametrize(
    ("document", "message"),
    [
        ("text", "got a str as boxes"),
        ([{"bbox": [1, 2, 3, 4]}], "entry 0 without bbox and a whole-number image_id"),
        ([{"image_id": 1, "bbox": [1, 2, 3]}], "expected 4 finite numbers"),
        ([{"image_id": 1, "bbox": [1, 2, 3, float("nan")]}], "expected 4 finite numbers"),
        ([{"image_id": 1, "bbox": [1, 2, 0, 5]}], "empty box"),
        ([{"image_id": 1, "bbox": [1, 2, 3, 4], "score": 7}], "expected 0..1"),
        ([{"image_id": 1, "bbox": [1, 2, 3, 4], "score": "high"}], "score of entry 0"),
        ({"annotations": {}}, "not lists"),
        ({"images": [{"file_name": "a"}], "annotations": []}, "without a whole-number id"),
        ({"a.jpg": [[1, 2, 3]]}, "expected 4 or 5 finite numbers"),
        ({"a.jpg": [[5, 2, 3, 9]]}, "empty box"),
        ({"a.jpg": [[1, 2, 3, 9, 70]]}, "expected 0..1"),
        ({"a.jpg": {"boxes": []}}, "got dict for 'a.jpg'"),
        ({"a.jpg": [[0, 0, True, 9]]}, "finite numbers"),
    ],
)
def test_what_is_wrong_is_said(document: Any, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        parse_boxes(document)


def test_files_are_read_and_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "boxes.json"
    path.write_text(json.dumps(NAMES))
    assert read_boxes(path).lookup("two.jpg") == ()
    monkeypatch.setattr(regions, "MAX_FILE_BYTES", 10)
    with pytest.raises(UsageError, match="split it"):
        read_boxes(path)


@pytest.mark.parametrize("content", [b"{", b"\xff\xfe\x00", b"[" * 200_000])
def test_unreadable_files_are_named(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "boxes.json"
    path.write_bytes(content)
    with pytest.raises(UsageError, match=r"boxes\.json, which cannot be read"):
        read_boxes(path)
    with pytest.raises(UsageError, match=r"absent\.json"):
        read_boxes(tmp_path / "absent.json")
