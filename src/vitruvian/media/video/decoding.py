"""Decoded frames of one stream in the order shown; what is damaged is left out, counted, and does not end the reading.

In: an open stream. Out: PyAV's frames. Memory: the codec's own frames. Decoding dominates: one core gives some 80 to
300 frames a second of 1920x1080 H.264.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from vitruvian.media.video.library import Opened, pyav, words_of

if TYPE_CHECKING:
    from av.packet import Packet
    from av.video.frame import VideoFrame
    from av.video.stream import VideoStream

_MOST_ERRORS = 100
"""Failed reads in a row after which the rest of a file is given up."""


class Decoding:
    """One pass over a stream, from where its container stands."""

    def __init__(self, video: Opened) -> None:
        self._container = video.container
        self._stream: VideoStream = video.stream
        self._errors = pyav().FFmpegError
        # In a transport stream the mark tells of a gap near a packet that may itself be whole; elsewhere the file ends
        # within it.
        self._cut_short = video.container.format.name != "mpegts"
        self._lost = 0
        self._gaps = self._joints = 0
        self.words = ""
        """What FFmpeg said about the last one that it could not decode."""
        self.gave_up = False
        """Whether the container failed so often that its rest was not tried."""
        self.packets = 0
        """Packets met, damaged ones included."""
        self.last_dts: int | None = None
        """Decoding time of the last packet met."""
        self.end_pts: int | None = None
        """Where the latest of the whole packets ends."""

    @property
    def damaged(self) -> int:
        """Packets and frames that were left out, and gaps; where one stream was put behind another, none is missing."""
        return self._lost + max(0, self._gaps - self._joints)

    def frames(self, ahead: Packet[VideoStream] | None = None) -> Iterator[VideoFrame]:
        """Frames from here to the end; `ahead` is a packet already taken from the container.

        Frames that are damaged are left out, except that those at the very start are not counted: a recording that
        begins in the middle of a broadcast has some.
        """
        clean = False
        for packet in self._packets(ahead):
            for frame in self._decoded(packet):
                if not frame.is_corrupt:
                    clean = True
                    yield frame
                elif clean:
                    self._lost += 1

    def forget(self) -> None:
        """Count damage from here on: what lies before the wanted part is of no interest."""
        self._lost = self._gaps = self._joints = 0

    def _packets(self, ahead: Packet[VideoStream] | None) -> Iterator[Packet[VideoStream] | None]:
        """Whole packets, then None: the codec gives what it holds back."""
        if ahead is not None:
            self._note(ahead)
            yield ahead
        failed = 0
        while failed < _MOST_ERRORS:
            try:
                for packet in self._container.demux(self._stream):
                    self.packets += packet.pts is not None or packet.size > 0
                    # An empty packet would tell the codec that the stream is over.
                    if packet.size:
                        failed = 0
                        self._note(packet)
                        if not (packet.is_corrupt and self._cut_short):
                            yield packet
                break
            except self._errors as error:
                # The demuxer stands behind what it could not read; a new pass goes on from there.
                failed += 1
                self._lost += failed == 1
                self.words = words_of(error)
        self.gave_up = failed >= _MOST_ERRORS
        yield None

    def _note(self, packet: Packet[VideoStream]) -> None:
        if packet.is_corrupt:
            self._lost += self._cut_short
            self._gaps += not self._cut_short
        elif packet.pts is not None:
            end_pts = packet.pts + (packet.duration or 0)
            self.end_pts = end_pts if self.end_pts is None else max(self.end_pts, end_pts)
        if packet.dts is not None:
            self._joints += self.last_dts is not None and packet.dts < self.last_dts
            self.last_dts = packet.dts

    def _decoded(self, packet: Packet[VideoStream] | None) -> list[VideoFrame]:
        try:
            return self._stream.decode(packet)
        except self._errors as error:
            self._lost += 1
            self.words = words_of(error)
            return []


def go_to_key(video: Opened, target_pts: int) -> Packet[VideoStream] | None:
    """Move to a key frame that is shown at or before `target_pts`.

    Returns:
        Its packet, to be decoded first; None where the container leads to none such.
    """
    container, stream = video.container, video.stream
    wanted = target_pts
    for _ in range(4):
        try:
            container.seek(wanted, stream=stream, backward=True)
            packet = next((packet for packet in container.demux(stream) if packet.size), None)
        except pyav().FFmpegError:
            return None
        if packet is None or packet.pts is None or packet.is_corrupt:
            return None
        if packet.is_keyframe and packet.pts <= target_pts:
            return packet
        # Containers index by decoding time, so the key frame may be shown later than what was looked for.
        wanted = (packet.pts if packet.dts is None else min(packet.pts, packet.dts)) - 1
    return None
