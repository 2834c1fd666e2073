"""Where the frames of a video come from: a file, numbered pictures; `cameras` has the third.

In: an entry and what is wanted of it. Out: items for the road, in order, and what there is to say about them.
"""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from vitruvian.media.access import said_plainly
from vitruvian.media.items import Entry, Failure, Item
from vitruvian.media.video.reading import FrameReader, read_frames
from vitruvian.media.video.sequences import SequenceReader, read_sequence, sequence_stamp
from vitruvian.media.video.values import Span, TruncatedVideo, VideoInfo
from vitruvian.stages import prefetched
from vitruvian.videos.wish import VideoWish

AHEAD = 4
"""Decoded frames that wait for the road."""


class Stream(Protocol):
    """Frames in order."""

    name: str
    """The input's name; results are called after it."""
    info: VideoInfo
    ahead: int | None
    """Frames that may be on their way through each step of the road; None: as many as are fast."""
    sound: Path | None
    """The file whose sound belongs to the frames."""
    notes: tuple[str, ...]
    """What a user may not expect of the frames; complete at the end."""
    ended_early: str | None
    """Why there are fewer frames than there should be; known at the end."""

    @property
    def frames_expected(self) -> int | None:
        """About how many frames there will be; None where nobody can tell."""

    @property
    def frame_rate(self) -> float:
        """Frames per second of the video, before a stride."""

    def items(self, first: int, after_s: float | None) -> Iterator[Item | Failure]:
        """The frames from number `first` on; `after_s` is the time of the one before."""

    def ready(self, number: int) -> None:
        """Hear that the results of a frame are there."""

    def live(self) -> dict[str, Any] | None:
        """What is to be said about a camera; None for anything else."""


class FileStream:
    """A video file, or numbered pictures."""

    ahead: int | None = None

    def __init__(self, entry: Entry, wish: VideoWish) -> None:
        """Look into it.

        Raises:
            InputError: it cannot be read at all.
        """
        self.name, self.sound = entry.name, entry.path
        self._entry, self._wish = entry, wish
        self.notes: tuple[str, ...] = ()
        self.ended_early: str | None = None
        with self._opened() as reader:
            self.info = reader.info

    @property
    def frames_expected(self) -> int | None:
        """About how many frames the span selects."""
        return frames_in(self.info, self._wish.span)

    @property
    def frame_rate(self) -> float:
        """As the file says."""
        return float(self.info.frame_rate)

    def items(self, first: int, after_s: float | None) -> Iterator[Item | Failure]:
        """Read by a thread of its own, a few frames ahead."""
        return prefetched(self._read(first, after_s), ahead=AHEAD)

    def ready(self, number: int) -> None:
        """Nobody waits for a file's frames."""

    def live(self) -> dict[str, Any] | None:
        """Not a camera."""
        return None

    def _opened(self, first: int = 0, after_s: float | None = None) -> FrameReader | SequenceReader:
        entry, wish = self._entry, self._wish
        if entry.sequence is not None:
            return read_sequence(entry.sequence, Fraction(wish.frame_rate), wish.span, name=entry.name, first=first)
        assert entry.path is not None
        return read_frames(entry.path, wish.span, name=entry.name, first=first, after_s=after_s)

    def _read(self, first: int, after_s: float | None) -> Iterator[Item | Failure]:
        with self._opened(first, after_s) as reader:
            try:
                for frame in reader:
                    if isinstance(frame, Failure):
                        yield frame
                    else:
                        yield as_item(self.name, frame.number, frame.time_s, frame.image_HW3)
            except TruncatedVideo as end:
                self.ended_early = end.reason
            self.notes = reader.notes


def stamp_of(entry: Entry) -> tuple[int, int]:
    """Size in bytes and time in ns of a file, or of numbered pictures together: what tells a changed input.

    Raises:
        InputError: it is not there any more.
    """
    if entry.sequence is not None:
        return sequence_stamp(entry.sequence)
    assert entry.path is not None
    with said_plainly():
        status = entry.path.stat()
    return status.st_size, status.st_mtime_ns


def as_item(name: str, number: int, time_s: float, image_HW3: np.ndarray) -> Item:
    """Frame `number` of the video `name` as the road takes pictures."""
    return Item(
        name=name,
        index=number,
        time_s=time_s,
        stream=name,
        image_HW3=image_HW3,
        size_bytes=image_HW3.nbytes,
        modified_ns=0,
        notes=(),
    )


def frames_in(info: VideoInfo, span: Span) -> int | None:
    """About how many frames a span selects; None where the file does not tell."""
    if info.frames_estimate is None:
        return None
    rate = float(info.frame_rate)
    end = info.frames_estimate if span.end_s is None else min(info.frames_estimate, round(span.end_s * rate))
    return max(0, -(-(end - round(span.start_s * rate)) // span.stride))
