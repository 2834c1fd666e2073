"""Frames of numbered picture files, `frames/%06d.png`, read by the project's own picture reader.

In: a pattern and a frame rate. Out: frames with times, and a failure in the place of each picture that cannot be used.
Numbers that are missing leave a gap in time and are said, nothing is invented for them. Memory: one picture, and one
number per file.
"""

# Shape suffixes: H W picture size, 3 = RGB.

from __future__ import annotations

import math
import os
import re
import zlib
from collections.abc import Generator, Sequence
from fractions import Fraction
from itertools import pairwise
from pathlib import Path

from vitruvian.errors import InputError, UsageError
from vitruvian.media.access import said_plainly
from vitruvian.media.closing import ClosingIterator
from vitruvian.media.images import read_picture
from vitruvian.media.items import Entry, Failure
from vitruvian.media.names import printable
from vitruvian.media.video.values import Frame, Span, VideoInfo

_NUMBER = re.compile(r"%(?:0(\d{1,2}))?d")
_SAME_S = 1e-6
_MOST_GAPS_NAMED = 5


def is_sequence(text: str) -> bool:
    """Whether a path is a pattern of numbered files: one `%d` or `%06d` in its last part, `%%` for a percent sign."""
    return len(_NUMBER.findall(Path(text).name.replace("%%", ""))) == 1


def read_sequence(
    pattern: str, rate: Fraction | float, span: Span | None = None, *, name: str | None = None, first: int = 0
) -> SequenceReader:
    """Read the pictures that `pattern` names as the frames of a video, from frame number `first` on.

    The file of the lowest number is at 0 s, the others at `rate` numbers a second after it.

    Raises:
        InputError: no such file, or not one of them is a picture.
        UsageError: the pattern, the rate or `first` is not usable.
    """
    if not is_sequence(pattern):
        raise UsageError(
            f"got {printable(pattern)} as the pictures of a video; expected one number in its last part, e.g. "
            "frames/%06d.png"
        )
    if not (math.isfinite(rate) and rate > 0) or first < 0:
        raise UsageError(
            f"got a rate of {float(rate):g} frames a second and first={first}; expected a rate above 0 and a frame "
            "number from 0 up"
        )
    return SequenceReader(pattern, Fraction(rate), span or Span(), Path(pattern).name if name is None else name, first)


def sequence_stamp(pattern: str) -> tuple[int, int]:
    """Bytes of all pictures together, and a checksum of their numbers, sizes and times.

    Raises:
        InputError: no such file.
    """
    files = _Files(pattern)
    total = checksum = 0
    for number in files.numbers:
        path = files.entry(number, 0).path
        assert path is not None
        with said_plainly():
            status = path.stat()
        total += status.st_size
        checksum = zlib.crc32(f"{number} {status.st_size} {status.st_mtime_ns}".encode(), checksum)
    return total, checksum


class SequenceReader(ClosingIterator[Frame | Failure]):
    """The frames of a picture sequence; made by `read_sequence`. A `Failure` has the frame's number as its index."""

    info: VideoInfo
    """What the sequence holds; size and pixels are those of its first readable picture."""

    def __init__(self, pattern: str, rate: Fraction, span: Span, name: str, first: int) -> None:
        self._files = _Files(pattern)
        self._rate, self._span, self._first = rate, span, first
        self._seen: dict[str, None] = {}
        image = next(filter(None, map(self._size, self._files.numbers)), None)
        if image is None:
            raise InputError(f"not one of its {len(self._files.numbers)} pictures can be read")
        width, height = image
        numbers = self._files.numbers
        self.info = VideoInfo(
            name=name,
            width=width,
            height=height,
            frame_rate=rate,
            frames_estimate=len(numbers),
            duration_s=float((numbers[-1] - numbers[0] + 1) / rate),
            rotation_deg=0,
            pixel_format="rgb24",
            has_audio=False,
            has_alpha=False,
            notes=_gaps(numbers),
        )
        self._elements = self._read()

    @property
    def notes(self) -> tuple[str, ...]:
        """What was done to the pictures so far that a user may not expect, `info.notes` included."""
        return (*self.info.notes, *self._seen)

    def _size(self, number: int) -> tuple[int, int] | None:
        try:
            height, width = read_picture(self._files.entry(number, 0)).image_HW3.shape[:2]
        except InputError:
            return None  # The reading itself will say why, in its place.
        return width, height

    def _read(self) -> Generator[Frame | Failure, None, None]:
        span, numbers = self._span, self._files.numbers
        times = ((number, float((number - numbers[0]) / self._rate)) for number in numbers)
        wanted = [
            (number, time_s)
            for number, time_s in times
            if time_s >= span.start_s - _SAME_S and (span.end_s is None or time_s < span.end_s - _SAME_S)
        ]
        if not wanted:
            raise InputError(
                f"has no picture at or after {span.start_s:g} s; it lasts {self.info.duration_s:g} s; choose an "
                "earlier start"
            )
        for index, (number, time_s) in enumerate(wanted[:: span.stride]):
            if index >= self._first:
                yield self._frame(number, index, time_s)

    def _frame(self, number: int, index: int, time_s: float) -> Frame | Failure:
        entry = self._files.entry(number, index)
        try:
            item = read_picture(entry)
        except InputError as error:
            return Failure(name=entry.name, index=index, reason=str(error))
        height, width = item.image_HW3.shape[:2]
        if (width, height) != (self.info.width, self.info.height):
            return Failure(
                name=entry.name,
                index=index,
                reason=(
                    f"is {width} x {height}; expected {self.info.width} x {self.info.height}, the size of the first "
                    "picture of the video"
                ),
            )
        self._seen.update(dict.fromkeys(item.notes))
        return Frame(number=index, time_s=time_s, image_HW3=item.image_HW3)


class _Files:
    """The files that a pattern names, by number."""

    def __init__(self, pattern: str) -> None:
        self._folder, last = Path(pattern).parent, Path(pattern).name
        found = _NUMBER.search(last.replace("%%", "\0\0"))
        assert found is not None
        self._digits = int(found[1] or 0)
        self._start = last[: found.start()].replace("%%", "%")
        self._end = last[found.end() :].replace("%%", "%")
        self.numbers = self._listed()

    def entry(self, number: int, index: int) -> Entry:
        name = self._name(number)
        return Entry(name=name, path=self._folder / name, payload=None, index=index)

    def _name(self, number: int) -> str:
        return f"{self._start}{number:0{self._digits}d}{self._end}"

    def _listed(self) -> list[int]:
        try:
            names = os.listdir(self._folder)
        except OSError as error:
            raise InputError(f"its folder cannot be read: {error.strerror or 'error'}") from None
        middle = slice(len(self._start), -len(self._end) or None)
        numbers = []
        for name in names:
            digits = name[middle]
            if digits.isascii() and digits.isdigit() and name == self._name(int(digits)):
                numbers.append(int(digits))
        if not numbers:
            raise InputError(f"no file is named {printable(self._name(1))} or with another number")
        return sorted(numbers)


def _gaps(numbers: Sequence[int]) -> tuple[str, ...]:
    """Which numbers are missing between the first and the last."""
    missing = [(a + 1, b - 1) for a, b in pairwise(numbers) if b > a + 1]
    if not missing:
        return ()
    named = [str(a) if a == b else f"{a} to {b}" for a, b in missing[:_MOST_GAPS_NAMED]]
    more = f" and {len(missing) - _MOST_GAPS_NAMED} more gaps" if len(missing) > _MOST_GAPS_NAMED else ""
    return (f"pictures are missing: {', '.join(named)}{more}; time runs on",)
