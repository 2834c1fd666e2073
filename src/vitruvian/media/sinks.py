"""Files of results: one folder, one name per input, every file whole and with a description of itself.

In: arrays, documents and pictures from a `Result`. Out: files `<input name>.<suffix>`. The description (`about`) is
stored inside PNG, JPEG, EXR, PLY and glTF, and beside the file as `<file>.json` where the format has no place for it.
"""

from __future__ import annotations

import errno
import importlib.util
import io
import os
import re
from collections.abc import Callable, Collection, Mapping
from pathlib import Path, PurePosixPath
from typing import Any, BinaryIO

import numpy as np
from PIL import Image

from vitruvian.errors import UsageError
from vitruvian.media.atomic import replacing, write_atomic
from vitruvian.media.documents import json_text, write_json_atomic
from vitruvian.media.names import output_name
from vitruvian.media.png import encode_png
from vitruvian.media.point_clouds import encode_glb, encode_ply

JPEG_QUALITY = 92
ABOUT_KEY = "vitruvian"
"""Attribute of EXR files and keyword in PNG files that hold the description."""

_MAX_JPEG_COMMENT_BYTES = 65_533
_SUFFIX = re.compile(r"[A-Za-z0-9_-]+(\.[A-Za-z0-9_-]+)*")
_MAX_SUFFIX = 50


def check_formats(formats: Collection[str]) -> None:
    """Raise `UsageError` if a format needs a package that is not installed; call before work starts."""
    if "exr" in formats and importlib.util.find_spec("OpenEXR") is None:
        raise UsageError(
            'got the format exr, which needs the package OpenEXR; install it with: pip install "vitruvian[exr]", '
            "or leave exr out of --format"
        )


class FolderSink:
    """A folder that takes the results of many inputs."""

    def __init__(self, root: Path, formats: Collection[str], *, announce: Callable[[str], None] | None = None) -> None:
        """`formats` are the ones wanted; `announce` hears each relative file name before the file takes its place."""
        check_formats(formats)
        self._root = root
        self._formats = frozenset(formats)
        self._announce = announce

    def item(self, name: str) -> ItemSink:
        """A sink for one input; `UsageError` if its name would leave the folder."""
        return ItemSink(self._root, output_name(name), self._formats, self._announce)


class ItemSink:
    """Takes the files of one input; the `Sink` protocol of the tasks."""

    def __init__(
        self, root: Path, stem: str, formats: frozenset[str], announce: Callable[[str], None] | None = None
    ) -> None:
        """`stem`: a checked relative name, see `output_name`."""
        self._root = root
        self._stem = stem
        self._formats = formats
        self._announce = announce
        self.written: list[str] = []
        """Relative names of the files in place, in the order written."""

    def wants(self, format: str) -> bool:
        """Whether this format was asked for."""
        return format in self._formats

    def write_json(self, suffix: str, document: Mapping[str, Any]) -> None:
        """A UTF-8 JSON document in its own key order."""
        write_json_atomic(self._begin(suffix), document)
        self._end(suffix)

    def write_array(self, suffix: str, array: np.ndarray, about: Mapping[str, Any]) -> None:
        """A `.npy` file, dtype and shape unchanged, described by `<file>.json`."""
        write_atomic(self._begin(suffix), lambda file: _write_npy(file, array))
        self._end(suffix)
        self.write_json(f"{suffix}.json", about)

    def write_png(
        self, suffix: str, array: np.ndarray, about: Mapping[str, Any], palette: np.ndarray | None = None
    ) -> None:
        """A lossless PNG of uint8 or uint16, (H,W) or (H,W,3) RGB; with a palette (N,3) uint8 an indexed picture."""
        data = encode_png(array, text=json_text(about, ascii_only=True), palette_N3=palette)
        write_atomic(self._begin(suffix), data)
        self._end(suffix)

    def write_exr(self, suffix: str, channels: Mapping[str, np.ndarray], about: Mapping[str, Any]) -> None:
        """OpenEXR, one float32 (H,W) array per channel, losslessly compressed."""
        import OpenEXR

        header = {
            "compression": OpenEXR.ZIP_COMPRESSION,
            "type": OpenEXR.scanlineimage,
            ABOUT_KEY: json_text(about, ascii_only=True),
        }
        planes = {name: np.ascontiguousarray(plane, dtype=np.float32) for name, plane in channels.items()}
        size_bytes = sum(plane.nbytes for plane in planes.values())
        with replacing(self._begin(suffix), size_bytes=size_bytes) as temporary:
            try:
                OpenEXR.File(header, planes).write(str(temporary))
            except RuntimeError as error:
                raise _system_error(error) from error
        self._end(suffix)

    def write_picture(self, suffix: str, image_HW3: np.ndarray, about: Mapping[str, Any]) -> None:
        """A JPEG for people to look at; a description too long for its comment goes to `<file>.json`."""
        text = json_text(about, ascii_only=True).encode("ascii")
        inside = len(text) <= _MAX_JPEG_COMMENT_BYTES
        buffer = io.BytesIO()
        Image.fromarray(image_HW3).save(buffer, "JPEG", quality=JPEG_QUALITY, comment=text if inside else b"")
        write_atomic(self._begin(suffix), buffer.getvalue())
        self._end(suffix)
        if not inside:
            self.write_json(f"{suffix}.json", about)

    def write_points(
        self, suffix: str, points_N3: np.ndarray, colours_N3: np.ndarray, about: Mapping[str, Any]
    ) -> None:
        """A point cloud: float32 (N,3) metres in camera axes, uint8 (N,3) sRGB; PLY or binary glTF by the suffix."""
        encoders = {".ply": encode_ply, ".glb": encode_glb}
        ending = PurePosixPath(suffix).suffix
        if ending not in encoders:
            raise ValueError(f"got the suffix {suffix!r} for points; expected one that ends in .ply or .glb")
        data = encoders[ending](points_N3, colours_N3, about)
        write_atomic(self._begin(suffix), data)
        self._end(suffix)

    def _begin(self, suffix: str) -> Path:
        if _SUFFIX.fullmatch(suffix) is None or len(suffix) > _MAX_SUFFIX:
            raise ValueError(
                f"got the suffix {suffix!r}; expected up to {_MAX_SUFFIX} letters, digits, '_', '-' and '.'"
            )
        name = f"{self._stem}.{suffix}"
        if self._announce is not None:
            self._announce(name)
        return self._root / name

    def _end(self, suffix: str) -> None:
        self.written.append(f"{self._stem}.{suffix}")


def _system_error(error: RuntimeError) -> Exception:
    """The library reports a failed write in the operating system's words; give it its number back."""
    number = next((number for number in errno.errorcode if os.strerror(number) in str(error)), None)
    return error if number is None else OSError(number, os.strerror(number))


def _write_npy(file: BinaryIO, array: np.ndarray) -> None:
    """NumPy's own writer loses the reason (disk full) of a failed write; its header and one plain write keep it."""
    ordered = np.ascontiguousarray(array).reshape(array.shape)
    np.lib.format.write_array_header_2_0(file, np.lib.format.header_data_from_array_1_0(ordered))
    file.write(ordered.tobytes() if ordered.size == 0 else ordered.reshape(-1).view(np.uint8).data)
