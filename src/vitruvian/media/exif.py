"""What a picture's own EXIF data say about the camera.

In: an opened Pillow picture. Out: the 35 mm equivalent focal length, or nothing where there is none that can be used:
missing, damaged, zero (EXIF's "unknown"), or of a picture that was cut to another shape since.
"""

from __future__ import annotations

import struct
from typing import Any

from PIL import ExifTags, Image

SAME_SHAPE = 0.02
"""Aspects that differ by more are those of different pictures: someone cut it, and the angle is no longer known."""
BELIEVED_MM = (2.0, 5000.0)
"""35 mm equivalents of lenses that exist."""


def focal_35mm(picture: Image.Image) -> float | None:
    """35 mm equivalent focal length in millimetres; None where it cannot be known."""
    try:
        details: Any = picture.getexif().get_ifd(ExifTags.IFD.Exif)
        focal_mm = float(details.get(ExifTags.Base.FocalLengthIn35mmFilm, 0))
        sides = [float(details.get(tag, 0)) for tag in (ExifTags.Base.ExifImageWidth, ExifTags.Base.ExifImageHeight)]
    except (SyntaxError, OSError, ValueError, ArithmeticError, LookupError, TypeError, AttributeError, struct.error):
        return None
    low, high = BELIEVED_MM
    if not low <= focal_mm <= high:
        return None
    if min(sides) > 0:
        # Sides in order of length: the orientation may or may not be applied to the numbers.
        then, now = max(sides) / min(sides), max(picture.size) / min(picture.size)
        if abs(then / now - 1) > SAME_SHAPE:
            return None
    return focal_mm
