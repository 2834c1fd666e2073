"""Tell videos from pictures and other files by their first bytes, without decoding anything.

In: a path. Out: whether it is a video, and in which kind of container. Reads a few hundred bytes.
"""

from __future__ import annotations

import re
from pathlib import Path

from vitruvian.media.signatures import SNIFF_BYTES, picture_extension

# fmt: off
VIDEO_EXTENSIONS = frozenset((
    "3g2", "3gp", "264", "265", "asf", "avi", "dv", "f4v", "flv", "h264", "h265", "hevc", "ivf", "m1v", "m2ts", "m2v",
    "m4v", "mjpeg", "mjpg", "mkv", "mov", "mp4", "mpeg", "mpg", "mts", "mxf", "nut", "obu", "ogv", "qt", "ts", "vob",
    "webm", "wmv", "y4m",
))
# fmt: on
"""Extensions of videos, without the dot. GIF is a picture here: its first frame counts."""

_SHARED_EXTENSIONS = frozenset({"ts", "mts", "dv", "obu", "qt"})
"""Extensions that other kinds of files have too (TypeScript); here only the content decides."""
_SOUND_EXTENSIONS = frozenset({"m4a", "m4b", "mka", "oga", "ogg", "opus", "spx", "wma"})

_HEAD_BYTES = 600
_TRANSPORT_PACKET_BYTES, _TRANSPORT_SYNC = 188, b"G"

# MP4 brands of sound alone; those of pictures (HEIC, AVIF) are known to `picture_extension`.
_SIGNATURES: tuple[tuple[str, re.Pattern[bytes]], ...] = tuple(
    (kind, re.compile(pattern, re.DOTALL))
    for kind, pattern in (
        ("MP4", rb".{4}ftyp(?!M4A |M4B |avi[fs]|hei|hev|mif1|msf1|jp2|crx)"),
        ("QuickTime", rb".{4}mdat|\x00.{3}(?:moov|wide|free|skip|pnot)"),
        ("Matroska", rb"\x1a\x45\xdf\xa3"),
        ("AVI", rb"RIFF.{4}AVI[ X\x19]"),
        ("FLV", rb"FLV\x01"),
        ("ASF", rb"\x30\x26\xb2\x75\x8e\x66\xcf\x11"),
        ("MPEG", rb"\x00\x00\x01[\xba\xb3]"),
        ("H.264", rb"\x00\x00\x00?\x01(?:\x09.\x00\x00\x00?\x01)?[\x27\x47\x67]"),
        ("HEVC", rb"\x00\x00\x00?\x01(?:\x46\x01.\x00\x00\x00?\x01)?\x40\x01"),
        ("Ogg", rb"OggS.{24,500}\x80theora"),
        ("MXF", rb"\x06\x0e\x2b\x34\x02\x05\x01\x01"),
        ("IVF", rb"DKIF"),
        ("YUV4MPEG", rb"YUV4MPEG2 "),
        ("NUT", rb"nut/multimedia container"),
    )
)


def is_video(path: Path) -> bool:
    """Whether a file is to be read as a video: its content says so, or only its extension and nothing against it.

    Never raises: what cannot be opened is judged by its name, so that the reader can say why it fails.
    """
    extension = path.suffix[1:].lower()
    head = _head(path)
    if head is None:
        return extension in VIDEO_EXTENSIONS
    if picture_extension(head[:SNIFF_BYTES]) is not None:
        return False
    if container_kind(head) is not None:
        return extension not in _SOUND_EXTENSIONS
    return extension in VIDEO_EXTENSIONS - _SHARED_EXTENSIONS


def has_video_name(path: Path) -> bool:
    """Whether a file of a folder counts as a video: by its extension; by its content where others have that, too."""
    extension = path.suffix[1:].lower()
    return extension in VIDEO_EXTENSIONS and (extension not in _SHARED_EXTENSIONS or is_video(path))


def container_kind(head: bytes) -> str | None:
    """The kind of container that a file's first bytes announce; None for anything else."""
    for skipped in (0, 4):
        # A transport stream is known by its packets alone; in .m2ts files each has four bytes in front.
        stride = _TRANSPORT_PACKET_BYTES + skipped
        marks = head[skipped::stride][:3]
        if len(marks) == 3 and marks == _TRANSPORT_SYNC * 3:
            return "MPEG-TS"
    return next((kind for kind, pattern in _SIGNATURES if pattern.match(head)), None)


def announced_kind(path: Path) -> str | None:
    """`container_kind` of a file; None also where it cannot be read."""
    head = _head(path)
    return None if head is None else container_kind(head)


def _head(path: Path) -> bytes | None:
    try:
        with path.open("rb") as file:
            return file.read(_HEAD_BYTES)
    except (OSError, ValueError):
        return None
