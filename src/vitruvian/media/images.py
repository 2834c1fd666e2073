"""Read one picture: any format Pillow decodes, to upright 8-bit RGB, or one line that says why not.

In: an entry. Out: an item. Nothing in a file is believed: its encoded size is bounded, the number of pixels is read
from the header and checked before anything is decoded, the format is told from the content, and a picture that ends
early is refused even where part of it could be shown. Decoding dominates (a 1920x1080 JPEG: 11 ms on one core).
"""

from __future__ import annotations

import io
import os
import stat
import struct
import threading
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path

import numpy as np
from PIL import Image, ImageFile

from vitruvian.errors import InputError
from vitruvian.media.access import said_plainly
from vitruvian.media.colour import flatten_on_white, upright_rgb
from vitruvian.media.exif import focal_35mm
from vitruvian.media.items import Entry, Item
from vitruvian.media.names import printable
from vitruvian.media.signatures import SNIFF_BYTES, picture_extension

MAX_PIXELS = 250_000_000
"""Largest picture that is decoded; 0.75 GB as RGB."""

MAX_ENCODED_BYTES = 1_000_000_000
"""Largest file that is read."""

# Formats that Pillow hands to other programs or only knows by name.
_NO_PICTURES = frozenset({"EPS", "WMF", "BUFR", "GRIB", "HDF5", "MPEG"})
_SAME_FORMAT = {"MPO": "JPEG", "DIB": "BMP"}

# What Pillow's decoders raise for damaged data; each was seen from a damaged file.
_DAMAGED = (
    OSError,
    SyntaxError,
    ValueError,
    LookupError,
    EOFError,
    TypeError,
    AttributeError,
    ArithmeticError,
    RuntimeError,
    MemoryError,
    struct.error,
    zlib.error,
    Image.DecompressionBombError,
)


class _PillowLimit:
    """Lifts Pillow's process-wide pixel limit while pictures whose size was checked here are decoded.

    Some decoders ask that limit again, long after the header. It belongs to the process, so it is put back as soon as
    the last of our large pictures is done; pictures within it never touch it.
    """

    def __init__(self) -> None:
        self._turn = threading.Lock()
        self._users = 0
        self._before: int | None = None

    @contextmanager
    def lifted(self, pixels: int) -> Iterator[None]:
        """Allow a picture of so many pixels inside the block."""
        with self._turn:
            if self._users == 0:
                self._before = Image.MAX_IMAGE_PIXELS
            large = self._before is not None and pixels > self._before
            if large:
                self._users += 1
                Image.MAX_IMAGE_PIXELS = max(Image.MAX_IMAGE_PIXELS or 0, pixels)
        try:
            yield
        finally:
            with self._turn:
                self._users -= large
                if large and self._users == 0:
                    Image.MAX_IMAGE_PIXELS = self._before


_pillow_limit = _PillowLimit()


def read_picture(entry: Entry, *, max_pixels: int = MAX_PIXELS) -> Item:
    """Read and decode one entry.

    Raises `InputError` with a one-line reason, free of private paths, for everything that is wrong with the input.
    """
    if isinstance(entry.payload, np.ndarray):
        return _from_array(entry, entry.payload, max_pixels)
    if entry.payload is not None:
        data, modified_ns = _bounded(entry.payload), zlib.crc32(entry.payload)
    elif entry.path is not None:
        data, modified_ns = _read_file(entry.path)
    else:
        raise InputError("holds nothing to read; expected a path, bytes or an array")
    if not data:
        raise InputError("the file is empty")
    image_HW3, focal_mm, notes = _decode(data, entry.name.rpartition(".")[2].lower(), max_pixels)
    return Item(
        name=entry.name,
        index=entry.index,
        time_s=None,
        stream=None,
        image_HW3=image_HW3,
        size_bytes=len(data),
        modified_ns=modified_ns,
        focal_35mm=focal_mm,
        notes=notes,
    )


def _read_file(path: Path) -> tuple[bytes, int]:
    with said_plainly():
        if not stat.S_ISREG(os.stat(path).st_mode):
            raise InputError("is not a regular file; expected a picture file, or - to read standard input")
        with path.open("rb") as file:
            status = os.fstat(file.fileno())
            # The size a file claims may change or lie; it only says how much to ask for first.
            data = file.read(min(status.st_size, MAX_ENCODED_BYTES) + 1)
            if len(data) > status.st_size:
                data += file.read(max(0, MAX_ENCODED_BYTES + 1 - len(data)))
            return _bounded(data), status.st_mtime_ns


def _bounded(data: bytes) -> bytes:
    if len(data) > MAX_ENCODED_BYTES:
        raise InputError(f"is larger than {MAX_ENCODED_BYTES / 1e9:g} GB; expected a picture; split or re-encode it")
    return data


def _from_array(entry: Entry, array: np.ndarray, max_pixels: int) -> Item:
    if array.dtype != np.uint8 or not (array.ndim == 2 or (array.ndim == 3 and array.shape[2] in (3, 4))):
        raise InputError(
            f"got an array of {array.dtype} {array.shape}; expected uint8 (H,W) grey, (H,W,3) RGB or (H,W,4) RGBA"
        )
    _check_size(array.shape[1], array.shape[0], max_pixels)
    notes: tuple[str, ...] = ()
    if array.ndim == 2:
        image_HW3 = np.repeat(array[..., None], 3, axis=2)
    elif array.shape[2] == 4:
        image_HW3, notes = flatten_on_white(array), ("transparency laid on white",)
    else:
        image_HW3 = np.ascontiguousarray(array)
    return Item(
        name=entry.name,
        index=entry.index,
        time_s=None,
        stream=None,
        image_HW3=image_HW3,
        size_bytes=array.nbytes,
        modified_ns=zlib.crc32(image_HW3.data),
        notes=notes,
    )


def _check_size(width: int, height: int, max_pixels: int) -> None:
    if width < 1 or height < 1:
        raise InputError(f"has no pixels ({width} x {height})")
    if width * height > max_pixels:
        raise InputError(
            f"claims {width} x {height} = {width * height / 1e6:.0f} million pixels; expected at most "
            f"{max_pixels / 1e6:g} million; cut it or make it smaller"
        )


def _decode(data: bytes, extension: str, max_pixels: int) -> tuple[np.ndarray, float | None, tuple[str, ...]]:
    opened = _identify(data, extension)
    _check_size(opened.width, opened.height, max_pixels)
    notes: list[str] = []
    expected = Image.EXTENSION.get(f".{extension}")
    if expected is not None and _plain_format(expected) != _plain_format(opened.format):
        notes.append(f"named .{extension} but holds {opened.format}")
    try:
        if getattr(opened, "is_animated", False):
            notes.append("first of several frames")
        with _pillow_limit.lifted(opened.width * opened.height):
            image_HW3, changes = upright_rgb(opened, lambda: _identify(data, extension))
    except _DAMAGED as error:
        raise InputError(_damage(opened.format, error)) from None
    _check_size(image_HW3.shape[1], image_HW3.shape[0], max_pixels)
    return image_HW3, focal_35mm(opened), (*notes, *changes)


def _plain_format(name: str | None) -> str:
    return _SAME_FORMAT.get(name or "", name or "")


def _identify(data: bytes, extension: str) -> ImageFile.ImageFile:
    """Open by content, header only. Pillow's own `open` would warn or refuse by its process-wide pixel limit."""
    head = data[:16].ljust(16, b"\0")  # Some of Pillow's tests unpack what a shorter file has not.
    damage: InputError | None = None
    for name in _formats():
        factory, accept = Image.OPEN[name]
        # Formats without a signature would take almost anything; only their extension makes them credible.
        fits = accept(head) if accept is not None else Image.EXTENSION.get(f".{extension}") == name
        if not fits or isinstance(fits, str):
            continue
        try:
            opened = factory(io.BytesIO(data), "")
        except _DAMAGED as error:
            damage = damage or InputError(_damage(name, error))
            continue
        assert isinstance(opened, ImageFile.ImageFile)
        return opened
    announced = picture_extension(data[:SNIFF_BYTES])
    if announced == "heic":
        raise InputError("is a HEIC picture, which cannot be read here; convert it to JPEG or PNG")
    if damage is not None and announced is not None:
        raise damage
    raise InputError("is not a picture that can be read; expected JPEG, PNG, WebP, TIFF, BMP, GIF, ...")


@cache
def _formats() -> tuple[str, ...]:
    Image.init()
    usual = ("JPEG", "PNG", "WEBP", "TIFF", "BMP", "GIF")
    known = [name for name in Image.ID if name in Image.OPEN and name not in _NO_PICTURES]
    return (*(name for name in usual if name in known), *(name for name in known if name not in usual))


def _damage(format: str | None, error: BaseException) -> str:
    if isinstance(error, MemoryError):
        return f"the {format} data need more memory than there is"
    words = printable(" ".join(str(error).split()))[:160]
    return f"the {format} data are truncated, damaged or of an unusual kind: {words or type(error).__name__}"
