"""The frames of a driving video that are used: a range of its frames, thinned to a rate, at their own times.

In: a video and what is wanted. Out: frames one by one, and what tells them from others. Decoding dominates.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vitruvian.errors import InputError, UsageError
from vitruvian.media.video.reading import probe_video, read_frames
from vitruvian.media.video.values import Frame, Span, TruncatedVideo, VideoInfo

_LATE = 1e-3
"""Share of a frame's time by which a frame may miss its turn and still take it: times are rounded in files."""
SLACK = 1.001


@dataclass(frozen=True, kw_only=True)
class DrivingFrames:
    """A part of a video."""

    path: Path
    info: VideoInfo
    first: int
    end: int | None
    """Frame numbers: from, and up to."""
    rate: float
    """Frames a second that are used; the source's where it is not thinned."""
    notes: list[str]
    """What a user may not expect; complete when the frames were read."""

    @classmethod
    def of(cls, path: Path, frames: tuple[int, int | None], fps: float | None, most_fps: float) -> DrivingFrames:
        """Look into a video.

        Args:
            path: of the file.
            frames: numbers, from and up to.
            fps: of the result; None: the source's, divided by whole numbers until it is at most `most_fps`.
            most_fps: see there.

        Raises:
            InputError: not a readable video.
            UsageError: more frames a second than the source has.
        """
        info = probe_video(path, path.name)
        source = float(info.frame_rate)
        if fps is not None and fps > source * SLACK:
            raise UsageError(
                f"got --fps {fps:g} for a video of {source:.4g} frames/s; expected at most as many; frames between are "
                "not made up"
            )
        every = 1
        while source / every > most_fps * SLACK:
            every += 1
        return cls(path=path, info=info, first=frames[0], end=frames[1], rate=fps or source / every, notes=[])

    @property
    def thinned(self) -> bool:
        """Whether frames are left out."""
        return self.rate * SLACK < float(self.info.frame_rate)

    @property
    def key(self) -> list[Any]:
        """What tells these frames from others, JSON-able."""
        status = self.path.stat()
        rate = self.rate if self.thinned else None
        return [self.path.name, status.st_size, status.st_mtime_ns, self.first, self.end, rate]

    def span(self, times_s: tuple[float, ...]) -> Span:
        """The part of the source that is heard: from the first frame to the end of the last."""
        if self.end is None:
            return Span(start_s=times_s[0])
        return Span(start_s=times_s[0], end_s=times_s[-1] + 1 / self.rate)

    def __call__(self) -> Iterator[Frame]:
        """The frames, in order.

        Raises:
            InputError: no frame of the range, or none that can be read.
        """
        due_s: float | None = None
        used = 0
        with read_frames(self.path) as reader:
            try:
                for frame in reader:
                    if frame.number < self.first:
                        continue
                    if self.end is not None and frame.number >= self.end:
                        break
                    if due_s is None:
                        due_s = frame.time_s
                    if self.thinned and frame.time_s < due_s - _LATE / self.rate:
                        continue
                    # A turn that was missed altogether is not made up for.
                    due_s = max(due_s + 1 / self.rate, frame.time_s)
                    used += 1
                    yield frame
            except TruncatedVideo as end:
                self.notes.append(f"{self.path.name} {end.reason}; its first {used} frames are used")
            self.notes.extend(reader.notes)
        if not used:
            until = "" if self.end is None else str(self.end)
            raise InputError(
                f"has no frame in --frames {self.first}:{until}; expected some of about {self.info.frames_estimate}"
            )
