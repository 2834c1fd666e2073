"""Frames of a video file: any span, upright RGB, with times; resumable, and honest about a file that ends early.

In: a path and a span. Out: frames, one by one. Memory: the codec's own frames and the one handed out. Decoding
dominates; frames outside the span are decoded but not converted, and where the container has an index, decoding begins
at the key frame before the first wanted frame.
"""

# Shape suffixes: H W picture size, 3 = RGB.

from __future__ import annotations

from collections.abc import Generator, Iterator
from fractions import Fraction
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING

from vitruvian.errors import InputError, UsageError
from vitruvian.media.closing import ClosingIterator
from vitruvian.media.video.decoding import Decoding, go_to_key
from vitruvian.media.video.library import Opened, opened_video
from vitruvian.media.video.pixels import UprightRgb
from vitruvian.media.video.probing import Facts, examine, probe_video, stated_duration_s
from vitruvian.media.video.recognition import VIDEO_EXTENSIONS, is_video
from vitruvian.media.video.timing import FrameTimes
from vitruvian.media.video.values import Frame, Span, TruncatedVideo, VideoInfo

if TYPE_CHECKING:
    from av.video.frame import VideoFrame

__all__ = [
    "VIDEO_EXTENSIONS",
    "Frame",
    "FrameReader",
    "Span",
    "TruncatedVideo",
    "VideoInfo",
    "is_video",
    "probe_video",
    "read_frames",
]

_SAME_S = 1e-6
"""Times that differ by less are one: a border typed as 0.1 s, a time that was written to a file and read back."""

_Timed = tuple[float, "VideoFrame"]


def read_frames(
    path: Path,
    span: Span | None = None,
    *,
    name: str | None = None,
    first: int = 0,
    after_s: float | None = None,
    threads: int = 1,
) -> FrameReader:
    """Read the frames of a video file that `span` selects, from number `first` on.

    Args:
        path: a local video file; addresses, playlists and lists of files are refused.
        span: the wanted part; all of it by default.
        name: what messages and results call it; the file's own name by default.
        first: number of the frame to begin with. The frames are the same as those of a reading from the start; only
            what a decoder makes up for damaged parts may look different.
        after_s: `time_s` of frame `first - 1`, if known: decoding then begins near it instead of at the start of the
            span. It is checked: where the file has no frame of that time, the reading begins at the start after all.
        threads: of the decoder; more hold more frames in memory.

    Raises:
        InputError: not a readable video; later, from the iterator: the span selects nothing.
        TruncatedVideo: from the iterator, after all that could be read.
        UsageError: `first` or `threads` out of range; PyAV is missing.
    """
    if first < 0 or threads < 1:
        raise UsageError(f"got first={first} and threads={threads}; expected a frame number from 0 and 1 or more")
    facts = examine(path, path.name if name is None else name)
    return FrameReader(path, facts, span or Span(), first=first, after_s=after_s if first else None, threads=threads)


class FrameReader(ClosingIterator[Frame]):
    """The frames of one file; made by `read_frames`. Close it, or use it in a `with`, when not read to its end."""

    info: VideoInfo
    """What the file holds."""

    def __init__(
        self, path: Path, facts: Facts, span: Span, *, first: int, after_s: float | None, threads: int
    ) -> None:
        self.info = facts.info
        self._path, self._facts, self._span = path, facts, span
        self._first, self._after_s, self._threads = first, after_s, threads
        self._times = self._new_times()
        self._rgb = UprightRgb(width=facts.stored_width, height=facts.stored_height, turn=facts.turn)
        self._elements = self._read()

    @property
    def notes(self) -> tuple[str, ...]:
        """What was done to the frames so far that a user may not expect, `info.notes` included."""
        resized = self._rgb.resized
        scaled = (f"{resized} frames of another size were scaled to that of the first",) if resized else ()
        return (*self.info.notes, *self._times.notes(), *scaled)

    def _new_times(self) -> FrameTimes:
        facts = self._facts
        return FrameTimes(time_base=facts.time_base, start_pts=facts.start_pts, step_s=facts.step_s)

    def _read(self) -> Generator[Frame, None, None]:
        goal_s = self._span.start_s if self._after_s is None else self._after_s
        if self._facts.seekable and goal_s > 0:
            with opened_video(self._path, threads=self._threads) as video:
                decoding = Decoding(video)
                sought = self._sought(video, decoding, goal_s)
                if sought is not None:
                    yield from self._selected(video, decoding, sought, resumed=self._after_s is not None)
                    return
        self._times = self._new_times()
        with opened_video(self._path, threads=self._threads) as video:
            decoding = Decoding(video)
            timed = ((self._times.of(frame.pts), frame) for frame in decoding.frames())
            yield from self._selected(video, decoding, timed, resumed=False)

    def _sought(self, video: Opened, decoding: Decoding, goal_s: float) -> Iterator[_Timed] | None:
        """Frames from a key frame at or before `goal_s` on, after `after_s` where that is given.

        None where the landing is not proven: the key frame must come out of the decoder as such and in its place (what
        it shows from then on does not depend on what came before), and the frame of time `after_s` must come by.
        """
        facts = self._facts
        assert facts.start_pts is not None
        # A frame just before the border may count as at it.
        before_s = max(Fraction(0), Fraction(goal_s) - Fraction(_SAME_S))
        key = go_to_key(video, facts.start_pts + int(before_s / facts.time_base))
        if key is None or key.pts is None or key.pts < facts.start_pts:
            return None
        frames = decoding.frames(key)
        landed = next((frame for frame in frames if frame.pts is None or frame.pts >= key.pts), None)
        if landed is None or landed.pts != key.pts or not landed.key_frame:
            return None
        timed = ((self._times.of(frame.pts), frame) for frame in chain([landed], frames))
        if self._after_s is None:
            return timed
        for time_s, _ in timed:
            if abs(time_s - self._after_s) <= _SAME_S:
                return timed
            if time_s > self._after_s:
                break
        return None

    def _selected(
        self, video: Opened, decoding: Decoding, timed: Iterator[_Timed], *, resumed: bool
    ) -> Iterator[Frame]:
        """Number, choose and convert; `resumed`: the next frame in `timed` follows frame number `first - 1`."""
        span = self._span
        number = self._first if resumed else 0
        # Frames still to pass over before the next wanted one.
        wait = span.stride - 1 if resumed else 0
        begun = resumed
        last_s = 0.0
        if resumed:
            decoding.forget()
        for time_s, frame in timed:
            if not begun and time_s < span.start_s - _SAME_S:
                last_s = time_s
                continue
            if span.end_s is not None and time_s >= span.end_s - _SAME_S:
                self._say_end(video, decoding, number, whole=False)
                return
            if not begun:
                begun = True
                decoding.forget()
            if wait:
                wait -= 1
                continue
            wait = span.stride - 1
            if number >= self._first:
                yield Frame(number=number, time_s=time_s, image_HW3=self._rgb.convert(frame))
            number += 1
        self._say_end(video, decoding, number, whole=True)
        if not begun:
            raise InputError(
                f"has no frame at or after {span.start_s:g} s; its last one is at {last_s:g} s; choose an earlier start"
            )

    def _say_end(self, video: Opened, decoding: Decoding, number: int, *, whole: bool) -> None:
        """Raise `TruncatedVideo` if anything of what was passed over could not be read."""
        reasons = []
        missing = _missing(video, decoding, self._facts) if whole else ""
        if missing:
            reasons.append(missing)
        if decoding.damaged:
            words = f" ({decoding.words})" if decoding.words else ""
            reasons.append(f"{decoding.damaged} damaged pieces are left out{words}")
        if decoding.gave_up:
            reasons.append("the rest cannot be read")
        if reasons:
            raise TruncatedVideo(number, "the video is truncated or damaged: " + "; ".join(reasons))


def _missing(video: Opened, decoding: Decoding, facts: Facts) -> str:
    """What the file announced and did not hold, in words; empty where all came or where it announces nothing."""
    name, stream = video.container.format.name, video.stream
    if name.startswith("mov") and decoding.last_dts is not None:
        index = stream.index_entries
        lost = 0
        while lost < len(index) and index[len(index) - 1 - lost].timestamp > decoding.last_dts:
            lost += 1
        return f"{lost} of {len(index)} frames are missing at its end" if lost else ""
    if name == "avi" and decoding.packets < stream.frames:
        return f"{stream.frames - decoding.packets} of {stream.frames} frames are missing at its end"
    stated_s = stated_duration_s(video) if name == "matroska,webm" and "DURATION" in stream.metadata else None
    if stated_s is not None and decoding.end_pts is not None:
        end_s = decoding.end_pts * facts.time_base
        if end_s + facts.step_s * 3 / 2 < stated_s:
            return f"it ends at {float(end_s):.2f} s of {float(stated_s):.2f} s"
    return ""
