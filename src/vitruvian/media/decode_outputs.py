"""Read back what a sink wrote: the description of any file, and the codes of 16-bit PNGs."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from PIL.JpegImagePlugin import JpegImageFile

from vitruvian.errors import InputError, UsageError
from vitruvian.media.names import printable, shown
from vitruvian.media.png import read_png_text
from vitruvian.media.sinks import ABOUT_KEY


def read_about(path: str | Path) -> dict[str, Any]:
    """The description of a result file: model, licence, units, frame, encoding. A `.json` result describes itself.

    Raises `InputError` if the file cannot be read or carries no description.
    """
    path = Path(path)
    try:
        text = _about_text(path)
        about = None if text is None else json.loads(text)
    except OSError as error:
        raise InputError(f"{shown(path)} cannot be read: {error.strerror or 'not a whole file'}") from None
    except ValueError:
        raise InputError(f"{shown(path)} carries a damaged description; write it again") from None
    if not isinstance(about, dict):
        raise InputError(f"{shown(path)} carries no description; expected a file that this program wrote")
    return about


def _about_text(path: Path) -> str | None:
    extension = path.suffix.lower()
    if extension == ".json":
        return path.read_text("utf-8")
    if extension == ".png":
        return read_png_text(path.read_bytes())
    if extension == ".exr":
        return _exr_text(path)
    if extension in (".jpg", ".jpeg"):
        # Not Image.open: results may be larger than what it takes for an attack.
        try:
            with JpegImageFile(path) as picture:
                comment = picture.info.get("comment")
        except SyntaxError:
            raise InputError(f"{shown(path)} is no whole JPEG file") from None
        if comment:
            return comment.decode("ascii") if isinstance(comment, bytes) else str(comment)
    beside = path.with_name(path.name + ".json")
    return beside.read_text("utf-8") if beside.exists() else None


def _exr_text(path: Path) -> str | None:
    try:
        import OpenEXR
    except ImportError:
        raise UsageError('got an EXR file; reading it needs OpenEXR: pip install "vitruvian[exr]"') from None
    if not path.exists():
        raise FileNotFoundError(2, "no such file")
    try:
        text = OpenEXR.File(str(path), header_only=True).header().get(ABOUT_KEY)
    except RuntimeError as error:
        raise InputError(f"{shown(path)} is no whole EXR file: {printable(type(error).__name__)}") from None
    return text if isinstance(text, str) else None


def read_codes(path: Path, *, channels: int) -> np.ndarray:
    """uint16 codes (H,W) or (H,W,3) RGB of a 16-bit PNG; `InputError` for anything else."""
    import cv2

    try:
        data = np.frombuffer(path.read_bytes(), np.uint8)
    except OSError as error:
        raise InputError(f"{shown(path)} cannot be read: {error.strerror}") from None
    codes = cv2.imdecode(data, cv2.IMREAD_UNCHANGED) if data.size else None
    expected = 2 if channels == 1 else 3
    if codes is None or codes.dtype != np.uint16 or codes.ndim != expected:
        got = "no picture" if codes is None else f"{codes.dtype} {codes.shape}"
        raise InputError(f"{shown(path)} holds {got}; expected a 16-bit PNG with {channels} channel(s)")
    return codes if channels == 1 else codes[..., ::-1]
