"""Targets decoded: units, marks of no value, what is refused."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from training_folders import ball, put_npy, put_png
from vitruvian.datasets.layouts import Sample
from vitruvian.datasets.targets import decode_sample, read_depth, read_labels, read_mask, read_normals, read_sample
from vitruvian.errors import InputError
from vitruvian.media.png import encode_png
from vitruvian.tasks.codes import NORMAL_FORMULA, encode_depth, encode_normals

IDS = np.array([[0, 3, 7], [255, 1, 2]], np.uint8)
PALETTE = np.random.default_rng(0).integers(0, 256, (256, 3), np.uint8)


def test_labels_are_numbers_of_grey_and_palette_files(tmp_path: Path) -> None:
    grey, palette = put_png(tmp_path / "g.png", IDS), put_png(tmp_path / "p.png", IDS, PALETTE)
    wide = put_png(tmp_path / "w.png", IDS.astype(np.uint16))
    for path in (grey, palette, wide):
        labels = read_labels(path)
        assert labels.dtype == np.uint8
        assert np.array_equal(labels, IDS)


@pytest.mark.parametrize("bits", [1, 2, 4])
def test_labels_of_few_bits_are_not_spread(bits: int, tmp_path: Path) -> None:
    ids = np.arange(8, dtype=np.uint8).reshape(1, 8) % 2**bits
    data = few_bits_png(ids, bits)
    (tmp_path / "l.png").write_bytes(data)
    assert np.array_equal(read_labels(tmp_path / "l.png"), ids)


def few_bits_png(ids: np.ndarray, bits: int) -> bytes:
    """A grey PNG of one row with so many bits a pixel."""
    import struct
    import zlib

    packed = np.packbits(np.unpackbits(ids.ravel()[:, None], axis=1)[:, -bits:].ravel()).tobytes()

    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    header = struct.pack(">IIBBBBB", ids.shape[1], 1, bits, 0, 0, 0, 0)
    parts = (chunk(b"IHDR", header), chunk(b"IDAT", zlib.compress(b"\0" + packed)), chunk(b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


@pytest.mark.parametrize(
    ("array", "says"),
    [(np.zeros((2, 2, 3), np.uint8), "8-bit RGB"), (np.full((2, 2), 300, np.uint16), "numbers up to 300")],
)
def test_labels_that_are_no_class_numbers(array: np.ndarray, says: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=says):
        read_labels(put_png(tmp_path / "l.png", array))


def test_depth_of_every_kind(tmp_path: Path) -> None:
    depth = np.array([[1.5, 2.25], [np.nan, 3.0]], np.float32)
    codes, about = encode_depth(depth)
    own = tmp_path / "own.png"
    own.write_bytes(encode_png(codes, text=f'{{"min": {about["min"]}, "max": {about["max"]}}}'))
    millimetres = np.nan_to_num(depth * 1000).astype(np.uint16)
    assert np.array_equal(read_depth(put_npy(tmp_path / "f.npy", depth.astype(np.float64))), depth, equal_nan=True)
    assert np.allclose(read_depth(put_png(tmp_path / "mm.png", millimetres)), depth, equal_nan=True)
    assert np.allclose(read_depth(own), depth, atol=2e-5, equal_nan=True)
    assert read_depth(put_npy(tmp_path / "i.npy", millimetres)).tolist() == [[1500, 2250], [0, 3000]]
    with pytest.raises(InputError, match="8-bit grey"):
        read_depth(put_png(tmp_path / "8.png", IDS))


@pytest.mark.parametrize("coded", ["npy", "npy with -1000", "own", "8 bits", "16 bits"])
def test_normals_of_every_kind(coded: str, tmp_path: Path) -> None:
    normals = ball(33, 12)
    none = np.isnan(normals)
    path = tmp_path / ("n.npy" if coded.startswith("npy") else "n.png")
    if coded == "npy":
        np.save(path, np.asfortranarray(np.where(none, 0, normals)))
    elif coded == "npy with -1000":
        np.save(path, np.where(none, -1000, normals).astype(np.float64))
    elif coded == "own":
        path.write_bytes(encode_png(encode_normals(normals), text=f'{{"formula": "{NORMAL_FORMULA}"}}'))
    else:
        kind, most = (np.uint8, 255) if coded == "8 bits" else (np.uint16, 65535)
        grey = np.where(none, 0.0, normals)
        put_png(path, np.rint((grey + 1) / 2 * most).astype(kind))
    read = read_normals(path)
    assert np.array_equal(np.isnan(read), none)
    assert np.nanmax(np.abs(read - normals)) <= (1.01 / 255 if coded == "8 bits" else 1e-4)


def test_masks(tmp_path: Path) -> None:
    person = np.array([[0, 1], [255, 0]], np.uint8)
    assert np.array_equal(read_mask(put_png(tmp_path / "m.png", person)), person > 0)
    assert np.array_equal(read_mask(put_png(tmp_path / "p.png", person, PALETTE)), person > 0)
    colours = np.stack([person, person * 0, person * 0], axis=2)
    assert np.array_equal(read_mask(put_png(tmp_path / "c.png", colours)), person > 0)
    big = np.kron(person, np.ones((16, 16), np.uint8)) // 255 * 255
    Image.fromarray(big).save(tmp_path / "m.jpg", quality=30)
    assert np.array_equal(read_mask(tmp_path / "m.jpg"), big > 0)


def sample_of(folder: Path, target: Path, mask: Path | None = None) -> Sample:
    image = put_png(folder / "images" / "a.png", np.zeros((4, 6, 3), np.uint8))
    return Sample(name="images/a.png", image=image, target=target, mask=mask)


def test_nothing_outside_the_mask_has_a_value(tmp_path: Path) -> None:
    depth = np.arange(24, dtype=np.float32).reshape(4, 6)
    depth[0, 0] = np.inf
    mask = np.zeros((4, 6), np.uint8)
    mask[:, :2] = 9
    sample = sample_of(tmp_path, put_npy(tmp_path / "d.npy", depth), put_png(tmp_path / "m.png", mask))
    decoded = decode_sample(sample, "depth")
    assert decoded.target.dtype == np.float32
    assert np.isnan(decoded.target[:, 2:]).all()
    assert np.isnan(decoded.target[0, 0])
    assert decoded.target[1, 1] == 7
    assert np.isinf(read_sample(sample, "depth").target[0, 0])
    labels = sample_of(tmp_path, put_png(tmp_path / "l.png", mask), sample.mask)
    assert np.array_equal(decode_sample(labels, "seg").target, np.where(mask > 0, 9, 255))


def test_sizes_must_agree(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="is 6x5, its picture 6x4; expected equal sizes") as caught:
        read_sample(sample_of(tmp_path, put_npy(tmp_path / "d.npy", np.zeros((5, 6)))), "depth")
    assert str(tmp_path) not in str(caught.value)
    small = put_png(tmp_path / "m.png", np.zeros((2, 2), np.uint8))
    with pytest.raises(InputError, match=r"m\.png is 2x2"):
        read_sample(sample_of(tmp_path, put_npy(tmp_path / "d.npy", np.zeros((4, 6))), small), "depth")


def npy_bytes(array: np.ndarray, *, pickled: bool = False) -> bytes:
    file = io.BytesIO()
    np.save(file, array, allow_pickle=pickled)
    return file.getvalue()


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (npy_bytes(np.array([[{}]], object), pickled=True), "holds object"),
        (npy_bytes(np.zeros((4, 6), complex)), "holds complex128"),
        (npy_bytes(np.zeros((4, 6, 1))), r"expected \(H,W\)"),
        (npy_bytes(np.zeros((0, 6))), r"holds an array \(0, 6\)"),
        (npy_bytes(np.zeros((4, 6)))[:-8], "ends after 23 of 24"),
        (npy_bytes(np.zeros((4, 6))).replace(b"(4, 6), }", b"(99999, 99999), }"), "claims 99999 x 99999"),
        (b"\x93NUMPY\x01\x00\x10\x00garbage", "no whole .npy"),
        (b"", "no whole .npy"),
    ],
    ids=["object", "complex", "3d", "empty", "short", "huge", "garbage", "nothing"],
)
def test_hostile_arrays_are_refused(data: bytes, says: str, tmp_path: Path) -> None:
    (tmp_path / "d.npy").write_bytes(data)
    with pytest.raises(InputError, match=says):
        read_depth(tmp_path / "d.npy")


def test_damaged_pictures_are_named_without_their_folders(tmp_path: Path) -> None:
    whole = encode_png(np.zeros((64, 64), np.uint16))
    (tmp_path / "deep").mkdir()
    (tmp_path / "deep" / "d.png").write_bytes(whole[:-30])
    sample = sample_of(tmp_path, tmp_path / "deep" / "d.png")
    with pytest.raises(InputError, match=r"^deep/d\.png holds damaged PNG data") as caught:
        read_sample(sample, "depth")
    assert str(tmp_path) not in str(caught.value)
