"""Point clouds are read back with readers written here from the formats' specifications."""

from __future__ import annotations

import json
import struct
from typing import Any

import numpy as np
import pytest

from vitruvian.media.point_clouds import encode_glb, encode_ply

ABOUT: dict[str, Any] = {"model": "m", "note": "grün\nend_header\nply", "unit": "m", "long": "a b " * 200}
RANDOM = np.random.default_rng(3)
POINTS = RANDOM.normal(0, 5, (11, 3)).astype(np.float32)
NORMALS = RANDOM.normal(0, 1, (11, 3)).astype(np.float32)
COLOURS = RANDOM.integers(0, 256, (11, 3)).astype(np.uint8)
NO_POINTS, NO_COLOURS = np.zeros((0, 3), np.float32), np.zeros((0, 3), np.uint8)
KINDS = {"float": "<f4", "uchar": "u1"}


def read_ply(data: bytes) -> tuple[np.ndarray, list[str]]:
    """Vertices as a structured array, and the header's lines."""
    header, _, body = data.partition(b"\nend_header\n")
    lines = header.decode("ascii").split("\n")
    assert lines[:2] == ["ply", "format binary_little_endian 1.0"]
    elements = [line.split() for line in lines if line.startswith("element")]
    assert [element[1] for element in elements] == ["vertex"]
    properties = [line.split()[1:] for line in lines if line.startswith("property")]
    kind = np.dtype([(name, KINDS[type_name]) for type_name, name in properties])
    assert len(body) == int(elements[0][2]) * kind.itemsize
    return np.frombuffer(body, kind), lines


def columns(vertices: np.ndarray, names: str) -> np.ndarray:
    return np.stack([vertices[name] for name in names.split()], axis=1)


def read_glb(data: bytes) -> tuple[dict[str, Any], bytes | None]:
    """The document and the binary part, None where there is none."""
    assert struct.unpack("<4sII", data[:12]) == (b"glTF", 2, len(data))
    chunks, place = [], 12
    while place < len(data):
        length, kind = struct.unpack("<I4s", data[place : place + 8])
        assert place % 4 == 0
        assert length % 4 == 0
        chunks.append((kind, data[place + 8 : place + 8 + length]))
        place += 8 + length
    assert place == len(data)
    assert [kind for kind, _ in chunks] == [b"JSON", b"BIN\0"][: len(chunks)]
    return json.loads(chunks[0][1]), chunks[1][1] if len(chunks) > 1 else None


def accessor_bytes(document: dict[str, Any], binary: bytes, attribute: str) -> tuple[dict[str, Any], bytes]:
    accessor = document["accessors"][document["meshes"][0]["primitives"][0]["attributes"][attribute]]
    view = document["bufferViews"][accessor["bufferView"]]
    start = view["byteOffset"] + accessor.get("byteOffset", 0)
    assert start % 4 == 0
    assert start + view["byteLength"] <= document["buffers"][0]["byteLength"] <= len(binary)
    return accessor, binary[start : start + view["byteLength"]]


def with_one(value: float) -> np.ndarray:
    points = POINTS.copy()
    points[4, 1] = value
    return points


def test_ply_keeps_points_colours_and_axes() -> None:
    vertices, _ = read_ply(encode_ply(POINTS, COLOURS, ABOUT))
    assert vertices.dtype.itemsize == 15
    np.testing.assert_array_equal(columns(vertices, "x y z"), POINTS)
    np.testing.assert_array_equal(columns(vertices, "red green blue"), COLOURS)


def test_ply_takes_normals_and_arrays_in_any_order_of_memory() -> None:
    turned = np.asfortranarray(POINTS[::-1])
    vertices, _ = read_ply(encode_ply(turned, COLOURS[::-1], ABOUT, NORMALS))
    assert vertices.dtype.itemsize == 27
    np.testing.assert_array_equal(columns(vertices, "x y z"), POINTS[::-1])
    np.testing.assert_array_equal(columns(vertices, "nx ny nz"), NORMALS)
    np.testing.assert_array_equal(columns(vertices, "red green blue"), COLOURS[::-1])


def test_ply_comments_are_short_ascii_lines_that_join_to_the_description() -> None:
    _, lines = read_ply(encode_ply(POINTS, COLOURS, ABOUT))
    start = "comment vitruvian "
    comments = [line for line in lines if line.startswith("comment")]
    assert len(comments) > 3
    assert max(map(len, lines)) <= 200
    assert json.loads("".join(line.removeprefix(start) for line in comments)) == ABOUT


def test_ply_without_points_is_a_whole_file() -> None:
    vertices, lines = read_ply(encode_ply(NO_POINTS, NO_COLOURS, ABOUT))
    assert len(vertices) == 0
    assert "element vertex 0" in lines


def test_glb_holds_one_primitive_of_points() -> None:
    document, binary = read_glb(encode_glb(POINTS, COLOURS, ABOUT))
    assert document["asset"] == {"version": "2.0", "generator": "vitruvian", "extras": ABOUT}
    nodes = document["scenes"][document["scene"]]["nodes"]
    assert [document["nodes"][node]["mesh"] for node in nodes] == [0]
    (primitive,) = document["meshes"][0]["primitives"]
    assert primitive["mode"] == 0
    assert sorted(primitive["attributes"]) == ["COLOR_0", "POSITION"]
    assert binary is not None
    assert document["buffers"] == [{"byteLength": len(binary)}]


def test_glb_positions_are_y_up_with_their_bounds() -> None:
    document, binary = read_glb(encode_glb(POINTS, COLOURS, ABOUT))
    assert binary is not None
    accessor, data = accessor_bytes(document, binary, "POSITION")
    assert (accessor["componentType"], accessor["type"], accessor["count"]) == (5126, "VEC3", 11)
    read = np.frombuffer(data, "<f4").reshape(-1, 3)
    np.testing.assert_array_equal(read, np.stack((POINTS[:, 0], -POINTS[:, 1], -POINTS[:, 2]), axis=1))
    for name, bound in (("min", read.min(axis=0)), ("max", read.max(axis=0))):
        np.testing.assert_array_equal(np.array(accessor[name], np.float32), bound)


def test_glb_colours_are_linear_light_and_opaque() -> None:
    colours = np.zeros((11, 3), np.uint8)
    colours[:4] = [[0, 255, 10], [128, 188, 64], [255, 0, 0], [99, 137, 225]]
    document, binary = read_glb(encode_glb(POINTS, colours, ABOUT))
    assert binary is not None
    accessor, data = accessor_bytes(document, binary, "COLOR_0")
    assert (accessor["componentType"], accessor["type"], accessor["count"]) == (5121, "VEC4", 11)
    assert accessor["normalized"] is True
    read = np.frombuffer(data, np.uint8).reshape(-1, 4)
    assert (read[:, 3] == 255).all()
    # Known pairs of the sRGB curve: 64 is 5.1 %, 99 is 12.5 %, 128 is 21.6 %, 137 is 25.0 %, 188 is 50.3 %, 225 is
    # 75.3 % of the light.
    assert read[:4, :3].tolist() == [[0, 255, 1], [55, 128, 13], [255, 0, 0], [32, 64, 192]]


@pytest.mark.parametrize("note", ["", "x", "xy", "xyz"])
def test_glb_chunks_are_aligned_whatever_the_description(note: str) -> None:
    document, _ = read_glb(encode_glb(POINTS, COLOURS, {"note": note}))
    assert document["asset"]["extras"] == {"note": note}


def test_glb_without_points_is_a_scene_without_a_mesh() -> None:
    document, binary = read_glb(encode_glb(NO_POINTS, NO_COLOURS, ABOUT))
    assert binary is None
    assert document["scenes"] == [{}]
    assert document["asset"]["extras"] == ABOUT
    assert not {"nodes", "meshes", "accessors", "bufferViews", "buffers"} & set(document)


def test_not_finite_in_the_description_becomes_null() -> None:
    document, _ = read_glb(encode_glb(POINTS, COLOURS, {"far_m": float("inf")}))
    assert document["asset"]["extras"] == {"far_m": None}


@pytest.mark.parametrize("encode", [encode_ply, encode_glb])
@pytest.mark.parametrize(
    ("points", "colours", "message"),
    [
        pytest.param(POINTS.astype(np.float64), COLOURS, "float64", id="double"),
        pytest.param(POINTS[:, :2], COLOURS, r"\(11, 2\)", id="flat"),
        pytest.param(POINTS.reshape(1, 11, 3), COLOURS, r"\(1, 11, 3\)", id="map"),
        pytest.param(with_one(np.nan), COLOURS, "finite", id="nan"),
        pytest.param(with_one(np.inf), COLOURS, "finite", id="infinite"),
        pytest.param(POINTS, COLOURS[:-1], "for 11 points", id="fewer-colours"),
        pytest.param(POINTS, COLOURS.astype(np.float32), "float32", id="float-colours"),
    ],
)
def test_arrays_that_are_no_cloud_are_refused(
    encode: Any, points: np.ndarray, colours: np.ndarray, message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        encode(points, colours, ABOUT)


@pytest.mark.parametrize("normals", [NORMALS[:-1], NORMALS * np.float32(np.nan), NORMALS.astype(np.float16)])
def test_normals_are_checked(normals: np.ndarray) -> None:
    with pytest.raises(ValueError, match="normals"):
        encode_ply(POINTS, COLOURS, ABOUT, normals)
