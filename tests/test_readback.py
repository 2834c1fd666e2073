"""Depth and normals come back from their files by what the files say."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from vitruvian.errors import InputError
from vitruvian.media.sinks import FolderSink, ItemSink
from vitruvian.readback import depth_from_png, normals_from_png

RANDOM = np.random.default_rng(13)


@pytest.fixture
def sink(tmp_path: Path) -> ItemSink:
    return FolderSink(tmp_path, ("png",)).item("a")


@pytest.mark.parametrize(("near", "far"), [(0.5, 80.0), (-3.0, -1.0), (2.0, 2.0)])
def test_depth(sink: ItemSink, tmp_path: Path, near: float, far: float) -> None:
    depth_HW = near + RANDOM.random((20, 30)) * (far - near)
    depth_HW[0, :2] = near, far
    span = far - near or 1.0
    code_HW = (1 + np.round(65534 * (depth_HW - near) / span)).astype(np.uint16)
    code_HW[3, 4] = 0
    sink.write_png("depth.png", code_HW, {"min": near, "max": far})
    read_HW = depth_from_png(tmp_path / "a.depth.png")
    assert read_HW.dtype == np.float32
    assert np.isnan(read_HW[3, 4])
    depth_HW[3, 4] = read_HW[3, 4] = 0
    # Half a step of the code, plus float32 rounding of the value itself.
    np.testing.assert_allclose(read_HW, depth_HW, rtol=1e-6, atol=(far - near) / 65534 / 2)


def test_normals(sink: ItemSink, tmp_path: Path) -> None:
    normal_HW3 = RANDOM.normal(size=(20, 30, 3))
    normal_HW3 /= np.linalg.norm(normal_HW3, axis=-1, keepdims=True)
    normal_HW3[0, 0] = [1, 0, 0]
    normal_HW3[0, 1] = [0, -1, 0]
    code_HW3 = (np.round((normal_HW3 + 1) / 2 * 65534) + 1).astype(np.uint16)
    code_HW3[2, 2] = 0
    sink.write_png("normal.png", code_HW3, {"frame": "camera"})
    read_HW3 = normals_from_png(str(tmp_path / "a.normal.png"))
    assert np.isnan(read_HW3[2, 2]).all()
    assert np.isnan(read_HW3).sum() == 3
    normal_HW3[2, 2] = read_HW3[2, 2] = 0
    # Half a step (2 / 65534 / 2) plus float32 rounding near 1.
    np.testing.assert_allclose(read_HW3, normal_HW3, rtol=0, atol=1.6e-5)


def test_other_pictures_are_refused(sink: ItemSink, tmp_path: Path) -> None:
    sink.write_png("seg.png", np.zeros((2, 2), np.uint8), {"min": 0, "max": 1})
    sink.write_png("bare.png", np.zeros((2, 2), np.uint16), {"model": "m"})
    with pytest.raises(InputError, match="expected a 16-bit PNG with 1 channel"):
        depth_from_png(tmp_path / "a.seg.png")
    with pytest.raises(InputError, match="3 channel"):
        normals_from_png(tmp_path / "a.bare.png")
    with pytest.raises(InputError, match="does not say its range"):
        depth_from_png(tmp_path / "a.bare.png")
    with pytest.raises(InputError, match="cannot be read"):
        normals_from_png(tmp_path / "absent.png")
