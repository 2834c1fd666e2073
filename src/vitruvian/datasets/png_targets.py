"""PNG files as numbers rather than pictures: class numbers, 16-bit codes, masks.

In: a path. Out: the stored values, palettes not looked up, nothing scaled. The file is read once; its size in pixels
is bounded before anything is decoded.
"""

# Shape suffixes: H W picture size, C channels.

from __future__ import annotations

import io
import os
import struct
import zlib
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from PIL.PngImagePlugin import PngImageFile

from vitruvian.errors import InputError
from vitruvian.media.access import said_plainly
from vitruvian.media.images import MAX_ENCODED_BYTES, MAX_PIXELS
from vitruvian.media.png import SIGNATURE

_GREY, _PALETTE = 0, 3
_HEADER = struct.Struct(">IIBB")
_DAMAGED = (OSError, SyntaxError, ValueError, EOFError, struct.error, zlib.error, MemoryError)


@dataclass(frozen=True, kw_only=True, slots=True)
class PngFile:
    """A PNG file whose header was read."""

    data: bytes
    bits: int
    """Per channel, as stored: 1, 2, 4, 8 or 16."""
    colour: int
    """Colour type of the format: 0 grey, 2 RGB, 3 palette, 4 grey and alpha, 6 RGBA."""

    @property
    def in_words(self) -> str:
        """Bits and colours, for messages."""
        kind = {_GREY: "grey", 2: "RGB", _PALETTE: "palette", 4: "grey with alpha", 6: "RGBA"}
        return f"{self.bits}-bit {kind.get(self.colour, 'unknown')}"

    @property
    def one_plane(self) -> bool:
        """Whether a pixel is one number: a grey level or a place in a palette."""
        return self.colour in (_GREY, _PALETTE)


def open_png(path: Path) -> PngFile:
    """Read a PNG file and its header; `InputError` for anything else."""
    with said_plainly(), path.open("rb") as file:
        # Asked for more than there is, a file object sets that much memory aside first.
        size_bytes = os.fstat(file.fileno()).st_size
        data = file.read(min(size_bytes, MAX_ENCODED_BYTES))
    if size_bytes > MAX_ENCODED_BYTES:
        raise InputError(f"is larger than {MAX_ENCODED_BYTES / 1e9:g} GB; expected a picture; split or re-encode it")
    if not data.startswith(SIGNATURE) or data[12:16] != b"IHDR" or len(data) < 33:
        raise InputError("is not a PNG file; expected one; save it again as PNG")
    width, height, bits, colour = _HEADER.unpack_from(data, 16)
    if not 0 < width * height <= MAX_PIXELS:
        raise InputError(
            f"claims {width} x {height} pixels; expected 1 to {MAX_PIXELS / 1e6:g} million; make it smaller"
        )
    return PngFile(data=data, bits=bits, colour=colour)


def one_plane(png: PngFile) -> np.ndarray:
    """The stored number of every pixel (H,W) of a grey or palette file, uint8 or uint16."""
    try:
        picture = PngImageFile(io.BytesIO(png.data))
        picture.load()
        values_HW = np.array(picture)
    except _DAMAGED as error:
        raise _damage(error) from None
    if png.colour == _GREY and png.bits in (2, 4):
        # Pillow spreads such levels over 0..255.
        values_HW //= 255 // (2**png.bits - 1)
    return values_HW.astype(np.uint16 if png.bits == 16 else np.uint8)


def channels(png: PngFile) -> np.ndarray:
    """uint8 or uint16 values (H,W) or (H,W,C) with RGB in front; a palette's colours."""
    try:
        values = cv2.imdecode(np.frombuffer(png.data, np.uint8), cv2.IMREAD_UNCHANGED)
    except cv2.error as error:
        raise _damage(error) from None
    if values is None:
        raise InputError("holds damaged PNG data; expected a whole file; write it again")
    if values.ndim == 2:
        return np.asarray(values)
    return np.asarray(values[..., (2, 1, 0, *range(3, values.shape[2]))])


def _damage(error: BaseException) -> InputError:
    return InputError(f"holds damaged PNG data ({type(error).__name__}); expected a whole file; write it again")
