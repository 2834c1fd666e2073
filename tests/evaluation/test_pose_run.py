"""A model over annotated pictures: which pictures, which boxes, what is said."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from evaluation.coco_set import results_of, some_views, write_coco_set
from vitruvian.errors import UsageError
from vitruvian.evaluation import pose_run
from vitruvian.evaluation.pose_run import evaluate_model, evaluate_results, listed_regions, true_regions, truth_file
from vitruvian.evaluation.pose_sets import read_truth
from vitruvian.loading import load
from vitruvian.predict import Model
from vitruvian.tasks.regions import parse_boxes


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("coco")
    write_coco_set(folder, some_views())
    return folder


@pytest.fixture(scope="module")
def model() -> Callable[[], Model]:
    loaded = load("sapiens-pose-nano", device="cpu", dtype="float32")
    return lambda: loaded


def never() -> Model:
    raise AssertionError("the model was loaded")


def test_a_model_on_true_boxes(folder: Path, model: Callable[[], Model]) -> None:
    report = evaluate_model(model, folder)
    assert (report.subject, report.truth, report.boxes) == ("sapiens-pose-nano", "annotations.json", "truth")
    assert (report.accuracy.persons, report.accuracy.found, report.failures) == (4, 4, ())
    assert report.accuracy.pck["PCK@0.1"] > 0.3  # it was trained on such people
    assert report.accuracy.parts["body"]["AP50"] > 0
    assert json.loads(json.dumps(report.to_json()))["parts"]["body"].keys() >= {"AP", "AR"}
    assert report.text().startswith("sapiens-pose-nano on annotations.json, boxes: truth\n")


def test_a_results_file_of_a_run_measures_the_same(
    folder: Path, tmp_path: Path, model: Callable[[], Model], monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[dict[str, Any]] = []
    keep = pose_run.coco_results
    monkeypatch.setattr(pose_run, "coco_results", lambda *args: seen.extend(keep(*args)) or keep(*args))
    report = evaluate_model(model, folder)
    (tmp_path / "results.json").write_text(json.dumps(seen), encoding="utf-8")
    again = evaluate_results(folder, tmp_path / "results.json")
    np.testing.assert_equal(again.accuracy.to_json(), report.accuracy.to_json())  # NaN equals NaN
    assert (again.subject, again.boxes) == ("results.json", "")


def test_boxes_of_a_file(folder: Path, tmp_path: Path, model: Callable[[], Model]) -> None:
    document = json.loads((folder / "annotations.json").read_text())
    detections = [
        {"image_id": entry["image_id"], "category_id": 1, "bbox": entry["bbox"], "score": 0.5}
        for entry in document["annotations"][:1]
    ]
    (tmp_path / "boxes.json").write_text(json.dumps(detections), encoding="utf-8")
    report = evaluate_model(model, folder, boxes=str(tmp_path / "boxes.json"))
    assert (report.accuracy.found, report.boxes) == (1, "boxes.json")


def test_pictures_are_found_by_name_and_by_number(folder: Path, tmp_path: Path, model: Callable[[], Model]) -> None:
    (tmp_path / "coco_000000000001.png").write_bytes((folder / "000000000001.png").read_bytes())
    (tmp_path / "notes_1.json").write_text("{}")
    report = evaluate_model(model, folder / "annotations.json", pictures=tmp_path)
    assert report.accuracy.found == 2
    assert report.accuracy.persons == 4
    assert "1 of 2 annotated pictures are not there" in report.notes[0]
    assert "not there" in report.text()
    assert report.to_json()["notes"] == list(report.notes)


def test_a_picture_that_cannot_be_read_is_a_failure(folder: Path, tmp_path: Path, model: Callable[[], Model]) -> None:
    (tmp_path / "000000000001.png").write_bytes(b"no picture")
    (tmp_path / "000000000002.png").write_bytes((folder / "000000000002.png").read_bytes())
    report = evaluate_model(model, folder / "annotations.json", pictures=tmp_path)
    assert [failure.name for failure in report.failures] == ["000000000001.png"]
    assert report.accuracy.found == 2


def test_no_picture_no_folder(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no annotated picture"):
        evaluate_model(never, folder / "annotations.json", pictures=tmp_path)
    with pytest.raises(UsageError, match="no folder"):
        evaluate_model(never, folder / "annotations.json", pictures=tmp_path / "none")


def test_a_folder_with_several_files_asks_for_one(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no JSON file"):
        truth_file(tmp_path)
    (tmp_path / "a.json").write_text("{}")
    assert truth_file(tmp_path) == tmp_path / "a.json"
    (tmp_path / "b.json").write_text("{}")
    with pytest.raises(UsageError, match=r"2 JSON files \(a.json, b.json\)"):
        truth_file(tmp_path)


def test_true_boxes_are_those_of_persons_that_count(folder: Path) -> None:
    truth = read_truth(folder / "annotations.json")
    points_PK3 = truth.points_PK3.copy()
    points_PK3[0] = 0
    regions = true_regions(replace(truth, points_PK3=points_PK3))
    first = int(truth.image_P[0])
    assert len(regions(first, "")) == int((truth.image_P == first).sum()) - 1
    np.testing.assert_allclose(regions(first, "")[0].box_xyxy, truth.boxes_P4[1])
    assert regions(99, "") == ()


def test_listed_boxes_go_by_number_or_name() -> None:
    by_name = listed_regions(parse_boxes({"a/b.png": [[0, 0, 2, 2, 0.5]]}))
    assert [region.score for region in by_name(5, "a/b.png")] == [0.5]
    assert by_name(5, "c.png") == ()
    by_number = listed_regions(parse_boxes([{"image_id": 5, "bbox": [0, 0, 2, 2], "score": 0.25}]))
    assert [region.score for region in by_number(5, "whatever.png")] == [0.25]


def test_models_of_other_tasks_are_refused(folder: Path) -> None:
    with pytest.raises(UsageError, match="expected a pose model"):
        evaluate_model(lambda: load("sapiens-seg-nano", device="cpu", dtype="float32"), folder)


def test_perfect_results(folder: Path, tmp_path: Path) -> None:
    document = json.loads((folder / "annotations.json").read_text())
    (tmp_path / "r.json").write_text(json.dumps(results_of(document)), encoding="utf-8")
    assert evaluate_results(folder / "annotations.json", tmp_path / "r.json").accuracy.parts["body"]["AP"] == 1
