"""COCO files in, persons out; what is wrong with a file is said."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from evaluation.coco_set import annotation
from vitruvian.errors import UsageError
from vitruvian.evaluation.pose_sets import FoundPersons, found_persons, read_results, read_truth, together
from vitruvian.tasks.labels import keypoint_set
from vitruvian.tasks.pose_files import WHOLE_BODY_FIELDS

IMAGES = [{"id": 7, "file_name": "7.png"}]
ROW = [float(value) for value in range(1, 52)]
PERSON = {"id": 1, "image_id": 7, "category_id": 1, "keypoints": ROW, "bbox": [10, 20, 30, 60], "area": 900.0}


def write(folder: Path, document: Any) -> Path:
    path = folder / "some.json"
    path.write_text(json.dumps(document), encoding="utf-8")
    return path


def truth_of(folder: Path, *annotations: dict[str, Any]) -> Any:
    return read_truth(write(folder, {"images": IMAGES, "annotations": list(annotations)}))


def test_truth_as_written(tmp_path: Path) -> None:
    crowd = PERSON | {"iscrowd": 1, "keypoints": [0] * 51}
    dog = {"image_id": 7, "category_id": 18, "bbox": [0, 0, 1, 1]}
    truth = truth_of(tmp_path, PERSON, dog, crowd, PERSON | {"area": None, "keypoints": [0] * 51})
    assert truth.convention is keypoint_set(17)
    assert truth.points_PK3[0, 2].tolist() == [7, 8, 9]
    assert truth.boxes_P4[0].tolist() == [10, 20, 40, 80]
    assert truth.area_P.tolist() == [900, 900, 1800]
    assert truth.crowd_P.tolist() == [False, True, False]
    assert truth.labelled_P.tolist() == [True, False, False]
    assert truth.pictures == {7: "7.png"}


def test_whole_bodies_spread_over_fields_are_put_together_in_order(tmp_path: Path) -> None:
    whole = keypoint_set("wholebody133")
    fields = {
        field: [float(value) for index in whole.groups[group] for value in (index, index + 0.5, 1)]
        for field, group in WHOLE_BODY_FIELDS.items()
    }
    truth = truth_of(tmp_path, PERSON | fields)
    assert truth.convention is whole
    np.testing.assert_array_equal(truth.points_PK3[0, :, 0], np.arange(133))
    found = found_persons([{"image_id": 7, "score": 0.5, **fields}], truth)
    assert found.points.convention is whole
    np.testing.assert_array_equal(found.points.xy_PK2[0, :, 1], np.arange(133) + 0.5)


def test_results_as_written(tmp_path: Path) -> None:
    truth = truth_of(tmp_path, PERSON)
    path = write(tmp_path, [{"image_id": 7, "keypoints": [0, 0, 0, *ROW[3:]], "score": None}])
    found = read_results(path, truth)
    assert found.scores_P.tolist() == [0]
    assert found.points.valid_PK[0].tolist() == [False] + [True] * 16
    assert np.isnan(found.points.xy_PK2[0, 0]).all()
    assert found.points.scores_PK[0, 1] == 6
    assert found.boxes_P4[0].tolist() == [4, 5, 49, 50]  # of the keypoints, where no box is written
    assert read_results(write(tmp_path, []), truth).boxes_P4.shape == (0, 4)


def test_persons_of_several_pictures_together(tmp_path: Path) -> None:
    truth = truth_of(tmp_path, PERSON)
    one = found_persons([{"image_id": 7, "keypoints": ROW, "score": 0.25}], truth)
    both: FoundPersons = together([one, one], keypoint_set(17))
    assert both.scores_P.tolist() == [0.25, 0.25]
    assert both.points.xy_PK2.shape == (2, 17, 2)
    assert together([], keypoint_set(17)).points.xy_PK2.shape == (0, 17, 2)


@pytest.mark.parametrize(
    ("document", "says"),
    [
        ([], "without images and annotations"),
        ({"images": [], "annotations": 3}, "without images and annotations"),
        ({"images": [{"id": "x"}], "annotations": []}, "image 0 without id"),
        ({"images": IMAGES, "annotations": []}, "no persons"),
        ({"images": IMAGES, "annotations": [PERSON | {"category_id": 2}]}, "no persons"),
        ({"images": IMAGES, "annotations": [7]}, "annotation 0 of some.json, which is no object"),
        ({"images": IMAGES, "annotations": [{"image_id": 7}]}, "without keypoints"),
        ({"images": IMAGES, "annotations": [PERSON | {"foot_kpts": ROW}]}, "without face_kpts"),
        ({"images": IMAGES, "annotations": [PERSON | {"keypoints": ROW[:-1]}]}, "50 keypoint values"),
        ({"images": IMAGES, "annotations": [PERSON | {"keypoints": ROW[:30]}]}, "persons of 10 keypoints"),
        ({"images": IMAGES, "annotations": [PERSON | {"keypoints": ["a"] * 51}]}, "no numbers"),
        ({"images": IMAGES, "annotations": [PERSON | {"keypoints": [[1]] * 51}]}, "keypoint values"),
        ({"images": IMAGES, "annotations": [PERSON | {"image_id": 8}]}, "image_id 8"),
        ({"images": IMAGES, "annotations": [PERSON | {"image_id": [7]}]}, "image_id"),
        ({"images": IMAGES, "annotations": [PERSON | {"bbox": [1, 2, 3]}]}, "bbox"),
    ],
)
def test_unusable_truth(tmp_path: Path, document: Any, says: str) -> None:
    with pytest.raises(UsageError, match=says.replace("[", r"\[")):
        read_truth(write(tmp_path, document))


@pytest.mark.parametrize("content", ["", "{", "\x00"])
def test_files_that_are_no_json(tmp_path: Path, content: str) -> None:
    (tmp_path / "some.json").write_text(content, encoding="utf-8")
    with pytest.raises(UsageError, match="cannot be read"):
        read_truth(tmp_path / "some.json")
    with pytest.raises(UsageError, match="cannot be read"):
        read_truth(tmp_path / "none.json")


def test_results_of_other_pictures_or_kinds_are_refused(tmp_path: Path) -> None:
    truth = truth_of(tmp_path, PERSON)
    with pytest.raises(UsageError, match="image_id 9"):
        found_persons([{"image_id": 9, "keypoints": ROW, "score": 1}], truth)
    with pytest.raises(UsageError, match="no list"):
        read_results(write(tmp_path, {"a": 1}), truth)
    mixed = [{"image_id": 7, "keypoints": [1.0] * 3 * count, "score": 1} for count in (17, 133)]
    with pytest.raises(UsageError, match="17, 133 keypoints"):
        found_persons(mixed, truth)


def test_the_helper_writes_what_the_reader_reads(tmp_path: Path) -> None:
    points_K3 = np.array([[3, 4, 0], *[[5, 6, 2]] * 16], np.float64)
    truth = truth_of(tmp_path, annotation(1, 7, points_K3, np.array([10, 20, 39, 79]), 50))
    assert truth.boxes_P4[0].tolist() == [10, 20, 40, 80]
    assert truth.points_PK3[0, 0].tolist() == [0, 0, 0]
