"""`vitruvian data check`: text, JSON, sheet, exit codes."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from command import Command
from training_folders import people, put_npy, write_dense_set


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write_dense_set(tmp_path / "set", "normal", people(2))


def test_good_data_end_with_0(command: Command, folder: Path, tmp_path: Path) -> None:
    ran = command("data", "check", folder, "--task", "normal", "--sheet", tmp_path / "sheet.png")
    assert ran.code == 0, ran.err
    assert ran.out.startswith("normal, published-normal: 2 samples, 2 checked in ")
    assert (tmp_path / "sheet.png").stat().st_size > 10_000


def test_errors_end_with_6(command: Command, folder: Path) -> None:
    for path in (folder / "normals").iterdir():
        put_npy(path, np.load(path) * np.array((-1, 1, 1), np.float32))
    ran = command("data", "check", folder, "--task", "normal", "--all", "--json")
    assert ran.code == 6
    assert "flipped x axis" in ran.err
    document = json.loads(ran.out)
    assert document["wrong"] is True
    assert document["findings"][0]["kind"] == "flipped x axis"
    assert str(folder) not in ran.out + ran.err


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--task", "matting"], "expected one of seg, depth, normal, pose"),
        (["--task", "seg"], "layout"),
        (["--task", "normal", "--frame", "mine"], "expected one of published, camera"),
    ],
)
def test_wrong_requests_end_with_2(command: Command, folder: Path, arguments: list[str], says: str) -> None:
    ran = command("data", "check", folder, *arguments)
    assert ran.code == 2
    assert says in ran.err
