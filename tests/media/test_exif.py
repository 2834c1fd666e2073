"""The focal length that a picture's own data give, and when they give none."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import ExifTags, Image
from PIL.TiffImagePlugin import IFDRational

from vitruvian.media.exif import focal_35mm
from vitruvian.media.images import read_picture
from vitruvian.media.items import Entry

FOCAL, WIDTH, HEIGHT = (
    ExifTags.Base.FocalLengthIn35mmFilm,
    ExifTags.Base.ExifImageWidth,
    ExifTags.Base.ExifImageHeight,
)


def encoded(size: tuple[int, int], details: dict[int, Any], format: str = "JPEG", **main: Any) -> bytes:
    """A picture of this width and height with EXIF details and main entries (by name)."""
    picture = Image.new("RGB", size, (90, 120, 150))
    exif = Image.Exif()
    for name, value in {"Make": "someone", **main}.items():
        exif[ExifTags.Base[name]] = value
    exif.get_ifd(ExifTags.IFD.Exif).update(details)
    if format == "TIFF":  # only details that come from a file are written
        exif = Image.open(io.BytesIO(encoded(size, details, **main))).getexif()
    buffer = io.BytesIO()
    picture.save(buffer, format, exif=exif)
    return buffer.getvalue()


def found(data: bytes) -> float | None:
    return focal_35mm(Image.open(io.BytesIO(data)))


@pytest.mark.parametrize("format", ["JPEG", "PNG", "WEBP", "TIFF"])
def test_the_35_mm_equivalent_is_found_in_every_format(format: str) -> None:
    assert found(encoded((40, 30), {FOCAL: 26, WIDTH: 40, HEIGHT: 30}, format)) == 26


@pytest.mark.parametrize(
    ("size", "sides"),
    [
        ((40, 30), (4000, 3000)),  # made smaller
        ((30, 40), (4000, 3000)),  # turned, and the numbers left alone
        ((40, 30), (0, 0)),
        ((40, 30), (4000, 0)),
        ((40, 30), ()),
        ((40, 30), (4000, 3040)),  # rounded
    ],
)
def test_smaller_and_turned_pictures_keep_their_angle(size: tuple[int, int], sides: tuple[int, ...]) -> None:
    assert found(encoded(size, {FOCAL: 26, **dict(zip((WIDTH, HEIGHT), sides, strict=False))})) == 26


@pytest.mark.parametrize("size", [(40, 40), (40, 20), (20, 40), (40, 29)])
def test_a_picture_that_was_cut_has_lost_its_angle(size: tuple[int, int]) -> None:
    assert found(encoded(size, {FOCAL: 26, WIDTH: 4000, HEIGHT: 3000})) is None


@pytest.mark.parametrize(
    "details",
    [
        {},
        {FOCAL: 0},
        {FOCAL: 1},
        {FOCAL: 65535},
        {FOCAL: "wide"},
        {FOCAL: (26, 35)},
        {FOCAL: IFDRational(0, 0)},
        {FOCAL: IFDRational(26, 0)},
        {FOCAL: 26, WIDTH: "broad", HEIGHT: 30},
        {ExifTags.Base.FocalLength: IFDRational(43, 10)},
    ],
    ids=["nothing", "unknown", "short", "long", "text", "two", "no number", "infinite", "sides", "not equivalent"],
)
def test_zero_damaged_and_missing_values_are_none(details: dict[int, Any]) -> None:
    """The lens's own focal length says nothing without the size of the sensor."""
    assert found(encoded((40, 30), details)) is None


def test_a_picture_without_exif_has_none() -> None:
    buffer = io.BytesIO()
    Image.new("RGB", (8, 8)).save(buffer, "BMP")
    assert found(buffer.getvalue()) is None


@pytest.mark.filterwarnings("ignore::UserWarning:PIL")
def test_damaged_exif_never_stops_a_picture() -> None:
    """Every byte of the block, changed one by one and a few at a time, and the block cut short."""
    data = encoded((40, 30), {FOCAL: 26, WIDTH: 40, HEIGHT: 30}, Orientation=1)
    start, end = data.index(b"Exif\0\0") + 6, data.index(b"\xff\xdb")
    random = np.random.default_rng(0)
    answers = set()
    for place in range(start, end):
        for value in (0, 255, int(random.integers(256))):
            spoilt = bytearray(data)
            spoilt[place] = value
            answers.add(found(bytes(spoilt)))
    for _ in range(300):
        spoilt = bytearray(data)
        for place in random.integers(start, end, 4):
            spoilt[place] = random.integers(256)
        answers.add(found(bytes(spoilt)))
    assert {None, 26} <= answers
    assert all(answer is None or 2 <= answer <= 5000 for answer in answers)


@pytest.mark.parametrize("orientation", [1, 6])
def test_a_picture_is_read_upright_with_its_focal_length(tmp_path: Path, orientation: int) -> None:
    path = tmp_path / "phone.jpg"
    path.write_bytes(encoded((40, 30), {FOCAL: 26, WIDTH: 40, HEIGHT: 30}, Orientation=orientation))
    item = read_picture(Entry(name="phone.jpg", path=path, payload=None, index=0))
    assert item.image_HW3.shape[:2] == ((30, 40) if orientation == 1 else (40, 30))
    assert item.focal_35mm == 26


def test_arrays_have_no_focal_length() -> None:
    item = read_picture(Entry(name="array", path=None, payload=np.zeros((4, 5, 3), np.uint8), index=0))
    assert item.focal_35mm is None
