"""Tell pictures from lists and from each other by their first bytes and by their extensions."""

from __future__ import annotations

import re

# fmt: off
PICTURE_EXTENSIONS = frozenset((
    "avif", "bmp", "dib", "gif", "heic", "heif", "hif", "icns", "ico", "j2c", "j2k", "jfif",
    "jp2", "jpc", "jpe", "jpeg", "jpf", "jpg", "jpx", "mpo", "pbm", "pcx", "pfm", "pgm",
    "png", "pnm", "ppm", "psd", "qoi", "sgi", "tga", "tif", "tiff", "webp",
))
# fmt: on
"""Files in folders and patterns that count as pictures. HEIC is among them so that it is refused aloud, not skipped."""

SNIFF_BYTES = 32
"""How much of a file `picture_extension` wants to see."""

# A line of text may begin with any of the letters below, so each signature asks for more than letters alone.
_SIGNATURES: tuple[tuple[str, re.Pattern[bytes]], ...] = tuple(
    (extension, re.compile(pattern, re.DOTALL))
    for extension, pattern in (
        ("jpg", rb"\xff\xd8\xff"),
        ("png", rb"\x89PNG\r\n\x1a\n"),
        ("gif", rb"GIF8[79]a"),
        ("webp", rb"RIFF.{4}WEBP"),
        ("bmp", rb"BM.{4}\x00{4}.{4}[\x0c\x28\x34\x38\x40\x6c\x7c]\x00{3}"),
        ("tif", rb"II[\x2a\x2b]\x00|MM\x00[\x2a\x2b]"),
        ("jp2", rb"\x00\x00\x00\x0cjP  |\xff\x4f\xff\x51"),
        ("avif", rb".{4}ftypavi[fs]"),
        ("heic", rb".{4}ftyp(?:hei[cxms]|hev[cxms]|mif1|msf1)"),
        ("qoi", rb"qoif.{8}[\x03\x04][\x00\x01]"),
        ("psd", rb"8BPS\x00\x01"),
        ("pnm", rb"P[1-6]\s+(?:#[^\n]*\n\s*)?\d+\s+\d+\s"),
        ("pfm", rb"P[Ff]\s+\d+\s+\d+\s"),
    )
)


def picture_extension(head: bytes) -> str | None:
    """Extension of the picture format that these first bytes (up to `SNIFF_BYTES`) announce; None for anything else."""
    return next((extension for extension, pattern in _SIGNATURES if pattern.match(head)), None)


def has_picture_extension(name: str) -> bool:
    """Whether a file name ends like a picture, in any case."""
    return name.rpartition(".")[2].lower() in PICTURE_EXTENSIONS
