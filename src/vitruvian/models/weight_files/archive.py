"""Zip archives as torch writes them, looked at without trusting them: where does each member's data lie in the file?

Storages are stored, not compressed, so that a member is a range of the file which can be mapped or read alone; an
archive may lie inside another (exported programs keep their weights so). Bounds come first: the directory's size, the
members' sizes against the file, names that occur twice. Cost: the directory, a few hundred bytes a member.
"""

from __future__ import annotations

import io
import os
import struct
import zipfile
from dataclasses import dataclass
from pathlib import Path

from vitruvian.errors import RefusedError

MAX_DIRECTORY_BYTES = 16 * 10**6
"""Largest table of members that is read (about 100 000 members; the largest published file has 3 000)."""

_END_RECORD = struct.Struct("<4s4H2LH")
_END64_LOCATOR = struct.Struct("<4sLQL")
_END64_RECORD = struct.Struct("<4sQ2H2L4Q")
_LOCAL_HEADER = struct.Struct("<4s5H3L2H")
_MAX_COMMENT_BYTES = 2**16 - 1


@dataclass(frozen=True, kw_only=True, slots=True)
class Span:
    """A range of bytes of a file."""

    path: Path
    start: int
    size_bytes: int

    def read(self) -> bytes:
        """The bytes themselves."""
        with self.path.open("rb") as file:
            file.seek(self.start)
            data = file.read(self.size_bytes)
        if len(data) != self.size_bytes:
            raise _damaged(self.path, "it ends in the middle of a member")
        return data


def whole_file(path: Path) -> Span:
    """The span of all bytes of a file."""
    return Span(path=path, start=0, size_bytes=path.stat().st_size)


class Archive:
    """The members of a zip archive that is (part of) a file."""

    def __init__(self, span: Span) -> None:
        """Read the directory.

        Raises:
            RefusedError: the archive is cut off, damaged, or larger in its claims than in its bytes.
        """
        self.span = span
        _check_directory_size(span)
        try:
            with _Window(span) as window, zipfile.ZipFile(window) as archive:
                infos = archive.infolist()
        except (zipfile.BadZipFile, struct.error, ValueError, OverflowError, NotImplementedError) as error:
            raise _damaged(span.path, str(error)) from error
        self._infos = {info.filename: info for info in infos}
        if len(self._infos) != len(infos):
            raise _damaged(span.path, "two members have the same name")
        if sum(info.compress_size for info in infos) > span.size_bytes:
            raise _damaged(span.path, "its members claim more bytes than it has")

    @property
    def names(self) -> list[str]:
        """Names of all members, in the archive's order."""
        return list(self._infos)

    def __contains__(self, name: str) -> bool:
        return name in self._infos

    def member(self, name: str) -> Span:
        """Where an uncompressed member's data lies in the file.

        Raises:
            RefusedError: there is no such member, it is compressed or encrypted, or it lies outside the archive.
        """
        info = self._infos.get(name)
        if info is None:
            raise _damaged(self.span.path, f"the member {name!r} is missing")
        if info.compress_type != zipfile.ZIP_STORED or info.flag_bits & 1 or info.file_size != info.compress_size:
            raise RefusedError(
                f"got {self.span.path.name} with the compressed or encrypted member {name!r}; expected an archive as "
                "torch writes it, uncompressed; unpack it and pack it again without compression (`zip -0 -r`)"
            )
        header = b""
        if info.header_offset >= 0:
            with self.span.path.open("rb") as file:
                file.seek(self.span.start + info.header_offset)
                header = file.read(_LOCAL_HEADER.size)
        if len(header) != _LOCAL_HEADER.size or header[:4] != b"PK\x03\x04":
            raise _damaged(self.span.path, f"the member {name!r} is not where the directory says")
        name_bytes, extra_bytes = _LOCAL_HEADER.unpack(header)[-2:]
        offset = info.header_offset + _LOCAL_HEADER.size + name_bytes + extra_bytes
        if offset + info.file_size > self.span.size_bytes:
            raise _damaged(self.span.path, f"the member {name!r} reaches beyond its end")
        return Span(path=self.span.path, start=self.span.start + offset, size_bytes=info.file_size)


class _Window(io.RawIOBase):
    """A span as a seekable read-only file."""

    def __init__(self, span: Span) -> None:
        self._span = span
        self._file = span.path.open("rb")
        self._position = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._position

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        base = {os.SEEK_SET: 0, os.SEEK_CUR: self._position, os.SEEK_END: self._span.size_bytes}[whence]
        if base + offset < 0:
            raise OSError("seek before the start")
        self._position = base + offset
        return self._position

    def read(self, size: int | None = -1) -> bytes:
        left_bytes = max(0, self._span.size_bytes - self._position)
        size = left_bytes if size is None or size < 0 else min(size, left_bytes)
        self._file.seek(self._span.start + self._position)
        data = self._file.read(size)
        self._position += len(data)
        return data

    def close(self) -> None:
        self._file.close()
        super().close()


def _check_directory_size(span: Span) -> None:
    """Refuse a directory that would be costly to parse; `zipfile` itself reads it whole, however large."""
    before_bytes = _END64_RECORD.size + _END64_LOCATOR.size
    tail_bytes = min(span.size_bytes, before_bytes + _END_RECORD.size + _MAX_COMMENT_BYTES)
    tail = Span(path=span.path, start=span.start + span.size_bytes - tail_bytes, size_bytes=tail_bytes).read()
    # The same choice of end record as zipfile's: one without comment at the very end, else the last signature.
    at = len(tail) - _END_RECORD.size
    if at < 0 or tail[at : at + 4] != b"PK\x05\x06" or tail[-2:] != b"\0\0":
        at = tail.rfind(b"PK\x05\x06")
    # Bytes after the end mean that an archive inside this one was found because this one's own end is missing.
    if at < 0 or at + _END_RECORD.size + _comment_bytes(tail, at) != len(tail):
        raise _damaged(span.path, "its directory, which stands at the end, is missing: the file was cut off")
    directory_bytes = _END_RECORD.unpack_from(tail, at)[5]
    if at >= before_bytes and tail[at - _END64_LOCATOR.size :][:4] == b"PK\x06\x07":
        directory_bytes = _END64_RECORD.unpack_from(tail, at - before_bytes)[8]
    if directory_bytes > MAX_DIRECTORY_BYTES:
        raise RefusedError(
            f"got {span.path.name} with a table of members of {directory_bytes} bytes; expected at most "
            f"{MAX_DIRECTORY_BYTES}; this is no weight file, get the right one from its publisher"
        )


def _comment_bytes(tail: bytes, at: int) -> int:
    return int.from_bytes(tail[at + _END_RECORD.size - 2 : at + _END_RECORD.size], "little")


def _damaged(path: Path, what: str) -> RefusedError:
    return RefusedError(
        f"got a damaged archive, {path.name}: {what}; expected a whole weight file; delete it and download it again"
    )
