"""What a metric depth result says and writes: metres, or that they are none."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from tasks.sinks import PROVENANCE, KeepingSink, origin
from tolerances import METRIC_RESIZED_REL
from vitruvian.errors import UsageError
from vitruvian.tasks.cameras import CameraWish
from vitruvian.tasks.metric_result import MetricDepth, Protocol, millimetres

HW = (60, 80)
CAMERA = CameraWish(focal_px=100).camera(HW)
PADDED = Protocol(fit=False, canvas_hw=(616, 1064), published=True)


def result_of(
    depth_m: Any = 2.5, normal_3: tuple[float, float, float] | None = (0, 0, -1), **fields: Any
) -> MetricDepth:
    """A result with this depth and this normal everywhere."""
    depth_m_HW = np.broadcast_to(np.asarray(depth_m, np.float32), HW).copy()
    values: dict[str, Any] = {
        "provenance": PROVENANCE,
        "origin": origin(HW),
        "depth_m_HW": depth_m_HW,
        "confidence_HW": np.full(HW, 0.75, np.float32),
        "normals_HW3": None if normal_3 is None else np.broadcast_to(np.array(normal_3, np.float32), (*HW, 3)).copy(),
        "camera": CAMERA,
        "reach_m": 180.0,
        "protocol": PADDED,
    }
    return MetricDepth(**{**values, **fields})


def test_millimetres_are_rounded_and_what_has_none_is_0() -> None:
    depth_m = np.array([[0.0004, 0.0006, 1.2344, 65.535, 65.5354, 65.536, 300, np.nan, np.inf, -1]], np.float32)
    codes, coding = millimetres(depth_m)
    assert codes.dtype == np.uint16
    assert codes.tolist() == [[0, 1, 1234, 65535, 65535, 0, 0, 0, 0, 0]]
    assert coding["beyond_range_share"] == pytest.approx(0.3)
    assert "code 0: no value, or farther than 65.535 m" in coding["formula"]


def test_a_known_camera_makes_metres() -> None:
    about = json.loads(json.dumps(result_of().about()))
    assert (about["kind"], about["unit"], about["metric"]) == ("depth", "metres along the optical axis", True)
    assert (about["model"], about["licence"], about["height"], about["width"]) == ("tiny", "CC BY-NC 4.0", *HW)
    assert about["camera"] == {"fx_px": 100, "fy_px": 100, "cx_px": 39.5, "cy_px": 29.5, "source": "focal length"}
    assert (about["canvas"], about["protocol"], about["reach_m"]) == ("fixed 616x1064", "published", 180)


def test_an_assumed_camera_makes_none_and_every_file_says_so() -> None:
    result = result_of(camera=CameraWish().camera(HW))
    assert not result.metric
    sink = KeepingSink("npy", "png", "exr", "draw", "ply", "glb")
    result.write(sink)
    depth_files = {
        name: about for name, (_, about) in sink.files.items() if name.startswith("depth.") and "confidence" not in name
    }
    assert len(depth_files) == 6
    for about in depth_files.values():
        assert about["metric"] is False
        assert "not metric" in about["unit"]
        assert about["camera"]["source"] == "assumed"
    assert result.line()["metric"] is False


def test_files_and_their_content() -> None:
    depth_m = np.linspace(0.5, 100, HW[0] * HW[1]).reshape(HW)
    result = result_of(depth_m, normal_3=(0, -0.6, -0.8))
    sink = KeepingSink(*MetricDepth.formats)
    result.write(sink)
    kinds = {
        "depth": ["npy", "confidence.npy", "png", "exr", "ply", "glb", "drawn.jpg"],
        "normal": ["npy", "png", "exr", "drawn.jpg"],
    }
    assert sink.files.keys() == {f"{kind}.{ending}" for kind, endings in kinds.items() for ending in endings}
    array, about = sink.files["depth.npy"]
    np.testing.assert_array_equal(array, depth_m.astype(np.float32))
    assert sink.files["depth.confidence.npy"][1]["unit"].startswith("confidence")
    codes, about = sink.files["depth.png"]
    np.testing.assert_array_equal(codes, np.where(depth_m > 65.535, 0, np.rint(array.astype(np.float64) * 1000)))
    assert about["beyond_range_share"] == pytest.approx((depth_m > 65.5355).mean(), abs=1e-6)
    assert sink.files["depth.exr"][0].keys() == {"Z", "confidence"}
    assert sink.files["normal.npy"][1]["frame"] == "camera"


def test_points_lie_before_the_camera_and_the_far_is_left_out() -> None:
    depth_m = np.full(HW, 5.0)
    depth_m[:20] = 190.0  # as far as the network can say
    result = result_of(depth_m)
    sink = KeepingSink("ply", "glb")
    result.write(sink)
    (points_N3, colours_N3), about = sink.files["depth.ply"]
    assert (about["points"], about["every_nth_pixel"]) == (len(points_N3), 1) == (40 * 80, 1)
    assert np.unique(points_N3[:, 2]).tolist() == [5.0]
    # The first kept pixel is column 0 of row 20: 39.5 px left of the axis and 9.5 px above it.
    assert points_N3[0].tolist() == pytest.approx([-39.5 / 100 * 5, -9.5 / 100 * 5, 5], rel=METRIC_RESIZED_REL)
    assert result.origin is not None
    np.testing.assert_array_equal(colours_N3, result.origin.image_HW3[20:].reshape(-1, 3))
    assert "z forward" in about["axes"]
    assert "toward the viewer" in sink.files["depth.glb"][1]["axes"]
    np.testing.assert_array_equal(sink.files["depth.glb"][0][0], points_N3)


def test_a_picture_all_sky_has_an_empty_cloud_and_a_grey_drawing() -> None:
    result = result_of(190.0)
    assert result.cloud().points_N3.shape == (0, 3)
    drawn_HW3 = result.draw()
    assert drawn_HW3.shape == (*HW, 3)
    assert len(np.unique(drawn_HW3)) == 1


def test_points_need_the_picture() -> None:
    with pytest.raises(UsageError):
        result_of(origin=None).cloud()


def test_a_large_drawing_warns_of_an_assumed_lens() -> None:
    hw = (400, 600)
    depth_m_HW = np.tile(np.linspace(1, 9, 600, dtype=np.float32), (400, 1))
    known = result_of(depth_m_HW=depth_m_HW, confidence_HW=np.ones(hw, np.float32), normals_HW3=None)
    assumed = replace(known, camera=CameraWish().camera(hw))
    assert known.draw().shape == assumed.draw().shape == (*hw, 3)
    assert (known.draw() != assumed.draw()).any()


def test_v1_has_no_normals() -> None:
    result = result_of(normal_3=None)
    sink = KeepingSink(*MetricDepth.formats)
    result.write(sink)
    assert result.normals() is None
    assert not [name for name in sink.files if name.startswith("normal")]
    assert "depth.npy" in sink.files


def test_a_line_for_videos() -> None:
    line = result_of(np.linspace(1, 3, HW[0] * HW[1]).reshape(HW)).line()
    assert json.loads(json.dumps(line)) == {
        "depth_m_min": 1.0, "depth_m_median": 2.0, "depth_m_max": 3.0, "confidence_median": 0.75, "metric": True
    }  # fmt: skip


def test_nothing_is_written_that_nobody_wants() -> None:
    sink = KeepingSink()
    result_of().write(sink)
    assert not sink.files


@pytest.mark.parametrize("field", ["depth_m_HW", "confidence_HW"])
@pytest.mark.parametrize("wrong", [np.zeros(HW), np.zeros((*HW, 1), np.float32)], ids=["float64", "three axes"])
def test_arrays_of_another_kind_are_refused(field: str, wrong: np.ndarray) -> None:
    fields: dict[str, Any] = {field: wrong}
    with pytest.raises(ValueError, match=field):
        result_of(**fields)
