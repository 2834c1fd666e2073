"""Frames of a driving video: ranges, rates, odd times, files that end early."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from driven_clip import write_drive
from vitruvian.animating.driving_frames import DrivingFrames
from vitruvian.errors import InputError, UsageError


def chosen(path: Path, frames: tuple[int, int | None] = (0, None), fps: float | None = None) -> DrivingFrames:
    return DrivingFrames.of(path, frames, fps, most_fps=30.0)


@pytest.mark.parametrize(
    ("rate", "used"),
    [(10, 10), (Fraction(24_000, 1001), 24_000 / 1001), (30, 30), (Fraction(60_000, 1001), 29.97), (120, 30), (50, 25)],
    ids=str,
)
def test_rates_are_kept_or_divided_by_whole_numbers(tmp_path: Path, rate: Fraction | int, used: float) -> None:
    frames = chosen(write_drive(tmp_path / "a.mp4", frames=17, rate=rate))
    assert frames.rate == pytest.approx(used, rel=1e-3)
    times = [frame.time_s for frame in frames()]
    np.testing.assert_allclose(np.diff(times), 1 / used, rtol=0.02)
    every = round(float(rate) / used)
    assert len(times) == -(-17 // every)


def test_a_rate_that_is_no_divisor_takes_the_next_frame_each_time(tmp_path: Path) -> None:
    frames = chosen(write_drive(tmp_path / "a.mp4", frames=30, rate=30), fps=12.0)
    times = np.array([frame.time_s for frame in frames()])
    assert len(times) == 12
    assert np.all(times - np.arange(12) / 12 >= -1e-3)
    assert np.all(times - np.arange(12) / 12 < 1 / 30 + 1e-3)
    with pytest.raises(UsageError, match="got --fps 31 for a video of 30 frames/s"):
        chosen(write_drive(tmp_path / "b.mp4", rate=30), fps=31.0)


def test_ranges_and_what_is_heard(tmp_path: Path) -> None:
    path = write_drive(tmp_path / "a.mp4", frames=12)
    frames = chosen(path, (3, 7))
    taken = list(frames())
    assert [frame.number for frame in taken] == [3, 4, 5, 6]
    span = frames.span(tuple(frame.time_s for frame in taken))
    assert (span.start_s, span.end_s) == (pytest.approx(0.12), pytest.approx(0.28))
    assert chosen(path).span((0.0, 0.44)).end_s is None
    assert chosen(path, (3, 7)).key != chosen(path, (3, 8)).key
    with pytest.raises(InputError, match="has no frame in --frames 12:14; expected some of about 12"):
        list(chosen(path, (12, 14))())


def test_a_video_that_ends_early_is_used_as_far_as_it_goes(tmp_path: Path) -> None:
    whole = write_drive(tmp_path / "a.mp4", frames=60, size=(320, 240)).read_bytes()
    # Raw streams need no index at the end.
    import av

    raw = tmp_path / "raw.h264"
    with av.open(str(tmp_path / "a.mp4")) as source, av.open(str(raw), "w", format="h264") as target:
        stream = target.add_stream_from_template(source.streams.video[0])
        for packet in source.demux(video=0):
            if packet.size:
                packet.stream = stream
                target.mux(packet)
    assert len(whole) > 1000
    cut = tmp_path / "cut.mkv"
    with av.open(str(tmp_path / "a.mp4")) as source, av.open(str(cut), "w") as target:
        stream = target.add_stream_from_template(source.streams.video[0])
        for packet in source.demux(video=0):
            if packet.size:
                packet.stream = stream
                target.mux(packet)
    cut.write_bytes(cut.read_bytes()[: int(0.6 * cut.stat().st_size)])
    frames = chosen(cut)
    count = len(list(frames()))
    assert 0 < count < 60
    (note,) = [note for note in frames.notes if note.startswith("cut.mkv ")]
    assert note.endswith(f"its first {count} frames are used")
