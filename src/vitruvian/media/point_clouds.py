"""Point clouds as files: PLY for point tools, binary glTF for viewers, each with a description inside.

In: points in metres, camera axes (x right, y down, z forward), and sRGB colours. Out: encoded bytes. PLY keeps the
axes; glTF has y up and looks along -z, so there x, y, z become x, -y, -z. The bytes (PLY 15, glTF 16 a point) are held
twice while they are joined; a million points take about 0.1 s.
"""

# Shape suffixes: N points, 3 = x y z or RGB, 4 = RGB and opacity.

from __future__ import annotations

import struct
from collections.abc import Mapping
from typing import Any

import numpy as np

from vitruvian.media.documents import json_text

COMMENT_KEY = "vitruvian"
"""First word of the PLY comments that hold the description; what follows it, line after line, is one JSON text."""

_MAX_COMMENT_LINE = 200
"""Some readers copy header lines into short buffers."""

_PLY_NAMES = {"<f4": "float", "|u1": "uchar"}

_GLB_MAGIC, _GLB_VERSION, _MAX_GLB_BYTES = b"glTF", 2, 2**32 - 1
_FLOAT, _UNSIGNED_BYTE, _ARRAY_BUFFER, _POINTS = 5126, 5121, 34962, 0


def encode_ply(
    points_N3: np.ndarray, colours_N3: np.ndarray, about: Mapping[str, Any], normals_N3: np.ndarray | None = None
) -> bytes:
    """Binary little-endian PLY, axes as given: float x y z, float nx ny nz if there are normals, uchar red green blue.

    Args:
        points_N3: float32 (N,3), finite; no points give a valid file.
        colours_N3: uint8 (N,3) sRGB.
        about: the description, kept as JSON in comments, see `COMMENT_KEY`.
        normals_N3: float32 (N,3), finite, in the points' axes.

    Raises:
        ValueError: arrays of another type, shape or length, or values that are not finite.
    """
    _check(points_N3, colours_N3, normals_N3)
    columns = [(name, "<f4", points_N3[:, axis]) for axis, name in enumerate(("x", "y", "z"))]
    if normals_N3 is not None:
        columns += [(name, "<f4", normals_N3[:, axis]) for axis, name in enumerate(("nx", "ny", "nz"))]
    columns += [(name, "|u1", colours_N3[:, axis]) for axis, name in enumerate(("red", "green", "blue"))]
    vertices_N = np.empty(len(points_N3), np.dtype([(name, kind) for name, kind, _ in columns]))
    for name, _, values_N in columns:
        vertices_N[name] = values_N
    lines = ["ply", "format binary_little_endian 1.0", *_comments(about), f"element vertex {len(points_N3)}"]
    lines += [f"property {_PLY_NAMES[kind]} {name}" for name, kind, _ in columns]
    header = "\n".join([*lines, "end_header", ""]).encode("ascii")
    return b"".join((header, vertices_N.data))


def encode_glb(points_N3: np.ndarray, colours_N3: np.ndarray, about: Mapping[str, Any]) -> bytes:
    """Binary glTF 2.0 with one primitive of points: POSITION in glTF's axes, COLOR_0 as normalised bytes RGBA.

    glTF multiplies vertex colours in linear light, so the sRGB levels are stored linearly; dark ones lose up to six
    levels to the bytes. The description is `asset.extras`. glTF forbids accessors without elements: no points give a
    scene without a mesh, which is valid too.

    Args:
        points_N3: float32 (N,3), finite, camera axes.
        colours_N3: uint8 (N,3) sRGB.
        about: the description.

    Raises:
        ValueError: arrays of another type, shape or length, values that are not finite, or more than 4 GiB.
    """
    _check(points_N3, colours_N3, None)
    count = len(points_N3)
    document: dict[str, Any] = {"asset": {"version": "2.0", "generator": "vitruvian", "extras": about}, "scene": 0}
    if count == 0:
        return _glb({**document, "scenes": [{}]}, b"")
    turned_N3 = np.empty((count, 3), "<f4")
    np.multiply(points_N3, np.array((1, -1, -1), np.float32), out=turned_N3)
    rgba_N4 = np.full((count, 4), 255, np.uint8)
    rgba_N4[:, :3] = np.take(_linear_levels(), colours_N3)
    return _glb({**document, **_points_scene(turned_N3)}, b"".join((turned_N3.data, rgba_N4.data)))


def _check(points_N3: np.ndarray, colours_N3: np.ndarray, normals_N3: np.ndarray | None) -> None:
    vectors = {"points": points_N3} if normals_N3 is None else {"points": points_N3, "normals": normals_N3}
    for name, array_N3 in vectors.items():
        if array_N3.dtype != np.float32 or array_N3.ndim != 2 or array_N3.shape[1] != 3:
            raise ValueError(f"got {name} of {array_N3.dtype} {array_N3.shape}; expected float32 (N,3)")
        if len(array_N3) != len(points_N3):
            raise ValueError(f"got {len(array_N3)} {name} for {len(points_N3)} points; expected one for each")
        if not np.isfinite(array_N3).all():
            raise ValueError(f"got {name} that are not finite; expected numbers; leave out pixels without a value")
    if colours_N3.dtype != np.uint8 or colours_N3.shape != points_N3.shape:
        raise ValueError(
            f"got colours of {colours_N3.dtype} {colours_N3.shape} for {len(points_N3)} points; "
            f"expected uint8 {points_N3.shape}"
        )


def _comments(about: Mapping[str, Any]) -> list[str]:
    """The description in ASCII, cut into lines; JSON escapes line breaks, so none gets into a comment."""
    start = f"comment {COMMENT_KEY} "
    room = _MAX_COMMENT_LINE - len(start)
    text = json_text(about, ascii_only=True)
    return [start + text[place : place + room] for place in range(0, len(text), room)]


def _linear_levels() -> np.ndarray:
    """uint8 (256,): levels in linear light of sRGB levels (IEC 61966-2-1)."""
    share = np.arange(256) / 255
    linear = np.where(share <= 0.04045, share / 12.92, ((share + 0.055) / 1.055) ** 2.4)
    return np.rint(linear * 255).astype(np.uint8)


def _points_scene(turned_N3: np.ndarray) -> dict[str, Any]:
    """The parts of a glTF document for positions, then colours, in one buffer."""
    count, positions_bytes = len(turned_N3), turned_N3.nbytes
    colours_bytes = 4 * count
    views = [
        {"buffer": 0, "byteOffset": 0, "byteLength": positions_bytes, "target": _ARRAY_BUFFER},
        {"buffer": 0, "byteOffset": positions_bytes, "byteLength": colours_bytes, "target": _ARRAY_BUFFER},
    ]
    bounds = {"min": turned_N3.min(axis=0).tolist(), "max": turned_N3.max(axis=0).tolist()}
    positions = {"bufferView": 0, "componentType": _FLOAT, "count": count, "type": "VEC3", **bounds}
    colours = {"bufferView": 1, "componentType": _UNSIGNED_BYTE, "normalized": True, "count": count, "type": "VEC4"}
    primitive = {"attributes": {"POSITION": 0, "COLOR_0": 1}, "mode": _POINTS}
    return {
        "scenes": [{"nodes": [0]}],
        "nodes": [{"mesh": 0}],
        "meshes": [{"primitives": [primitive]}],
        "accessors": [positions, colours],
        "bufferViews": views,
        "buffers": [{"byteLength": positions_bytes + colours_bytes}],
    }


def _glb(document: Mapping[str, Any], binary: bytes) -> bytes:
    """Header and chunks; JSON is filled up to four bytes with spaces, the binary part is whole words already."""
    text = json_text(document, ascii_only=True).encode("ascii")
    text += b" " * (-len(text) % 4)
    chunks = [struct.pack("<I4s", len(text), b"JSON"), text]
    if binary:
        chunks += [struct.pack("<I4s", len(binary), b"BIN\0"), binary]
    size_bytes = 12 + sum(map(len, chunks))
    if size_bytes > _MAX_GLB_BYTES:
        raise ValueError(
            f"got {size_bytes} bytes; expected at most {_MAX_GLB_BYTES} in one glTF file; use fewer points"
        )
    return b"".join((struct.pack("<4sII", _GLB_MAGIC, _GLB_VERSION, size_bytes), *chunks))
