"""Numbers and pictures of a training for TensorBoard, where its writer is installed (extra `train`)."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from vitruvian.media.images import read_picture
from vitruvian.media.items import Entry

MISSING = (
    'no TensorBoard log: its writer is not installed; pip install "vitruvian[train]" (log.jsonl has the same numbers)'
)


class TensorBoard:
    """Writes event files; does nothing where the writer is not installed, which `note` says."""

    def __init__(self, folder: Path, *, from_step: int) -> None:
        """Open event files; what an interrupted run wrote of `from_step` and later is hidden."""
        self.note = ""
        self._writer: Any = None
        try:
            from tensorboardX import SummaryWriter
        except ImportError:
            self.note = MISSING
            return
        self._writer = SummaryWriter(str(folder), purge_step=from_step or None)

    def numbers(self, step: int, row: Mapping[str, Any], part: str) -> None:
        """Curves, one for each finite number."""
        if self._writer is None:
            return
        for name, value in row.items():
            if isinstance(value, (int, float)) and name != "step" and math.isfinite(value):
                self._writer.add_scalar(f"{part}/{name}", value, step)

    def picture(self, step: int, path: Path) -> None:
        """The picture of a validation."""
        if self._writer is not None:
            entry = Entry(name=path.name, path=path, payload=None, index=0)
            self._writer.add_image("validation", read_picture(entry).image_HW3, step, dataformats="HWC")

    def close(self) -> None:
        """Flush."""
        if self._writer is not None:
            self._writer.close()
