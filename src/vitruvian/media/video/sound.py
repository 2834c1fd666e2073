"""The sound of a source for the drawn video: copied where MP4 can hold it, otherwise encoded as AAC.

In: an open source and the part wanted. Out: packets for an MP4 in order of time. Copied packets are cut to whole ones
(some 20 ms), encoded sound to the sample. Memory: one packet or one decoded piece.
"""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from itertools import chain
from typing import Any

import numpy as np

from vitruvian.media.video.library import Opened, pyav, words_of

COPIED_CODECS = frozenset({"aac", "mp3", "mp3float", "ac3", "eac3", "opus", "libopus", "alac", "flac"})
"""FFmpeg's names of decoders whose sound MP4 holds as it is and common players take."""

# MPEG-4 AAC's sampling rates and channel layouts.
_RATES = (96000, 88200, 64000, 48000, 44100, 32000, 24000, 22050, 16000, 12000, 11025, 8000)
_LAYOUTS = frozenset({"mono", "stereo", "3.0", "4.0", "5.0", "5.1", "7.1"})
_USUAL_RATE = 48_000
_BITS_PER_CHANNEL = 80_000


class Sound:
    """The sound between two moments of a source, as a stream of an output."""

    def __init__(self, source: Opened, *, start_s: Fraction, end_s: Fraction | None) -> None:
        """`start_s`, `end_s`: on the source's own clock; what is at `start_s` comes to lie at 0."""
        self._source = source
        self._start_s, self._end_s = start_s, end_s
        self._errors = pyav().FFmpegError
        self._stream: Any = None
        self._damaged = ""
        self._notes: list[str] = []

    @property
    def notes(self) -> tuple[str, ...]:
        """What a user may not expect of the sound."""
        damaged = (f"parts of the sound are damaged and left out ({self._damaged})",) if self._damaged else ()
        return (*self._notes, *damaged)

    def packets(self, output: Any) -> Iterator[tuple[Fraction, Any]]:
        """Add a stream to `output`; give its packets and their times in seconds. None at all leaves no stream.

        The stream stands when this returns, so that the output's header can be written.
        """
        codec = self._source.stream.codec_context
        if codec is None:
            self._notes.append("the sound is of a kind that cannot be decoded here; it is left out")
            return iter(())
        copied = codec.name in COPIED_CODECS
        pieces = self._whole_packets() if copied else self._decoded()
        head = next(pieces, None)
        if head is None:
            self._notes.append("the source has no sound in this part")
            return iter(())
        pieces = chain([head], pieces)
        if copied:
            self._stream = output.add_stream_from_template(self._source.stream, opaque=True)
            self._stream.time_base = self._sample_s()
            return self._copied(pieces)
        self._stream = self._aac_stream(output)
        return self._encoded(pieces)

    def _whole_packets(self) -> Iterator[Any]:
        """Packets that overlap the wanted part and the one before them, moved to its start.

        What comes to lie before 0 is decoded and not heard: codecs need a packet before the first that is right.
        """
        stream = self._source.stream
        unit_s, sample_s = Fraction(stream.time_base), self._sample_s()
        try:
            for packet in self._source.container.demux(stream):
                if packet.pts is None or not packet.size or packet.is_corrupt:
                    continue
                begin_s, length_s = packet.pts * unit_s, (packet.duration or 0) * unit_s
                if self._end_s is not None and begin_s >= self._end_s:
                    return
                if begin_s + 2 * length_s > self._start_s:
                    # Counted in samples: a container's own unit may be as long as a packet.
                    packet.pts = packet.dts = round((begin_s - self._start_s) / sample_s)
                    packet.duration = round(length_s / sample_s)
                    packet.time_base = sample_s
                    yield packet
        except self._errors as error:
            self._damaged = words_of(error)

    def _copied(self, packets: Iterator[Any]) -> Iterator[tuple[Fraction, Any]]:
        last = None
        for packet in packets:
            if last is not None and packet.dts <= last:
                continue  # Times that run backwards cannot be stored.
            last = packet.dts
            packet.stream = self._stream
            packet.time_base = self._sample_s()
            yield packet.pts * self._sample_s(), packet

    def _sample_s(self) -> Fraction:
        """Seconds a sample; of a usual rate where the stream does not say."""
        return Fraction(1, self._source.stream.codec_context.sample_rate or _USUAL_RATE)

    def _decoded(self) -> Iterator[Any]:
        """Decoded pieces that overlap the wanted part, moved to its start."""
        stream = self._source.stream
        unit_s = Fraction(stream.time_base)
        for frame in self._frames():
            if frame.pts is None:
                continue
            begin = round((frame.pts * unit_s - self._start_s) * frame.sample_rate)
            end = None if self._end_s is None else round((self._end_s - self._start_s) * frame.sample_rate)
            if end is not None and begin >= end:
                return
            if begin + frame.samples > 0:
                yield _cut(frame, begin, end)

    def _frames(self) -> Iterator[Any]:
        stream = self._source.stream
        try:
            for packet in self._source.container.demux(stream):
                if not packet.size:
                    continue
                try:
                    yield from stream.decode(packet)
                except self._errors as error:
                    self._damaged = words_of(error)
            yield from stream.decode(None)
        except self._errors as error:
            self._damaged = words_of(error)

    def _aac_stream(self, output: Any) -> Any:
        codec = self._source.stream.codec_context
        layout = codec.layout.name if codec.layout.name in _LAYOUTS else "stereo"
        rate = codec.sample_rate if codec.sample_rate in _RATES else _USUAL_RATE
        stream = output.add_stream("aac", rate=rate)
        stream.codec_context.layout = layout
        stream.codec_context.bit_rate = _BITS_PER_CHANNEL * stream.codec_context.layout.nb_channels
        stream.codec_context.time_base = Fraction(1, rate)
        self._notes.append(f"the sound ({codec.name}) is encoded as AAC: MP4 does not hold it")
        return stream

    def _encoded(self, frames: Iterator[Any]) -> Iterator[tuple[Fraction, Any]]:
        for frame in chain(frames, [None]):
            for packet in self._stream.encode(frame):
                yield packet.pts * Fraction(packet.time_base), packet


def _cut(frame: Any, begin: int, end: int | None) -> Any:
    """The samples of a piece that begins at sample `begin` which lie from 0 up to `end`."""
    skipped = max(0, -begin)
    kept = frame.samples - skipped if end is None else min(frame.samples, end - begin) - skipped
    cut = frame
    if kept < frame.samples:
        step = 1 if frame.format.is_planar else frame.layout.nb_channels
        samples = frame.to_ndarray()[:, skipped * step : (skipped + kept) * step]
        cut = pyav().AudioFrame.from_ndarray(np.ascontiguousarray(samples), frame.format.name, frame.layout.name)
        cut.sample_rate = frame.sample_rate
    cut.pts, cut.time_base = begin + skipped, Fraction(1, frame.sample_rate)
    return cut
