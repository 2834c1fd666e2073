"""The folder of an artefact on its way: everything is written beside its place and moved there when it is whole.

A second export into the same place waits for nothing and is refused; what a killed one left is removed by the next.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from filelock import FileLock, Timeout

from vitruvian.artefacts.manifest import MANIFEST, FileEntry, Manifest, is_artefact
from vitruvian.errors import RefusedError, UsageError
from vitruvian.media.atomic import explain
from vitruvian.media.documents import json_text
from vitruvian.models.weight_files import sha256_of

_OURS = b'"made_by": "vitruvian '
"""In every manifest of ours, damaged or not; other programs have files of that name, too."""


@contextmanager
def staged(out: Path, *, overwrite: bool = False) -> Iterator[Path]:
    """An empty folder to write to, which takes the place of `out` at the end; on any error nothing is left.

    Raises:
        UsageError: `out` is there and not empty (with `overwrite`: and is no artefact), is being written by another
            export, or cannot be written to.
        DoesNotFitError: the disk is full.
    """
    out = Path(os.path.realpath(out))  # through a link: the folder it names is replaced, not the link
    draft = out.with_name(f".{out.name}.vitruvian-partial")
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        with _locked(out, draft.with_name(f"{draft.name}.lock")):
            _clear(draft, out)
            _check(out, overwrite)
            draft.mkdir()
            try:
                yield draft
                _check(out, overwrite)  # somebody may have put something there meanwhile
                _place(draft, out)
            finally:
                shutil.rmtree(draft, ignore_errors=True)
    except OSError as error:
        explained = explain(error, out / MANIFEST)
        if explained is None:
            raise
        raise explained from error


@contextmanager
def _locked(out: Path, path: Path) -> Iterator[None]:
    lock = FileLock(path, timeout=0)
    try:
        lock.acquire()
    except Timeout as error:
        raise UsageError(
            f"got -o {out.name}, into which another export is writing; expected a folder of its own; wait, or choose "
            "another"
        ) from error
    try:
        yield
    finally:
        path.unlink(missing_ok=True)  # before it is released: who opened it meanwhile finds that it is gone
        lock.release()


def _clear(draft: Path, out: Path) -> None:
    """Undo what a killed export left: one killed between the two moves of `_place` had taken the old artefact away."""
    shutil.rmtree(draft, ignore_errors=True)
    if not out.exists() and _old(draft).exists():
        os.replace(_old(draft), out)


def _old(draft: Path) -> Path:
    return draft.with_name(f"{draft.name}-old")


def _check(out: Path, overwrite: bool) -> None:
    if os.path.ismount(out):
        raise UsageError(
            f"got -o {out.name or out}, where a disk is mounted, which cannot be replaced; expected a folder inside "
            f"it; -o {out.name}/NAME"
        )
    if not out.exists() or (out.is_dir() and not any(out.iterdir())):
        return
    if not out.is_dir():
        raise UsageError(f"got -o {out.name}, which is a file; expected a new folder; choose another name")
    if not is_artefact(out) or _OURS not in (out / MANIFEST).read_bytes():
        raise UsageError(f"got -o {out.name}, a folder with other files; expected a new one; choose another name")
    if not overwrite:
        raise UsageError(f"got -o {out.name}, which holds an artefact; expected a new folder, or --overwrite")


def _place(draft: Path, out: Path) -> None:
    old = _old(draft)
    shutil.rmtree(old, ignore_errors=True)
    if out.exists():
        os.replace(out, old)
    try:
        os.replace(draft, out)
    except OSError:
        if old.exists():
            os.replace(old, out)
        raise
    shutil.rmtree(old, ignore_errors=True)


def seal(folder: Path, manifest: Manifest) -> tuple[Manifest, bytes]:
    """Write the manifest with the hashes of all files that lie in the folder; gives it and its bytes."""
    known = manifest.files
    paths = sorted(path for path in folder.rglob("*") if path.is_file() and path.name != MANIFEST)
    files = {str(path.relative_to(folder).as_posix()): path for path in paths}
    whole = replace(manifest, files={name: known.get(name) or _entry(path) for name, path in files.items()})
    data = (json_text(whole.to_json(), indent=1) + "\n").encode()
    (folder / MANIFEST).write_bytes(data)
    return whole, data


def _entry(path: Path) -> FileEntry:
    return FileEntry(sha256=sha256_of(path), size_bytes=path.stat().st_size)


def check_files(folder: Path, files: Mapping[str, FileEntry]) -> None:
    """Every file is there and is what the manifest says.

    Raises:
        RefusedError: one is missing, is no plain file of the folder, or has other contents.
    """
    for name, entry in files.items():
        path = folder / name
        if path.resolve() != folder.resolve() / name:
            raise _changed(folder, f"{name} is a link to elsewhere")
        if not path.is_file():
            raise _changed(folder, f"{name} is missing")
        size_bytes = path.stat().st_size
        if size_bytes != entry.size_bytes:
            raise _changed(folder, f"{name} has {size_bytes} bytes instead of {entry.size_bytes}")
        if sha256_of(path) != entry.sha256:
            raise _changed(folder, f"{name} has other contents than were written")


def is_whole(folder: Path, files: Mapping[str, FileEntry]) -> bool:
    """Whether every file is there in its size, without a look at contents: `check_files` costs reading all of them."""
    paths = {folder / name: entry.size_bytes for name, entry in files.items()}
    return all(path.is_file() and path.stat().st_size == size_bytes for path, size_bytes in paths.items())


def _changed(folder: Path, what: str) -> RefusedError:
    return RefusedError(
        f"got the artefact {folder.name}, in which {what}; expected the files of its {MANIFEST}; copy it again, whole, "
        "or export the model again"
    )


def empty(folder: Path) -> None:
    """Remove everything in a folder."""
    for path in list(folder.iterdir()):
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink()


def move_into(folder: Path, staging: Path, *, keep: Collection[str]) -> None:
    """Make a backend's folder the whole of the staging folder; what else lies there goes, but for what is kept."""
    kept = {path.name: path for path in staging.iterdir() if path.name in keep}
    for path in list(staging.iterdir()):
        if path.is_dir() and path != folder and path.name not in kept:
            shutil.rmtree(path)
        elif path.is_file():
            path.unlink()
    for path in list(folder.iterdir()):
        os.replace(path, staging / path.name)
    folder.rmdir()
