"""AP, doubles and PCK where the answer is known."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from evaluation.coco_set import annotation, results_of, some_views, write_coco_set
from vitruvian.errors import UsageError
from vitruvian.evaluation import pose_accuracy as accuracy
from vitruvian.evaluation.pose_accuracy import METRICS, PoseAccuracy, oks, pose_accuracy
from vitruvian.evaluation.pose_sets import TruePersons, found_persons, read_truth
from vitruvian.tasks.labels import keypoint_set


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("coco")
    write_coco_set(folder, some_views())
    return folder


@pytest.fixture(scope="module")
def document(folder: Path) -> dict[str, Any]:
    return json.loads((folder / "annotations.json").read_text(encoding="utf-8"))  # type: ignore[no-any-return]


@pytest.fixture(scope="module")
def truth(folder: Path) -> TruePersons:
    return read_truth(folder / "annotations.json")


def measured(truth: TruePersons, results: list[dict[str, Any]], **options: Any) -> PoseAccuracy:
    return pose_accuracy(truth, found_persons(results, truth), **options)


def test_the_truth_itself_is_perfect(truth: TruePersons, document: Mapping[str, Any]) -> None:
    found = measured(truth, results_of(document))
    (part,) = found.parts
    assert part == "body"
    values = found.parts["body"]
    assert values.keys() == METRICS.keys()
    assert values["AP"] == values["AR"] == values["AP50"] == values["AP75"] == 1
    assert found.pck == {"PCK@0.05": 1, "PCK@0.1": 1}
    assert (found.pictures, found.persons, found.found, found.doubles) == (2, 4, 4, 0)


def test_a_shift_lowers_every_number(truth: TruePersons, document: Mapping[str, Any]) -> None:
    near, far, lost = (measured(truth, results_of(document, shift_px=shift)) for shift in (2, 4, 500))
    assert 1 > near.parts["body"]["AP"] > far.parts["body"]["AP"] > lost.parts["body"]["AP"] == 0
    assert 1 >= near.pck["PCK@0.1"] >= far.pck["PCK@0.1"] > lost.pck["PCK@0.1"] == 0


def test_ap_by_hand(tmp_path: Path) -> None:
    """One keypoint moved so far that its similarity is 0.72: right at OKS 0.5 to 0.7, wrong from 0.75 on."""
    points_K3 = np.zeros((17, 3))
    points_K3[0] = 100, 100, 2
    area = 10_000.0
    truth = read_truth(write(tmp_path, [annotation(1, 1, points_K3, np.array([50, 50, 149, 149]), area)]))
    sigma = keypoint_set(17).oks_sigmas[0]
    shift = np.sqrt(-np.log(0.72) * 2 * area) * 2 * sigma
    values = measured(truth, results_of(json.loads((tmp_path / "t.json").read_text()), shift_px=shift)).parts["body"]
    assert values["AP"] == pytest.approx(5 / 10)
    assert (values["AP50"], values["AP75"], values["AR"]) == (pytest.approx(1), 0, pytest.approx(5 / 10))
    assert np.isnan(values["APm"])
    assert values["APl"] == pytest.approx(5 / 10)


def write(folder: Path, annotations: list[dict[str, Any]], pictures: int = 1) -> Path:
    images = [{"id": number + 1, "file_name": f"{number + 1}.png"} for number in range(pictures)]
    path = folder / "t.json"
    path.write_text(json.dumps({"images": images, "annotations": annotations}), encoding="utf-8")
    return path


def test_a_false_find_with_a_better_score_halves_the_precision(tmp_path: Path) -> None:
    points_K3 = np.concatenate([np.random.default_rng(0).uniform(60, 140, (17, 2)), np.full((17, 1), 2)], axis=1)
    truth = read_truth(write(tmp_path, [annotation(1, 1, points_K3, np.array([50, 50, 149, 149]), 9000)]))
    (right,) = results_of(json.loads((tmp_path / "t.json").read_text()), score=0.5)
    wrong = right | {"keypoints": (np.array(right["keypoints"]) + 400).tolist(), "score": 0.9}
    assert measured(truth, [right, wrong]).parts["body"]["AP"] == pytest.approx(0.5)
    assert measured(truth, [right, wrong | {"score": 0.1}]).parts["body"]["AP"] == pytest.approx(1)


def test_doubles_are_removed_and_the_better_stays(truth: TruePersons, document: Mapping[str, Any]) -> None:
    right, better = results_of(document), results_of(document, shift_px=0.1, score=0.99)[:2]
    found = measured(truth, right + better)
    assert (found.doubles, found.found) == (2, len(right) + 2)
    assert found.parts["body"]["AP"] == pytest.approx(measured(truth, better + right[2:]).parts["body"]["AP"])
    kept = measured(truth, right + better, nms_oks=None)
    assert (kept.doubles, kept.found) == (0, len(right) + 2)
    assert found.parts["body"]["AP"] > kept.parts["body"]["AP"]


def test_persons_of_other_pictures_and_other_places_are_no_doubles(
    truth: TruePersons, document: Mapping[str, Any]
) -> None:
    assert measured(truth, results_of(document)).doubles == 0
    (first, *_) = results_of(document)
    elsewhere = first | {"image_id": 3 - first["image_id"]}
    assert measured(truth, [first, elsewhere]).doubles == 0


def test_a_chain_of_doubles_keeps_what_is_far_from_the_kept() -> None:
    """A suppresses B but not C, although B and C are alike: greedy, not transitive."""
    convention = keypoint_set(17)
    base_K3 = np.concatenate([np.random.default_rng(1).uniform(0, 100, (17, 2)), np.ones((17, 1))], axis=1)
    truth = TruePersons(
        convention=convention,
        pictures={1: "1.png"},
        image_P=np.array([1]),
        points_PK3=base_K3[None],
        boxes_P4=np.array([[0, 0, 100, 100.0]]),
        area_P=np.array([1e4]),
        crowd_P=np.array([False]),
    )
    results = []
    for place, score in enumerate((0.9, 0.8, 0.7)):
        moved_K3 = base_K3 + np.array([place * 4.0, 0, 0])
        results.append(
            {"image_id": 1, "keypoints": moved_K3.ravel().tolist(), "bbox": [0, 0, 100, 100], "score": score}
        )
    found = found_persons(results, truth)
    kept_P = accuracy.without_doubles(found, found.points, np.ones(17, bool))
    assert kept_P.tolist() == [True, False, True]


def test_similarity_by_hand() -> None:
    a_PK2 = np.zeros((1, 2, 2))
    b_QK2 = np.array([[[3, 4], [0, 0]], [[0, 0], [0, 0]]], np.float64)
    sigmas_K, area = np.array([0.05, 0.1]), 2500.0
    expected = (np.exp(-25 / (2 * area * 0.1**2)) + 1) / 2
    everything = np.ones((1, 2), bool)
    np.testing.assert_allclose(oks(a_PK2, b_QK2, np.full((1, 2), area), sigmas_K, everything), [[expected, 1]])
    second = np.array([[False, True]])
    np.testing.assert_allclose(oks(a_PK2, b_QK2, np.full((1, 2), area), sigmas_K, second), [[1, 1]])
    assert (oks(a_PK2, b_QK2, np.full((1, 2), area), sigmas_K, ~everything) == 0).all()


def test_pck_gives_everyone_another_person(truth: TruePersons, document: Mapping[str, Any]) -> None:
    results = results_of(document)
    swapped = [results[1], results[0], *results[2:]]
    assert measured(truth, swapped).pck["PCK@0.05"] == 1
    only_first = measured(truth, results[:1])
    labelled = [entry["num_keypoints"] for entry in document["annotations"]]
    assert only_first.pck["PCK@0.05"] == pytest.approx(labelled[0] / sum(labelled))


def test_nobody_found(truth: TruePersons) -> None:
    found = measured(truth, [])
    assert found.parts["body"]["AP"] == found.parts["body"]["AR"] == 0
    assert found.pck == {"PCK@0.05": 0, "PCK@0.1": 0}


def test_crowds_and_unlabelled_persons_cost_nothing(tmp_path: Path, document: Mapping[str, Any]) -> None:
    nothing_K3, box_4 = np.zeros((17, 3)), np.array([0, 0, 60, 60])
    more = [annotation(90, 1, nothing_K3, box_4, 900), annotation(91, 1, nothing_K3, box_4, 900) | {"iscrowd": 1}]
    truth = read_truth(write(tmp_path, [*document["annotations"], *more], pictures=2))
    found = measured(truth, results_of(document))
    assert (found.persons, found.parts["body"]["AP"], found.pck["PCK@0.05"]) == (4, 1, 1)


@pytest.mark.parametrize("name", ["wholebody133", "sapiens308"])
def test_parts_of_larger_sets(tmp_path: Path, name: str) -> None:
    convention = keypoint_set(name)
    points_K3 = np.concatenate(
        [np.random.default_rng(2).uniform(20, 180, (convention.count, 2)), np.full((convention.count, 1), 2)], axis=1
    )
    truth = read_truth(write(tmp_path, [annotation(1, 1, points_K3, np.array([0, 0, 199, 199]), 30_000)]))
    document = json.loads((tmp_path / "t.json").read_text())
    found = measured(truth, results_of(document))
    assert found.parts.keys() == {*convention.groups, "whole"}
    assert all(values["AP"] == pytest.approx(1) for values in found.parts.values())
    (right,) = results_of(document)
    moved_K3 = np.reshape(right["keypoints"], (-1, 3)).copy()
    moved_K3[list(convention.groups["face"])] += (300, 0, 0)
    spoiled = measured(truth, [right | {"keypoints": moved_K3.ravel().tolist()}])
    assert spoiled.parts["face"]["AP"] == 0
    assert spoiled.parts["left_hand"]["AP"] == pytest.approx(1)
    assert 0 <= spoiled.parts["whole"]["AP"] < 1


def test_only_parts_that_the_model_has_are_measured(tmp_path: Path, document: Mapping[str, Any]) -> None:
    whole = keypoint_set("wholebody133")
    annotations = []
    for entry in document["annotations"]:
        points_K3 = np.zeros((133, 3))
        points_K3[:17] = np.reshape(entry["keypoints"], (17, 3))
        annotations.append(entry | {"keypoints": points_K3.ravel().tolist()})
    truth = read_truth(write(tmp_path, annotations, pictures=2))
    found = measured(truth, results_of(document) + results_of(document, shift_px=60, score=0.1))
    assert found.parts.keys() == {"body"}
    assert found.parts["body"]["AP"] == 1
    assert found.doubles == 0  # the keypoints that coco17 has not are no likeness
    assert "foot, face, left_hand, right_hand, whole" in found.notes[0]
    assert str(whole.count - 17 - 2) in found.notes[0]


def test_report_for_people_and_programs(truth: TruePersons, document: Mapping[str, Any]) -> None:
    found = measured(truth, results_of(document))
    assert found.to_json()["parts"]["body"]["AP"] == 1
    lines = found.text().splitlines()
    assert lines[1].split() == list(METRICS)
    assert lines[2].split()[:2] == ["body", "1.000"]
    assert "PCK@0.05 1.000" in lines[3]


def test_the_missing_package_is_named(monkeypatch: pytest.MonkeyPatch, truth: TruePersons) -> None:
    monkeypatch.setattr(accuracy.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(UsageError, match=r"vitruvian\[eval\]"):
        measured(truth, [])
