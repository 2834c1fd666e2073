"""Segments are whole or absent, a run goes on behind them, and the joined video shows every frame at its own time."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from vitruvian.errors import DoesNotFitError, InputError, UsageError
from vitruvian.media.atomic import TEMPORARY_PREFIX, sweep
from vitruvian.media.video import writing
from vitruvian.media.video.joining import joined
from vitruvian.media.video.reading import Span, read_frames
from vitruvian.media.video.timing import TICK_S
from vitruvian.media.video.writing import SegmentWriter, segments_in

av: Any = pytest.importorskip("av")

CODED_LEVELS = 4
"""Flat colours through H.264 at the usual quality, limited range."""


def flat(number: int, width: int = 64, height: int = 48) -> np.ndarray:
    return np.full((height, width, 3), (40 + number * 3 % 180, 200 - number * 2 % 150, 90), np.uint8)


def uneven_s(count: int, start_s: float = 0.0) -> list[float]:
    """Times of frames that last 1 to 5 ninetieths of a second."""
    return [start_s + sum(1 + number * 7 % 5 for number in range(place)) / 90 for place in range(count)]


def write(folder: Path, times_s: list[float], *, first: int = 0, per_segment: int = 10, **size: int) -> SegmentWriter:
    with SegmentWriter(folder, frames_per_segment=per_segment) as writer:
        for number, time_s in enumerate(times_s, start=first):
            writer.write(flat(number, **size), time_s)
        writer.finish()
    return writer


def ticks(path: Path) -> list[int]:
    """The frames' timestamps in 1/90000 s."""
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        return [round(frame.pts * stream.time_base / TICK_S) for frame in container.decode(stream)]


@pytest.mark.parametrize("start_s", [0.0, 2.5, 7200.1])
@pytest.mark.parametrize("count", [1, 9, 10, 11, 35])
def test_frames_keep_their_times(tmp_path: Path, count: int, start_s: float) -> None:
    times_s = uneven_s(count, start_s)
    writer = write(tmp_path / "work", times_s)
    assert [segment.count for segment in writer.segments] == [min(10, count - n) for n in range(0, count, 10)]
    target = tmp_path / "out.mp4"
    done = joined(writer.segments, target)
    expected = [round(time_s * 90_000) for time_s in times_s]
    assert ticks(target) == [tick - expected[0] for tick in expected]
    assert done.frames == count
    last_s = (expected[-1] - expected[-2]) / 90_000 if count > 1 else 0.04
    assert done.duration_s == pytest.approx((expected[-1] - expected[0]) / 90_000 + last_s)
    with av.open(str(target)) as container:
        assert container.streams.video[0].duration * container.streams.video[0].time_base == pytest.approx(
            done.duration_s
        )
    data = target.read_bytes()
    assert data.find(b"moov") < data.find(b"mdat")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out.mp4", "work"]


def test_colours_come_back(tmp_path: Path) -> None:
    target = tmp_path / "out.mp4"
    joined(write(tmp_path / "work", uneven_s(25)).segments, target)
    with read_frames(target) as reader:
        frames = list(reader)
    assert reader.info.pixel_format == "yuv420p"
    for frame in frames:
        assert np.abs(frame.image_HW3.astype(int) - flat(frame.number)).max() <= CODED_LEVELS
    with av.open(str(target)) as container:
        context = container.streams.video[0].codec_context
        assert (context.name, context.colorspace, context.color_range) == ("h264", 1, 1)


@pytest.mark.parametrize("size", [(63, 47), (64, 47), (63, 48), (1, 1)], ids=str)
def test_odd_sizes_repeat_their_last_row_and_column(tmp_path: Path, size: tuple[int, int]) -> None:
    width, height = size
    writer = write(tmp_path / "work", uneven_s(3), width=width, height=height)
    assert writer.notes == ("H.264 needs even sizes: the last column or row is repeated",)
    joined(writer.segments, tmp_path / "out.mp4")
    with read_frames(tmp_path / "out.mp4") as reader:
        image_HW3 = next(reader).image_HW3
    assert image_HW3.shape == (height + height % 2, width + width % 2, 3)
    assert np.abs(image_HW3.astype(int) - flat(0)[0, 0]).max() <= CODED_LEVELS


def test_a_killed_run_goes_on_behind_its_whole_segments(tmp_path: Path) -> None:
    times_s = uneven_s(95, 1.0)
    folder = tmp_path / "work"
    killed = SegmentWriter(folder, frames_per_segment=30)
    for number, time_s in enumerate(times_s[:57]):
        killed.write(flat(number), time_s)
    assert killed.frames == 57
    # Nothing is closed, as after a kill: the frames of an unfinished segment lie about.
    assert sum(path.name.startswith(TEMPORARY_PREFIX) for path in folder.iterdir()) == 1
    assert sweep(folder) == 1

    again = SegmentWriter(folder, frames_per_segment=30)
    assert again.frames == 30
    for number, time_s in enumerate(times_s[30:], start=30):
        again.write(flat(number), time_s)
    joined(again.finish(), tmp_path / "resumed.mp4")
    expected = [round(time_s * 90_000) for time_s in times_s]
    assert ticks(tmp_path / "resumed.mp4") == [tick - expected[0] for tick in expected]
    with read_frames(tmp_path / "resumed.mp4") as reader:
        for frame in reader:
            assert np.abs(frame.image_HW3.astype(int) - flat(frame.number)).max() <= CODED_LEVELS
    killed.close()


@pytest.mark.parametrize(("frames", "left"), [(0, 0), (9, 0), (10, 10), (29, 20), (35, 35), (99, 35)])
def test_segments_are_cut_back_to_whole_ones(tmp_path: Path, frames: int, left: int) -> None:
    writer = write(tmp_path, uneven_s(35))
    assert writer.keep(frames) == left
    assert writer.frames == left
    assert sum(segment.count for segment in segments_in(tmp_path)) == left


def test_a_gap_between_segments_ends_what_counts(tmp_path: Path) -> None:
    writer = write(tmp_path, uneven_s(35))
    writer.segments[1].path.unlink()
    (tmp_path / "notes.nut").write_bytes(b"")
    assert [segment.first for segment in segments_in(tmp_path)] == [0]


def test_leaving_early_leaves_nothing_half_done(tmp_path: Path) -> None:
    with SegmentWriter(tmp_path / "work", frames_per_segment=10) as writer:
        for number in range(13):
            writer.write(flat(number), number / 25)
    assert [path.name for path in (tmp_path / "work").iterdir()] == ["000000000-000010.nut"]


def test_frames_too_close_to_tell_apart_still_follow_each_other(tmp_path: Path) -> None:
    joined(write(tmp_path / "work", [0.0, 1e-7, 2e-7, 0.5]).segments, tmp_path / "out.mp4")
    assert ticks(tmp_path / "out.mp4") == [0, 1, 2, 45_000]


def test_without_libx264_the_video_is_mpeg4(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(writing, "_encoder", lambda: "mpeg4")
    times_s = [number * 1001 / 30_000 for number in range(25)]
    writer = write(tmp_path / "work", times_s)
    assert any("MPEG-4 part 2" in note for note in writer.notes)
    target = tmp_path / "out.mp4"
    joined(writer.segments, target)
    assert ticks(target) == [round(time_s * 90_000) for time_s in times_s]
    with read_frames(target) as reader:
        for frame in reader:
            assert np.abs(frame.image_HW3.astype(int) - flat(frame.number)).max() <= 2 * CODED_LEVELS


def test_the_encoder_is_looked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    assert writing._encoder() == "libx264"

    def unknown(name: str, mode: str) -> None:
        raise av.codec.codec.UnknownCodecError(name)

    monkeypatch.setattr("av.codec.Codec", unknown)
    assert writing._encoder() == "mpeg4"


def test_a_video_without_frames_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="without a frame"):
        joined([], tmp_path / "out.mp4")
    assert list(tmp_path.iterdir()) == []


def test_frames_of_two_sizes_are_a_mistake_of_the_program(tmp_path: Path) -> None:
    with SegmentWriter(tmp_path) as writer:
        writer.write(flat(0), 0.0)
        with pytest.raises(ValueError, match="32 x 32 in a video of 64 x 48"):
            writer.write(flat(1, 32, 32), 1.0)


def test_segments_of_two_kinds_are_not_joined(tmp_path: Path) -> None:
    writer = write(tmp_path / "work", uneven_s(10))
    with SegmentWriter(tmp_path / "work", frames_per_segment=10) as other:
        for number in range(10, 20):
            other.write(flat(number, 32, 32), 2 + number / 25)
    with pytest.raises(UsageError, match="encoded otherwise than the first one"):
        joined(segments_in(tmp_path / "work"), tmp_path / "out.mp4")
    assert writer.segments[0].path.exists()
    assert [path.name for path in tmp_path.iterdir()] == ["work"]


@pytest.mark.parametrize("place", [0, 1])
@pytest.mark.parametrize("size_bytes", [0, 400, 1000])
def test_a_damaged_segment_is_said_and_the_old_video_stays(tmp_path: Path, size_bytes: int, place: int) -> None:
    segments = write(tmp_path / "work", uneven_s(20)).segments
    path = segments[place].path
    assert path.stat().st_size > 1000
    path.write_bytes(path.read_bytes()[:size_bytes])
    (tmp_path / "out.mp4").write_bytes(b"older")
    with pytest.raises(UsageError, match="--overwrite"):
        joined(segments, tmp_path / "out.mp4")
    assert (tmp_path / "out.mp4").read_bytes() == b"older"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out.mp4", "work"]


@contextmanager
def files_of_at_most(size_bytes: int) -> Iterator[None]:
    resource: Any = pytest.importorskip("resource")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size_bytes, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def noise(number: int) -> np.ndarray:
    return np.random.default_rng(number).integers(0, 255, (96, 128, 3), np.uint8)


def test_a_full_disk_ends_a_segment_as_elsewhere(tmp_path: Path) -> None:
    with SegmentWriter(tmp_path / "work", frames_per_segment=5) as writer:
        for number in range(5):
            writer.write(noise(number), number / 25)
        with files_of_at_most(20_000), pytest.raises(DoesNotFitError, match="free space"):
            for number in range(5, 100):
                writer.write(noise(number), number / 25)
    assert [path.name for path in (tmp_path / "work").iterdir()] == ["000000000-000005.nut"]


def test_a_full_disk_ends_the_joining_as_elsewhere(tmp_path: Path) -> None:
    with SegmentWriter(tmp_path / "work", frames_per_segment=5) as writer:
        for number in range(20):
            writer.write(noise(number), number / 25)
        segments = writer.finish()
    with files_of_at_most(60_000), pytest.raises(DoesNotFitError, match=r"out\.mp4"):
        joined(segments, tmp_path / "out.mp4")
    assert [path.name for path in tmp_path.iterdir()] == ["work"]


def test_a_folder_that_cannot_be_made_is_said(tmp_path: Path) -> None:
    (tmp_path / "work").write_bytes(b"a file")
    with pytest.raises(UsageError, match="something else stands in its place"):
        SegmentWriter(tmp_path / "work")


def test_frames_beyond_the_encoder_are_refused(tmp_path: Path) -> None:
    with SegmentWriter(tmp_path) as writer, pytest.raises(InputError, match="cannot be encoded as video"):
        writer.write(np.zeros((2, 40_000, 3), np.uint8), 0.0)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("options", [{"frames_per_segment": 0}, {"threads": 0}], ids=str)
def test_numbers_out_of_range_are_refused(tmp_path: Path, options: dict[str, int]) -> None:
    with pytest.raises(UsageError, match="at least 1 each"):
        SegmentWriter(tmp_path, **options)


def test_a_stride_keeps_the_clock(make_video: Callable[..., Path], tmp_path: Path) -> None:
    path = make_video(frames=30)
    with read_frames(path, Span(start_s=0.2, stride=4)) as reader, SegmentWriter(tmp_path / "work") as writer:
        for frame in reader:
            writer.write(frame.image_HW3, frame.time_s)
        joined(writer.finish(), tmp_path / "out.mp4")
    assert ticks(tmp_path / "out.mp4") == [number * 14_400 for number in range(7)]
