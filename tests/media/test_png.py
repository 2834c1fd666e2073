"""PNG files as other programs read them: pixels, palette and description."""

from __future__ import annotations

import io

import cv2
import numpy as np
import pytest
from PIL import Image

from vitruvian.errors import InputError
from vitruvian.media.png import encode_png, read_png_text

RANDOM = np.random.default_rng(5)


def decoded(data: bytes) -> np.ndarray:
    """What another library reads, channels in RGB order."""
    read = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    assert read is not None
    return read if read.ndim == 2 else read[..., ::-1]


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("shape", [(7, 5), (7, 5, 3), (1, 1), (1, 1, 3), (300, 2)])
def test_pixels_survive(dtype: type, shape: tuple[int, ...]) -> None:
    array: np.ndarray = RANDOM.integers(0, np.iinfo(dtype).max + 1, shape).astype(dtype)
    read = decoded(encode_png(array))
    assert read.dtype == dtype
    np.testing.assert_array_equal(read, array)


def test_views_and_byte_orders_are_written_by_value() -> None:
    base = RANDOM.integers(0, 65536, (6, 8, 3)).astype(np.uint16)
    for array in (base[::2, ::-1], base.transpose(1, 0, 2), np.asfortranarray(base)):
        np.testing.assert_array_equal(decoded(encode_png(array)), array)


def test_palette_pictures_keep_their_indices_and_colours() -> None:
    labels = RANDOM.integers(0, 28, (9, 11)).astype(np.uint8)
    palette = RANDOM.integers(0, 256, (28, 3)).astype(np.uint8)
    picture = Image.open(io.BytesIO(encode_png(labels, text='{"a":1}', palette_N3=palette)))
    assert picture.mode == "P"
    np.testing.assert_array_equal(np.array(picture), labels)
    np.testing.assert_array_equal(np.array(picture.convert("RGB")), palette[labels])
    assert picture.info["vitruvian"] == '{"a":1}'


def test_text_is_found_again() -> None:
    array = np.zeros((2, 2), np.uint8)
    assert read_png_text(encode_png(array, text="words")) == "words"
    assert read_png_text(encode_png(array)) is None
    with pytest.raises(InputError, match="not a PNG"):
        read_png_text(b"\xff\xd8\xff")


@pytest.mark.parametrize(
    ("array", "palette"),
    [
        (np.zeros((2, 2), np.float32), None),
        (np.zeros((2, 2, 4), np.uint8), None),
        (np.zeros((0, 2), np.uint8), None),
        (np.full((2, 2), 3, np.uint8), np.zeros((3, 3), np.uint8)),
        (np.zeros((2, 2), np.uint16), np.zeros((3, 3), np.uint8)),
        (np.zeros((2, 2), np.uint8), np.zeros((257, 3), np.uint8)),
        (np.zeros((2, 2), np.uint8), np.zeros((3, 3), np.int64)),
    ],
)
def test_what_png_does_not_hold_is_refused(array: np.ndarray, palette: np.ndarray | None) -> None:
    with pytest.raises(ValueError, match="expected"):
        encode_png(array, palette_N3=palette)
