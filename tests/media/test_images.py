"""Every kind of picture becomes upright 8-bit RGB; everything else becomes one clear line."""

from __future__ import annotations

import io
import os
import struct
import warnings
import zlib
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image, ImageCms

from vitruvian.errors import InputError
from vitruvian.media import images
from vitruvian.media.images import read_picture
from vitruvian.media.items import Entry

Encode = Callable[..., bytes]
MakeEntry = Callable[..., Entry]
RANDOM = np.random.default_rng(3)
OPTIONS: dict[str, dict[str, object]] = {"WEBP": {"lossless": True}, "JPEG": {"quality": 95}}
JPEG_LEVELS = 12
"""How far a smooth picture may move through JPEG at Pillow's quality 95, chroma subsampling included."""


def scaled(array: np.ndarray) -> np.ndarray:
    return np.round(array / 257).astype(np.uint8)


@pytest.mark.parametrize(
    ("format", "extension", "levels"),
    [
        ("PNG", "png", 0),
        ("BMP", "bmp", 0),
        ("TIFF", "tif", 0),
        ("PPM", "ppm", 0),
        ("TGA", "tga", 0),
        ("QOI", "qoi", 0),
        ("JPEG2000", "jp2", 0),
        ("WEBP", "webp", 0),
        ("JPEG", "jpg", JPEG_LEVELS),
    ],
)
def test_formats(
    picture_HW3: np.ndarray, encode: Encode, entry: MakeEntry, format: str, extension: str, levels: int
) -> None:
    options = OPTIONS.get(format, {})
    data = encode(picture_HW3, format, **options)
    item = read_picture(entry(data, f"a.{extension}"))
    assert item.image_HW3.dtype == np.uint8
    assert item.image_HW3.flags.c_contiguous
    assert item.image_HW3.flags.writeable
    assert np.abs(item.image_HW3.astype(int) - picture_HW3).max() <= levels
    assert (item.name, item.index, item.time_s, item.stream, item.notes) == (f"a.{extension}", 0, None, None, ())
    assert item.size_bytes == len(data)


def test_size_and_time_are_those_of_the_file(picture_HW3: np.ndarray, encode: Encode, entry: MakeEntry) -> None:
    made = entry(encode(picture_HW3, "PNG"))
    assert made.path is not None
    os.utime(made.path, ns=(5, 1_234_567_000))
    assert read_picture(made).modified_ns == 1_234_567_000


@pytest.mark.parametrize(
    ("mode", "format"),
    [
        *(("1", "TIFF"), ("1", "PNG"), ("L", "PNG"), ("P", "PNG"), ("P", "GIF"), ("LA", "PNG"), ("RGBA", "PNG")),
        *(("CMYK", "TIFF"), ("YCbCr", "TIFF")),
    ],
)
def test_modes(picture_HW3: np.ndarray, encode: Encode, entry: MakeEntry, mode: str, format: str) -> None:
    picture = Image.fromarray(picture_HW3).convert(mode)
    image_HW3 = read_picture(entry(encode(picture, format), "a.bin")).image_HW3
    np.testing.assert_array_equal(image_HW3, np.array(picture.convert("RGB")))


def test_lab(picture_HW3: np.ndarray, encode: Encode, entry: MakeEntry) -> None:
    rgb, lab = ImageCms.createProfile("sRGB"), ImageCms.createProfile("LAB")
    picture = ImageCms.profileToProfile(Image.fromarray(picture_HW3), rgb, lab, outputMode="LAB")
    assert picture is not None
    image_HW3 = read_picture(entry(encode(picture, "TIFF"), "a.tif")).image_HW3
    # 8-bit LAB holds saturated colours coarsely; on average it is near.
    assert np.abs(image_HW3.astype(int) - picture_HW3).mean() < 2


def test_cmyk_jpeg(picture_HW3: np.ndarray, encode: Encode, entry: MakeEntry) -> None:
    data = encode(Image.fromarray(picture_HW3).convert("CMYK"), "JPEG", quality=95)
    image_HW3 = read_picture(entry(data, "a.jpg")).image_HW3
    assert np.abs(image_HW3.astype(int) - picture_HW3).mean() < JPEG_LEVELS


def test_transparency_is_laid_on_white(encode: Encode, entry: MakeEntry) -> None:
    rgba = np.zeros((2, 3, 4), np.uint8)
    rgba[..., 0], rgba[..., 3] = 200, [0, 128, 255]
    item = read_picture(entry(encode(rgba, "PNG")))
    assert item.image_HW3[0].tolist() == [[255, 255, 255], [227, 127, 127], [200, 0, 0]]
    assert item.notes == ("transparency laid on white",)
    rgba[..., 3] = 255
    assert read_picture(entry(encode(rgba, "PNG"))).notes == ()


def test_transparent_palette_entry_and_grey_alpha(encode: Encode, entry: MakeEntry) -> None:
    palette = Image.fromarray(np.array([[0, 1]], np.uint8)).convert("P")
    palette.putpalette([10, 20, 30, 40, 50, 60])
    item = read_picture(entry(encode(palette, "PNG", transparency=0)))
    assert item.image_HW3[0].tolist() == [[255, 255, 255], [40, 50, 60]]
    several = read_picture(entry(encode(palette, "PNG", transparency=bytes([255, 0]))))
    assert several.image_HW3[0].tolist() == [[10, 20, 30], [255, 255, 255]]
    grey = np.array([[[7, 0], [7, 255]]], np.uint8)
    assert read_picture(entry(encode(Image.fromarray(grey, "LA"), "PNG"))).image_HW3[0, :, 0].tolist() == [255, 7]


@pytest.mark.parametrize("extension", [".png", ".tif"])
@pytest.mark.parametrize("shape", [(9, 7), (9, 7, 3)])
def test_16_bits_are_scaled_not_clipped(entry: MakeEntry, extension: str, shape: tuple[int, ...]) -> None:
    deep = RANDOM.integers(0, 65536, shape).astype(np.uint16)
    deep.flat[:6] = [0, 65535, 128, 129, 255, 256]
    encoded = cv2.imencode(extension, deep if deep.ndim == 2 else deep[..., ::-1])[1].tobytes()
    item = read_picture(entry(encoded, f"a{extension}"))
    expected = scaled(deep)
    np.testing.assert_array_equal(item.image_HW3, expected if deep.ndim == 3 else np.repeat(expected[..., None], 3, 2))
    assert item.notes == ("16 bits per channel scaled to 8",)


def test_16_bit_alpha_and_interlace(entry: MakeEntry) -> None:
    deep = RANDOM.integers(0, 65536, (9, 7, 4)).astype(np.uint16)
    deep[..., 3] = 65535
    data = cv2.imencode(".png", deep)[1].tobytes()
    np.testing.assert_array_equal(read_picture(entry(data)).image_HW3, scaled(deep[..., 2::-1]))


def test_16_bit_big_endian_and_inverted_tiff(entry: MakeEntry) -> None:
    deep = np.array([[0, 257, 65535]], np.uint16)
    for order, code, photometric, expected in (
        ("<", b"II", 1, [0, 1, 255]),
        (">", b"MM", 1, [0, 1, 255]),
        ("<", b"II", 0, [255, 254, 0]),
    ):
        data = raw_tiff(order, code, deep.astype(order + "u2").tobytes(), width=3, bits=16, photometric=photometric)
        assert read_picture(entry(data, "a.tif")).image_HW3[0, :, 0].tolist() == expected


def test_12_bit_tiff_uses_its_own_range(entry: MakeEntry) -> None:
    pixels = bytes([0x00, 0x0F, 0xFF])  # 0 and 4095
    data = raw_tiff("<", b"II", pixels, width=2, bits=12, photometric=1)
    assert read_picture(entry(data, "a.tif")).image_HW3[0, :, 0].tolist() == [0, 255]


def raw_tiff(order: str, code: bytes, pixels: bytes, *, width: int, bits: int, photometric: int) -> bytes:
    """A one-row uncompressed grey TIFF."""
    fields = [(256, width), (257, 1), (258, bits), (259, 1), (262, photometric), (273, 8), (277, 1), (278, 1)]
    fields.append((279, len(pixels)))
    pixels += b"\0" * (len(pixels) % 2)
    directory = struct.pack(order + "H", len(fields))
    for tag, value in fields:
        directory += struct.pack(order + "HHIHH", tag, 3, 1, value, 0)
    return code + struct.pack(order + "HI", 42, 8 + len(pixels)) + pixels + directory + b"\0\0\0\0"


@pytest.mark.parametrize("mode", ["I", "F"])
def test_32_bit_pictures_are_refused(encode: Encode, entry: MakeEntry, mode: str) -> None:
    with pytest.raises(InputError, match="no agreed brightness range"):
        read_picture(entry(encode(Image.new(mode, (3, 2), 7), "TIFF"), "a.tif"))


def test_16_bit_pnm(entry: MakeEntry) -> None:
    pixels = np.array([[0, 257, 65535]], ">u2")
    data = b"P5\n3 1\n65535\n" + pixels.tobytes()
    assert read_picture(entry(data, "a.pgm")).image_HW3[0, :, 0].tolist() == [0, 1, 255]


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize(("format", "extension"), [("JPEG", "jpg"), ("PNG", "png"), ("TIFF", "tif"), ("WEBP", "webp")])
def test_exif_orientation(
    picture_HW3: np.ndarray, encode: Encode, entry: MakeEntry, orientation: int, format: str, extension: str
) -> None:
    # How the stored rows and columns must be turned to look like the scene, by the EXIF standard's definition.
    stored = {
        1: lambda a: a,
        2: lambda a: a[:, ::-1],
        3: lambda a: a[::-1, ::-1],
        4: lambda a: a[::-1],
        5: lambda a: a.transpose(1, 0, 2),
        6: lambda a: np.rot90(a, 1),
        7: lambda a: a[::-1, ::-1].transpose(1, 0, 2),
        8: lambda a: np.rot90(a, -1),
    }[orientation](picture_HW3)
    exif = Image.Exif()
    exif[0x0112] = orientation
    options = OPTIONS.get(format, {})
    data = encode(np.ascontiguousarray(stored), format, exif=exif, **options)
    image_HW3 = read_picture(entry(data, f"a.{extension}")).image_HW3
    assert image_HW3.shape == picture_HW3.shape
    assert np.abs(image_HW3.astype(int) - picture_HW3).max() <= (JPEG_LEVELS if format == "JPEG" else 0)


def test_16_bit_colour_is_turned_too(entry: MakeEntry) -> None:
    deep = RANDOM.integers(0, 65536, (4, 6, 3)).astype(np.uint16)
    data = cv2.imencode(".png", deep[..., ::-1])[1].tobytes()
    exif = b"MM\0\x2a\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0\x06\0\0\0\0\0\0"
    chunk = struct.pack(">I", len(exif)) + b"eXIf" + exif + struct.pack(">I", zlib.crc32(b"eXIf" + exif))
    item = read_picture(entry(data[:33] + chunk + data[33:]))
    np.testing.assert_array_equal(item.image_HW3, np.rot90(scaled(deep), -1))


def test_damaged_exif_is_noted(picture_HW3: np.ndarray, encode: Encode, entry: MakeEntry) -> None:
    item = read_picture(entry(encode(picture_HW3, "PNG", exif=b"Exif\0\0garbage!")))
    assert item.image_HW3.shape == picture_HW3.shape
    assert item.notes == ("EXIF data are damaged; the picture is taken as it lies",)


@pytest.mark.parametrize(("format", "extension"), [("GIF", "gif"), ("TIFF", "tif"), ("WEBP", "webp"), ("PNG", "png")])
def test_first_of_several_frames(encode: Encode, entry: MakeEntry, format: str, extension: str) -> None:
    frames = [Image.new("RGB", (8, 8), (level, 0, 0)) for level in (255, 90)]
    options = {"lossless": True} if format == "WEBP" else {}
    data = encode(frames[0], format, save_all=True, append_images=frames[1:], **options)
    item = read_picture(entry(data, f"a.{extension}"))
    assert item.image_HW3[0, 0].tolist() == [255, 0, 0]
    assert item.notes == ("first of several frames",)


def test_a_lying_extension_is_read_and_noted(picture_HW3: np.ndarray, encode: Encode, entry: MakeEntry) -> None:
    item = read_picture(entry(encode(picture_HW3, "PNG"), "photo.jpg"))
    np.testing.assert_array_equal(item.image_HW3, picture_HW3)
    assert item.notes == ("named .jpg but holds PNG",)


def test_payloads_are_read_like_files(picture_HW3: np.ndarray, encode: Encode) -> None:
    data = encode(picture_HW3, "PNG")
    item = read_picture(Entry(name="stdin.png", path=None, payload=data, index=4))
    np.testing.assert_array_equal(item.image_HW3, picture_HW3)
    other = read_picture(Entry(name="stdin.png", path=None, payload=encode(picture_HW3[::-1], "PNG"), index=4))
    assert (item.index, item.size_bytes) == (4, len(data))
    assert item.modified_ns != other.modified_ns


@pytest.mark.parametrize(
    ("array", "first"),
    [
        (np.full((2, 3), 9, np.uint8), [9, 9, 9]),
        (np.full((2, 3, 3), [1, 2, 3], np.uint8), [1, 2, 3]),
        (np.full((2, 3, 4), [1, 2, 3, 0], np.uint8), [255, 255, 255]),
        (np.full((4, 6, 3), [1, 2, 3], np.uint8)[::2, ::2, ::-1], [3, 2, 1]),
    ],
)
def test_arrays(array: np.ndarray, first: list[int]) -> None:
    item = read_picture(Entry(name="array_000000", path=None, payload=array, index=0))
    assert item.image_HW3.shape == (2, 3, 3)
    assert item.image_HW3.flags.c_contiguous
    assert item.image_HW3[0, 0].tolist() == first


def test_rgb_arrays_are_not_copied(picture_HW3: np.ndarray) -> None:
    assert read_picture(Entry(name="a", path=None, payload=picture_HW3, index=0)).image_HW3 is picture_HW3


@pytest.mark.parametrize(
    "array",
    [
        np.zeros((2, 3, 3), np.float32),
        np.zeros((2, 3, 2), np.uint8),
        np.zeros((1, 2, 3, 3), np.uint8),
        np.zeros((0, 3), np.uint8),
        np.zeros((20, 20), np.uint8),
    ],
)
def test_unusable_arrays(array: np.ndarray) -> None:
    with pytest.raises(InputError, match=r"expected|no pixels"):
        read_picture(Entry(name="a", path=None, payload=array, index=0), max_pixels=100)


def png_claiming(width: int, height: int) -> bytes:
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    body = b"IHDR" + header
    chunk = struct.pack(">I", 13) + body + struct.pack(">I", zlib.crc32(body))
    data = zlib.compress(b"\0" * 100)
    return b"\x89PNG\r\n\x1a\n" + chunk + struct.pack(">I", len(data)) + b"IDAT" + data + b"\0\0\0\0"


@pytest.mark.parametrize(
    ("name", "data", "words"),
    [
        ("empty.jpg", b"", "empty"),
        *[(f"short-{size}.jpg", b"hi\n0123456789abcdef"[:size], "not a picture") for size in (1, 2, 3, 5, 9, 15)],
        ("text.jpg", b"This is no picture, only words about one.\n" * 20, "not a picture"),
        ("zeros.png", bytes(4096), "not a picture"),
        ("noise.webp", RANDOM.bytes(4096), "not a picture"),
        ("only.png", b"\x89PNG\r\n\x1a\n", "truncated, damaged"),
        ("huge.png", png_claiming(60_000, 60_000), "3600 million pixels"),
        ("flat.png", png_claiming(60_000, 0), "no pixels|truncated, damaged"),
        ("phone.heic", b"\0\0\0\x18ftypheic" + bytes(100), "HEIC"),
        ("paper.eps", b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n%%EndComments\n", "not a picture"),
    ],
)
def test_refused_with_a_reason(entry: MakeEntry, tmp_path: Path, name: str, data: bytes, words: str) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(InputError, match=words) as caught:
            read_picture(entry(data, name))
    assert str(tmp_path) not in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("format", ["JPEG", "PNG", "WEBP", "TIFF", "BMP", "GIF", "PPM", "TGA", "JPEG2000", "QOI"])
@pytest.mark.parametrize("kept", [0.2, 0.5, 0.9])
@pytest.mark.filterwarnings("ignore::UserWarning")
def test_truncated_pictures_are_failures(encode: Encode, entry: MakeEntry, format: str, kept: float) -> None:
    noise = RANDOM.integers(0, 256, (64, 80, 3)).astype(np.uint8)
    data = encode(noise, format)
    extension = {"JPEG2000": "jp2"}.get(format, format.lower())
    with pytest.raises(InputError, match="truncated, damaged"):
        read_picture(entry(data[: int(len(data) * kept)], f"a.{extension}"))


def test_progressive_jpeg_that_ends_early(encode: Encode, entry: MakeEntry) -> None:
    data = encode(RANDOM.integers(0, 256, (64, 80, 3)).astype(np.uint8), "JPEG", progressive=True)
    with pytest.raises(InputError, match="truncated"):
        read_picture(entry(data[:-40], "a.jpg"))


@pytest.mark.parametrize(
    "format", ["JPEG", "PNG", "WEBP", "TIFF", "BMP", "GIF", "JPEG2000", "ICO", "DDS", "SGI", "PCX"]
)
@pytest.mark.filterwarnings("ignore::UserWarning")
def test_damage_anywhere_is_an_input_error(encode: Encode, format: str) -> None:
    random = np.random.default_rng(11)
    data = encode(random.integers(0, 256, (24, 24, 3)).astype(np.uint8), format)
    for _ in range(60):
        broken = bytearray(data)
        for place in random.integers(0, min(len(data), 400), 6):
            broken[place] = random.integers(0, 256)
        with suppress(InputError):
            item = read_picture(Entry(name="a.bin", path=None, payload=bytes(broken), index=0), max_pixels=1_000_000)
            assert item.image_HW3.ndim == 3


def test_the_limit_is_ours_not_pillows(
    encode: Encode, entry: MakeEntry, monkeypatch: pytest.MonkeyPatch, picture_HW3: np.ndarray
) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for format in ("PNG", "TIFF", "GIF"):
            assert read_picture(entry(encode(picture_HW3, format))).image_HW3.shape == picture_HW3.shape
    assert Image.MAX_IMAGE_PIXELS == 100
    with pytest.raises(InputError, match=r"claims 60 x 40 = 0 million pixels; expected at most 0\.002 million"):
        read_picture(entry(encode(picture_HW3, "PNG")), max_pixels=2000)


def test_pillows_limit_returns_when_the_last_large_picture_is_done(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    limit = images._PillowLimit()
    with limit.lifted(500):
        with limit.lifted(300), limit.lifted(50):
            assert Image.MAX_IMAGE_PIXELS == 500
        with limit.lifted(900):
            pass
        assert Image.MAX_IMAGE_PIXELS == 900
    assert Image.MAX_IMAGE_PIXELS == 100


def test_files_that_cannot_be_read(
    tmp_path: Path, entry: MakeEntry, encode: Encode, picture_HW3: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = entry(encode(picture_HW3, "PNG"))
    monkeypatch.setattr(images, "MAX_ENCODED_BYTES", 50)
    with pytest.raises(InputError, match="larger than"):
        read_picture(made)
    with pytest.raises(InputError, match="not a regular file"):
        read_picture(Entry(name="folder.png", path=tmp_path, payload=None, index=0))
    assert made.path is not None
    made.path.unlink()
    with pytest.raises(InputError, match="vanished"):
        read_picture(made)
    with pytest.raises(InputError, match="no usable path"):
        read_picture(Entry(name="a", path=Path("nul\0.png"), payload=None, index=0))


@pytest.mark.parametrize(
    ("error", "words"),
    [(PermissionError(13, "Permission denied"), "permission denied"), (OSError(5, "I/O error"), "I/O error")],
)
def test_refusals_of_the_system(
    entry: MakeEntry, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, error: OSError, words: str
) -> None:
    made = entry(b"x")

    def refuse(*_: object) -> io.BytesIO:
        raise OSError(error.errno, error.strerror, str(tmp_path / "secret.png"))

    monkeypatch.setattr(Path, "open", refuse)
    with pytest.raises(InputError, match=words) as caught:
        read_picture(made)
    assert "secret" not in str(caught.value)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no named pipes")
def test_a_named_pipe_does_not_hang(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "p.jpg")
    with pytest.raises(InputError, match="not a regular file"):
        read_picture(Entry(name="p.jpg", path=tmp_path / "p.jpg", payload=None, index=0))
