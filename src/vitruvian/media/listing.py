"""Turn what a user names into entries: files, folders, patterns, lists, standard input, arrays.

In: the inputs as given. Out: entries and failures, lazily, in a stable order (as given; sorted within folders). Memory:
one name per file, to keep names unique; nothing for the most common case of a single folder.

Names: inside a folder input, the path relative to that folder; inside a list's folder, relative to it; inside the
current folder, the path as typed; below a pattern's fixed start elsewhere, relative to it; otherwise the base name.
"""

from __future__ import annotations

import io
import os
import stat
import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import chain
from pathlib import Path
from typing import BinaryIO

import numpy as np

from vitruvian.errors import UsageError
from vitruvian.media.images import MAX_ENCODED_BYTES
from vitruvian.media.items import Entry, Failure
from vitruvian.media.names import relative_inside
from vitruvian.media.signatures import SNIFF_BYTES, has_picture_extension, picture_extension
from vitruvian.media.video.recognition import has_video_name
from vitruvian.media.video.sequences import is_sequence
from vitruvian.media.walking import Unreadable, has_magic, split_pattern, walk_folder, walk_pattern


@dataclass(frozen=True, kw_only=True, slots=True)
class _Found:
    name: str
    path: Path | None = None
    payload: bytes | np.ndarray | None = None
    sequence: str | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class _Problem:
    name: str
    reason: str


@dataclass(frozen=True, kw_only=True, slots=True)
class _Search:
    """What is looked for, the same for every input of a run."""

    recursive: bool
    videos: bool
    stdin: BinaryIO | None

    def wants(self, path: Path) -> bool:
        """Whether a file that nobody named is an input."""
        return has_picture_extension(path.name) or (self.videos and has_video_name(path))

    @property
    def nothing(self) -> str:
        """What is said where a pattern leads to nothing."""
        return "no picture and no video found" if self.videos else "no picture found"

    @property
    def nothing_here(self) -> str:
        """The same for a folder."""
        return f"{self.nothing} here{' or below' if self.recursive else '; subfolders are searched with --recursive'}"


def list_inputs(
    inputs: Sequence[str | Path | np.ndarray],
    *,
    recursive: bool,
    stdin: BinaryIO | None = None,
    videos: bool = False,
) -> Iterator[Entry | Failure]:
    """Every picture that `inputs` name, found while iterating.

    An input is a file, a folder (its files with picture extensions; with `recursive` those of its subfolders), a
    pattern (`**` for any folders), numbered pictures as one video (`frames/%06d.png`), a list (`.txt` or `@file`: a
    path per line, relative to the list; `#` comments), `-` for standard input (a picture, or a list relative to the
    current folder), or a uint8 array (H,W), (H,W,3) RGB, (H,W,4). Hidden files, and the output folders of earlier runs
    inside a folder, are passed over; so are its videos, unless `videos` asks for them.
    What cannot be used becomes a `Failure`. `stdin` defaults to the process's own.
    """
    if isinstance(inputs, (str, Path, np.ndarray)):
        inputs = [inputs]
    only = inputs[0] if len(inputs) == 1 else None
    unique = isinstance(only, (str, Path)) and only != "-" and _mode(Path(only)) == "folder"
    search = _Search(recursive=recursive, videos=videos, stdin=stdin)
    found = chain.from_iterable(_find(given, search) for given in inputs)
    return _numbered(found if unique else _distinct(found))


def _numbered(found: Iterable[_Found | _Problem]) -> Iterator[Entry | Failure]:
    for index, one in enumerate(found):
        if isinstance(one, _Problem):
            yield Failure(name=one.name, index=index, reason=one.reason)
        else:
            name = one.name or f"array_{index:06d}"
            yield Entry(name=name, path=one.path, payload=one.payload, index=index, sequence=one.sequence)


def _distinct(found: Iterable[_Found | _Problem]) -> Iterator[_Found | _Problem]:
    """Drop files that came before; refuse a name that a different file has."""
    owners: dict[str, str] = {}
    seen: set[str] = set()
    for one in found:
        if isinstance(one, _Problem) or not one.name:
            yield one
            continue
        file = (one.sequence or one.name) if one.path is None else _identity(one.path)
        if file in seen:
            continue
        if owners.setdefault(one.name, file) != file:
            reason = "another input of this run has the same name; give the common parent folder, so that names differ"
            yield _Problem(name=one.name, reason=reason)
            continue
        seen.add(file)
        yield one


def _identity(path: Path) -> str:
    """The file's one true path; a link keeps its own name, only the folders on the way are resolved."""
    whole = Path(os.path.abspath(path))
    return os.path.normcase(os.path.join(_real_folder(str(whole.parent)), whole.name))


@lru_cache(maxsize=1024)
def _real_folder(folder: str) -> str:
    return os.path.realpath(folder)


def _find(given: str | Path | np.ndarray, search: _Search) -> Iterator[_Found | _Problem]:
    if isinstance(given, np.ndarray):
        yield _Found(name="", payload=given)
        return
    if not isinstance(given, (str, os.PathLike)):
        raise UsageError(f"got {type(given).__name__} as an input; expected a path or a uint8 array")
    text = os.fspath(given)
    if text == "-":
        yield from _find_stdin(sys.stdin.buffer if search.stdin is None else search.stdin, search)
    elif text.startswith("@"):
        yield from _find_list(Path(text[1:]), search)
    elif text.lower().endswith(".txt") and _mode(Path(text)) == "file" and not _is_picture(Path(text)):
        yield from _find_list(Path(text), search)
    else:
        yield from _find_path(text, Path.cwd(), search)


def _find_path(text: str, folder: Path, search: _Search) -> Iterator[_Found | _Problem]:
    """A file, a folder or a pattern, relative to `folder`."""
    path = folder / text
    mode = _mode(path)
    if mode == "file":
        yield _Found(name=_name(path, folder), path=path)
    elif mode == "folder":
        found = walk_folder(path, recursive=search.recursive, wanted=search.wants)
        yield from _find_many(found, path, text, search.nothing_here)
    elif mode == "absent" and is_sequence(text):
        yield _Found(name=_name(path, folder), sequence=str(path))
    elif mode == "absent" and has_magic(text):
        base, parts = split_pattern(text)
        start = folder / base
        names_from = next((f for f in (folder, Path.cwd()) if relative_inside(start / "x", f)), start)
        found = walk_pattern(start, parts, wanted=search.wants)
        yield from _find_many(found, names_from, text, search.nothing)
    else:
        reason = "does not exist" if mode == "absent" else f"cannot be read: {mode}"
        yield _Problem(name=_name(path, folder), reason=reason)


def _find_many(
    paths: Iterator[Path | Unreadable], names_from: Path, text: str, nothing: str
) -> Iterator[_Found | _Problem]:
    empty = True
    for path in paths:
        empty = False
        if isinstance(path, Unreadable):
            reason = f"this folder cannot be read: {path.reason}"
            yield _Problem(name=_name(path.path, names_from), reason=reason)
        else:
            yield _Found(name=_name(path, names_from), path=path)
    if empty:
        yield _Problem(name=_name(Path(text), Path.cwd()), reason=nothing)


def _find_list(path: Path, search: _Search) -> Iterator[_Found | _Problem]:
    name = _name(path, Path.cwd())
    try:
        file = path.open("rb")
    except (OSError, ValueError) as error:
        yield _Problem(name=name, reason=f"the list cannot be read: {getattr(error, 'strerror', 'not a usable path')}")
        return
    with file:
        yield from _find_lines(file, path.parent, name, search)


def _find_lines(lines: Iterable[bytes], folder: Path, list_name: str, search: _Search) -> Iterator[_Found | _Problem]:
    empty = True
    for number, line in enumerate(lines):
        text = os.fsdecode(line.removeprefix(b"\xef\xbb\xbf") if number == 0 else line).strip()
        if not text or text.startswith("#"):
            continue
        empty = False
        if "\0" in text:
            reason = f"line {number + 1} is not text; expected a list with one path per line"
            yield _Problem(name=list_name, reason=reason)
            return
        yield from _find_path(text, folder, search)
    if empty:
        yield _Problem(name=list_name, reason="the list names no path; expected one per line")


def _find_stdin(stdin: BinaryIO, search: _Search) -> Iterator[_Found | _Problem]:
    head = _read_up_to(stdin, SNIFF_BYTES)
    extension = picture_extension(head)
    if extension is None:
        # What was taken may end inside a line; the next line feed completes it.
        start = io.BytesIO(head + stdin.readline())
        yield from _find_lines(chain(start, stdin), Path.cwd(), "stdin", search)
        return
    # One byte past the limit lets the reader refuse what is too large without taking all of it.
    data = head + _read_up_to(stdin, MAX_ENCODED_BYTES + 1 - len(head))
    yield _Found(name=f"stdin.{extension}", payload=data)


def _read_up_to(stdin: BinaryIO, count: int) -> bytes:
    """A pipe gives what it has; ask until there is enough or it ends."""
    pieces: list[bytes] = []
    while count > 0 and (piece := stdin.read(min(count, 1 << 24))):
        pieces.append(piece)
        count -= len(piece)
    return b"".join(pieces)


def _name(path: Path, folder: Path) -> str:
    """Name of a file given relative to `folder`; see the module's rule. Never absolute, never with '..'."""
    name = relative_inside(path, folder) or relative_inside(path, Path.cwd()) or Path(os.path.abspath(path)).name
    return name or "."


def _mode(path: Path) -> str:
    """`file`, `folder`, `absent`, or the words of the operating system."""
    try:
        mode = os.stat(path).st_mode
    except (FileNotFoundError, NotADirectoryError):
        return "absent"
    except ValueError:
        return "not a usable path"
    except OSError as error:
        return error.strerror or "unreadable"
    return "folder" if stat.S_ISDIR(mode) else "file"


def _is_picture(path: Path) -> bool:
    try:
        with path.open("rb") as file:
            return picture_extension(file.read(SNIFF_BYTES)) is not None
    except OSError:
        return False
