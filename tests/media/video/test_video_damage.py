"""What is readable of a broken video is given, unchanged; then the reader says that something is missing."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from vitruvian.errors import InputError
from vitruvian.media.video.decoding import Decoding
from vitruvian.media.video.reading import Frame, Span, TruncatedVideo, read_frames

pytest.importorskip("av")
Make = Callable[..., Path]

FRONT = {"movflags": "faststart"}
FRAGMENTS = {"movflags": "frag_keyframe+empty_moov"}
SHARES = (0.03, 0.2, 0.35, 0.5, 0.65, 0.8, 0.9, 0.97, 0.999)


def until_the_end(path: Path, span: Span | None = None) -> tuple[list[Frame], str]:
    """The frames, and why the reading failed in the end."""
    frames: list[Frame] = []
    failed: InputError | None = None
    try:
        with read_frames(path, span) as reader:
            for frame in reader:
                frames.append(frame)
    except InputError as error:
        failed = error
    assert failed is None or "\n" not in str(failed)
    if isinstance(failed, TruncatedVideo):
        assert failed.frames == len(frames)
        assert f"{len(frames)} frames are read" in str(failed)
        return frames, failed.reason
    assert failed is None or frames == []
    return frames, "" if failed is None else str(failed)


def cut(path: Path, share: float) -> Path:
    data = path.read_bytes()
    other = path.with_name("cut" + path.suffix)
    other.write_bytes(data[: int(len(data) * share)])
    return other


@pytest.mark.parametrize("b_frames", [0, 2])
@pytest.mark.parametrize(
    ("name", "options", "tells"),
    [
        ("a.mp4", FRONT, True),
        ("a.mkv", {}, True),
        ("a.avi", {}, True),
        ("a.mp4", FRAGMENTS, False),
        ("a.ts", {}, False),
    ],
    ids=["mp4", "mkv", "avi", "mp4 in fragments", "ts"],
)
def test_cut_off_files_give_what_is_left(
    make_video: Make, name: str, options: dict[str, str], tells: bool, b_frames: int
) -> None:
    path = make_video(name, frames=40, b_frames=b_frames, container_options=options)
    whole, reason = until_the_end(path)
    assert (len(whole), reason) == (40, "")
    exact = {frame.time_s: frame.image_HW3 for frame in whole}
    lengths = []
    for share in SHARES:
        frames, reason = until_the_end(cut(path, share))
        lengths.append(len(frames))
        if tells and len(frames) < 40:
            assert reason
        for frame in frames:
            assert np.array_equal(frame.image_HW3, exact[frame.time_s])
    assert lengths == sorted(lengths)
    assert lengths[3] > 5
    assert lengths[-2] > 30


@pytest.mark.parametrize(
    ("name", "codec", "pixels"),
    [
        ("a.mov", "qtrle", "rgb24"),
        ("a.mov", "mjpeg", "yuvj420p"),
        ("a.mov", "prores_ks", "yuv422p10le"),
        ("a.mp4", "mpeg4", "yuv420p"),
        ("a.avi", "mpeg4", "yuv420p"),
        ("a.avi", "rawvideo", "bgr24"),
        ("a.mkv", "ffv1", "yuv420p"),
    ],
)
def test_half_a_frame_is_no_frame(make_video: Make, name: str, codec: str, pixels: str) -> None:
    """Whatever the codec: some would give the half that is there."""
    kind = {"codec": codec, "pixels": pixels, "options": {"b": "4000000"} if codec in ("mpeg4", "mjpeg") else {}}
    front = FRONT if name in ("a.mov", "a.mp4") else {}
    path = make_video(name, frames=20, b_frames=0, container_options=front, **kind)
    whole, reason = until_the_end(path)
    assert (len(whole), reason) == (20, "")
    for share in (0.5, 0.61, 0.77, 0.9):
        frames, reason = until_the_end(cut(path, share))
        assert 1 < len(frames) < 20
        assert reason
        for frame, other in zip(frames, whole, strict=False):
            assert frame.time_s == other.time_s
            assert np.array_equal(frame.image_HW3, other.image_HW3)


def test_an_index_at_the_end_is_lost_and_that_is_said(make_video: Make) -> None:
    frames, reason = until_the_end(cut(make_video(), 0.5))
    assert frames == []
    assert "has lost the index at its end" in reason


def test_how_much_is_missing_is_said(make_video: Make) -> None:
    frames, reason = until_the_end(cut(make_video(frames=40, container_options=FRONT), 0.5))
    assert 10 < len(frames) < 30
    assert f"{40 - len(frames) - 1} of 40 frames are missing at its end" in reason
    frames, reason = until_the_end(cut(make_video("a.mkv", frames=40), 0.5))
    assert "it ends at 0." in reason
    assert "of 1.60 s" in reason


def test_a_span_before_the_cut_is_whole(make_video: Make) -> None:
    path = cut(make_video(frames=40, container_options=FRONT), 0.6)
    frames, reason = until_the_end(path, Span(start_s=0.2, end_s=0.4))
    assert len(frames) == 5
    assert reason == ""


def test_the_end_is_missed_after_going_on_in_the_middle(make_video: Make) -> None:
    path = cut(make_video(frames=40, container_options=FRONT), 0.6)
    expected, _ = until_the_end(path)
    with (
        pytest.raises(TruncatedVideo, match="are missing at its end") as caught,
        read_frames(path, first=15, after_s=expected[14].time_s) as reader,
    ):
        for number, frame in enumerate(reader, start=15):
            assert frame.number == number
            assert np.array_equal(frame.image_HW3, expected[number].image_HW3)
    assert caught.value.frames == len(expected)


@pytest.mark.parametrize("name", ["a.mp4", "a.mkv"])
def test_a_hole_in_the_middle_leaves_the_rest(make_video: Make, name: str) -> None:
    path = make_video(name, frames=60, gop=10, options={"crf": "10"})
    whole, _ = until_the_end(path)
    data = bytearray(path.read_bytes())
    middle = len(data) // 2
    data[middle : middle + len(data) // 12] = bytes(len(data) // 12)
    path.write_bytes(bytes(data))
    frames, reason = until_the_end(path)
    assert "damaged" in reason or "truncated" in reason
    assert 40 < len(frames) <= 60
    exact = {frame.time_s: frame.image_HW3 for frame in whole}
    same = [np.array_equal(frame.image_HW3, exact[frame.time_s]) for frame in frames]
    assert all(same[:20])
    assert all(same[-10:])


def test_damage_before_the_span_is_not_its_business(make_video: Make) -> None:
    path = make_video("a.ts", frames=60, options={"crf": "10"})
    data = bytearray(path.read_bytes())
    data[len(data) // 4 : len(data) // 3] = bytes(len(data) // 3 - len(data) // 4)
    path.write_bytes(bytes(data))
    assert until_the_end(path)[1]
    frames, reason = until_the_end(path, Span(start_s=1.6))
    assert reason == ""
    assert len(frames) > 15


def test_a_broadcast_joined_on_its_way_is_no_damage(make_video: Make) -> None:
    """What cannot be shown before the first key frame is passed over in silence."""
    path = make_video("a.ts", frames=60, gop=10)
    data = path.read_bytes()
    packets = len(data) // 188
    path.write_bytes(data[: 188 * 3] + data[188 * (packets // 3) :])
    frames, reason = until_the_end(path)
    assert 20 < len(frames) < 60
    assert reason == ""


def test_a_file_that_fails_for_ever_is_given_up(make_video: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    import av

    from vitruvian.media.video.library import opened_video

    class Failing:
        calls = 0

        def demux(self, stream: object) -> Iterator[object]:
            self.calls += 1
            raise av.FFmpegError(5, "Input/output error")

    with opened_video(make_video()) as video:
        decoding = Decoding(video)
        failing = Failing()
        decoding._container = failing  # type: ignore[assignment]
        assert list(decoding.frames()) == []
    assert decoding.gave_up
    assert decoding.damaged == 1
    assert decoding.words == "Input/output error"
    assert failing.calls == 100
