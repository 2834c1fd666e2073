"""What a run has finished: a killed run can go on, and an old one can be replaced without touching foreign files.

In: an output folder and what the run computes with. Out: `.vitruvian/ledger.jsonl`, one JSON line per event: `run`
(model and options), `file` (a file is about to take its place), `item` (an input is finished, with its files). After a
kill, announced files without a finished item are known and removed. Memory: one file offset per finished input.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import threading
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, Self

from filelock import FileLock, Timeout

from vitruvian.errors import UsageError
from vitruvian.media.atomic import BOOKKEEPING_FOLDER, TEMPORARY_PREFIX, explain, sweep, write_atomic
from vitruvian.media.documents import json_text
from vitruvian.media.names import shown

LEDGER = f"{BOOKKEEPING_FOLDER}/ledger.jsonl"
LOCK = f"{BOOKKEEPING_FOLDER}/lock"
VERSION = 1

Mode = Literal["new", "resume", "overwrite"]


class Ledger:
    """The open ledger of one output folder; holds the folder's lock until closed. Methods may be called by threads."""

    notes: tuple[str, ...]
    """What a user should know about the state the folder was found in."""

    def __init__(self, out: Path, lock: FileLock, run_id: str) -> None:
        """Use `Ledger.open`."""
        self._out = out
        self._lock = lock
        self._run_id = run_id
        self._offsets: dict[str, int] = {}
        self._turn = threading.Lock()
        self._file = -1
        self.notes = ()

    @classmethod
    def open(cls, out: Path, *, mode: Mode, run: Mapping[str, Any]) -> Self:
        """Lock `out` and bring it into the state from which this run starts.

        `new` wants an absent or empty folder. `resume` keeps what matches and removes what an interrupted run left
        half done. `overwrite` removes the files that the old ledger lists and nothing else. `run` says what decides
        the results (model hash, options), JSON-able. Raises `UsageError` when the folder is in use, not empty or not
        writable.
        """
        if mode not in ("new", "resume", "overwrite"):
            raise UsageError(f"got mode={mode!r}; expected new, resume or overwrite")
        if not (out / BOOKKEEPING_FOLDER).is_dir():
            # Refused before the lock leaves anything in a folder that is not ours.
            _check_state(out, mode)
        lock = lock_folder(out)
        try:
            ledger = cls(out, lock, fingerprint(run))
            ledger._start(mode, run)
        except BaseException:
            lock.release()
            raise
        return ledger

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Release the folder; may be called again."""
        if self._file >= 0:
            os.close(self._file)
            self._file = -1
        self._lock.release()

    def done(self, item_name: str, size_bytes: int, modified_ns: int) -> bool:
        """Whether this input is finished: same size, time, model and options, and all its files as they were left.

        If it is not, the files of its earlier result are removed, because it is about to be done again.
        """
        if item_name not in self._offsets:
            return False
        record = self._record_of(item_name)
        same = (record["size"], record["modified_ns"], record["run"]) == (size_bytes, modified_ns, self._run_id)
        if same and all(self._size(name) == size for name, size in record["files"]):
            return True
        for name, _ in record["files"]:
            self._remove(name)
        del self._offsets[item_name]
        return False

    def drop(self, prefix: str) -> None:
        """Remove what earlier runs made of all items whose name begins with `prefix`, such as the frames of a video."""
        for item_name in [name for name in self._offsets if name.startswith(prefix)]:
            for name, _ in self._record_of(item_name)["files"]:
                self._remove(name)
            del self._offsets[item_name]

    def announce(self, file_name: str) -> None:
        """Note that a file (relative name) is about to take its place; hand this to `FolderSink`."""
        self._append({"file": file_name})

    def record(self, item_name: str, size_bytes: int, modified_ns: int, files: Sequence[str]) -> None:
        """Note that an input is finished. Call when all its files (relative names) are in place."""
        sizes = [[name, self._size(name)] for name in files]
        missing = [name for name, size in sizes if size is None]
        if missing:
            raise UsageError(f"got the finished file {missing[0]!r}, which is not there; another program removed it")
        self._append(
            {"item": item_name, "size": size_bytes, "modified_ns": modified_ns, "run": self._run_id, "files": sizes}
        )

    def _record_of(self, item_name: str) -> dict[str, Any]:
        with (self._out / LEDGER).open("rb") as file:
            file.seek(self._offsets[item_name])
            record: dict[str, Any] = json.loads(file.readline())
        return record

    def _start(self, mode: Mode, run: Mapping[str, Any]) -> None:
        path = self._out / LEDGER
        self.notes = _check_state(self._out, mode)
        try:
            sweep(self._out)
            if mode == "resume" and path.exists():
                self._take_over(path)
            else:
                self._clear(path)
                write_atomic(path, _line({"ledger": VERSION}))
            self._file = os.open(path, os.O_WRONLY | os.O_APPEND | getattr(os, "O_BINARY", 0))
        except OSError as error:
            raise explain(error, path) or error from error
        self._append({"run": self._run_id, "options": dict(run)})

    def _take_over(self, path: Path) -> None:
        """Index the finished items, drop a torn last line, remove what was announced but never finished."""
        pending: set[str] = set()
        end = 0
        for offset, line, event in _events(path):
            if event is None:
                raise UsageError(
                    f"the ledger of {shown(self._out)} is damaged at byte {offset}; expected the ledger of an "
                    "interrupted run; use --overwrite to start again"
                )
            if event.get("ledger", VERSION) != VERSION:
                raise UsageError(
                    f"the ledger of {shown(self._out)} is of version {event['ledger']}, this program reads {VERSION}; "
                    "go on with the version that began the run, or use --overwrite to start again"
                )
            end = offset + len(line)
            if "file" in event:
                pending.add(event["file"])
            elif "item" in event:
                self._offsets[event["item"]] = offset
                pending.difference_update(name for name, _ in event["files"])
        os.truncate(path, end)
        for name in sorted(pending):
            self._remove(name)

    def _clear(self, path: Path) -> None:
        """Remove every file the old ledger knows; the ledger itself goes last, when the new one replaces it."""
        if not path.exists():
            return
        for _, _, event in _events(path):
            if event is not None and "file" in event:
                self._remove(event["file"])
            elif event is not None and "item" in event:
                for name, _ in event["files"]:
                    self._remove(name)

    def _remove(self, name: str) -> None:
        """Remove a file of ours and the folders it leaves empty; never anything outside the output folder."""
        parts = name.split("/")
        if (
            any(part in ("", ".", "..") or "\\" in part or ":" in part for part in parts)
            or parts[0] == BOOKKEEPING_FOLDER
        ):
            raise UsageError(
                f"the ledger of {shown(self._out)} names {name!r}, which is no file of a run; expected an untouched "
                "ledger; choose another output folder"
            )
        path = self._out.joinpath(*parts)
        try:
            path.unlink(missing_ok=True)
            for depth in range(len(parts) - 1, 0, -1):
                self._out.joinpath(*parts[:depth]).rmdir()
        except OSError as error:
            # A folder that holds other files stays, and so does one that was never made.
            if error.errno in (errno.ENOTEMPTY, errno.EEXIST, errno.ENOENT, errno.ENOTDIR, errno.EISDIR):
                return
            raise explain(error, path) or error from error

    def _size(self, name: str) -> int | None:
        try:
            return os.stat(self._out / name).st_size
        except (FileNotFoundError, NotADirectoryError):
            return None

    def _append(self, event: Mapping[str, Any]) -> None:
        line = _line(event)
        with self._turn:
            start = os.fstat(self._file).st_size
            try:
                rest = memoryview(line)
                while rest:
                    rest = rest[os.write(self._file, rest) :]
            except OSError as error:
                os.ftruncate(self._file, start)
                raise explain(error, self._out / LEDGER, len(line)) or error from error


def fingerprint(run: Mapping[str, Any]) -> str:
    """Short hash of what decides the results; independent of key order."""
    plain = json.loads(json_text(run))
    return hashlib.sha256(json.dumps(plain, sort_keys=True).encode("ascii")).hexdigest()[:32]


def _line(event: Mapping[str, Any]) -> bytes:
    return (json_text(event, ascii_only=True) + "\n").encode("ascii")


def _events(path: Path) -> Iterator[tuple[int, bytes, dict[str, Any] | None]]:
    """Offset, line and content of every whole line; content None for a damaged one. A torn last line is left out."""
    offset = 0
    with path.open("rb") as file:
        for line in file:
            if not line.endswith(b"\n"):
                return
            try:
                event = json.loads(line)
            except ValueError:
                event = None
            yield offset, line, event if isinstance(event, dict) else None
            offset += len(line)


def _is_occupied(out: Path) -> bool:
    """Whether the folder holds anything but our bookkeeping and the leftovers of a killed run."""
    try:
        with os.scandir(out) as entries:
            return any(
                entry.name != BOOKKEEPING_FOLDER and not entry.name.startswith(TEMPORARY_PREFIX) for entry in entries
            )
    except FileNotFoundError:
        return False
    except NotADirectoryError:
        raise UsageError(f"got {shown(out)} as output folder, which is a file; choose another name with -o") from None
    except OSError as error:
        raise explain(error, out / BOOKKEEPING_FOLDER) or error from error


def _check_state(out: Path, mode: Mode) -> tuple[str, ...]:
    """Refuse what `mode` does not allow for the folder as it is; give what the user should know about the rest."""
    if not _is_occupied(out):
        return ()
    if mode == "new":
        raise UsageError(
            f"got the output folder {shown(out)}, which is not empty; expected a new or empty one; use --resume to go "
            "on with an interrupted run, or --overwrite to replace the results of an earlier one"
        )
    if (out / LEDGER).exists():
        return ()
    if mode == "resume":
        raise UsageError(
            f"got --resume for {shown(out)}, which holds files but no ledger of an earlier run; expected the output "
            "folder of an interrupted run; choose an empty folder, or --overwrite to write into this one"
        )
    return (f"{shown(out)} has no ledger: its files stay, except those with a name that this run writes",)


def lock_folder(out: Path) -> FileLock:
    try:
        (out / BOOKKEEPING_FOLDER).mkdir(parents=True, exist_ok=True)
        lock = FileLock(out / LOCK, timeout=0, thread_local=False)
        lock.acquire()
    except Timeout:
        raise UsageError(
            f"another run is writing into {shown(out)}; expected a folder for this run alone; wait for it or choose "
            "another folder with -o"
        ) from None
    except OSError as error:
        raise explain(error, out / BOOKKEEPING_FOLDER) or error from error
    return lock
