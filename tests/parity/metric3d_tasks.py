"""What our pre- and post-processing of metric depth must agree on with the golden cases, whatever their sizes.

Each check takes the case's JSON and its tensors.
"""

# Shape suffixes: B pictures, h w canvas, H W source size, 3 = RGB or x y z.

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from tolerances import (
    METRIC_INPUT_ABS,
    METRIC_POINTS_M,
    METRIC_RESIZED_M,
    METRIC_RESIZED_NORMALS_ABS,
    METRIC_WARP_LEVELS,
)
from vitruvian.tasks import preprocess
from vitruvian.tasks.base import Geometry, Provenance
from vitruvian.tasks.cameras import Camera
from vitruvian.tasks.metric_canvas import PAD_RGB, Placement, padded_placement
from vitruvian.tasks.metric_depth import FARTHEST_M, MetricDepthTask
from vitruvian.tasks.metric_result import MetricDepth
from vitruvian.tasks.unprojection import median_5x5, unproject

Tensors = Mapping[str, Tensor]
Document = Mapping[str, Any]

_NOBODY = Provenance(model="golden", weights_sha256="", licence="none")


@dataclass(frozen=True, kw_only=True, slots=True)
class _Placed(MetricDepthTask):
    """The task with pictures where a golden case has them, which no arithmetic of sizes gives."""

    place: Placement

    def placement(self, geometry: Geometry) -> Placement:
        """The case's."""
        return self.place


def check_preprocess(document: Document, tensors: Tensors) -> None:
    """Canvas, padding, scale and normalised input of each case, and the table of sizes."""
    assert tuple(document["mean"]) == preprocess.MEAN_RGB
    assert tuple(document["std"]) == preprocess.STD_RGB
    assert tuple(document["pad_colour_after_rounding"]) == PAD_RGB
    for index, case in enumerate(document["cases"]):
        target_hw = _pair(case["target_size"])
        task = MetricDepthTask(input_hw=target_hw, native_hw=target_hw, far_m=200.0)
        canvas_hw3, geometry = task.prepare(tensors[f"case{index}/image_rgb"].numpy(), None)
        assert geometry.source_hw == _pair(case["original_size"])
        placement = task.placement(geometry)
        _check_sizes(placement, case)
        assert placement.scale == case["scale"]
        fx, fy, *_ = case["intrinsics_fx_fy_cx_cy"]
        assert abs(fx * placement.scale - case["scaled_intrinsics"][0]) <= 1e-9 * fx
        if fx == fy:
            assert (
                abs(task.canonical_focal_px / (fx * placement.scale) - case["script_route_label_scale_factor"]) < 1e-9
            )
        step = case["stored_stride"]
        levels = np.abs(canvas_hw3[::step, ::step].astype(int) - tensors[f"case{index}/padded_uint8"].numpy())
        assert levels.max() <= METRIC_WARP_LEVELS
        if METRIC_WARP_LEVELS == 0:
            assert int(canvas_hw3.sum(dtype=np.int64)) == case["checksum_sum_uint8"]
        if f"case{index}/normalised" in document["tensors"]:  # the small copies have some of them
            x_13hw = task.network_input(torch.from_numpy(canvas_hw3)[None])
            _near(x_13hw[0, :, ::step, ::step], tensors[f"case{index}/normalised"], METRIC_INPUT_ABS)
    for row in document["size_arithmetic_only"]["rows"]:
        _check_sizes(padded_placement(_pair(row["original_size"]), _pair(row["target_size"])), row)


def _check_sizes(placement: Placement, case: Document) -> None:
    (height, width), (inner_h, inner_w) = case["target_size"], placement.inner_hw
    assert [inner_h, inner_w] == case["resized_size"]
    bottom, right = height - inner_h - placement.top, width - inner_w - placement.left
    assert [placement.top, bottom, placement.left, right] == case["pad_top_bottom_left_right"]


def check_postprocess(document: Document, tensors: Tensors) -> None:
    """Metres by the hub's rule and, where the two rules agree, by the scripts'; normals; points."""
    for index, case in enumerate(document["cases"]):
        of = {name.partition("/")[2]: value for name, value in tensors.items() if name.startswith(f"case{index}/")}
        fx, fy, *_ = case["intrinsics_fx_fy_cx_cy"]
        scale = case["scale"]
        assert abs(case["scaled_fx"] - fx * scale) <= 1e-9 * case["scaled_fx"]
        pads, source_hw = case["pad_top_bottom_left_right"], _pair(case["original_size"])
        found = _finished(of["prediction"], of["prediction_normal"], pads, source_hw, fx, scale).depth_m_HW
        _near(found, of["hub_metric_depth"], METRIC_RESIZED_M)
        assert int((found >= FARTHEST_M).sum()) == case["n_over_300"]
        if fx == fy:
            both_HW = (found > 0) & (found < FARTHEST_M)
            _near(found[both_HW], of["script_metric_depth"].numpy()[both_HW], METRIC_RESIZED_M)
        cropped = of["hub_normal_cropped"]
        inner_hw = cropped.shape[1], cropped.shape[2]
        own_size = _finished(of["prediction"], of["prediction_normal"], pads, inner_hw, fx, scale)
        _near(own_size.normals_HW3, cropped.permute(1, 2, 0), METRIC_RESIZED_NORMALS_ABS)
    depth_HW, camera = tensors["cloud/depth"].numpy(), document["cloud"]["intrinsics_fx_fy_cx_cy"]
    _near(unproject(depth_HW, *camera), tensors["cloud/xyz_plain"], METRIC_POINTS_M)
    _near(unproject(median_5x5(depth_HW), *camera), tensors["cloud/xyz_with_median5"], METRIC_POINTS_M)


def final_metric_depth(document: Document, prediction_B1hw: Tensor) -> Tensor:
    """Metres of the first picture of a whole pass, float32 (H,W), as the case's own rule has it."""
    case = document["postprocess"]
    focal_px, pads = case["scaled_fx"], case["pad_top_bottom_left_right"]
    result = _finished(prediction_B1hw[:1], None, pads, _pair(case["original_size"]), focal_px, 1.0)
    return torch.from_numpy(result.depth_m_HW)


def _finished(
    prediction_11hw: Tensor,
    normal_14hw: Tensor | None,
    pads: Sequence[int],
    source_hw: tuple[int, int],
    focal_px: float,
    scale: float,
) -> MetricDepth:
    """The task's own result of one picture that lies between these pads (top, bottom, left, right)."""
    canvas_hw = prediction_11hw.shape[2], prediction_11hw.shape[3]
    top, bottom, left, right = pads
    inner_hw = canvas_hw[0] - top - bottom, canvas_hw[1] - left - right
    task = _Placed(
        input_hw=canvas_hw,
        native_hw=canvas_hw,
        far_m=200.0,
        has_normals=normal_14hw is not None,
        place=Placement(inner_hw=inner_hw, top=top, left=left, scale=scale),
    )
    raw = {"depth": prediction_11hw, "confidence": prediction_11hw}
    if normal_14hw is not None:
        raw |= {"normal": normal_14hw[:, :3], "kappa": normal_14hw[:, 3:]}
    height, width = source_hw
    geometry = Geometry(
        source_hw=source_hw,
        canvas_hw=canvas_hw,
        centre_xy=(width / 2, height / 2),
        size_wh=(width, height),
        camera=Camera(fx_px=focal_px, fy_px=focal_px, cx_px=width / 2, cy_px=height / 2, source="file"),
    )
    rows = {name: values[0] for name, values in task.finish_tensors(raw).items()}
    (result,) = task.finish(rows, geometry, _NOBODY)
    return result


def _pair(values: Sequence[int]) -> tuple[int, int]:
    first, second = values
    return first, second


def _near(found: Any, expected: Any, allowed: float) -> None:
    found, expected = np.asarray(found, np.float64), np.asarray(expected, np.float64)
    assert found.shape == expected.shape, f"got {found.shape}, expected {expected.shape}"
    worst = np.abs(found - expected).max(initial=0.0)
    assert worst <= allowed, f"differs by {worst:.2e}, allowed {allowed:.0e}"
