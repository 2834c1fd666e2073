"""Numbered pictures are a video: in the order of their numbers, with gaps said and broken pictures in their place."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from vitruvian.errors import InputError, UsageError
from vitruvian.media.items import Failure
from vitruvian.media.video.sequences import is_sequence, read_sequence
from vitruvian.media.video.values import Frame, Span

pytest.importorskip("av")


def save(path: Path, level: int, size: tuple[int, int] = (12, 8)) -> None:
    Image.fromarray(np.full((size[1], size[0], 3), level, np.uint8)).save(path)


def levels(found: list[Frame | Failure]) -> list[int | str]:
    return [one.reason if isinstance(one, Failure) else int(one.image_HW3[0, 0, 0]) for one in found]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """frame_000008.png to frame_000012.png, and files that only look like them."""
    for number in range(8, 13):
        save(tmp_path / f"frame_{number:06d}.png", number)
    for name in ("frame_9.png", "frame_0000009.png", "frame_000010.jpg", "frame_abcdef.png", "other_000008.png"):
        save(tmp_path / name, 99)
    return tmp_path


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("frames/%06d.png", True),
        ("a%db.jpg", True),
        ("100%%_%03d.png", True),
        ("frames/a.png", False),
        ("%d/a.png", False),
        ("%d_%d.png", False),
        ("100%%d.png", False),
        ("%s.png", False),
    ],
)
def test_patterns_are_told_from_names(text: str, expected: bool) -> None:
    assert is_sequence(text) is expected


def test_numbers_give_the_order_and_the_times(folder: Path) -> None:
    with read_sequence(str(folder / "frame_%06d.png"), 10, name="shots") as reader:
        found = list(reader)
    assert levels(found) == [8, 9, 10, 11, 12]
    assert all(isinstance(one, Frame) for one in found)
    assert [one.number for one in found if isinstance(one, Frame)] == [0, 1, 2, 3, 4]
    assert [one.time_s for one in found if isinstance(one, Frame)] == pytest.approx([0, 0.1, 0.2, 0.3, 0.4])
    info = reader.info
    assert (info.name, info.width, info.height, info.frames_estimate) == ("shots", 12, 8, 5)
    assert info.frame_rate == 10
    assert info.duration_s == pytest.approx(0.5)
    assert reader.notes == ()


@pytest.mark.parametrize(
    ("pattern", "numbers"),
    [("%d.png", [3, 9, 10, 100]), ("%02d.png", [3, 9, 10, 100]), ("a%%_%d.png", [0, 2])],
)
def test_digits_count_as_in_printf(tmp_path: Path, pattern: str, numbers: list[int]) -> None:
    for number in numbers:
        save(tmp_path / (pattern % number), number)
    with read_sequence(str(tmp_path / pattern), 1) as reader:
        assert levels(list(reader)) == numbers


def test_gaps_are_said_and_leave_their_time(folder: Path) -> None:
    (folder / "frame_000009.png").unlink()
    (folder / "frame_000010.png").unlink()
    save(folder / "frame_000014.png", 14)
    with read_sequence(str(folder / "frame_%06d.png"), Fraction(10)) as reader:
        found = list(reader)
    assert levels(found) == [8, 11, 12, 14]
    assert [one.time_s for one in found if isinstance(one, Frame)] == pytest.approx([0, 0.3, 0.4, 0.6])
    assert reader.notes == ("pictures are missing: 9 to 10, 13; time runs on",)


def test_many_gaps_are_said_in_short(tmp_path: Path) -> None:
    for number in range(0, 40, 2):
        save(tmp_path / f"{number}.png", number)
    notes = read_sequence(str(tmp_path / "%d.png"), 25).notes
    assert notes == ("pictures are missing: 1, 3, 5, 7, 9 and 14 more gaps; time runs on",)


def test_broken_pictures_fail_in_their_place(folder: Path) -> None:
    (folder / "frame_000008.png").write_bytes(b"no picture")
    whole = (folder / "frame_000010.png").read_bytes()
    (folder / "frame_000010.png").write_bytes(whole[:-30])
    save(folder / "frame_000011.png", 11, (20, 20))
    with read_sequence(str(folder / "frame_%06d.png"), 10) as reader:
        found = list(reader)
    assert [isinstance(one, Failure) for one in found] == [True, False, True, True, False]
    assert [one.index if isinstance(one, Failure) else one.number for one in found] == [0, 1, 2, 3, 4]
    assert "is not a picture" in str(levels(found)[0])
    assert "truncated" in str(levels(found)[2])
    assert levels(found)[3] == "is 20 x 20; expected 12 x 8, the size of the first picture of the video"
    assert isinstance(found[2], Failure)
    assert found[2].name == "frame_000010.png"


@pytest.mark.parametrize("first", [0, 1, 2, 3])
def test_spans_and_going_on(folder: Path, first: int) -> None:
    span = Span(start_s=0.1, end_s=0.5, stride=2)
    with read_sequence(str(folder / "frame_%06d.png"), 10, span, first=first) as reader:
        found = [one for one in reader if isinstance(one, Frame)]
    assert [(one.number, int(one.image_HW3[0, 0, 0])) for one in found] == [(0, 9), (1, 11)][first:]


def test_what_was_done_to_pictures_is_said_once(tmp_path: Path) -> None:
    for number in range(3):
        Image.fromarray(np.full((8, 8, 4), 100, np.uint8)).save(tmp_path / f"{number}.png")
    with read_sequence(str(tmp_path / "%d.png"), 10) as reader:
        list(reader)
    assert reader.notes == ("transparency laid on white",)


def test_nothing_to_read_is_said(folder: Path) -> None:
    with pytest.raises(InputError, match=r"no file is named absent_0001\.png"):
        read_sequence(str(folder / "absent_%04d.png"), 10)
    with pytest.raises(InputError, match="folder cannot be read"):
        read_sequence(str(folder / "absent" / "%d.png"), 10)
    (folder / "x1.png").write_bytes(b"broken")
    with pytest.raises(InputError, match="not one of its 1 pictures can be read"):
        read_sequence(str(folder / "x%d.png"), 10)
    with pytest.raises(InputError, match="no picture at or after 9 s; it lasts 0.5 s".replace(".", r"\.")):
        list(read_sequence(str(folder / "frame_%06d.png"), 10, Span(start_s=9)))


@pytest.mark.parametrize(
    ("pattern", "rate", "first"),
    [("a.png", 10, 0), ("%d.png", 0, 0), ("%d.png", float("nan"), 0), ("%d.png", 10, -1)],
)
def test_what_cannot_be_meant_is_refused(pattern: str, rate: float, first: int) -> None:
    with pytest.raises(UsageError, match="expected"):
        read_sequence(pattern, rate, first=first)
