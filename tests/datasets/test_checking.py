"""Good data pass; every spoiled copy is found out."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from evaluation.coco_set import annotation
from training_folders import people, put_npy, put_png, write_dense_set
from vitruvian.datasets import checking
from vitruvian.datasets.checking import check_data
from vitruvian.datasets.findings import CheckReport
from vitruvian.datasets.sheet import Sheet
from vitruvian.errors import UsageError
from vitruvian.people import View
from vitruvian.tasks.labels import keypoint_set, label_set
from vitruvian.tasks.normal import CAMERA, PUBLISHED

VIEWS = 8


@pytest.fixture(scope="module")
def views() -> list[View]:
    return people(VIEWS)


def kinds(report: CheckReport, level: str) -> set[str]:
    return {finding.kind for finding in report.findings if finding.level == level}


@pytest.mark.parametrize("task", ["seg", "depth", "normal"])
def test_good_data_pass(task: str, views: list[View], tmp_path: Path) -> None:
    report = check_data(write_dense_set(tmp_path, task, views), task, classes=28 if task == "seg" else None)
    assert kinds(report, "error") == set()
    assert "swapped" not in " ".join(kinds(report, "hint"))
    assert not report.wrong
    assert report.checked == report.samples == VIEWS
    assert json.loads(json.dumps(report.to_json()))["wrong"] is False


def each_npy(folder: Path, change: Callable[[np.ndarray], np.ndarray], only: int | None = None) -> None:
    for path in sorted(folder.rglob("*.npy"))[:only]:
        put_npy(path, change(np.load(path)))


def times(*factors: float) -> Callable[[np.ndarray], np.ndarray]:
    return lambda array: array * np.array(factors, np.float32)


def with_corner(value: float) -> Callable[[np.ndarray], np.ndarray]:
    def change(array: np.ndarray) -> np.ndarray:
        array = array.copy()
        array[...] = np.where(
            np.random.default_rng(0).random(array.shape[:2])[(...,) + (None,) * (array.ndim - 2)] < 0.3, value, array
        )
        return array

    return change


@pytest.mark.parametrize(
    ("change", "only", "level", "kind"),
    [
        (times(-1, 1, 1), None, "error", "flipped x axis"),
        (times(1, -1, 1), None, "error", "flipped y axis"),
        (times(1, 1, -1), None, "error", "flipped z axis"),
        (times(-1, 1, 1), 2, "error", "flipped x axis"),
        (times(1.2, 1.2, 1.2), None, "error", "not unit length"),
        (times(0, 0, 0), 1, "error", "nothing valid"),
        (with_corner(np.inf), 1, "error", "infinite values"),
        (with_corner(np.nan), 1, "hint", "holes on persons"),
    ],
)
def test_spoiled_normals(
    change: Callable[[np.ndarray], np.ndarray],
    only: int | None,
    level: str,
    kind: str,
    views: list[View],
    tmp_path: Path,
) -> None:
    folder = write_dense_set(tmp_path, "normal", views)
    each_npy(folder, change, only)
    assert kinds(check_data(folder, "normal"), level) == {kind}


def test_axes_of_unconfirmed_frames_are_told_only(views: list[View], tmp_path: Path) -> None:
    folder = write_dense_set(tmp_path, "normal", views)
    report = check_data(folder, "normal", frame=PUBLISHED)
    assert kinds(report, "hint") == {"flipped y axis", "flipped z axis"}
    assert not report.wrong
    assert kinds(check_data(folder, "normal", frame=CAMERA), "hint") == set()


@pytest.mark.parametrize(
    ("change", "only", "level", "kind"),
    [
        (times(1000), None, "hint", "depth in millimetres"),
        (times(1000), 3, "error", "mixed depth units"),
        (times(-1), 1, "error", "negative depth"),
        (times(0), 1, "error", "flat depth"),
        (lambda depth: 1 / np.maximum(depth, 0.1) * 10, None, "hint", "inverted depth"),
        (with_corner(np.inf), 1, "error", "infinite values"),
        (with_corner(0.0), 1, "hint", "zeros in depth"),
    ],
)
def test_spoiled_depth(
    change: Callable[[np.ndarray], np.ndarray],
    only: int | None,
    level: str,
    kind: str,
    views: list[View],
    tmp_path: Path,
) -> None:
    folder = write_dense_set(tmp_path, "depth", views)
    each_npy(folder, change, only)
    assert kind in kinds(check_data(folder, "depth"), level)


def test_units_are_said(views: list[View], tmp_path: Path) -> None:
    (note,) = [
        one
        for one in check_data(write_dense_set(tmp_path, "depth", views), "depth").findings
        if one.kind == "depth unit"
    ]
    assert note.examples[0].startswith("metres, median ")


def test_labels_out_of_range_are_named(views: list[View], tmp_path: Path) -> None:
    folder = write_dense_set(tmp_path, "seg", views)
    put_png(folder / "labels" / "0003.png", np.where(views[3].part_labels_HW > 0, 40, 255).astype(np.uint8))
    (finding,) = [one for one in check_data(folder, "seg", classes=28).findings if one.level == "error"]
    assert (finding.kind, finding.count, finding.of) == ("labels out of range", 1, VIEWS)
    assert finding.examples == ("images/0003.png: 40",)
    assert kinds(check_data(folder, "seg"), "note") == {"classes not named"}


def test_pictures_without_any_class_are_told(views: list[View], tmp_path: Path) -> None:
    folder = write_dense_set(tmp_path, "seg", views[:2])
    put_png(folder / "labels" / "0000.png", np.zeros_like(views[0].part_labels_HW))
    assert kinds(check_data(folder, "seg", classes=28), "hint") == {"only background"}


def test_swapped_labels_are_suspected(views: list[View], tmp_path: Path) -> None:
    folder = write_dense_set(tmp_path, "seg", views)
    table = np.array(label_set(28).flip_indices, np.uint8)
    for number, view in enumerate(views):
        put_png(folder / "labels" / f"{number:04d}.png", table[view.part_labels_HW])
    report = check_data(folder, "seg", classes=28)
    assert "left and right swapped" in kinds(report, "hint") | kinds(report, "error")


def test_files_without_partners_and_broken_ones(views: list[View], tmp_path: Path) -> None:
    folder = write_dense_set(tmp_path, "normal", views[:3])
    (folder / "normals" / "0000.npy").unlink()
    put_npy(folder / "normals" / "0001.npy", np.zeros((5, 5, 3)))
    (folder / "images" / "0002.png").write_bytes(b"no picture")
    report = check_data(folder, "normal")
    assert kinds(report, "error") == {"without a partner", "unusable files"}
    assert "unusable files, 2 of 2" in report.text()
    assert "images/0000.png has no partner in normals" in report.text()
    assert str(tmp_path) not in report.text()
    assert "without a partner, unusable files" in report.verdict


def test_samples_are_evenly_spread_and_decoded_once(
    views: list[View], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = write_dense_set(tmp_path, "seg", views)
    read = []
    original = checking.read_sample
    monkeypatch.setattr(
        checking, "read_sample", lambda sample, task: read.append(sample.name) or original(sample, task)
    )
    sheet = Sheet(count=2)
    report = check_data(folder, "seg", limit=4, sheet=sheet)
    assert report.checked == 4
    assert sorted(read) == [f"images/{place:04d}.png" for place in (0, 2, 5, 7)]
    assert sheet.captions == ["images/0000.png", "images/0007.png"]


def write_poses(
    folder: Path, views: list[View], change: Callable[[np.ndarray], np.ndarray] = lambda points: points
) -> Path:
    document: dict[str, list[object]] = {"images": [], "annotations": []}
    for number, view in enumerate(views, 1):
        put_png(folder / f"{number}.png", view.image_HW3)
        document["images"].append({"id": number, "file_name": f"{number}.png"})
        points = change(view.keypoints_PK3[0].copy())
        document["annotations"].append(annotation(number, number, points, view.boxes_P4[0], 100.0))
    (folder / "a.json").write_text(json.dumps(document), encoding="utf-8")
    return folder


def swapped_face(points: np.ndarray) -> np.ndarray:
    points[1:5] = points[[2, 1, 4, 3]]
    return points


def swapped(points: np.ndarray) -> np.ndarray:
    return points[list(keypoint_set(17).flip_indices)]


def far_away(points: np.ndarray) -> np.ndarray:
    points[:, 0] += 1000
    return points


def odd_visibility(points: np.ndarray) -> np.ndarray:
    points[0, 2] = 3
    return points


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (lambda points: points, set()),
        (swapped_face, {"left and right contradict", "left and right swapped"}),
        (swapped, {"left and right swapped"}),
        (far_away, {"keypoints outside the picture", "box off the keypoints"}),
        (odd_visibility, {"odd visibility"}),
    ],
)
def test_poses(change: Callable[[np.ndarray], np.ndarray], expected: set[str], tmp_path: Path) -> None:
    tmp_path.mkdir(exist_ok=True)
    report = check_data(write_poses(tmp_path, people(20), change), "pose")
    assert {one.kind for one in report.findings} == expected
    assert report.wrong == bool(expected)
    assert report.checked == 20


def test_boxes_written_as_corners_are_found_out(views: list[View], tmp_path: Path) -> None:
    folder = write_poses(tmp_path, views)
    document = json.loads((folder / "a.json").read_text())
    for one in document["annotations"]:
        x, y, width, height = one["bbox"]
        one["bbox"] = [x, y, x + width, y + height]
    (folder / "a.json").write_text(json.dumps(document))
    assert "box off the picture" in kinds(check_data(folder, "pose"), "error")


def test_unknown_tasks(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="expected one of seg, depth, normal, pose"):
        check_data(tmp_path, "matting")


@pytest.mark.parametrize(("task", "argument"), [("depth", {"classes": 3}), ("seg", {"keypoints": 17})])
def test_arguments_of_other_tasks(task: str, argument: dict[str, int], tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="leave them out"):
        check_data(tmp_path, task, **argument)  # type: ignore[arg-type]
