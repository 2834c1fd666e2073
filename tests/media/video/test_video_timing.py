"""Times strictly increase, follow the stream's own, and survive what is missing or runs backwards."""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import pytest

from vitruvian.media.video.reading import read_frames
from vitruvian.media.video.timing import TICK_S, FrameTimes

pytest.importorskip("av")
Make = Callable[..., Path]
TICK = float(TICK_S)


@pytest.mark.parametrize(
    ("stamps", "expected_s", "repaired", "jumps"),
    [
        ([5, 6, 7], [0, 0.1, 0.2], 0, 0),
        ([5, 6, 16], [0, 0.1, 1.1], 0, 0),
        ([5, None, 7], [0, 0.1, 0.2], 1, 0),
        ([None, None, 7], [0, 0.1, 0.2], 2, 0),
        ([5, 6, 6, 7], [0, 0.1, 0.1 + TICK, 0.2], 1, 0),
        ([5, 7, 6, 8], [0, 0.2, 0.2 + TICK, 0.3], 1, 0),
        ([50, 60, 5, 6, 7], [0, 1.0, 1.1, 1.2, 1.3], 0, 1),
        ([5, 6, 10**15, 10**15 + 1], [0, 0.1, 0.2, 0.3], 0, 1),
        ([5, 6, 860_000], [0, 0.1, 85_999.5], 0, 0),
        ([5, 6, None, 7], [0, 0.1, 0.2, 0.2 + TICK], 2, 0),
    ],
)
def test_times_are_those_of_the_stream_where_it_has_them(
    stamps: list[int | None], expected_s: list[float], repaired: int, jumps: int
) -> None:
    times = FrameTimes(time_base=Fraction(1, 10), start_pts=stamps[0] or 5, step_s=Fraction(1, 10))
    assert [times.of(stamp) for stamp in stamps] == pytest.approx(expected_s, abs=1e-12)
    assert (times.repaired, times.jumps) == (repaired, jumps)
    assert len(times.notes()) == bool(repaired) + bool(jumps)


def test_containers_without_times_are_counted() -> None:
    times = FrameTimes(time_base=Fraction(1, 25), start_pts=None, step_s=Fraction(1, 25))
    assert [times.of(stamp) for stamp in (7, 3, None)] == pytest.approx([0, 0.04, 0.08])
    assert times.notes() == ()


def test_repeated_timestamps_in_a_file_are_repaired_and_said(make_video: Make) -> None:
    import av

    source = make_video("a.mp4", b_frames=0)
    path = source.with_name("b.mkv")
    with av.open(str(source)) as container, av.open(str(path), "w") as output:
        stream = output.add_stream_from_template(container.streams.video[0], opaque=True)
        for packet in container.demux(video=0):
            if packet.size:
                packet.stream = stream
                place = round(packet.pts * packet.time_base * 25)
                packet.pts = packet.dts = packet.pts if place != 7 else packet.pts - packet.duration
                output.mux(packet)
    with read_frames(path) as reader:
        times_s = [frame.time_s for frame in reader]
    assert times_s[6:9] == pytest.approx([0.24, 0.24 + TICK, 0.32])
    assert "1 frames without a usable timestamp were placed after the frame before" in reader.notes


def test_streams_put_one_after_the_other_run_on(make_video: Make) -> None:
    one = make_video("a.ts", frames=50)
    both = one.with_name("both.ts")
    both.write_bytes(one.read_bytes() * 2)
    with read_frames(both) as reader:
        times_s = [frame.time_s for frame in reader]
    assert len(times_s) == 100
    assert times_s == pytest.approx([number / 25 for number in range(100)], abs=1e-9)
    assert "timestamps begin anew 1 times; time runs on" in reader.notes
