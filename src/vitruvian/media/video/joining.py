"""One MP4 of a drawn video's segments and the source's sound; nothing is encoded again but sound that MP4 cannot hold.

In: whole segments, the source, the span. Out: a file that is whole or absent, its index at the front, every frame at
its own time. Copying dominates: as fast as the disk. Memory: a few packets.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

from vitruvian.errors import InputError, UsageError
from vitruvian.media.atomic import replacing
from vitruvian.media.names import shown
from vitruvian.media.video.library import opened_audio, pyav, words_of
from vitruvian.media.video.probing import examine
from vitruvian.media.video.sound import Sound
from vitruvian.media.video.timing import TICK_S
from vitruvian.media.video.values import Span
from vitruvian.media.video.writing import Segment, mark_colours

_ONLY_FRAME_S = Fraction(1, 25)
"""How long a video of a single frame shows it."""

# The index goes to the front, so that a browser can begin before it has the whole file; the file's own clock is as fine
# as the frames', so that sound that begins later does so to the sample.
_MP4_OPTIONS = {"movflags": "faststart", "movie_timescale": str(TICK_S.denominator)}


@dataclass(frozen=True, kw_only=True, slots=True)
class Joined:
    """What was written."""

    frames: int
    duration_s: float
    """From the first frame to the end of the last."""
    notes: tuple[str, ...]
    """What a user may not expect, one line each."""


def joined(
    segments: Sequence[Segment], target: Path, *, audio_from: Path | None = None, span: Span | None = None
) -> Joined:
    """Put the segments of one video together as an MP4, its first frame at 0 s.

    Args:
        segments: whole ones, in order, as `SegmentWriter.finish` gives them.
        target: the video to write; an older one is replaced when the new one is whole.
        audio_from: the source whose sound is to be heard; its times are those of the frames.
        span: the part of the source that was drawn: the sound is cut to its end.

    Raises:
        DoesNotFitError, UsageError: the disk is full, the folder cannot be written to, a segment is not as it was left.
    """
    if not segments:
        raise UsageError("got a video without a frame; expected at least one; choose a span that holds some")
    with replacing(target) as temporary:
        try:
            return _write(segments, temporary, audio_from, span or Span())
        except pyav().FFmpegError as error:
            if isinstance(error, OSError):
                raise
            raise UsageError(
                f"the segments of {shown(target)} cannot be put together ({words_of(error)}); run again with "
                "--overwrite"
            ) from None


def _write(segments: Sequence[Segment], path: Path, audio_from: Path | None, span: Span) -> Joined:
    notes: tuple[str, ...] = ()
    with ExitStack() as stack:
        output = stack.enter_context(
            pyav().open(f"file:{path.absolute()}", "w", format="mp4", container_options=_MP4_OPTIONS)
        )
        first = stack.enter_context(_opened(segments[0]))
        stream = output.add_stream_from_template(first.streams.video[0], opaque=True)
        stream.time_base = TICK_S
        # MPEG-4 does not say which colours it means; the file does, then.
        mark_colours(stream.codec_context)
        video = _Video(segments, stream, _first_tick(first, segments[0]))
        sources = [video.packets()]
        sound = None
        if audio_from is not None:
            sound, refused = _sound(stack, audio_from, video.start_s, span)
            notes = (refused,) if refused else ()
        if sound is not None:
            sources.append(sound.packets(output))
        for _, packet in heapq.merge(*sources, key=lambda timed: timed[0]):
            output.mux_one(packet)
        if sound is not None:
            notes = sound.notes
    return Joined(frames=video.frames, duration_s=float(video.end_s), notes=notes)


def _sound(stack: ExitStack, path: Path, first_frame_s: Fraction, span: Span) -> tuple[Sound | None, str]:
    """The sound of a source from its first drawn frame on, and why there is none."""
    try:
        facts = examine(path, path.name)
        source = stack.enter_context(opened_audio(path))
    except InputError as error:
        return None, f"without sound: the source {error}"
    if source is None:
        return None, ""
    end_s = None if span.end_s is None else facts.start_s + Fraction(span.end_s)
    return Sound(source, start_s=facts.start_s + first_frame_s, end_s=end_s), ""


def _opened(segment: Segment) -> Any:
    """A segment's container. The header says all that is needed, so no more than a frame is decoded to look for it."""
    options = {"probesize": "32", "analyzeduration": "0"}
    return pyav().open(f"file:{segment.path.absolute()}", format="nut", options=options)


def _first_tick(container: Any, segment: Segment) -> int:
    """Time of a segment's first frame."""
    packet = next((packet for packet in container.demux(video=0) if packet.size), None)
    if packet is None:
        raise _changed(segment, 0)
    return _ticks(packet)


def _changed(segment: Segment, count: int) -> UsageError:
    return UsageError(
        f"got the segment {shown(segment.path)} with {count} frames; expected {segment.count}; another program changed "
        "it; run again with --overwrite"
    )


def _ticks(packet: Any) -> int:
    """A packet's time in units of 1/90000 s."""
    return round(packet.pts * packet.time_base / TICK_S)


class _Video:
    """The frames of all segments as packets of the output."""

    def __init__(self, segments: Sequence[Segment], stream: Any, start_tick: int) -> None:
        self._segments, self._stream = segments, stream
        self._start_tick = start_tick
        self.start_s = start_tick * TICK_S
        """Time of the first frame in the source."""
        self.frames = 0
        self.end_s = Fraction(0)
        """Where the last frame ends, from the first one on; grows while packets are given."""

    def packets(self) -> Iterator[tuple[Fraction, Any]]:
        """Packets with their times in seconds; each lasts until the next, the last as long as the one before it."""
        waiting = None
        length = round(_ONLY_FRAME_S / TICK_S)
        for packet in self._all():
            if waiting is not None:
                length = packet.pts - waiting.pts
                yield self._given(waiting, length)
            waiting = packet
        if waiting is not None:
            yield self._given(waiting, length)

    def _given(self, packet: Any, length: int) -> tuple[Fraction, Any]:
        packet.duration = length
        self.frames += 1
        self.end_s = (packet.pts + length) * TICK_S
        return packet.pts * TICK_S, packet

    def _all(self) -> Iterator[Any]:
        for segment in self._segments:
            count = 0
            for packet in self._segment(segment):
                packet.stream = self._stream
                packet.time_base = TICK_S
                packet.pts -= self._start_tick
                packet.dts = packet.pts
                count += 1
                yield packet
            if count != segment.count:
                raise _changed(segment, count)

    def _segment(self, segment: Segment) -> Iterator[Any]:
        """Packets with times in ticks."""
        with _opened(segment) as container:
            stream = container.streams.video[0]
            self._check_same(stream, segment)
            for packet in container.demux(stream):
                if packet.size:
                    packet.pts = _ticks(packet)
                    yield packet

    def _check_same(self, stream: Any, segment: Segment) -> None:
        """One MP4 has one description of its frames."""
        got, expected = stream.codec_context, self._stream.codec_context
        if (got.name, got.width, got.height, got.extradata) != (
            expected.name,
            expected.width,
            expected.height,
            expected.extradata,
        ):
            raise UsageError(
                f"got the segment {shown(segment.path)}, which was encoded otherwise than the first one; expected one "
                "encoder and one size for the whole video; run again with --overwrite"
            )
