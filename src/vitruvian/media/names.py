"""Names as they may be shown and as they may become files: no private paths out, no escapes out of a folder.

In: names that users and file systems make up. Out: text that prints everywhere, and relative file names that every
operating system accepts and that stay different when the inputs were different.
"""

from __future__ import annotations

import hashlib
import os
import re
from pathlib import Path

from vitruvian.errors import UsageError

OWN_PREFIX = ".vitruvian"
"""Start of every file and folder that belongs to the bookkeeping; no output may be called so."""

MAX_PART_BYTES = 190
"""Longest part of an output name before its suffix; file systems stop at 255 bytes, suffixes need the rest."""

_WINDOWS_DEVICES = frozenset(
    ["con", "prn", "aux", "nul", *(f"com{n}" for n in range(1, 10)), *(f"lpt{n}" for n in range(1, 10))]
)
_ESCAPED = re.compile(r'[\x00-\x1f\x7f<>:"|?*\\\ud800-\udfff]|%(?=[0-9A-Fa-f]{2})')


def printable(text: str) -> str:
    """The same text on one line, with what a terminal or UTF-8 cannot hold written as `\\xNN` or `\\udcNN`."""
    kept = "".join(
        c if c.isprintable() or "\ud800" <= c <= "\udfff" else c.encode("unicode_escape").decode() for c in text
    )
    return kept.encode("utf-8", "backslashreplace").decode("utf-8")


def shown(path: Path) -> str:
    """A path as messages may show it: relative to the current folder, otherwise its last part alone."""
    relative = relative_inside(path, Path.cwd())
    return printable(relative if relative is not None else path.name)


def relative_inside(path: Path, folder: Path) -> str | None:
    """Name of `path` relative to `folder`, `/` between the parts, `..` resolved by name; None if outside or equal."""
    whole, base = Path(os.path.abspath(path)), Path(os.path.abspath(folder))
    if whole == base or not whole.is_relative_to(base):
        return None
    return whole.relative_to(base).as_posix()


def output_name(name: str) -> str:
    """File name part(s) under which results of the input `name` are stored.

    Characters and names that some operating system refuses become `%HH`; different inputs keep different names.
    Raises `UsageError` for absolute names and for `..`, which would leave the output folder.
    """
    parts = name.split("/")
    if any(part in ("", ".", "..") for part in parts):
        raise UsageError(
            f"got the input name {printable(name)!r}; expected a relative path without '..' and empty parts; "
            "give the input by its folder or rename it"
        )
    return "/".join(_output_part(part) for part in parts)


def _output_part(part: str) -> str:
    safe = _ESCAPED.sub(lambda match: _percent(match.group()), part)
    reserved = part.split(".")[0].rstrip(" ").lower() in _WINDOWS_DEVICES
    if reserved or part.lower().startswith(OWN_PREFIX):
        safe = _percent(part[0]) + safe[1:]
    if safe[-1] in ". ":
        safe = safe[:-1] + _percent(safe[-1])
    encoded = safe.encode("utf-8")
    if len(encoded) <= MAX_PART_BYTES:
        return safe
    digest = hashlib.sha256(part.encode("utf-8", "surrogatepass")).hexdigest()[:16]
    return encoded[: MAX_PART_BYTES - 17].decode("utf-8", "ignore") + "~" + digest


def _percent(character: str) -> str:
    data = character.encode("utf-8", "surrogateescape" if "\udc80" <= character <= "\udcff" else "surrogatepass")
    return "".join(f"%{byte:02X}" for byte in data)
