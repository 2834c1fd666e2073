"""Drawn videos in segments, so that a killed run goes on at a frame: every segment is whole or absent.

In: RGB frames with times. Out: files of some hundred frames in a working folder, named by their frames; `joining` makes
one video of them. H.264 without B-frames, so that every frame is stored at its own time; NUT as container, because it
keeps absolute times of 1/90000 s as they are. Encoding dominates: 25 to 60 frames of 1920x1080 a second on one core.
"""

# Shape suffixes: H W picture size, 3 = RGB.

from __future__ import annotations

import re
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np

from vitruvian.errors import InputError, UsageError
from vitruvian.media.atomic import TEMPORARY_PREFIX, TEMPORARY_SUFFIX, explain
from vitruvian.media.closing import Closing
from vitruvian.media.video.library import pyav, words_of
from vitruvian.media.video.timing import TICK_S

FRAMES_PER_SEGMENT = 250
QUALITY_CRF = 20
"""x264's constant rate factor; 18 to 20 is hard to tell from the original."""
PRESET = "veryfast"
KEY_FRAME_EVERY = 60
"""Frames between key frames: players jump to these."""

_FALLBACK_TICK_S = Fraction(1, 60_000)
"""MPEG-4 stores no finer times than 1/65535 s; this one holds the usual rates exactly."""
_FALLBACK_QSCALE = 3
_LAMBDA_PER_QSCALE = 118
_BT709, _LIMITED_RANGE = 1, 1
_NAME = re.compile(r"(\d{9})-(\d{6})\.nut")


@dataclass(frozen=True, kw_only=True, slots=True)
class Segment:
    """A whole piece of a drawn video."""

    path: Path
    first: int
    """Number of its first frame."""
    count: int
    """Its frames."""


def segments_in(folder: Path) -> list[Segment]:
    """The whole segments that follow each other from frame 0 on."""
    found: dict[int, Segment] = {}
    for path in sorted(folder.glob("*.nut")) if folder.is_dir() else []:
        named = _NAME.fullmatch(path.name)
        if named is not None:
            found[int(named[1])] = Segment(path=path, first=int(named[1]), count=int(named[2]))
    chain: list[Segment] = []
    while (following := sum(segment.count for segment in chain)) in found and found[following].count:
        chain.append(found[following])
    return chain


@contextmanager
def explained(path: Path) -> Iterator[None]:
    """Turn a failed write of `path` into the error that says what to do."""
    try:
        yield
    except OSError as error:
        raise explain(error, path) or error from error


class SegmentWriter(Closing):
    """Writes the frames of one video into a folder of its own; goes on behind the whole segments it finds there.

    Use it in a `with`: a segment that was begun and not finished is then removed.
    """

    def __init__(self, folder: Path, *, frames_per_segment: int = FRAMES_PER_SEGMENT, threads: int = 1) -> None:
        """Make the folder, or count what is in it.

        Raises:
            DoesNotFitError, UsageError: the folder cannot be written to; PyAV is missing.
        """
        if frames_per_segment < 1 or threads < 1:
            raise UsageError(
                f"got frames_per_segment={frames_per_segment} and threads={threads}; expected at least 1 each"
            )
        pyav()
        self._folder, self._per_segment, self._threads = folder, frames_per_segment, threads
        self._codec = _encoder()
        self._open: _OpenSegment | None = None
        self._padded = False
        with explained(folder / "video"):
            folder.mkdir(parents=True, exist_ok=True)
        self.segments = segments_in(folder)
        """The whole segments, in order."""

    @property
    def frames(self) -> int:
        """Number of the frame that comes next; after opening, the frames that are safe in whole segments."""
        return self._whole() + (self._open.count if self._open is not None else 0)

    @property
    def notes(self) -> tuple[str, ...]:
        """What a user may not expect of the video."""
        found = []
        if self._padded:
            found.append("H.264 needs even sizes: the last column or row is repeated")
        if self._codec != "libx264":
            found.append("this FFmpeg has no H.264 encoder (libx264); the video is MPEG-4 part 2")
        return tuple(found)

    def keep(self, frames: int) -> int:
        """Cut back to whole segments of at most `frames` frames together; gives how many are left."""
        self.close()
        while self.segments and self._whole() > frames:
            segment = self.segments.pop()
            with explained(segment.path):
                segment.path.unlink(missing_ok=True)
        return self._whole()

    def write(self, image_HW3: np.ndarray, time_s: float) -> None:
        """Append one frame: uint8 RGB (H,W,3), shown from `time_s` (later than the frame before) on.

        Raises:
            DoesNotFitError, UsageError: the disk is full, the folder cannot be written to.
            InputError: the encoder does not take pictures of this size.
        """
        image_HW3, padded = _even(image_HW3)
        self._padded |= padded
        if self._open is None:
            height, width = image_HW3.shape[:2]
            self._open = _OpenSegment(self._folder, self._codec, width=width, height=height, threads=self._threads)
        self._open.write(image_HW3, time_s)
        if self._open.count >= self._per_segment:
            self._finish_open()

    def finish(self) -> list[Segment]:
        """Finish the segment that is open; gives all of them."""
        if self._open is not None:
            self._finish_open()
        return self.segments

    def close(self) -> None:
        """Drop the segment that is open; may be called again."""
        if self._open is not None:
            self._open.drop()
            self._open = None

    def _finish_open(self) -> None:
        assert self._open is not None
        path = self._folder / f"{self._whole():09d}-{self._open.count:06d}.nut"
        segment = Segment(path=path, first=self._whole(), count=self._open.count)
        self._open.finish(path)
        self._open = None
        self.segments.append(segment)

    def _whole(self) -> int:
        return sum(segment.count for segment in self.segments)


class _OpenSegment:
    """One segment while it is written, under a temporary name."""

    def __init__(self, folder: Path, codec: str, *, width: int, height: int, threads: int) -> None:
        from av.video.reformatter import VideoReformatter

        self.count = 0
        self._path = folder / f"{TEMPORARY_PREFIX}{secrets.token_hex(8)}{TEMPORARY_SUFFIX}"
        self._size = (height, width)
        self._reformatter = VideoReformatter()
        self._last_tick: int | None = None
        self._tick_s = TICK_S if codec == "libx264" else _FALLBACK_TICK_S
        self._container = pyav().open(f"file:{self._path.absolute()}", "w", format="nut")
        self._stream = _add_stream(self._container, codec, self._tick_s, width, height, threads)

    def write(self, image_HW3: np.ndarray, time_s: float) -> None:
        if image_HW3.shape[:2] != self._size:
            height, width = self._size
            raise ValueError(
                f"got a frame of {image_HW3.shape[1]} x {image_HW3.shape[0]} in a video of {width} x {height}"
            )
        tick = round(Fraction(time_s) / self._tick_s)
        if self._last_tick is not None:
            # Closer frames than the time base can tell apart still come one after the other.
            tick = max(tick, self._last_tick + 1)
        frame = self._yuv(image_HW3)
        frame.pts, frame.time_base = tick, self._tick_s
        frame.duration = 1 if self._last_tick is None else tick - self._last_tick
        with self._failing():
            self._container.mux(self._stream.encode(frame))
        self._last_tick = tick
        self.count += 1

    def finish(self, path: Path) -> None:
        """Move the segment to its final name."""
        with self._failing():
            self._container.mux(self._stream.encode())
            self._container.close()
            self._path.replace(path)

    def drop(self) -> None:
        """Close and remove it. What the encoder still holds is not wanted, and neither is what it says about it."""
        try:
            self._container.close()
        except (pyav().FFmpegError, OSError):
            pass
        finally:
            self._path.unlink(missing_ok=True)

    def _yuv(self, image_HW3: np.ndarray) -> Any:
        frame = pyav().VideoFrame.from_numpy_buffer(np.ascontiguousarray(image_HW3), format="rgb24")
        return self._reformatter.reformat(
            frame, format="yuv420p", dst_colorspace=_BT709, dst_color_range=_LIMITED_RANGE, threads=1
        )

    @contextmanager
    def _failing(self) -> Iterator[None]:
        """Remove what is begun, and say what to do."""
        try:
            with explained(self._path.with_name("video")):
                yield
        except pyav().FFmpegError as error:
            self.drop()
            height, width = self._size
            raise InputError(
                f"frames of {width} x {height} cannot be encoded as video ({words_of(error)}); make them smaller"
            ) from None
        except BaseException:
            self.drop()
            raise


def _encoder() -> str:
    """libx264 where this FFmpeg has it, otherwise the encoder that every FFmpeg has."""
    from av.codec import Codec
    from av.codec.codec import UnknownCodecError

    try:
        Codec("libx264", "w")
    except UnknownCodecError:
        return "mpeg4"
    return "libx264"


def _add_stream(container: Any, codec: str, tick_s: Fraction, width: int, height: int, threads: int) -> Any:
    options = {"preset": PRESET, "crf": str(QUALITY_CRF), "bf": "0"} if codec == "libx264" else {}
    stream = container.add_stream(codec, options=options, width=width, height=height)
    context = stream.codec_context
    stream.pix_fmt = "yuv420p"
    context.time_base = tick_s
    context.gop_size = KEY_FRAME_EVERY
    context.thread_count = threads
    mark_colours(context)
    if codec != "libx264":
        context.max_b_frames = 0
        context.qscale = True
        context.global_quality = _FALLBACK_QSCALE * _LAMBDA_PER_QSCALE
    return stream


def mark_colours(context: Any) -> None:
    """Say that a stream holds the colours of HD television, as written here."""
    context.colorspace = context.color_primaries = context.color_trc = _BT709
    context.color_range = _LIMITED_RANGE


def _even(image_HW3: np.ndarray) -> tuple[np.ndarray, bool]:
    """The picture with even sides, and whether a row or column was repeated for that."""
    height, width = image_HW3.shape[:2]
    if height % 2 == 0 and width % 2 == 0:
        return image_HW3, False
    return np.pad(image_HW3, ((0, height % 2), (0, width % 2), (0, 0)), mode="edge"), True
