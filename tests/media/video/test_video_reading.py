"""Frames come in order with their times; any span, any stride, any place to go on from gives the same ones."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from vitruvian.errors import InputError, UsageError
from vitruvian.media.video import probing
from vitruvian.media.video.decoding import Decoding, go_to_key
from vitruvian.media.video.library import Opened
from vitruvian.media.video.reading import Frame, Span, probe_video, read_frames

pytest.importorskip("av")
Make = Callable[..., Path]

UNEVEN_S = [Fraction(sum(1 + number * 7 % 5 for number in range(place)), 90) for place in range(30)]
"""Frames that last between 1 and 5 ninetieths of a second."""

KINDS = {
    "mp4": {"name": "a.mp4"},
    "mp4 without B-frames": {"name": "a.mp4", "b_frames": 0},
    "mov uneven": {"name": "a.mov", "times_s": UNEVEN_S},
    "mkv": {"name": "a.mkv"},
    "mkv one key frame": {"name": "a.mkv", "gop": 100},
    "hevc open groups": {
        "name": "a.mkv",
        "codec": "libx265",
        "options": {"x265-params": "open-gop=1:keyint=8:min-keyint=8:bframes=3:log-level=none"},
    },
    "h264 open groups": {"name": "a.mp4", "options": {"x264-params": "open-gop=1:keyint=8:bframes=3:scenecut=0"}},
    "h264 refreshed": {"name": "a.mp4", "options": {"x264-params": "intra-refresh=1:keyint=8:bframes=0"}},
    "avi": {"name": "a.avi", "b_frames": 0},
    "avi with B-frames": {"name": "a.avi"},
    "ts": {"name": "a.ts"},
    "raw": {"name": "a.h264"},
    "mpeg4": {"name": "a.mp4", "codec": "mpeg4", "options": {"b": "4000000"}},
    "vp9": {"name": "a.webm", "codec": "libvpx-vp9", "options": {"deadline": "realtime", "cpu-used": "8"}},
}


@pytest.fixture
def decoded(monkeypatch: pytest.MonkeyPatch) -> list[object]:
    """Every packet that is decoded."""
    packets: list[object] = []
    real = Decoding._decoded

    def watched(self: Decoding, packet: object) -> list[object]:
        packets.append(packet)
        return real(self, packet)  # type: ignore[arg-type,return-value]

    monkeypatch.setattr(Decoding, "_decoded", watched)
    return packets


def all_of(path: Path, span: Span | None = None, **options: object) -> list[Frame]:
    with read_frames(path, span, **options) as reader:  # type: ignore[arg-type]
        return list(reader)


def assert_same(found: list[Frame], expected: list[Frame]) -> None:
    assert [(frame.number, frame.time_s) for frame in found] == [(frame.number, frame.time_s) for frame in expected]
    for one, other in zip(found, expected, strict=True):
        assert np.array_equal(one.image_HW3, other.image_HW3)


@pytest.mark.parametrize("kind", KINDS)
def test_every_frame_comes_once_and_in_its_order(make_video: Make, kind: str) -> None:
    frames = all_of(make_video(**KINDS[kind]))
    assert [frame.number for frame in frames] == list(range(30))
    grey = [float(frame.image_HW3[24:, 24:].mean()) for frame in frames]
    assert np.allclose(grey, 51.5 + 5 * np.arange(30), atol=2.4)
    image_HW3 = frames[7].image_HW3
    assert image_HW3.dtype == np.uint8
    assert image_HW3.shape == (48, 64, 3)
    assert image_HW3.flags.c_contiguous
    times_s = [frame.time_s for frame in frames]
    assert times_s[0] == 0
    assert all(np.diff(times_s) > 0)
    if "uneven" in kind:
        assert times_s == [float(time_s) for time_s in UNEVEN_S]
    else:
        assert np.allclose(times_s, np.arange(30) / 25, atol=1e-3)


@pytest.mark.parametrize("known", [True, False], ids=["time known", "number alone"])
@pytest.mark.parametrize("kind", KINDS)
def test_going_on_at_any_frame_gives_the_same_frames(make_video: Make, kind: str, known: bool) -> None:
    path = make_video(**KINDS[kind])
    expected = all_of(path)
    for first in (1, 7, 8, 9, 16, 29, 30, 99):
        after_s = expected[first - 1].time_s if known and first <= 30 else None
        assert_same(all_of(path, first=first, after_s=after_s), expected[first:])


@pytest.mark.parametrize("stride", [1, 3])
@pytest.mark.parametrize(("start_s", "end_s"), [(0.0, 0.5), (0.4, None), (0.41, 0.8), (1.16, None)])
@pytest.mark.parametrize("kind", ["mp4", "mov uneven", "mkv", "avi with B-frames", "ts", "hevc open groups"])
def test_spans_are_cut_out_of_the_whole(
    make_video: Make, kind: str, start_s: float, end_s: float | None, stride: int
) -> None:
    path = make_video(**KINDS[kind])
    span = Span(start_s=start_s, end_s=end_s, stride=stride)
    if kind == "mov uneven" and start_s > 1:
        with pytest.raises(InputError, match=r"no frame at or after 1\.16 s"):
            all_of(path, span)
        return
    inside = [
        frame for frame in all_of(path) if frame.time_s >= start_s and (end_s is None or frame.time_s < end_s - 1e-6)
    ]
    chosen = inside[::stride]
    expected = [Frame(number=n, time_s=f.time_s, image_HW3=f.image_HW3) for n, f in enumerate(chosen)]
    assert_same(all_of(path, span), expected)
    for first in range(1, len(expected)):
        assert_same(all_of(path, span, first=first, after_s=expected[first - 1].time_s), expected[first:])


@pytest.mark.parametrize("kind", ["mp4", "mkv", "hevc open groups", "mkv late"])
def test_decoding_begins_near_the_first_frame_wanted(make_video: Make, kind: str, decoded: list[object]) -> None:
    late = {"name": "a.mkv", "times_s": [5 + Fraction(number, 25) for number in range(90)]}
    path = make_video(**(late if kind == "mkv late" else KINDS[kind]), frames=90)
    whole = all_of(path)
    decoded.clear()
    all_of(path, first=80, after_s=whole[79].time_s)
    assert len(decoded) < 45
    decoded.clear()
    all_of(path, Span(start_s=3.2))
    assert len(decoded) < 45


@pytest.mark.parametrize(
    ("name", "codec", "pixels"),
    [("a.mkv", "libx264", "yuv420p"), ("a.mov", "mpeg4", "yuv420p"), ("a.mov", "qtrle", "rgb24")],
)
def test_a_key_frame_in_name_alone_is_not_begun_with(make_video: Make, name: str, codec: str, pixels: str) -> None:
    """Each packet claims to be a key frame, so that the container leads to ones that show nothing by themselves."""
    import av

    source = make_video(name, codec=codec, pixels=pixels, gop=100, b_frames=0)
    path = source.with_name("b" + source.suffix)
    with av.open(str(source)) as container, av.open(str(path), "w") as output:
        stream = output.add_stream_from_template(container.streams.video[0], opaque=True)
        for packet in container.demux(video=0):
            if packet.size:
                packet.stream, packet.is_keyframe = stream, True
                output.mux(packet)
    expected = all_of(source)
    for first in (5, 20, 29):
        assert_same(all_of(path, first=first, after_s=expected[first - 1].time_s), expected[first:])


def test_a_wrong_time_of_the_frame_before_changes_nothing(make_video: Make) -> None:
    path = make_video()
    expected = all_of(path)
    for wrong_s in (0.123, 0.0, 50.0):
        assert_same(all_of(path, first=20, after_s=wrong_s), expected[20:])


def test_a_key_frame_shown_after_the_goal_is_passed_by() -> None:
    """Some containers lead to a key frame by its decoding time, though it is shown later than what was looked for."""

    class Packet:
        size, is_corrupt, is_keyframe = 9, False, True

        def __init__(self, pts: int, dts: int) -> None:
            self.pts, self.dts = pts, dts

    packets = [Packet(0, -2), Packet(10, 8), Packet(20, 18)]

    class Container:
        place = 0

        def seek(self, wanted: int, **options: object) -> None:
            self.place = max(place for place, packet in enumerate(packets) if packet.dts <= wanted)

        def demux(self, stream: object) -> Iterator[Packet]:
            return iter(packets[self.place :])

    for goal, expected in ((25, 20), (19, 10), (18, 10), (9, 0), (3, 0)):
        found = go_to_key(Opened(Container(), None), goal)  # type: ignore[arg-type]
        assert found is not None
        assert found.pts == expected


def test_frame_threads_give_the_same_frames(make_video: Make) -> None:
    path = make_video()
    assert_same(all_of(path, threads=3), all_of(path))


def test_a_border_between_two_spans_loses_and_repeats_nothing(make_video: Make) -> None:
    path = make_video()
    before, after = all_of(path, Span(end_s=0.36)), all_of(path, Span(start_s=0.36))
    assert len(before) == 9
    assert after[0].time_s == pytest.approx(0.36)


def test_an_image_is_the_consumers_own(make_video: Make) -> None:
    frames = all_of(make_video())
    kept = frames[4].image_HW3.copy()
    frames[3].image_HW3[:] = 0
    assert np.array_equal(frames[4].image_HW3, kept)


def test_what_a_header_says(make_video: Make) -> None:
    info = probe_video(make_video(sound="aac"), "films/clip.mp4")
    assert (info.name, info.width, info.height) == ("films/clip.mp4", 64, 48)
    assert info.frame_rate == 25
    assert info.frames_estimate == 30
    assert info.duration_s == pytest.approx(1.2)
    assert info.rotation_deg == 0
    assert info.pixel_format == "yuv420p"
    assert info.has_audio
    assert not info.has_alpha
    assert info.notes == ()


def test_one_frame_and_no_sound(make_video: Make) -> None:
    path = make_video(frames=1)
    info = probe_video(path, "clip.mp4")
    assert info.frames_estimate == 1
    assert not info.has_audio
    assert [frame.time_s for frame in all_of(path)] == [0.0]


def test_matroska_tells_its_length(make_video: Make) -> None:
    info = probe_video(make_video("a.mkv"), "a.mkv")
    assert info.duration_s == pytest.approx(1.2)
    assert info.frames_estimate == 30


@pytest.mark.parametrize(
    "options",
    [
        {"start_s": -1.0},
        {"start_s": float("nan")},
        {"start_s": 2.0, "end_s": 2.0},
        {"end_s": float("inf")},
        {"stride": 0},
        {"stride": 1.5},
        {"stride": True},
    ],
    ids=str,
)
def test_spans_that_select_nothing_are_refused(options: dict[str, float]) -> None:
    with pytest.raises(UsageError, match="expected"):
        Span(**options)  # type: ignore[arg-type]


@pytest.mark.parametrize("options", [{"first": -1}, {"threads": 0}], ids=str)
def test_numbers_out_of_range_are_refused(make_video: Make, options: dict[str, int]) -> None:
    with pytest.raises(UsageError, match="expected"):
        read_frames(make_video(), **options)  # type: ignore[arg-type]


def test_a_start_behind_the_end_is_said(make_video: Make) -> None:
    for name in ("a.mp4", "a.ts"):
        with pytest.raises(InputError, match=r"no frame at or after 5 s; its last one is at 1\.16 s"):
            all_of(make_video(name), Span(start_s=5))


def test_without_pyav_the_extra_is_named(make_video: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    path = make_video()
    monkeypatch.setitem(sys.modules, "av", None)
    with pytest.raises(UsageError, match=r'pip install "vitruvian\[video\]"'):
        read_frames(path)


def test_the_room_can_be_imported_without_pyav(child_env: dict[str, str]) -> None:
    rooms = ["camera", "joining", "lines", "reading", "sequences", "writing"]
    code = "import sys; sys.modules['av'] = None\n" + "\n".join(f"import vitruvian.media.video.{one}" for one in rooms)
    subprocess.run([sys.executable, "-c", code], env=child_env, check=True)


def test_pictures_larger_than_the_limit_are_refused(make_video: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    path = make_video()
    monkeypatch.setattr(probing, "MAX_PIXELS", 64 * 48 - 1)
    with pytest.raises(InputError, match="claims 64 x 48"):
        read_frames(path)


@pytest.mark.parametrize("side", [16_000, 65_535])
def test_an_absurd_size_in_a_header_is_refused(make_video: Make, side: int) -> None:
    path = make_video("a.mov", codec="qtrle", pixels="rgb24")
    data = path.read_bytes()
    width, height, resolution = ((number).to_bytes(2, "big") for number in (64, 48, 72))
    assert data.count(width + height + resolution) == 1
    path.write_bytes(data.replace(width + height + resolution, side.to_bytes(2, "big") * 2 + resolution))
    with pytest.raises(InputError, match="its size is missing or above 250 million pixels"):
        probe_video(path, "a.mov")
