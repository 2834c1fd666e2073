"""The drawn video sounds as its source did, at the same moments."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from vitruvian.media.video.joining import Joined, joined
from vitruvian.media.video.reading import Span, read_frames
from vitruvian.media.video.writing import SegmentWriter

av: Any = pytest.importorskip("av")
Make = Callable[..., Path]

SAME_S = 0.003
"""The click's place after coding; it lasts 10 ms."""


def drawn(path: Path, span: Span | None = None) -> tuple[Path, Joined]:
    """Copy a video's frames as a drawing would, with its sound."""
    target = path.with_name("out.mp4")
    with read_frames(path, span) as reader, SegmentWriter(path.with_name("work"), frames_per_segment=16) as writer:
        for frame in reader:
            writer.write(frame.image_HW3, frame.time_s)
        return target, joined(writer.finish(), target, audio_from=path, span=span)


def heard(path: Path) -> tuple[str, float | None, float]:
    """Codec, moment of the click in seconds (None: silence), and end of the sound, as a player has them."""
    with av.open(str(path)) as container:
        stream = container.streams.audio[0]
        click_s, end_s = None, 0.0
        for frame in container.decode(stream):
            samples = frame.to_ndarray().astype(np.float64)
            # Packed samples of two channels lie side by side.
            mono = samples[0] if frame.format.is_planar else samples[0, ::2]
            full = 32768 if samples.max() > 4 else 1
            loud = np.flatnonzero(np.abs(mono) > 0.3 * full)
            start_s = float(frame.pts * frame.time_base)
            if len(loud) and click_s is None:
                click_s = start_s + loud[0] / frame.sample_rate
            end_s = start_s + frame.samples / frame.sample_rate
        return stream.codec_context.name, click_s, end_s


CODECS = {
    "aac in mp4": ("a.mp4", "aac", "aac"),
    "aac in mkv": ("a.mkv", "aac", "aac"),
    "aac in ts": ("a.ts", "aac", "aac"),
    "mp3": ("a.mkv", "libmp3lame", "mp3float"),
    "ac3": ("a.avi", "ac3", "ac3"),
    "opus": ("a.mkv", "libopus", "opus"),
    "flac": ("a.mkv", "flac", "flac"),
    "pcm in mov": ("a.mov", "pcm_s16le", "aac"),
    "pcm in mkv": ("a.mkv", "pcm_s16le", "aac"),
    "pcm in avi": ("a.avi", "pcm_s16le", "aac"),
    "mp2": ("a.mkv", "mp2", "aac"),
}


@pytest.mark.parametrize("span", [None, Span(start_s=0.4, end_s=1.0), Span(start_s=0.41, stride=3)], ids=str)
@pytest.mark.parametrize("kind", CODECS)
def test_sound_stays_at_its_moment(make_video: Make, kind: str, span: Span | None) -> None:
    name, encoder, expected = CODECS[kind]
    path = make_video(name, frames=40, sound=encoder, click_s=0.7)
    target, done = drawn(path, span)
    with read_frames(path, span) as reader:
        first_s = next(reader).time_s
    codec, click_s, end_s = heard(target)
    assert codec == expected
    copied = not any("encoded as AAC" in note for note in done.notes)
    assert copied == ("pcm" not in kind and kind != "mp2")
    assert click_s is not None
    _, source_click_s, _ = heard(path)
    assert source_click_s is not None
    assert click_s == pytest.approx(source_click_s - first_s - source_start_s(path), abs=SAME_S)
    assert end_s == pytest.approx((1.0 if span and span.end_s else 1.6) - first_s, abs=0.06)


def source_start_s(path: Path) -> float:
    """The video's first moment on its file's clock: transport streams begin late, others at 0."""
    with av.open(str(path)) as container:
        frame = next(container.decode(video=0))
        return 0.0 if container.format.name == "avi" else float(frame.pts * frame.time_base)


def test_long_pieces_are_cut_to_the_span(make_video: Make) -> None:
    source = make_video("a.mkv", frames=50)
    path = source.with_name("b.mkv")
    with av.open(str(source)) as container, av.open(str(path), "w") as output:
        video = output.add_stream_from_template(container.streams.video[0], opaque=True)
        audio = output.add_stream("pcm_s16le", rate=8000)
        for packet in container.demux(video=0):
            if packet.size:
                packet.stream = video
                output.mux(packet)
        samples = np.zeros((1, 2 * 16_000), np.int16)
        samples[:, 2 * 8000 : 2 * 8080] = 26_000
        frame = av.AudioFrame.from_ndarray(samples, format="s16", layout="stereo")
        frame.sample_rate, frame.pts, frame.time_base = 8000, 0, Fraction(1, 8000)
        output.mux(audio.encode(frame))
        output.mux(audio.encode())
    target, _ = drawn(path, Span(start_s=0.4, end_s=1.2))
    _, click_s, end_s = heard(target)
    assert click_s == pytest.approx(0.6, abs=SAME_S)
    assert end_s == pytest.approx(0.8, abs=2 * 1024 / 8000)


def test_copied_sound_is_the_same_bytes(make_video: Make) -> None:
    path = make_video(sound="aac")
    target, done = drawn(path)
    packets = []
    for one in (path, target):
        with av.open(str(one)) as container:
            packets.append([bytes(packet) for packet in container.demux(audio=0) if packet.size])
    assert packets[0] == packets[1]
    assert done.notes == ()


def test_a_silent_source_gives_a_silent_video(make_video: Make) -> None:
    target, done = drawn(make_video())
    with av.open(str(target)) as container:
        assert len(container.streams.audio) == 0
    assert done.notes == ()


def test_a_part_without_sound_is_said(make_video: Make) -> None:
    path = make_video("a.mkv", frames=40, sound="aac")
    short = path.with_name("b.mkv")
    with av.open(str(path)) as container, av.open(str(short), "w") as output:
        streams = {
            stream.index: output.add_stream_from_template(stream, opaque=True)
            for stream in (container.streams.video[0], container.streams.audio[0])
        }
        for packet in container.demux():
            late = packet.stream.type == "audio" and (packet.pts or 0) * packet.time_base > 0.5
            if packet.size and not late:
                packet.stream = streams[packet.stream.index]
                output.mux(packet)
    target, done = drawn(short, Span(start_s=0.8))
    assert done.notes == ("the source has no sound in this part",)
    with av.open(str(target)) as container:
        assert len(container.streams.audio) == 0
    shutil.rmtree(path.with_name("work"))


def test_a_source_that_vanished_leaves_a_silent_video(make_video: Make) -> None:
    path = make_video(sound="aac")
    with read_frames(path) as reader, SegmentWriter(path.with_name("work")) as writer:
        for frame in reader:
            writer.write(frame.image_HW3, frame.time_s)
        segments = writer.finish()
    path.unlink()
    done = joined(segments, path.with_name("out.mp4"), audio_from=path)
    assert done.notes == ("without sound: the source vanished after it was listed",)


@pytest.mark.parametrize("name", ["a.mkv", "a.ts"])
@pytest.mark.parametrize("encoder", ["aac", "mp2"])
def test_damaged_sound_does_not_end_the_video(make_video: Make, name: str, encoder: str) -> None:
    path = make_video(name, frames=60, sound=encoder, click_s=2.0)
    whole = path.with_name("whole" + path.suffix)
    whole.write_bytes(path.read_bytes())
    data = bytearray(path.read_bytes())
    data[len(data) // 2 : len(data) // 2 + len(data) // 30] = bytes(len(data) // 30)
    path.write_bytes(bytes(data))
    with read_frames(whole) as reader, SegmentWriter(path.with_name("work")) as writer:
        for frame in reader:
            writer.write(frame.image_HW3, frame.time_s)
        segments = writer.finish()
    done = joined(segments, path.with_name("out.mp4"), audio_from=path)
    assert done.frames == 60
    assert heard(path.with_name("out.mp4"))[2] > 2.0


@pytest.mark.parametrize(("layout", "rate"), [("mono", 8000), ("5.1", 48_000), ("quad", 44_100), ("stereo", 192_000)])
def test_unusual_sound_is_encoded(make_video: Make, layout: str, rate: int) -> None:
    source = make_video("a.mkv")
    path = source.with_name("b.mkv")
    channels = av.AudioLayout(layout).nb_channels
    with av.open(str(source)) as container, av.open(str(path), "w") as output:
        video = output.add_stream_from_template(container.streams.video[0], opaque=True)
        audio = output.add_stream("pcm_s16le", rate=rate)
        audio.codec_context.layout = layout
        for packet in container.demux(video=0):
            if packet.size:
                packet.stream = video
                output.mux(packet)
        for number in range(10):
            samples = np.full((1, channels * rate // 10), 1000, np.int16)
            frame = av.AudioFrame.from_ndarray(samples, format="s16", layout=layout)
            frame.sample_rate, frame.pts, frame.time_base = rate, number * rate // 10, Fraction(1, rate)
            output.mux(audio.encode(frame))
        output.mux(audio.encode())
    target, done = drawn(path)
    assert "encoded as AAC" in done.notes[0]
    codec, _, end_s = heard(target)
    assert codec == "aac"
    assert end_s == pytest.approx(1.0, abs=0.06)
