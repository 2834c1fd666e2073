"""One JSON object a line, one line a frame, in a file that can be cut back to whole frames and goes on from there.

In: documents in the order of the frames. Out: `.jsonl`, UTF-8. Every line is handed to the system at once, so that a
killed run loses at most the line it was writing. Memory: one line.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from vitruvian.media.atomic import explain
from vitruvian.media.closing import Closing
from vitruvian.media.documents import json_text
from vitruvian.media.video.writing import explained


class LineWriter(Closing):
    """Appends to a working file; use it in a `with`, or close it."""

    def __init__(self, path: Path) -> None:
        """Open or make the working file; a torn last line is cut off.

        Raises:
            DoesNotFitError, UsageError: the file cannot be written.
        """
        self._path = path
        with explained(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            self._file = os.open(path, os.O_RDWR | os.O_CREAT | getattr(os, "O_BINARY", 0), 0o666)
        self.frames = 0
        """Whole lines in the file."""
        self.last: bytes | None = None
        """The last of them, as it stands in the file."""
        self.keep(None)

    def keep(self, frames: int | None) -> int:
        """Cut the file back to its first `frames` lines (None: all that are whole); gives how many there are."""
        count = end = 0
        last = None
        for line in self._whole_lines():
            if frames is not None and count >= frames:
                break
            count, end, last = count + 1, end + len(line), line
        with explained(self._path):
            os.ftruncate(self._file, end)
            os.lseek(self._file, end, os.SEEK_SET)
        self.frames, self.last = count, last
        return count

    def append(self, document: Mapping[str, Any]) -> None:
        """Add the line of the next frame. Raises `DoesNotFitError` when the disk is full; the file stays whole."""
        line = (json_text(document) + "\n").encode("utf-8")
        start = os.lseek(self._file, 0, os.SEEK_CUR)
        try:
            rest = memoryview(line)
            while rest:
                rest = rest[os.write(self._file, rest) :]
        except OSError as error:
            os.ftruncate(self._file, start)
            os.lseek(self._file, start, os.SEEK_SET)
            raise explain(error, self._path, len(line)) or error from error
        self.frames, self.last = self.frames + 1, line

    def finish(self, target: Path) -> None:
        """Move the file to its place, replacing what is there; nothing can be added afterwards."""
        self.close()
        with explained(target):
            target.parent.mkdir(parents=True, exist_ok=True)
            os.replace(self._path, target)

    def close(self) -> None:
        """Close the working file and leave it where it is; may be called again."""
        if self._file >= 0:
            os.close(self._file)
            self._file = -1

    def _whole_lines(self) -> Iterator[bytes]:
        """Lines up to the first that is torn or was never written; a power cut may leave zeros behind."""
        with self._path.open("rb") as file:
            for line in file:
                if not (line.startswith(b"{") and line.endswith(b"}\n")):
                    return
                yield line
