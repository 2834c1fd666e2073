"""From raw depth to `Depth` and its files; flat and empty maps must not crash."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch.nn import functional

from tasks.sinks import PROVENANCE, KeepingSink, origin
from vitruvian.errors import UsageError
from vitruvian.tasks import codes
from vitruvian.tasks.depth import Depth, DepthTask
from vitruvian.tasks.labels import label_set
from vitruvian.tasks.seg import Segmentation

IMAGE = np.zeros((60, 80, 3), np.uint8)
TASK = DepthTask(input_hw=(32, 24))


def run(depth_11hw: torch.Tensor, task: DepthTask = TASK) -> Depth:
    _, geometry = task.prepare(IMAGE, None)
    tensors = task.finish_tensors({"depth": depth_11hw})
    (result,) = task.finish({"depth": tensors["depth"][0]}, geometry, PROVENANCE)
    return result


def depth_of(values: np.ndarray) -> Depth:
    return Depth(provenance=PROVENANCE, depth_HW=values.astype(np.float32))


def test_depth_is_resized_bilinearly_in_float32() -> None:
    raw = torch.rand(1, 1, 16, 12)
    expected = functional.interpolate(raw, (60, 80), mode="bilinear", align_corners=False)[0, 0].numpy()
    np.testing.assert_array_equal(run(raw).depth_HW, expected)
    assert run(raw.bfloat16()).depth_HW.dtype == np.float32
    assert np.abs(run(raw, replace(TASK, route="full")).depth_HW - expected).max() > 0


def test_files_and_their_descriptions() -> None:
    result = replace(run(torch.rand(1, 1, 16, 12)), origin=origin())
    sink = KeepingSink(*Depth.formats)
    result.write(sink)
    assert sink.files.keys() == {"depth.npy", "depth.png", "depth.exr", "depth.drawn.jpg"}
    codes_HW, about = sink.files["depth.png"]
    back_HW = codes.decode_depth(codes_HW, about["min"], about["max"])
    np.testing.assert_allclose(back_HW, result.depth_HW, atol=1 / 65534)
    assert about["larger"] == "farther"
    assert "relative" in json.loads(json.dumps(about))["unit"]
    np.testing.assert_array_equal(sink.files["depth.exr"][0]["Z"], result.depth_HW)
    assert replace(result, metric=True).about()["unit"].startswith("metres")


@pytest.mark.parametrize("values", [np.zeros((4, 5)), np.full((4, 5), np.nan), np.array([[1, np.inf], [2, 3]])])
def test_flat_and_empty_maps_can_be_written(values: np.ndarray) -> None:
    sink = KeepingSink(*Depth.formats)
    depth_of(values).write(sink)
    assert sink.files["depth.drawn.jpg"][0].shape == (*values.shape, 3)
    json.dumps(sink.files["depth.png"][1], allow_nan=False)


def test_discrepancy_ignores_scale_and_shift() -> None:
    a = run(torch.rand(1, 1, 16, 12))
    assert TASK.discrepancy(replace(a, depth_HW=a.depth_HW * 2 + 1), a)["relative"] < 1e-6
    assert TASK.discrepancy(run(torch.rand(1, 1, 16, 12)), a)["relative"] > 0.05
    seg = Segmentation(provenance=PROVENANCE, labels_HW=np.zeros((60, 80), np.uint8), label_set=label_set(28))
    with pytest.raises(UsageError, match="got a seg result; expected depth"):
        TASK.discrepancy(a, seg)
    with pytest.raises(UsageError, match="two depth maps"):
        TASK.discrepancy(a, replace(a, depth_HW=a.depth_HW[1:]))


def test_wrong_arrays_are_refused() -> None:
    with pytest.raises(ValueError, match="float32"):
        Depth(provenance=PROVENANCE, depth_HW=np.zeros((3, 4)))
