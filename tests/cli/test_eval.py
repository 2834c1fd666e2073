"""`vitruvian eval`: the table, its JSON, exit codes."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from command import Command
from evaluation.coco_set import results_of, some_views, write_coco_set


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("coco")
    document = write_coco_set(folder / "set", some_views(1))
    (folder / "results.json").write_text(json.dumps(results_of(document)), encoding="utf-8")
    return folder


def test_a_model(command: Command, folder: Path) -> None:
    ran = command("eval", "sapiens-pose-nano", folder / "set", "--device", "cpu", "--dtype", "float32", "-q")
    assert ran.code == 0, ran.err
    lines = ran.out.splitlines()
    assert lines[0] == "sapiens-pose-nano on annotations.json, boxes: truth"
    assert lines[1].startswith("1 pictures, 2 persons, 2 found")
    assert lines[2].split()[:3] == ["AP", "AP50", "AP75"]


def test_persons_found_by_a_detector(command: Command, folder: Path) -> None:
    ran = command("eval", "sapiens-pose-nano", folder / "set", "--device", "cpu", "--detector", "auto", "-q")
    assert ran.code == 0, ran.err
    assert ran.out.splitlines()[0] == "sapiens-pose-nano on annotations.json, boxes: found by detector-nano"


@pytest.mark.parametrize("arguments", [[], ["whatever"]])
def test_a_results_file(command: Command, folder: Path, arguments: list[str]) -> None:
    ran = command("eval", *arguments, folder / "set", "--results", folder / "results.json", "--json")
    assert ran.code == 0, ran.err
    document = json.loads(ran.out)
    assert document["parts"]["body"]["AP"] == 1
    assert document["parts"]["body"]["ARm"] in (None, 1)
    assert document["pck"]["PCK@0.05"] == 1
    assert str(folder) not in ran.out


def test_pictures_that_fail_end_with_3(command: Command, folder: Path, tmp_path: Path) -> None:
    (tmp_path / "000000000001.png").write_bytes(b"no picture")
    truth = folder / "set" / "annotations.json"
    ran = command("eval", "sapiens-pose-nano", truth, "--pictures", tmp_path, "--device", "cpu", "--dtype", "float32")
    assert ran.code == 3
    assert "failed 000000000001.png" in ran.err
    assert "0 found" in ran.out


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["sapiens-pose-nano"], "expected MODEL DATA"),
        (["sapiens-pose-nano", "nowhere.json"], "nowhere.json"),
        (["sapiens-pose-nano", "nowhere.json", "--task", "haste"], "--task haste"),
        (["sapiens-pose-nano", "nowhere.json", "--detector", "auto", "--boxes", "b.json"], "expected one of them"),
    ],
)
def test_wrong_requests_end_with_2(command: Command, arguments: list[str], says: str) -> None:
    ran = command("eval", *arguments)
    assert ran.code == 2
    assert says in ran.err
