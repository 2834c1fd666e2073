"""Files of results: right place, right pixels, a description in each."""

from __future__ import annotations

import importlib.util
import json
import os
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from PIL import Image

from vitruvian.errors import UsageError
from vitruvian.media.decode_outputs import read_about
from vitruvian.media.sinks import FolderSink, ItemSink, check_formats
from vitruvian.tasks.base import Sink

ABOUT: dict[str, Any] = {"model": "sapiens-seg-1b", "licence": "grün", "unit": "m", "encoding": {"near": 0.5, "far": 8}}
RANDOM = np.random.default_rng(9)


@pytest.fixture
def sink(tmp_path: Path) -> ItemSink:
    return FolderSink(tmp_path / "out", ("npy", "png")).item("sub/a.jpg")


def test_the_tasks_protocol_is_met(sink: ItemSink) -> None:
    as_protocol: Sink = sink
    assert isinstance(as_protocol, Sink)
    assert [sink.wants(format) for format in ("npy", "png", "exr")] == [True, True, False]


@pytest.mark.parametrize(
    "array",
    [
        RANDOM.random((4, 5, 3), np.float32),
        RANDOM.random((4, 6))[:, ::2].astype(np.float16),
        np.asfortranarray(RANDOM.integers(0, 9, (4, 5))),
        np.zeros((0, 17, 3), np.float32),
        np.array(2.5),
        np.ones((3, 2), bool),
    ],
)
def test_arrays_keep_dtype_shape_and_values(sink: ItemSink, tmp_path: Path, array: np.ndarray) -> None:
    sink.write_array("depth.npy", array, ABOUT)
    assert sink.written == ["sub/a.jpg.depth.npy", "sub/a.jpg.depth.npy.json"]
    read = np.load(tmp_path / "out" / "sub" / "a.jpg.depth.npy", allow_pickle=False)
    assert (read.dtype, read.shape) == (array.dtype, array.shape)
    np.testing.assert_array_equal(read, array)
    assert read_about(tmp_path / "out" / "sub" / "a.jpg.depth.npy") == ABOUT


def test_documents(sink: ItemSink, tmp_path: Path) -> None:
    sink.write_json("pose.json", {"persons": [], "about": ABOUT})
    assert sink.written == ["sub/a.jpg.pose.json"]
    assert read_about(tmp_path / "out" / sink.written[0]) == {"persons": [], "about": ABOUT}


@pytest.mark.parametrize("palette", [None, RANDOM.integers(0, 256, (28, 3)).astype(np.uint8)])
def test_png(sink: ItemSink, tmp_path: Path, palette: np.ndarray | None) -> None:
    labels = RANDOM.integers(0, 28, (6, 7)).astype(np.uint8)
    sink.write_png("seg.png", labels, ABOUT, palette)
    path = tmp_path / "out" / "sub" / "a.jpg.seg.png"
    with Image.open(path) as picture:
        np.testing.assert_array_equal(np.array(picture), labels)
        assert json.loads(picture.info["vitruvian"]) == ABOUT
    assert read_about(path) == ABOUT
    assert sink.written == ["sub/a.jpg.seg.png"]


def test_pictures_carry_their_description(sink: ItemSink, tmp_path: Path) -> None:
    smooth = cv2.GaussianBlur(RANDOM.integers(0, 256, (64, 64, 3)).astype(np.uint8), (0, 0), 4)
    sink.write_picture("view.jpg", smooth, ABOUT)
    path = tmp_path / "out" / "sub" / "a.jpg.view.jpg"
    with Image.open(path) as picture:
        assert picture.format == "JPEG"
        assert np.abs(np.array(picture).astype(int) - smooth).max() < 12
    assert read_about(path) == ABOUT
    assert sink.written == ["sub/a.jpg.view.jpg"]


def test_a_description_too_long_for_jpeg_stands_beside_it(sink: ItemSink, tmp_path: Path) -> None:
    long = {"names": ["x" * 100] * 1000}
    sink.write_picture("view.jpg", np.zeros((8, 8, 3), np.uint8), long)
    assert sink.written == ["sub/a.jpg.view.jpg", "sub/a.jpg.view.jpg.json"]
    assert read_about(tmp_path / "out" / "sub" / "a.jpg.view.jpg") == long


def test_exr(tmp_path: Path) -> None:
    OpenEXR = pytest.importorskip("OpenEXR")
    sink = FolderSink(tmp_path, ["exr"]).item("a.jpg")
    planes = {name: RANDOM.random((5, 7), np.float32) for name in ("X", "Y", "Z")}
    planes["Y"][0, 0] = np.nan
    sink.write_exr("normal.exr", planes, ABOUT)
    read = OpenEXR.File(str(tmp_path / "a.jpg.normal.exr"), separate_channels=True).channels()
    for name, plane in planes.items():
        np.testing.assert_array_equal(read[name].pixels, plane)
    assert read_about(tmp_path / "a.jpg.normal.exr") == ABOUT


@pytest.mark.parametrize(("suffix", "first_bytes"), [("points.ply", b"ply\nformat binary"), ("points.glb", b"glTF")])
def test_points_in_the_format_of_their_ending(sink: ItemSink, tmp_path: Path, suffix: str, first_bytes: bytes) -> None:
    points, colours = RANDOM.random((7, 3), np.float32), RANDOM.integers(0, 256, (7, 3)).astype(np.uint8)
    sink.write_points(suffix, points, colours, ABOUT)
    assert sink.written == [f"sub/a.jpg.{suffix}"]
    assert os.listdir(tmp_path / "out" / "sub") == [f"a.jpg.{suffix}"]
    data = (tmp_path / "out" / sink.written[0]).read_bytes()
    assert data.startswith(first_bytes)
    assert b"sapiens-seg-1b" in data


@pytest.mark.parametrize("suffix", ["points.obj", "points.PLY", "ply", "points.ply.gz"])
def test_points_of_unknown_formats_are_refused(sink: ItemSink, tmp_path: Path, suffix: str) -> None:
    with pytest.raises(ValueError, match=r"\.ply or \.glb"):
        sink.write_points(suffix, np.zeros((1, 3), np.float32), np.zeros((1, 3), np.uint8), ABOUT)
    assert not (tmp_path / "out").exists()


def test_points_that_cannot_be_written_leave_nothing(tmp_path: Path) -> None:
    heard: list[str] = []
    sink = FolderSink(tmp_path, (), announce=heard.append).item("a.jpg")
    with pytest.raises(ValueError, match="finite"):
        sink.write_points("points.ply", np.full((1, 3), np.nan, np.float32), np.zeros((1, 3), np.uint8), ABOUT)
    assert (heard, sink.written, os.listdir(tmp_path)) == ([], [], [])


def test_a_missing_package_is_named_before_work_starts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(UsageError, match=r'pip install "vitruvian\[exr\]"'):
        check_formats({"exr", "png"})
    with pytest.raises(UsageError, match="exr"):
        FolderSink(tmp_path, {"exr"})
    check_formats({"png", "npy"})


@pytest.mark.parametrize("name", ["../a.jpg", "/a.jpg", "x/../../a.jpg"])
def test_no_name_leaves_the_folder(tmp_path: Path, name: str) -> None:
    with pytest.raises(UsageError, match="relative path"):
        FolderSink(tmp_path, ()).item(name)


@pytest.mark.parametrize("suffix", ["../x.png", "", "a/b.png", ".png", "x" * 60])
def test_suffixes_are_checked(sink: ItemSink, suffix: str) -> None:
    with pytest.raises(ValueError, match="suffix"):
        sink.write_json(suffix, {})


@pytest.mark.parametrize("name", ["x" * 255, "sub\udcff/日本\udcfe:.jpg", "CON", "a/" + "日" * 85])
def test_any_input_name_can_be_stored(tmp_path: Path, name: str) -> None:
    sink = FolderSink(tmp_path, ()).item(name)
    sink.write_array("a-long-suffix.depth.npy", np.zeros(3), {})
    assert all((tmp_path / file).is_file() for file in sink.written)


def test_files_are_announced_before_they_are_there(tmp_path: Path) -> None:
    heard: list[tuple[str, bool]] = []
    sink = FolderSink(tmp_path, (), announce=lambda name: heard.append((name, (tmp_path / name).exists()))).item(
        "a.jpg"
    )
    sink.write_array("x.npy", np.zeros(2), {})
    sink.write_picture("v.jpg", np.zeros((8, 8, 3), np.uint8), {})
    assert heard == [(name, False) for name in sink.written]


def test_nothing_temporary_stays(sink: ItemSink, tmp_path: Path) -> None:
    sink.write_array("x.npy", np.zeros(2), {})
    sink.write_png("y.png", np.zeros((2, 2), np.uint8), {})
    assert sorted(os.listdir(tmp_path / "out" / "sub")) == ["a.jpg.x.npy", "a.jpg.x.npy.json", "a.jpg.y.png"]
