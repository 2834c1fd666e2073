"""One sample of a dense task, decoded: upright picture, target in the house's units, person mask.

In: a `Sample` (paths). Out: `Decoded` (arrays), each file read and decoded once. A picture of 4K takes 25 MB, its
target 8 (labels), 33 (depth) or 100 MB (normals).
"""

# Shape suffixes: H W picture size, 3 = RGB or x y z.

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TypeVar

import cv2
import numpy as np

from vitruvian.datasets.layouts import DenseKind, Sample
from vitruvian.datasets.npy_files import read_npy
from vitruvian.datasets.png_targets import PngFile, channels, one_plane, open_png
from vitruvian.errors import InputError
from vitruvian.media.images import read_picture
from vitruvian.media.items import Entry, Item
from vitruvian.media.names import printable
from vitruvian.media.png import read_png_text
from vitruvian.tasks.bands import all_finite, any_nonzero
from vitruvian.tasks.codes import NORMAL_FORMULA, decode_depth, decode_normals

Read = TypeVar("Read")
IGNORE = 255
"""Label of pixels that no class is known for."""
PUBLISHED_VOID = -100.0
"""Components at or below this mark pixels without a normal in published files."""
SHORTEST = 0.1
"""A stored normal below this length has no direction: mid grey in pictures of normals."""
LOSSY_PERSON = 127
"""Level above which a pixel of a lossy mask is a person's; elsewhere every level above 0 is."""
MILLIMETRE = 1e-3
"""Metres of a code, where nothing else is said."""


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Decoded:
    """The arrays of one sample."""

    name: str
    image_HW3: np.ndarray
    """uint8 RGB, upright."""
    target: np.ndarray
    """seg: uint8 (H,W), 255 = ignore; depth: float32 (H,W), in metres where the file says the unit, NaN = no value;
    normal: float32 (H,W,3) x, y, z, NaN = no value."""
    mask_HW: np.ndarray | None
    """bool, True on persons; None where the sample has none."""
    focal_35mm: float | None = None
    """35 mm equivalent focal length in millimetres, where the picture's own data have it."""

    @property
    def valid_HW(self) -> np.ndarray:
        """bool; pixels with a value, whatever the mask says."""
        if self.target.dtype == np.uint8:
            return np.asarray(self.target != IGNORE)
        return np.isfinite(self.target) if self.target.ndim == 2 else all_finite(self.target)

    def masked(self) -> Decoded:
        """The same with everything invalid that lies outside the mask, is infinite or has a missing component."""
        keep_HW = self.valid_HW if self.mask_HW is None else self.valid_HW & self.mask_HW
        void = IGNORE if self.target.dtype == np.uint8 else np.nan
        return replace(self, target=kept(self.target, keep_HW, void))


def decode_sample(sample: Sample, task: DenseKind) -> Decoded:
    """Decode and leave values on persons only; see `read_sample`."""
    return read_sample(sample, task).masked()


def read_sample(sample: Sample, task: DenseKind) -> Decoded:
    """Decode a sample with its values as the files hold them: infinite ones, and those outside the mask, are kept.

    Raises:
        InputError: a file cannot be used, or sizes differ; one line that begins with the file's name.
    """
    item = _named(sample.image, _picture)
    target = _named(sample.target, _reader(sample, task))
    mask_HW = _named(sample.mask, read_mask) if sample.mask else None
    for path, array in ((sample.target, target), (sample.mask, mask_HW)):
        if array is not None and path is not None:
            _check_size(path, array, item.image_HW3)
    return Decoded(
        name=sample.name, image_HW3=item.image_HW3, target=target, mask_HW=mask_HW, focal_35mm=item.focal_35mm
    )


def read_further(decoded: Decoded, sample: Sample, task: DenseKind) -> Decoded:
    """The same picture and mask, which are not decoded again, with the target of another sample of the picture.

    Raises:
        InputError: as `read_sample`.
    """
    target = _named(sample.target, _reader(sample, task))
    _check_size(sample.target, target, decoded.image_HW3)
    return replace(decoded, target=target)


def read_labels(path: Path) -> np.ndarray:
    """uint8 (H,W) class numbers of a palette or grey PNG; 255 = ignore."""
    png = open_png(path)
    if not png.one_plane:
        raise InputError(f"is {png.in_words}; expected a class number per pixel (grey or palette); convert the colours")
    labels_HW = one_plane(png)
    if labels_HW.dtype != np.uint8:
        if labels_HW.max() > IGNORE:
            raise InputError(f"holds numbers up to {labels_HW.max()}; expected classes of 0..254, 255 = ignore")
        return labels_HW.astype(np.uint8)
    return labels_HW


def read_depth(path: Path, metres_per_code: float = MILLIMETRE) -> np.ndarray:
    """float32 (H,W) depth, NaN = no value, infinities kept.

    `.npy`: numbers as they are. 16-bit `.png`: our own by the range in its description, others in metres by
    `metres_per_code`; code 0 is no value.
    """
    if path.suffix.lower() == ".npy":
        return _float32(read_npy(path, channels=1))
    png = open_png(path)
    if png.bits != 16 or not png.one_plane:
        raise InputError(f"is {png.in_words}; expected 16-bit grey (millimetres) or .npy; store the depth as float32")
    about = _about(png)
    low, high = about.get("min"), about.get("max")
    codes_HW = one_plane(png)
    if isinstance(low, (int, float)) and isinstance(high, (int, float)):
        return decode_depth(codes_HW, low, high)
    return np.where(codes_HW > 0, codes_HW.astype(np.float32) * np.float32(metres_per_code), np.float32(np.nan))


def read_normals(path: Path) -> np.ndarray:
    """float32 (H,W,3) normals as stored, not made unit length; NaN = no value, infinities kept.

    `.npy`: floats; components at or below -100 are no value. `.png`: our own 16-bit codes, else n = code / max * 2 - 1.
    Black, and vectors with next to no length, are no value.
    """
    if path.suffix.lower() == ".npy":
        values_HW3 = read_npy(path, channels=3)
        if values_HW3.dtype.kind != "f":
            raise InputError(f"holds {values_HW3.dtype}; expected floats from -1 to 1; save the normals as float32")
        normals_HW3 = _float32(values_HW3)
        void_HW = any_nonzero(normals_HW3 <= PUBLISHED_VOID)
    else:
        png = open_png(path)
        codes_HW3 = channels(png)
        if codes_HW3.ndim != 3 or codes_HW3.shape[2] != 3:
            raise InputError(f"is {png.in_words}; expected RGB of 8 or 16 bits; write x, y, z as red, green, blue")
        if _about(png).get("formula") == NORMAL_FORMULA:
            return decode_normals(codes_HW3)
        most = np.float32(np.iinfo(codes_HW3.dtype).max)
        normals_HW3 = codes_HW3.astype(np.float32) / most * 2 - 1
        void_HW = ~any_nonzero(codes_HW3)
    void_HW |= lengths(normals_HW3) < SHORTEST
    return kept(normals_HW3, ~void_HW, np.nan)


def kept(target: np.ndarray, keep_HW: np.ndarray, otherwise: float) -> np.ndarray:
    """A copy of a map (H,W) or (H,W,3) with another value where `keep_HW` (bool) is False.

    OpenCV does in 2 ms for a canvas what NumPy's masks take 20 for.
    """
    copy = np.full(target.shape, otherwise, target.dtype)
    cv2.copyTo(np.ascontiguousarray(target), np.ascontiguousarray(keep_HW).view(np.uint8), copy)
    return copy


def lengths(vectors_HW3: np.ndarray) -> np.ndarray:
    """float32 (H,W) lengths; by planes, since NumPy is slow along an axis of three."""
    x_HW, y_HW, z_HW = np.square(vectors_HW3).transpose(2, 0, 1)
    return np.asarray(np.sqrt(x_HW + y_HW + z_HW))


def read_mask(path: Path) -> np.ndarray:
    """bool (H,W): first channel above 0, a palette's number above 0, or, in a lossy picture, a level above 127."""
    if path.suffix.lower() == ".png":
        png = open_png(path)
        values = one_plane(png) if png.one_plane else channels(png)
        return np.asarray((values if values.ndim == 2 else values[..., 0]) > 0)
    lossy = path.suffix.lower() in (".jpg", ".jpeg", ".webp")
    return np.asarray(_picture(path).image_HW3[..., 0] > (LOSSY_PERSON if lossy else 0))


def _picture(path: Path) -> Item:
    return read_picture(Entry(name=path.name, path=path, payload=None, index=0))


def _reader(sample: Sample, task: DenseKind) -> Callable[[Path], np.ndarray]:
    if task == "depth" and sample.metres_per_code is not None:
        return partial(read_depth, metres_per_code=sample.metres_per_code)
    return _READERS[task]


_READERS: Mapping[str, Callable[[Path], np.ndarray]] = {
    "seg": read_labels,
    "depth": read_depth,
    "normal": read_normals,
}


def _named(path: Path, read: Callable[[Path], Read]) -> Read:
    """What `read` gives, its errors with the file's name in front."""
    try:
        return read(path)
    except InputError as error:
        raise InputError(f"{_short(path)} {error}") from None


def _about(png: PngFile) -> dict[str, object]:
    """The description that our own files carry; empty for others."""
    text = read_png_text(png.data)
    try:
        about = json.loads(text) if text else {}
    except ValueError:
        raise InputError("carries a damaged description; expected a whole one; write it again") from None
    return about if isinstance(about, dict) else {}


def _float32(values: np.ndarray) -> np.ndarray:
    with np.errstate(over="ignore"):  # beyond float32: infinite, which the check reports
        return values.astype(np.float32)


def _short(path: Path) -> str:
    return printable(f"{path.parent.name}/{path.name}")


def _check_size(path: Path, array: np.ndarray, image_HW3: np.ndarray) -> None:
    if array.shape[:2] != image_HW3.shape[:2]:
        raise InputError(
            f"{_short(path)} is {_size(array)}, its picture {_size(image_HW3)}; expected equal sizes; "
            "make them again from one source (pictures are turned upright as their EXIF data ask)"
        )


def _size(array: np.ndarray) -> str:
    return f"{array.shape[1]}x{array.shape[0]}"
