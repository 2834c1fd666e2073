"""Files that are whole or absent: written beside their place under a temporary name, then moved into it.

In: a final path and its bytes. Out: the file, or an error that says what to do; a kill at any moment leaves at most a
temporary file that `sweep` finds. Costs one rename per file; the disk's own cache is not flushed.
"""

from __future__ import annotations

import errno
import os
import secrets
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from vitruvian.errors import DoesNotFitError, UsageError, VitruvianError
from vitruvian.media.names import OWN_PREFIX, shown

TEMPORARY_PREFIX = OWN_PREFIX + "-"
TEMPORARY_SUFFIX = ".tmp"
BOOKKEEPING_FOLDER = OWN_PREFIX

_FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
_FORBIDDEN = frozenset({errno.EROFS, errno.EACCES, errno.EPERM})
_IN_THE_WAY = frozenset({errno.ENOTDIR, errno.EEXIST, errno.EISDIR, errno.ENOTEMPTY})


def write_atomic(path: Path, data: bytes | Callable[[BinaryIO], None]) -> None:
    """Put a file into its place, whole or not at all; missing folders are made, an older file is replaced.

    Raises `DoesNotFitError` when the disk or a quota is full and `UsageError` when the folder cannot be written to.
    """
    size_bytes = len(data) if isinstance(data, bytes) else None
    with replacing(path, size_bytes=size_bytes) as temporary, temporary.open("xb") as file:
        if isinstance(data, bytes):
            file.write(data)
        else:
            data(file)


@contextmanager
def replacing(path: Path, *, size_bytes: int | None = None) -> Iterator[Path]:
    """Give a temporary path in the same folder to write to; move it to `path` at the end, remove it on any error."""
    temporary = path.parent / f"{TEMPORARY_PREFIX}{secrets.token_hex(8)}{TEMPORARY_SUFFIX}"
    try:
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            yield temporary
            os.replace(temporary, path)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise
    except OSError as error:
        explained = explain(error, path, size_bytes)
        if explained is None:
            raise
        raise explained from error


def explain(error: OSError, path: Path, size_bytes: int | None = None) -> VitruvianError | None:
    """What a failed write of `path` means for the user; None where nothing better than the error itself is known."""
    folder, what = shown(path.parent), shown(Path(path.name))
    why = error.strerror or type(error).__name__
    if error.errno in _FULL:
        size = "" if size_bytes is None else f" ({size_bytes / 1e6:.1f} MB)"
        return DoesNotFitError(
            f"stopped: {what}{size} does not fit into {folder} ({why}); everything before it is whole; "
            "free space or raise the quota, then run the same command with --resume"
        )
    if error.errno in _FORBIDDEN:
        return UsageError(
            f"got the output folder {folder}, where {what} cannot be written ({why}); "
            "expected a folder you may write to; choose another with -o"
        )
    if error.errno in _IN_THE_WAY:
        return UsageError(
            f"got {folder} to write {what} into, but something else stands in its place ({why}); "
            "expected a folder of files; choose another with -o"
        )
    if error.errno == errno.ENAMETOOLONG:
        return UsageError(f"got a path too long for this file system while writing {what}; choose a shorter -o")
    return None


def sweep(folder: Path) -> int:
    """Remove temporary files that a killed run left below `folder`; gives their number.

    Only for whoever holds the folder's lock. Folders of other runs inside it (with bookkeeping of their own) are left
    alone. Costs one walk through the folder.
    """
    removed = 0
    for parent, folders, files in os.walk(folder):
        if BOOKKEEPING_FOLDER in folders and Path(parent) != folder:
            folders.clear()
            continue
        for name in files:
            if name.startswith(TEMPORARY_PREFIX) and name.endswith(TEMPORARY_SUFFIX):
                Path(parent, name).unlink(missing_ok=True)
                removed += 1
    return removed
