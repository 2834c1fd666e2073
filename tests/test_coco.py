"""One COCO results file for a run: which picture has which id, and every person in it."""

from __future__ import annotations

import csv
import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from vitruvian.coco import CSV_FILE, IDS_FILE, RESULTS_FILE, gather_coco_results, gather_csv, image_ids
from vitruvian.errors import InputError
from vitruvian.media.names import output_name
from vitruvian.tasks.labels import keypoint_set
from vitruvian.tasks.pose_files import pose_document


@pytest.mark.parametrize(
    ("names", "ids"),
    [
        ([], []),
        (["000000000139.jpg", "000000000285.jpg"], [139, 285]),
        (["val/COCO_val2017_000000000139.jpg", "val/img-7.png"], [139, 7]),
        (["b/7.jpg", "a/7.jpg"], [1, 2]),  # the same number twice
        (["7.jpg", "007.png"], [1, 2]),
        (["7.jpg", "cat.jpg", "9.jpg"], [1, 2, 3]),
        (["2017/cat.jpg"], [1]),  # the folder's number is not the picture's
        (["12.5.jpg"], [5]),
        (["clip.mp4", "0.jpg"], [1, 2]),
        (["0.jpg"], [0]),
    ],
)
def test_ids_are_the_pictures_own_numbers_or_their_places(names: list[str], ids: list[int]) -> None:
    assert image_ids(names) == dict(zip(names, ids, strict=True))


def write_document(out: Path, name: str, persons: int, convention: str = "coco17", version: int = 1) -> None:
    rng = np.random.default_rng(len(name))
    chosen = keypoint_set(convention)
    document = pose_document(
        {"convention": convention},
        chosen,
        rng.uniform(0, 90, (persons, chosen.count, 2)).astype(np.float32),
        rng.uniform(0.3, 1, (persons, chosen.count)).astype(np.float32),
        np.tile(np.array([[10, 20, 40, 80]], np.float32), (persons, 1)),
        np.full(persons, 0.5, np.float32),
    )
    path = out / f"{output_name(name)}.pose.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(document | {"version": version}), encoding="utf-8")


def gather(out: Path, names: Sequence[str]) -> tuple[list[dict], dict[str, str]]:
    gather_coco_results(out, names, announce=lambda name: None)
    return tuple(json.loads((out / name).read_text(encoding="utf-8")) for name in (RESULTS_FILE, IDS_FILE))  # type: ignore[return-value]


def test_all_persons_of_all_pictures_are_gathered(tmp_path: Path) -> None:
    persons = {"sub/0042.jpg": 2, "0007.jpg": 0, "what?0009.png": 1}
    for name, count in persons.items():
        write_document(tmp_path, name, count)
    results, ids = gather(tmp_path, list(persons))
    assert ids == {"42": "sub/0042.jpg", "7": "0007.jpg", "9": "what?0009.png"}
    assert [entry["image_id"] for entry in results] == [42, 42, 9]
    for entry in results:
        assert entry.keys() == {"image_id", "category_id", "keypoints", "bbox", "score"}
        assert len(entry["keypoints"]) == 51
        assert entry["bbox"] == [10, 20, 30, 60]
        assert entry["category_id"] == 1
        assert entry["score"] == pytest.approx(0.5 * np.mean(entry["keypoints"][2::3]), abs=1e-4)


def test_whole_bodies_are_spread_over_their_parts(tmp_path: Path) -> None:
    write_document(tmp_path, "1.jpg", 1, "wholebody133")
    (entry,), _ = gather(tmp_path, ["1.jpg"])
    lengths = {"keypoints": 17, "foot_kpts": 6, "face_kpts": 68, "lefthand_kpts": 21, "righthand_kpts": 21}
    assert {field: len(entry[field]) for field in lengths} == {field: 3 * count for field, count in lengths.items()}


@pytest.mark.parametrize("names", [[], ["1.jpg"]], ids=["no picture", "no person"])
def test_a_run_without_persons_gives_an_empty_list(tmp_path: Path, names: list[str]) -> None:
    for name in names:
        write_document(tmp_path, name, 0)
    assert gather(tmp_path, names) == ([], {str(number): name for number, name in enumerate(names, 1)})


def test_each_file_is_announced_before_it_is_there(tmp_path: Path) -> None:
    write_document(tmp_path, "1.jpg", 1)
    heard: list[str] = []

    def announce(name: str) -> None:
        assert not (tmp_path / name).exists()
        heard.append(name)

    gather_coco_results(tmp_path, ["1.jpg"], announce=announce)
    assert heard == [RESULTS_FILE, IDS_FILE]


def test_a_failure_leaves_the_earlier_file_whole(tmp_path: Path) -> None:
    for name in ("1.jpg", "2.jpg"):
        write_document(tmp_path, name, 1)
    gather(tmp_path, ["1.jpg", "2.jpg"])
    before = (tmp_path / RESULTS_FILE).read_bytes()
    write_document(tmp_path, "2.jpg", 1, version=99)
    with pytest.raises(InputError, match="version 99"):
        gather(tmp_path, ["1.jpg", "2.jpg"])
    assert (tmp_path / RESULTS_FILE).read_bytes() == before
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "1.jpg.pose.json",
        "2.jpg.pose.json",
        IDS_FILE,
        RESULTS_FILE,
    ]


def test_the_table_of_a_run(tmp_path: Path) -> None:
    persons = {"sub/b.jpg": 2, "a.jpg": 0, "ÿ.jpg": 1}
    for name, count in persons.items():
        write_document(tmp_path, name, count)
    heard: list[str] = []
    gather_csv(tmp_path, list(persons), announce=heard.append)
    assert heard == [CSV_FILE]
    rows = list(csv.DictReader((tmp_path / CSV_FILE).read_text(encoding="utf-8").splitlines()))
    assert [(row["name"], row["person"]) for row in rows[::17]] == [
        ("sub/b.jpg", "0"),
        ("sub/b.jpg", "1"),
        ("ÿ.jpg", "0"),
    ]
    document = json.loads((tmp_path / f"{output_name('sub/b.jpg')}.pose.json").read_text(encoding="utf-8"))
    (second,) = [row for row in rows if (row["name"], row["person"], row["keypoint"]) == ("sub/b.jpg", "1", "left_ear")]
    assert [float(second["x_px"]), float(second["y_px"])] == document["instances"][1]["keypoints"][3]
    assert float(second["score"]) == document["instances"][1]["scores"][3]


def test_names_that_are_no_text_do_not_stop_the_table(tmp_path: Path) -> None:
    name = "a\udcff.jpg"
    write_document(tmp_path, name, 1)
    gather_csv(tmp_path, [name], announce=lambda name: None)
    assert "a\\udcff.jpg,,,0,nose," in (tmp_path / CSV_FILE).read_text(encoding="utf-8")
