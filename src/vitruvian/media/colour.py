"""Any picture Pillow decodes, as upright 8-bit RGB.

In: a Pillow picture. Out: uint8 (H,W,3) and notes on what was changed. 16 bits are scaled to 8 by the full range (value
/ 257, rounded), never clipped; transparency is laid on white; colour profiles are not applied. 16-bit grey with
transparency keeps its upper 8 bits. 32-bit integer and float pictures are refused: their range is not written in the
file, and guessing it from the content would change brightness from picture to picture. Memory: ten bytes a pixel at
the peak, three in the result.
"""

from __future__ import annotations

import struct
import sys
from collections.abc import Callable

import numpy as np
from PIL import Image, ImageFile, ImageOps

from vitruvian.errors import InputError

_ORIENTATION_TAG = 0x0112
_PHOTOMETRIC_TAG, _WHITE_IS_ZERO = 262, 0
_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_PLAIN_MODES = frozenset({"RGB", "L", "1", "CMYK", "YCbCr", "LAB", "HSV", "RGBX"})
_DEEP_GREY_MODES = frozenset({"I;16", "I;16L", "I;16B", "I;16N"})
_DEEP_COLOUR_MODES = frozenset({"RGB;16", "RGBA;16", "RGBX;16", "CMYK;16"})


def upright_rgb(
    picture: ImageFile.ImageFile, reopen: Callable[[], ImageFile.ImageFile]
) -> tuple[np.ndarray, tuple[str, ...]]:
    """Decode `picture` to uint8 (H,W,3) RGB with its EXIF orientation applied, and say what was done to it.

    `reopen` gives the same picture unread; 16-bit colour is decoded twice. Raises `InputError` for modes without a
    known range, and whatever Pillow's decoders raise for damaged data.
    """
    deep = _deep_raw_mode(picture)
    grey_range = 4095 if _raw_mode(picture) == "I;12" else 65535
    picture.load()
    notes: list[str] = []
    image: Image.Image = picture
    if deep is not None:
        image = _scaled_colour(picture, reopen(), deep)
        notes.append("16 bits per channel scaled to 8")
    elif picture.mode in _DEEP_GREY_MODES or (picture.mode == "I" and picture.format == "PPM"):
        # Pillow keeps 16-bit grey PNM pictures in 32 bits, already scaled to 0..65535.
        image = Image.fromarray(_scaled(np.asarray(picture), grey_range))
        if getattr(picture, "tag_v2", {}).get(_PHOTOMETRIC_TAG) == _WHITE_IS_ZERO:
            # Pillow turns such pictures round at 8 bits only.
            image = ImageOps.invert(image)
        notes.append("16 bits per channel scaled to 8")
    rgb, flattened = _rgb(image)
    if flattened:
        notes.append("transparency laid on white")
    turn, note = _turn(picture)
    if note:
        notes.append(note)
    return np.array(rgb if turn is None else rgb.transpose(turn)), tuple(notes)


def flatten_on_white(image_HW4: np.ndarray) -> np.ndarray:
    """uint8 RGBA (H,W,4), alpha not multiplied in -> uint8 RGB (H,W,3) on white."""
    return np.array(_on_white(Image.fromarray(np.ascontiguousarray(image_HW4))))


def _rgb(image: Image.Image) -> tuple[Image.Image, bool]:
    """The picture in RGB, and whether transparent parts were laid on white."""
    if image.mode in ("LA", "La", "PA", "RGBA", "RGBa") or "transparency" in image.info:
        rgba = image.convert("RGBA") if image.mode != "La" else image.convert("LA").convert("RGBA")
        if rgba.getchannel("A").getextrema() == (255, 255):
            return rgba.convert("RGB"), False
        return _on_white(rgba), True
    if image.mode in _PLAIN_MODES or image.mode == "P":
        return (image if image.mode == "RGB" else image.convert("RGB")), False
    raise InputError(
        f"pixels of kind {image.mode!r} (32-bit or unusual) have no agreed brightness range; expected 8 or 16 bits per "
        "channel; convert the picture, e.g. to PNG"
    )


def _on_white(rgba: Image.Image) -> Image.Image:
    white = Image.new("RGB", rgba.size, (255, 255, 255))
    white.paste(rgba, mask=rgba.getchannel("A"))
    return white


def _turn(picture: ImageFile.ImageFile) -> tuple[Image.Transpose | None, str]:
    """What the EXIF data ask for; read after decoding, because some formats store them behind the pixels."""
    try:
        orientation = picture.getexif().get(_ORIENTATION_TAG, 1)
    except (SyntaxError, OSError, ValueError, KeyError, IndexError, TypeError, struct.error):
        return None, "EXIF data are damaged; the picture is taken as it lies"
    return _TURNS.get(orientation) if isinstance(orientation, int) else None, ""


def _raw_mode(picture: ImageFile.ImageFile) -> str:
    """How the pixels lie in the file, in Pillow's words; empty where the format does not say."""
    if not picture.tile:
        return ""
    arguments = picture.tile[0].args
    first = arguments[0] if isinstance(arguments, tuple) and arguments else arguments
    return first if isinstance(first, str) else ""


def _deep_raw_mode(picture: ImageFile.ImageFile) -> str | None:
    raw = _raw_mode(picture)
    return raw if raw[:-1] in _DEEP_COLOUR_MODES else None


def _scaled_colour(upper: Image.Image, lower: ImageFile.ImageFile, raw: str) -> Image.Image:
    """16-bit colour: Pillow decodes the upper bytes alone; decode again with swapped bytes for the lower ones."""
    little = raw.endswith("L") or (raw.endswith("N") and sys.byteorder == "little")
    swapped = raw[:-1] + ("B" if little else "L")
    lower.tile = [
        tile._replace(args=(swapped, *tile.args[1:]) if isinstance(tile.args, tuple) else swapped)
        for tile in lower.tile
    ]
    lower.load()
    high, low = np.asarray(upper).astype(np.int16), np.asarray(lower).astype(np.int16)
    # 256 high + low = 257 high + (low - high), so value / 257 rounds to high, or to a neighbour when they differ most.
    value = high + (low - high > 128) - (high - low > 128)
    return Image.frombytes(upper.mode, upper.size, value.astype(np.uint8).tobytes())


def _scaled(values_HW: np.ndarray, full: int) -> np.ndarray:
    """Whole numbers in [0, full] -> uint8 by the full range, rounded."""
    wide = values_HW.astype(np.uint32)
    return ((wide * 255 + full // 2) // full).astype(np.uint8)
