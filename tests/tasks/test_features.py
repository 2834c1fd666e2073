"""Features keep their grid, use Pillow's resize, and can be drawn."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

from tasks.sinks import PROVENANCE, KeepingSink, origin
from vitruvian.errors import UsageError
from vitruvian.tasks.base import Region
from vitruvian.tasks.features import Features, FeaturesTask

TASK = FeaturesTask(input_hw=(48, 32))


def run(features_1Chw: torch.Tensor, hw: tuple[int, int] = (60, 80)) -> Features:
    _, geometry = TASK.prepare(origin(hw).image_HW3, None)
    tensors = TASK.finish_tensors({"features": features_1Chw})
    (result,) = TASK.finish({"features": tensors["features"][0]}, geometry, PROVENANCE)
    return result


def test_canvas_is_pillow_bicubic() -> None:
    image_HW3 = origin().image_HW3
    canvas, geometry = TASK.prepare(image_HW3, None)
    expected = np.asarray(Image.fromarray(image_HW3).resize((32, 48), Image.Resampling.BICUBIC))
    np.testing.assert_array_equal(canvas, expected)
    assert geometry.canvas_hw == (48, 32)
    assert torch.from_numpy(canvas).shape == (48, 32, 3)


def test_regions_are_refused() -> None:
    with pytest.raises(UsageError, match="features"):
        TASK.prepare(origin().image_HW3, Region(box_xyxy=(0, 0, 1, 1)))


@pytest.mark.parametrize("channels", [1, 2, 3, 40])
def test_files(channels: int) -> None:
    result = replace(run(torch.randn(1, channels, 3, 2)), origin=origin())
    sink = KeepingSink(*Features.formats)
    result.write(sink)
    np.testing.assert_array_equal(sink.files["features.npy"][0], result.map_Chw)
    assert sink.files["features.drawn.jpg"][0].shape == (60, 80, 3)


def test_discrepancy_is_relative() -> None:
    a = run(torch.randn(1, 8, 3, 2))
    assert TASK.discrepancy(replace(a, map_Chw=a.map_Chw * np.float32(1.5)), a)["relative_l2"] == pytest.approx(0.5)
