"""From the canonical camera's depth to metres at source size: whatever the lens, the picture's size or its canvas."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from tasks.sinks import PROVENANCE, origin
from tasks.test_metric_canvas import ODD_SIZES
from tolerances import METRIC_RESIZED_REL, SAME_METRES_REL
from vitruvian.errors import InputError, UsageError
from vitruvian.tasks import preprocess
from vitruvian.tasks.base import Geometry, Region
from vitruvian.tasks.cameras import CameraWish
from vitruvian.tasks.depth import DepthTask
from vitruvian.tasks.metric_canvas import PAD_RGB
from vitruvian.tasks.metric_depth import MetricDepthTask
from vitruvian.tasks.metric_result import MetricDepth
from vitruvian.tasks.sizing import at_size

TASK = MetricDepthTask(input_hw=(112, 196), native_hw=(112, 196), far_m=200.0)
FITTED = replace(TASK, fit=True)
WITHOUT_NORMALS = replace(TASK, has_normals=False)
NEAR_M, SLOPE = 4.0, 0.5
"""A wall that recedes to the right: z = NEAR_M + SLOPE x."""


def prepared(task: MetricDepthTask, hw: tuple[int, int], focal_px: float | None = None) -> tuple[np.ndarray, Geometry]:
    image_HW3 = np.random.default_rng(0).integers(0, 256, (*hw, 3), np.uint8)
    canvas_HW3, geometry = task.prepare(image_HW3, None)
    return canvas_HW3, replace(geometry, camera=CameraWish(focal_px=focal_px).camera(hw))


def raw_of(depth_hw: np.ndarray | Tensor, normal_3: tuple[float, float, float] = (0, 0, -1)) -> dict[str, Tensor]:
    """A network's outputs for one picture with this canonical depth."""
    depth_11hw = torch.tensor(np.asarray(depth_hw, np.float32))[None, None]
    ones = torch.ones_like(depth_11hw)
    normal_13hw = torch.tensor(normal_3, dtype=torch.float32).reshape(1, 3, 1, 1).expand(-1, -1, *depth_11hw.shape[2:])
    return {"depth": depth_11hw, "confidence": 0.5 * ones, "normal": normal_13hw, "kappa": ones}


def finished(task: MetricDepthTask, raw: dict[str, Tensor], geometry: Geometry) -> MetricDepth:
    tensors = {name: values[0] for name, values in task.finish_tensors(raw).items()}
    (result,) = task.finish(tensors, geometry, PROVENANCE)
    return result


def wall_m(columns: np.ndarray, focal_px: float, width: int) -> np.ndarray:
    """Depth of the wall along the rays of a picture's columns."""
    return NEAR_M / (1 - SLOPE * (columns - (width - 1) / 2) / focal_px)


@pytest.mark.parametrize("task", [TASK, FITTED], ids=["padded", "fitted"])
@pytest.mark.parametrize("hw", [(160, 280), (80, 140), (320, 560)], ids=["middle", "half", "double"])
@pytest.mark.parametrize("zoom", [1.0, 2.0], ids=["wide", "tele"])
def test_a_wall_has_the_same_metres_through_any_lens_and_at_any_size(
    task: MetricDepthTask, hw: tuple[int, int], zoom: float
) -> None:
    """The network sees a canvas and answers as if its focal length there were 1000 px; here it is right about that."""
    width, focal_px = hw[1], zoom * hw[1]
    canvas_HW3, geometry = prepared(task, hw, focal_px)
    canvas_h, canvas_w, _ = canvas_HW3.shape
    on_canvas = canvas_w / width
    assert canvas_h / hw[0] == on_canvas, "the canvas is filled"
    seen_m = wall_m((np.arange(canvas_w) + 0.5) / on_canvas - 0.5, focal_px, width)
    canonical_w = seen_m * 1000 / (focal_px * on_canvas)
    result = finished(task, raw_of(np.tile(canonical_w, (canvas_h, 1))), geometry)
    expected_m = np.tile(wall_m(np.arange(width), focal_px, width), (hw[0], 1))
    inner = slice(8, -8)  # beyond the outermost samples of the canvas nothing is known
    np.testing.assert_allclose(result.depth_m_HW[:, inner], expected_m[:, inner], rtol=SAME_METRES_REL)
    assert result.depth_m_HW.dtype == np.float32


def test_padding_is_cut_off_before_the_resize() -> None:
    """A tall picture leaves columns of the canvas empty; what the network says there must not leak in."""
    canvas_HW3, geometry = prepared(TASK, (224, 100), 1000.0)
    filled_hw = (canvas_HW3 != PAD_RGB).any(axis=2)
    assert (filled_hw.sum(axis=1) == 50).all()
    depth_hw = np.where(filled_hw.all(axis=0), 3.0, 1e4)
    result = finished(TASK, raw_of(np.broadcast_to(depth_hw, (112, 196))), geometry)
    assert np.unique(result.depth_m_HW) == pytest.approx([3.0 * 0.5], rel=METRIC_RESIZED_REL)


def test_metres_are_proportional_to_the_focal_length_and_end_at_300() -> None:
    raw = raw_of(np.linspace(-5, 190, 112 * 196).reshape(112, 196))
    near, far = (finished(TASK, raw, prepared(TASK, (112, 196), focal_px)[1]) for focal_px in (400.0, 4000.0))
    np.testing.assert_allclose(far.depth_m_HW, np.clip(10 * near.depth_m_HW, 0, 300), rtol=METRIC_RESIZED_REL)
    assert (near.depth_m_HW.min(), far.depth_m_HW.max()) == (0, 300), "depth behind the camera is none"
    assert near.reach_m == pytest.approx(0.9 * 200 * 0.4)
    assert far.reach_m == 300


@pytest.mark.parametrize("task", [TASK, FITTED], ids=["padded", "fitted"])
def test_finishing_leaves_the_networks_maps_alone(task: MetricDepthTask) -> None:
    """Source and canvas of one size: nothing is resized, and the maps must still not be changed in place."""
    _, geometry = prepared(task, (112, 196), 500.0)
    tensors = {
        name: values[0] for name, values in task.finish_tensors(raw_of(torch.rand(112, 196), (0, 3, -4))).items()
    }
    before = {name: values.clone() for name, values in tensors.items()}
    first, second = (task.finish(tensors, geometry, PROVENANCE)[0] for _ in range(2))
    assert all(torch.equal(values, before[name]) for name, values in tensors.items())
    np.testing.assert_array_equal(first.depth_m_HW, second.depth_m_HW)


def test_normals_have_unit_length_after_the_resize() -> None:
    _, geometry = prepared(TASK, (50, 90), 500.0)
    raw = raw_of(torch.ones(112, 196))
    raw["normal"] = torch.nn.functional.normalize(
        torch.randn(1, 3, 112, 196, generator=torch.Generator().manual_seed(0))
    )
    raw["normal"][:, :, :56] = torch.tensor([0.0, -0.6, -0.8]).reshape(1, 3, 1, 1)
    normals_HW3 = finished(TASK, raw, geometry).normals_HW3
    assert normals_HW3 is not None
    np.testing.assert_allclose(np.linalg.norm(normals_HW3, axis=2), 1, rtol=METRIC_RESIZED_REL)
    np.testing.assert_allclose(normals_HW3[:20], np.broadcast_to([0, -0.6, -0.8], (20, 90, 3)), atol=1e-6)
    raw["normal"] = torch.zeros(1, 3, 112, 196)
    silent = finished(TASK, raw, geometry).normals_HW3
    assert silent is not None
    assert not silent.any(), "no direction is no direction, and no division by zero"


@pytest.mark.parametrize("hw", ODD_SIZES)
@pytest.mark.parametrize("task", [TASK, FITTED, WITHOUT_NORMALS], ids=["padded", "fitted", "without normals"])
def test_any_picture_comes_back_at_its_size(task: MetricDepthTask, hw: tuple[int, int]) -> None:
    if hw[0] * hw[1] > 200_000:
        hw = (hw[0] // 30, hw[1] // 30) if min(hw) > 30 else hw  # the same aspect, in less time
    canvas_HW3, geometry = prepared(task, hw)
    assert canvas_HW3.shape[:2] == geometry.canvas_hw
    assert canvas_HW3.shape[0] * canvas_HW3.shape[1] <= 112 * 196
    result = finished(task, raw_of(torch.full(geometry.canvas_hw, 7.0)), geometry)
    assert result.depth_m_HW.shape == result.confidence_HW.shape == hw
    assert np.isfinite(result.depth_m_HW).all()
    assert (result.depth_m_HW > 0).all()
    assert (result.normals_HW3 is None) == (task is WITHOUT_NORMALS)


def test_a_padded_canvas_is_the_same_for_all_pictures_and_a_fitted_one_is_not() -> None:
    sizes = [(60, 90), (90, 60), (50, 200)]
    assert {prepared(TASK, hw)[1].canvas_hw for hw in sizes} == {(112, 196)}
    assert len({prepared(FITTED, hw)[1].canvas_hw for hw in sizes}) == 3


def test_without_a_camera_one_is_assumed() -> None:
    _, geometry = prepared(TASK, (60, 90))
    for given in (geometry, replace(geometry, camera=None)):
        result = finished(TASK, raw_of(torch.ones(112, 196)), given)
        assert (result.metric, result.camera.fx_px) == (False, 90)
        np.testing.assert_allclose(result.depth_m_HW, 90 * (112 / 60) / 1000, rtol=METRIC_RESIZED_REL)


def test_half_precision_is_finished_in_float32() -> None:
    raw = {name: values.bfloat16() for name, values in raw_of(torch.rand(112, 196)).items()}
    assert {values.dtype for values in TASK.finish_tensors(raw).values()} == {torch.float32}


def test_what_the_network_must_give() -> None:
    raw = raw_of(torch.ones(112, 196))
    assert TASK.finish_tensors(raw).keys() == {"depth", "confidence", "normal", "kappa"}
    assert WITHOUT_NORMALS.finish_tensors(raw).keys() == {"depth", "confidence"}
    del raw["normal"]
    with pytest.raises(UsageError, match="expected 'normal'"):
        TASK.finish_tensors(raw)


def test_regions_and_what_is_no_picture_are_refused() -> None:
    with pytest.raises(UsageError, match=r"person's box .* whole picture"):
        TASK.prepare(np.zeros((9, 9, 3), np.uint8), Region(box_xyxy=(0, 0, 5, 5)))
    for image in (np.zeros((0, 9, 3), np.uint8), np.zeros((9, 9), np.uint8), np.zeros((9, 9, 3), np.float32)):
        with pytest.raises(InputError):
            TASK.prepare(image, None)


def test_the_networks_input_is_normalised_and_padding_is_not_quite_zero() -> None:
    canvas_HW3, _ = prepared(TASK, (224, 100))
    x_13hw = TASK.network_input(torch.from_numpy(canvas_HW3)[None])
    assert (x_13hw.dtype, tuple(x_13hw.shape)) == (torch.float32, (1, 3, 112, 196))
    expected = [
        (pad - mean) / std for pad, mean, std in zip(PAD_RGB, preprocess.MEAN_RGB, preprocess.STD_RGB, strict=True)
    ]
    assert x_13hw[0, :, 0, 0].tolist() == pytest.approx(expected, abs=1e-6)
    assert min(map(abs, expected)) > 0.004


@pytest.mark.parametrize(
    ("task", "canvas", "protocol"),
    [
        (TASK, "fixed 112x196", "published"),
        (at_size(TASK, (56, 112)), "fixed 56x112", "off-protocol, not validated"),
        (FITTED, "fit, within as many pixels as 112x196", "off-protocol, not validated"),
        (at_size(FITTED, (56, 112)), "fit, within as many pixels as 56x112", "off-protocol, not validated"),
    ],
)
def test_results_say_whether_the_published_numbers_hold(task: Any, canvas: str, protocol: str) -> None:
    _, geometry = prepared(task, (60, 90), 80.0)
    about = finished(task, raw_of(torch.ones(geometry.canvas_hw)), geometry).about()
    assert (about["canvas"], about["protocol"]) == (canvas, protocol)


def test_discrepancy_is_a_share_of_the_metres_and_an_angle() -> None:
    _, geometry = prepared(TASK, (60, 90), 80.0)
    depth_hw = 1 + torch.rand(112, 196)
    one, other = (
        finished(TASK, raw_of(1.1 * depth_hw), geometry),
        finished(TASK, raw_of(depth_hw, (0, -3, -4)), geometry),
    )
    found = TASK.discrepancy(one, other)
    assert found == {"metric_relative": pytest.approx(0.1, rel=1e-4), "deg_mean": pytest.approx(36.87, abs=0.01)}
    plain = finished(WITHOUT_NORMALS, raw_of(depth_hw), geometry)
    assert TASK.discrepancy(plain, other).keys() == {"metric_relative"}
    relative = DepthTask(input_hw=(112, 196)).finish({"depth": depth_hw[None]}, geometry, PROVENANCE)[0]
    for wrong in (relative, finished(TASK, raw_of(depth_hw), prepared(TASK, (61, 90), 80.0)[1])):
        with pytest.raises(UsageError, match="two metric depth maps of one picture"):
            TASK.discrepancy(one, wrong)


@pytest.mark.parametrize("task", [TASK, FITTED, WITHOUT_NORMALS])
def test_constants_are_enough_to_prepare_and_finish_elsewhere(task: MetricDepthTask) -> None:
    constants = task.constants()
    assert constants["canvas_hw"] == [112, 196]
    assert constants["pad_rgb"] == list(PAD_RGB)
    assert (constants["canonical_focal_px"], constants["farthest_m"]) == (1000, 300)
    assert constants["outputs"].keys() == task.finish_tensors(raw_of(torch.ones(112, 196))).keys()


def test_one_result_a_picture() -> None:
    _, geometry = prepared(TASK, (60, 90), 80.0)
    result = replace(finished(TASK, raw_of(torch.ones(112, 196)), geometry), origin=origin((60, 90)))
    gathering = TASK.gather((60, 90), PROVENANCE)
    gathering.add(0, geometry, [result])
    assert list(gathering.results()) == [result]
