"""Persons out of COCO trees."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from training_folders import put_png
from vitruvian.datasets.coco_persons import find_persons
from vitruvian.datasets.layouts import split_samples
from vitruvian.errors import UsageError
from vitruvian.tasks.pose_files import WHOLE_BODY_FIELDS

COUNTS = {"keypoints": 17, "foot_kpts": 6, "face_kpts": 68, "lefthand_kpts": 21, "righthand_kpts": 21}


def entry(number: int = 1, count: int = 17, **changes: Any) -> dict[str, Any]:
    values = np.tile((5.0, 6.0, 2.0), count).tolist()
    return {"id": number, "image_id": 1, "category_id": 1, "keypoints": values, "bbox": [1, 2, 8, 6], **changes}


def write(path: Path, entries: list[dict[str, Any]], picture: Path | None = None, name: str = "000001.png") -> Path:
    document = {"images": [{"id": 1, "file_name": name}], "annotations": entries}
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(document), encoding="utf-8")
    if picture is not None:
        put_png(picture / name, np.zeros((10, 12, 3), np.uint8))
    return path


@pytest.mark.parametrize(
    ("annotations", "pictures", "split"),
    [
        ("annotations/person_keypoints_train2017.json", "train2017", "train"),
        ("annotations/person_keypoints_val2017.json", "val2017", "val"),
        ("annotations/coco_wholebody_train_v1.0.json", "train", "train"),
        ("annotations/train.json", "images/train", "train"),
        ("annotations/mine.json", "images", ""),
        ("mine.json", "images", ""),
        ("mine.json", ".", ""),
    ],
)
def test_trees(annotations: str, pictures: str, split: str, tmp_path: Path) -> None:
    path = write(tmp_path / annotations, [entry(7)], tmp_path / pictures)
    for given in (tmp_path, path):
        found = find_persons(given)
        (sample,) = found.samples
        assert found.missing == ()
        assert found.convention.name == "coco17"
        assert sample.image.samefile(tmp_path / pictures / "000001.png")
        assert sample.box_xyxy == (1, 2, 9, 8)
        assert sample.split == split
        assert sample.keypoints_K3.shape == (17, 3)
        assert sample.name.endswith("000001.png#7")
        assert not Path(sample.name).is_absolute()


def test_persons_of_a_picture_stay_together(tmp_path: Path) -> None:
    write(tmp_path / "a.json", [entry(number) for number in range(1, 60)], tmp_path)
    parts = split_samples(find_persons(tmp_path).samples, 0.5)
    assert sorted(map(len, parts)) == [0, 59]


def test_other_annotations_of_a_tree_are_left_alone(tmp_path: Path) -> None:
    write(tmp_path / "annotations/person_keypoints_val2017.json", [entry()], tmp_path / "val2017")
    (tmp_path / "annotations/captions_val2017.json").write_text("no JSON", encoding="utf-8")
    assert len(find_persons(tmp_path).samples) == 1


def test_whole_bodies_in_their_fields(tmp_path: Path) -> None:
    fields = {
        field: np.tile((1.0, place, 1.0), COUNTS[field]).tolist() for place, field in enumerate(WHOLE_BODY_FIELDS)
    }
    write(tmp_path / "a.json", [entry(**fields)], tmp_path)
    (sample,) = find_persons(tmp_path).samples
    assert sample.keypoints_K3.shape == (133, 3)
    assert np.unique(sample.keypoints_K3[:, 1]).tolist() == [0, 1, 2, 3, 4]


def test_several_kinds_want_a_choice(tmp_path: Path) -> None:
    write(tmp_path / "annotations/keypoints_17.json", [entry()], tmp_path / "images")
    write(tmp_path / "annotations/keypoints_308.json", [entry(count=308)])
    with pytest.raises(UsageError, match="17 and 308 keypoints"):
        find_persons(tmp_path)
    assert find_persons(tmp_path, 308).convention.count == 308
    with pytest.raises(UsageError, match="without persons of 133 keypoints; found: 17, 308"):
        find_persons(tmp_path, 133)


@pytest.mark.parametrize(
    ("odd", "says"),
    [
        (entry(2, image_id=9), "annotation 2 of a.json belongs to none of the pictures"),
        (entry(2, count=16), "has 16 keypoints, others 17"),
        (entry(2, bbox=[1, 2, 0, 5]), "has no box with a size"),
        (entry(2, bbox=[1, 2, float("inf"), 5]), "has no box with a size"),
        (entry(2, bbox=[1, 2, 10**400, 5]), "has no box with a size"),
        (entry(2, image_id=[1]), "belongs to none of the pictures"),
        (entry(2, keypoints=["x"] * 51), "keypoints that are no numbers"),
        (entry(2, keypoints=[10**400] * 51), "keypoints that are no numbers"),
        (entry(2, keypoints=[float("nan")] * 51), "no finite"),
    ],
)
def test_what_cannot_be_used_is_said(odd: dict[str, Any], says: str, tmp_path: Path) -> None:
    write(tmp_path / "a.json", [entry(1), odd, entry(3, iscrowd=1), entry(4, keypoints=[0] * 51)], tmp_path)
    found = find_persons(tmp_path)
    assert [sample.name for sample in found.samples] == ["000001.png#1"]
    assert len(found.missing) == 1
    assert says in found.missing[0]
    assert found.left_out == 2


@pytest.mark.parametrize("name", ["../secret.png", "/etc/secret.png", "gone.png"])
def test_pictures_elsewhere_are_missing(name: str, tmp_path: Path) -> None:
    put_png(tmp_path / "secret.png", np.zeros((2, 2), np.uint8))
    write(tmp_path / "set/a.json", [entry()], name=name)
    found = find_persons(tmp_path / "set")
    assert found.samples == ()
    assert "has no picture" in found.missing[0]
    assert str(tmp_path) not in found.missing[0]


def test_boxes_come_from_the_keypoints_where_there_are_none(tmp_path: Path) -> None:
    keypoints = [0.0] * 51
    keypoints[:6] = [2, 3, 2, 7, 8, 1]
    write(tmp_path / "a.json", [entry(bbox=None, keypoints=keypoints)], tmp_path)
    assert find_persons(tmp_path).samples[0].box_xyxy == (2, 3, 7, 8)


@pytest.mark.parametrize("text", ["", "[]", '{"images": [], "annotations": []}'])
def test_folders_without_persons(text: str, tmp_path: Path) -> None:
    if text:
        (tmp_path / "a.json").write_text(text, encoding="utf-8")
    with pytest.raises(UsageError, match="without"):
        find_persons(tmp_path)
