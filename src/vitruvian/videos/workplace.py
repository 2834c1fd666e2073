"""The working folder of one video: everything in it belongs to one state of one run."""

from __future__ import annotations

import hashlib
import io
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from vitruvian.media.atomic import BOOKKEEPING_FOLDER, write_atomic
from vitruvian.media.documents import json_text


class Workplace:
    """A folder for one video inside the output folder's bookkeeping."""

    def __init__(self, out: Path, name: str, identity: Mapping[str, Any]) -> None:
        """Keep what belongs to the same run of the same video, and begin anew otherwise."""
        digest = hashlib.sha256(name.encode("utf-8", "surrogatepass")).hexdigest()[:16]
        self.folder = out / BOOKKEEPING_FOLDER / "videos" / digest
        said = self.folder / "run.json"
        text = json_text(identity)
        if not said.is_file() or said.read_text(encoding="utf-8") != text:
            self.remove()
            write_atomic(said, text.encode("utf-8"))

    def state(self) -> dict[str, np.ndarray]:
        """The arrays of the last checkpoint; empty where there is none."""
        path = self.folder / "state.npz"
        if not path.is_file():
            return {}
        with np.load(path, allow_pickle=False) as stored:
            return {key: stored[key] for key in stored.files}

    def save(self, arrays: Mapping[str, np.ndarray]) -> None:
        """Put a checkpoint in the place of the last one."""
        buffer = io.BytesIO()
        np.savez(buffer, **dict(arrays))  # type: ignore[arg-type]
        write_atomic(self.folder / "state.npz", buffer.getvalue())

    def forget(self) -> None:
        """Drop the last checkpoint: the run begins anew."""
        (self.folder / "state.npz").unlink(missing_ok=True)

    def remove(self) -> None:
        """The video is done, or this is another one."""
        shutil.rmtree(self.folder, ignore_errors=True)
