"""What a video's files will take on disk, before it is full.

Arrays of known size are counted before the first frame; what depends on the picture (compressed files, persons found)
is measured on the first frames.
"""

from __future__ import annotations

import shutil
from collections.abc import Collection
from pathlib import Path

from vitruvian.errors import DoesNotFitError
from vitruvian.hardware import format_bytes
from vitruvian.media.video.values import VideoInfo
from vitruvian.tasks.base import Result
from vitruvian.videos.wish import COCO, PER_FRAME, TABLE

LOOK = 10
"""Frames after which the files that were written are measured."""

OF_LINES = {TABLE: 2.5, COCO: 1.0}
"""Files made at the end from the lines, relative to those: a row of the table repeats the names."""


class Room:
    """The disk that one video needs."""

    def __init__(
        self, result: type[Result], info: VideoInfo, formats: Collection[str], frames: int | None, folder: Path
    ) -> None:
        """`frames`: how many there will be; None: unknown, and nothing is estimated. `folder`: where they go.

        Raises:
            DoesNotFitError: the arrays take more than is free there.
        """
        self._info, self._formats, self._frames, self._folder = info, formats, frames, folder
        self._measured = frames is None or not frozenset(formats) & (PER_FRAME | OF_LINES.keys())
        self.said: str | None = None
        """The estimate, as a sentence; None where nothing large is wanted."""
        per_pixel = sum(result.disk_bytes_per_pixel.get(name, 0.0) for name in formats)
        if per_pixel and frames is not None:
            total = round(per_pixel * info.width * info.height * frames)
            self._check(total, total, "")

    def look(self, frames: int, files_bytes: int, lines_bytes: int) -> None:
        """Measure, once enough frames are there: `files_bytes` of files per frame and `lines_bytes` of lines so far.

        Raises:
            DoesNotFitError: the rest takes more than is free.
        """
        if self._measured or frames < LOOK:
            return
        self._measured = True
        assert self._frames is not None
        growing = files_bytes + lines_bytes
        at_the_end = sum(OF_LINES.get(name, 0.0) for name in self._formats) * lines_bytes
        total = round((growing + at_the_end) / frames * self._frames)
        self._check(total, total - growing, f", by the first {frames}")

    def _check(self, total: int, needed: int, how: str) -> None:
        free = shutil.disk_usage(self._folder).free
        what = f"{self._frames} frames of {self._info.width}x{self._info.height}"
        self.said = f"{self._info.name}: {what} take about {format_bytes(total)} on disk{how}"
        if needed > free:
            raise DoesNotFitError(
                f"{self.said}; {format_bytes(free)} are free; take fewer with --stride, --start and --end, or leave "
                "the formats per frame out"
            )
