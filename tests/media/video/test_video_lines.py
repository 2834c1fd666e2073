"""A file of lines holds whole lines only, can be cut back, and takes its place at the end."""

from __future__ import annotations

import errno
import json
import os
from pathlib import Path

import numpy as np
import pytest

from vitruvian.errors import DoesNotFitError, UsageError
from vitruvian.media.video.lines import LineWriter


def written(path: Path, count: int) -> Path:
    with LineWriter(path) as lines:
        for number in range(count):
            lines.append({"frame": number, "time_s": number / 25, "name": "ü"})
        assert lines.frames == count
    return path


def frames_in(path: Path) -> list[int]:
    return [json.loads(line)["frame"] for line in path.read_text(encoding="utf-8").splitlines()]


def test_one_line_a_frame(tmp_path: Path) -> None:
    path = written(tmp_path / "deep" / "a.jsonl", 3)
    assert frames_in(path) == [0, 1, 2]
    assert path.read_bytes().startswith('{"frame":0,"time_s":0.0,"name":"ü"}\n'.encode())


def test_numbers_without_a_json_form_and_arrays(tmp_path: Path) -> None:
    with LineWriter(tmp_path / "a.jsonl") as lines:
        lines.append({"score": float("nan"), "box": np.array([1.0, 2.0], np.float32)})
    assert json.loads((tmp_path / "a.jsonl").read_bytes()) == {"score": None, "box": [1.0, 2.0]}


@pytest.mark.parametrize(
    "torn",
    [b'{"frame":5', b'{"frame":5}', b'\0\0\0\0\0\0\n{"frame":6}\n', b'"frame":5}\n', b"\n"],
    ids=["half", "no line end", "zeros", "no start", "empty"],
)
def test_a_torn_end_is_cut_off(tmp_path: Path, torn: bytes) -> None:
    path = written(tmp_path / "a.jsonl", 5)
    path.write_bytes(path.read_bytes() + torn)
    with LineWriter(path) as lines:
        assert lines.frames == 5
        assert lines.last is not None
        assert json.loads(lines.last)["frame"] == 4
        lines.append({"frame": 5})
    assert frames_in(path) == [0, 1, 2, 3, 4, 5]


@pytest.mark.parametrize(("frames", "left"), [(0, 0), (3, 3), (5, 5), (9, 5)])
def test_lines_are_cut_back_to_frames(tmp_path: Path, frames: int, left: int) -> None:
    path = written(tmp_path / "a.jsonl", 5)
    with LineWriter(path) as lines:
        assert lines.keep(frames) == left
        assert (lines.last is None) == (left == 0)
        lines.append({"frame": left})
        assert lines.last == b'{"frame":%d}\n' % left
    assert frames_in(path) == list(range(left + 1))


def test_the_finished_file_takes_its_place(tmp_path: Path) -> None:
    target = tmp_path / "out" / "clip.jsonl"
    target.parent.mkdir()
    target.write_bytes(b"older")
    lines = LineWriter(tmp_path / "work.jsonl")
    lines.append({"frame": 0})
    assert target.read_bytes() == b"older"
    lines.finish(target)
    assert frames_in(target) == [0]
    assert not (tmp_path / "work.jsonl").exists()
    lines.close()


def test_a_full_disk_leaves_whole_lines(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.jsonl"
    real = os.write
    pieces = iter([10, None])

    def full(file: int, data: bytes) -> int:
        room = next(pieces)
        if room is None:
            raise OSError(errno.ENOSPC, "No space left on device")
        return real(file, bytes(data)[:room])

    with LineWriter(path) as lines:
        lines.append({"frame": 0})
        with monkeypatch.context() as patch, pytest.raises(DoesNotFitError, match="free space"):
            patch.setattr(os, "write", full)
            lines.append({"frame": 1, "more": "text"})
        assert lines.frames == 1
        lines.append({"frame": 1})
    assert frames_in(path) == [0, 1]


def test_a_place_that_is_taken_is_said(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(UsageError, match="something else stands in its place"):
        LineWriter(tmp_path / "file" / "a.jsonl")
