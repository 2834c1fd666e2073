"""Walk folders and patterns lazily, in a stable order, without getting lost in links.

In: a folder or a pattern. Out: paths of files, sorted within each folder, and folders that could not be read. Memory:
the names of the folders on the way, never the whole tree.
"""

# Hidden files and folders (leading dot) are left out as a shell does: they hold thumbnails and other programs' notes.

from __future__ import annotations

import os
import re
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from fnmatch import translate
from pathlib import Path

from vitruvian.media.names import OWN_PREFIX

_MAGIC = re.compile(r"[*?\[]")


@dataclass(frozen=True, kw_only=True, slots=True)
class Unreadable:
    """A folder that could not be looked into."""

    path: Path
    reason: str
    """The operating system's words."""


@dataclass(frozen=True, kw_only=True, slots=True)
class _Listed:
    path: Path
    identity: tuple[int, int]
    entries: list[os.DirEntry[str]]


def has_magic(text: str) -> bool:
    """Whether a path is written as a pattern."""
    return _MAGIC.search(text) is not None


def walk_folder(folder: Path, *, recursive: bool, wanted: Callable[[Path], bool]) -> Iterator[Path | Unreadable]:
    """Files in `folder` that are `wanted`: first its own, then those of its subfolders, each sorted by name."""
    for listed in _folders(folder) if recursive else [_scan(folder)]:
        if isinstance(listed, Unreadable):
            yield listed
        else:
            for entry in listed.entries:
                path = Path(entry.path)
                if wanted(path) and not _is_folder(entry):
                    yield path


def split_pattern(pattern: str) -> tuple[Path, tuple[str, ...]]:
    """The folder a pattern starts from, and the parts from the first one with a wildcard on."""
    parts = Path(pattern).parts
    first = next(i for i, part in enumerate(parts) if has_magic(part))
    return Path(*parts[:first]), parts[first:]


def walk_pattern(base: Path, parts: tuple[str, ...], *, wanted: Callable[[Path], bool]) -> Iterator[Path | Unreadable]:
    """Files below `base` that match; `**` stands for any number of folders.

    A pattern that names an extension (`*.dat`) gives all such files, any other (`frames/*`) only those `wanted`.
    """
    extension = parts[-1].rpartition(".")[2] if "." in parts[-1] else "*"
    named = not has_magic(extension)
    for found in _matching(base, parts):
        if isinstance(found, Unreadable) or ((named or wanted(found)) and not found.is_dir()):
            yield found


def _matching(base: Path, parts: tuple[str, ...]) -> Iterator[Path | Unreadable]:
    if not parts:
        yield base
        return
    part, rest = parts[0], parts[1:]
    if part == "**":
        while rest and rest[0] == "**":
            rest = rest[1:]
        for folder in _folders(base):
            if isinstance(folder, Unreadable):
                yield folder
            else:
                yield from _matching(folder.path, rest or ("*",))
    elif has_magic(part):
        listed = _scan(base, hidden=part.startswith("."))
        if isinstance(listed, Unreadable):
            yield listed
            return
        fits = re.compile(translate(os.path.normcase(part))).match
        for entry in listed.entries:
            if fits(os.path.normcase(entry.name)) and (not rest or _is_folder(entry)):
                yield from _matching(Path(entry.path), rest)
    elif os.path.lexists(base / part):
        yield from _matching(base / part, rest)


def _folders(top: Path) -> Iterator[_Listed | Unreadable]:
    """`top` and every folder below it once, parents first. Linked folders come last, so that real names win."""
    visited: set[tuple[int, int]] = set()
    linked = deque([top])
    while linked:
        stack = [linked.popleft()]
        while stack:
            listed = _scan(stack.pop())
            if isinstance(listed, Unreadable):
                yield listed
            elif listed.identity not in visited:
                visited.add(listed.identity)
                inside = [entry for entry in listed.entries if _is_folder(entry) and not _is_output(entry.path)]
                linked += [Path(entry.path) for entry in inside if entry.is_symlink()]
                stack += [Path(entry.path) for entry in reversed(inside) if not entry.is_symlink()]
                yield listed


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:
        # A link that leads in a circle leads to no folder.
        return False


def _is_output(folder: str) -> bool:
    """Whether this is the output folder of a run: its pictures are results, not inputs."""
    return os.path.isdir(os.path.join(folder, OWN_PREFIX))


def _scan(folder: Path, *, hidden: bool = False) -> _Listed | Unreadable:
    try:
        status = os.stat(folder)
        with os.scandir(folder) as entries:
            kept = [entry for entry in entries if hidden or not entry.name.startswith(".")]
    except OSError as error:
        return Unreadable(path=folder, reason=error.strerror or "unreadable")
    kept.sort(key=lambda entry: entry.name)
    return _Listed(path=folder, identity=(status.st_dev, status.st_ino), entries=kept)
