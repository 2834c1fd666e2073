"""The folder of a training: locked, with an identity, a log that can be cut back, and files that are whole or absent.

run.json                what was decided, measured and skipped
log.jsonl               a row for every few steps and every validation
state.pt                all that a resumed training needs
model.safetensors       the best weights so far: `--model RUN` takes them
last.safetensors        the weights of the end
pictures/, tensorboard/
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, Literal, Self

from filelock import FileLock
from torch import Tensor

from vitruvian import zoo
from vitruvian.errors import RefusedError, UsageError
from vitruvian.media.atomic import BOOKKEEPING_FOLDER, explain, sweep, write_atomic
from vitruvian.media.documents import json_text, write_json_atomic
from vitruvian.media.ledger import lock_folder
from vitruvian.media.names import shown
from vitruvian.models.weight_files.writing import safetensors_pieces

IDENTITY = f"{BOOKKEEPING_FOLDER}/training.json"
DOCUMENT, LOG, STATE = "run.json", "log.jsonl", "state.pt"
BEST, LAST = zoo.WEIGHTS_NAME, "last.safetensors"
PICTURES, TENSORBOARD = "pictures", "tensorboard"

Mode = Literal["new", "resume", "overwrite"]


@dataclass(kw_only=True)
class RunFolder:
    """The folder of one training; made by `open_run`, closed by leaving it."""

    path: Path
    lock: FileLock | None = None
    """None: another process holds it."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self.lock is not None:
            self.lock.release()

    @property
    def state(self) -> Path:
        """Where the state of the training lies, if it is there."""
        return self.path / STATE

    @property
    def is_whole(self) -> bool:
        """Whether the training came to its end."""
        return (self.path / LAST).is_file()

    @property
    def tensorboard(self) -> Path:
        """Folder of event files."""
        return self.path / TENSORBOARD

    def picture(self, step: int) -> Path:
        """Where the picture of a validation goes."""
        return self.path / PICTURES / f"step-{step:07d}.png"

    def write_state(self, write: Callable[[BinaryIO], None]) -> None:
        """Put the state into its place; a kill leaves the one before."""
        write_atomic(self.state, write)

    def write_weights(self, name: str, tensors: Mapping[str, Tensor], metadata: Mapping[str, str]) -> None:
        """Write a weight file."""
        pieces = safetensors_pieces(dict(tensors), metadata)

        def put(file: BinaryIO) -> None:
            for piece in pieces:
                file.write(piece)

        write_atomic(self.path / name, put)

    def write_document(self, document: Mapping[str, Any]) -> None:
        """Write `run.json`."""
        write_json_atomic(self.path / DOCUMENT, document)

    def log(self, row: Mapping[str, Any]) -> None:
        """Add a row to the log."""
        rounded = {key: float(f"{value:.6g}") if isinstance(value, float) else value for key, value in row.items()}
        path = self.path / LOG
        try:
            with path.open("a", encoding="utf-8") as log:
                log.write(json_text(rounded) + "\n")
        except OSError as error:
            raise explain(error, path) or error from error

    def rewind_log(self, step: int) -> None:
        """Drop rows of steps that are taken again, and one that an interruption tore."""
        path = self.path / LOG
        if not path.exists():
            return
        kept = [line for line, row in _rows(path) if row["step"] <= step]
        write_atomic(path, "".join(kept).encode())


def state_of(path: Path) -> Path | None:
    """The state of a training in this folder; None where there is none."""
    return path / STATE if (path / STATE).is_file() and (path / IDENTITY).is_file() else None


def open_run(path: Path, mode: Mode, identity: Mapping[str, Any]) -> RunFolder:
    """Lock a folder for a training.

    Args:
        path: absent or empty for a new training.
        mode: `new`; `resume`: a training of the same identity goes on; `overwrite`: an earlier one's files go.
        identity: what decides the weights, JSON-able.

    Raises:
        UsageError: the folder is in use, holds something else, or an earlier training and nobody said what of it.
        RefusedError: `resume`, and the training there is another one; says what differs.
    """
    there = path.is_dir() and any(entry.name != BOOKKEEPING_FOLDER for entry in path.iterdir())
    ours = (path / IDENTITY).is_file()
    if there and not ours:
        raise UsageError(
            f"got {shown(path)}, which holds files of something else; expected a new folder; choose another with -o"
        )
    if there and mode == "new":
        raise UsageError(
            f"got {shown(path)}, which holds a training; expected a new folder; go on with --resume, or --overwrite it"
        )
    lock = lock_folder(path)
    try:
        sweep(path)
        if mode == "overwrite":
            _clear(path)
        if mode == "resume" and ours:
            _check_identity(path, identity)
        else:
            write_json_atomic(path / IDENTITY, identity)
    except BaseException:
        lock.release()
        raise
    return RunFolder(path=path, lock=lock)


def _clear(path: Path) -> None:
    for name in (DOCUMENT, LOG, STATE, BEST, LAST):
        (path / name).unlink(missing_ok=True)
    for name in (PICTURES, TENSORBOARD):
        shutil.rmtree(path / name, ignore_errors=True)


def _check_identity(path: Path, identity: Mapping[str, Any]) -> None:
    before = json.loads((path / IDENTITY).read_text(encoding="utf-8"))
    now = json.loads(json_text(identity))
    differing = [
        f"{key}: {_short(before.get(key))} before, {_short(now.get(key))} now"
        for key in sorted({*before, *now})
        if before.get(key) != now.get(key)
    ]
    if differing:
        raise RefusedError(
            f"got --resume with another training than the one in {shown(path)} ({'; '.join(differing)}); expected the "
            "same; repeat the first command with --resume, or train into another folder"
        )


def _short(value: Any) -> str:
    text = json_text(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def _rows(path: Path) -> Iterator[tuple[str, Mapping[str, Any]]]:
    for line in path.read_text(encoding="utf-8").splitlines(keepends=True):
        if line.endswith("\n"):
            yield line, json.loads(line)
