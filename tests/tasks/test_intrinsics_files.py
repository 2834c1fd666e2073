"""Intrinsics come in every form that calibration tools write; what is none is said, and where."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from vitruvian.errors import UsageError
from vitruvian.tasks import intrinsics_files
from vitruvian.tasks.intrinsics_files import Intrinsics, parse_intrinsics, read_intrinsics

MATRIX: list[list[float]] = [[500, 0, 320.5], [0, 510, 240], [0, 0, 1]]
FLAT = [number for row in MATRIX for number in row]
EXPECTED = Intrinsics(fx_px=500, fy_px=510, cx_px=320.5, cy_px=240)
SIZED = Intrinsics(fx_px=500, fy_px=510, cx_px=320.5, cy_px=240, size_wh=(640, 480))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('{"fx": 500, "fy": 510, "cx": 320.5, "cy": 240}', EXPECTED),
        ('{"fx": 500, "fy": 510, "cx": 320.5, "cy": 240, "width": 640, "height": 480, "model": "pinhole"}', SIZED),
        ('{"fx": 500}', Intrinsics(fx_px=500, fy_px=500, cx_px=None, cy_px=None)),
        ("[500, 510, 320.5, 240]", EXPECTED),
        (json.dumps(MATRIX), EXPECTED),
        (json.dumps(FLAT), EXPECTED),
        (json.dumps({"K": MATRIX}), EXPECTED),
        (json.dumps({"K": FLAT, "width": 640, "height": 480}), SIZED),
        (json.dumps({"camera_matrix": {"rows": 3, "cols": 3, "data": FLAT}, "width": 640, "height": 480}), SIZED),
        (json.dumps({"intrinsics": [500, 510, 320.5, 240]}), EXPECTED),
        (json.dumps({"cam_in": [500, 510, 320.5, 240]}), EXPECTED),
        ("500 510 320.5 240", EXPECTED),
        ("500, 510, 320.5, 240\n", EXPECTED),
        ("5e2 0 320.5\n0 510. 240\n0 0 1\n", EXPECTED),
        ("\ufeff500 510 320.5 240", EXPECTED),
        ('\ufeff{"fx": 500, "fy": 510, "cx": 320.5, "cy": 240}', EXPECTED),
    ],
)
def test_one_camera_for_all(tmp_path: Path, text: str, expected: Intrinsics) -> None:
    path = tmp_path / "camera.json"
    path.write_text(text, encoding="utf-8")
    table = read_intrinsics(path)
    assert (table.common, dict(table.by_name)) == (expected, {})
    assert table.lookup("whatever.jpg") == expected


def test_a_matrix_that_numpy_wrote(tmp_path: Path) -> None:
    path = tmp_path / "camera.txt"
    np.savetxt(path, np.array(MATRIX))
    assert read_intrinsics(path).common == EXPECTED


def test_pictures_by_path_name_or_stem() -> None:
    document = {
        f"{place}": [100 + i, 100, 0, 0] for i, place in enumerate(("left/a.jpg", "a.jpg", "b", "./c.jpg", "*"))
    }
    table = parse_intrinsics(document)
    found = {name: table.lookup(name) for name in ("left/a.jpg", "right/a.jpg", "x/b.png", "c.jpg", "d.jpg")}
    assert {name: one and one.fx_px for name, one in found.items()} == {
        "left/a.jpg": 100, "right/a.jpg": 101, "x/b.png": 102, "c.jpg": 103, "d.jpg": 104
    }  # fmt: skip
    assert parse_intrinsics({"a.jpg": {"K": MATRIX}}).lookup("b.jpg") is None


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "no JSON"),
        ("hello", "no JSON"),
        ("{", "no JSON"),
        ("[" * 100_000, "no JSON"),
        ("[" + "9" * 5000 + ", 1, 1, 1]", "no JSON"),
        ("5", r"expected \[fx, fy, cx, cy\] or a 3x3 matrix"),
        ("500 510 320", r"expected \[fx, fy, cx, cy\]"),
        ("1e999 1 1 1", "finite numbers"),
        ("null", "as .*camera.json"),
        ("{}", "without a camera"),
        ("[]", r"got \[\]"),
        ("[[1, 2], [3, 4]]", "3x3 matrix"),
        ("[NaN, 500, 1, 1]", "finite numbers"),
        ("[" + "9" * 400 + ", 500, 1, 1]", "finite numbers"),
        ('["500", 500, 1, 1]', "finite numbers"),
        ("[true, 500, 1, 1]", "finite numbers"),
        ('{"fx": null}', "fx and fy of"),
        ('{"fx": 500, "cx": "middle"}', "cx of"),
        ('{"fx": 500, "width": 640}', "width and height of"),
        ('{"fx": 500, "width": 0, "height": 480}', "got 0 x 480 as size"),
        ('{"a.jpg": 5}', r"got 5 as 'a\.jpg'"),
        ('{"a.jpg": {"focal": 500}}', r"as 'a\.jpg'; expected"),
        ('{"a.jpg": {"b.jpg": {"fx": 500}}}', r"as 'a\.jpg'"),
        ('{"K": 5}', "3x3 matrix"),
        ('{"K": {"rows": 3}}', "got None"),
        (json.dumps(np.transpose(MATRIX).tolist()), "row by row"),
        (json.dumps([[500, 40, 320], [0, 500, 240], [0, 0, 1]]), "row by row"),
        (json.dumps([[500, 0, 320], [0, 500, 240], [0, 0, 2]]), "row by row"),
    ],
)
def test_what_is_no_camera_is_said(tmp_path: Path, text: str, words: str) -> None:
    path = tmp_path / "camera.json"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(UsageError, match=words):
        read_intrinsics(path)


def _picture(path: Path) -> Any:
    path.write_bytes(b"\xff\xd8\xff\xe0")


def _huge(path: Path) -> Any:
    path.write_bytes(b" " * 100_001)


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda path: None, "cannot be read"),
        (lambda path: path.mkdir(), "cannot be read"),
        (_picture, "cannot be read"),
        (_huge, "expected at most"),
    ],
    ids=["missing", "folder", "picture", "huge"],
)
def test_files_that_cannot_be_read_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, make: Any, words: str
) -> None:
    monkeypatch.setattr(intrinsics_files, "MAX_FILE_BYTES", 100_000)
    make(tmp_path / "camera.json")
    with pytest.raises(UsageError, match=words):
        read_intrinsics(tmp_path / "camera.json")
