"""What an artefact tells other programs is what the tasks do: followed word by word, without them."""

from __future__ import annotations

import json
import re
from typing import Any

import numpy as np
import pytest
import torch

from vitruvian import zoo
from vitruvian.artefacts.pictures import post_inside
from vitruvian.artefacts.wrapping import FINITE
from vitruvian.tasks import decode
from vitruvian.tasks.base import Region, Task
from vitruvian.tasks.labels import keypoint_set, label_set
from vitruvian.weights import find_weights

NAMES = tuple(zoo.DEFAULT_MODELS.values())
PICTURE = np.random.default_rng(1).integers(0, 255, (31, 45, 3), dtype=np.uint8)
DENSE = ("sapiens-seg-nano", "sapiens-depth-nano", "sapiens-normal-nano")


def task_of(name: str) -> Task:
    return zoo.MODELS[name].make_task()


@pytest.mark.parametrize("name", NAMES)
def test_they_survive_json(name: str) -> None:
    constants = task_of(name).constants()
    assert json.loads(json.dumps(constants)) == constants


@pytest.mark.parametrize("name", NAMES)
def test_normalisation_is_the_networks(name: str) -> None:
    task = task_of(name)
    constants = task.constants()
    canvas_HW3, _ = task.prepare(PICTURE, None)
    assert list(canvas_HW3.shape) == [*constants["canvas_hw"], 3]
    assert constants["colours"] == "RGB"
    assert constants["normalised"] == "(x - mean) / std per channel, x from 0 to 255, channels first"
    x_HW3 = (canvas_HW3.astype(np.float64) - constants["mean"]) / constants["std"]
    expected = task.network_input(torch.from_numpy(canvas_HW3)[None])[0].numpy()
    np.testing.assert_allclose(x_HW3.transpose(2, 0, 1), expected, atol=1e-6)


@pytest.mark.parametrize("name", NAMES)
@torch.inference_mode()
def test_outputs_have_the_names_types_and_axes_that_are_told(name: str) -> None:
    found = find_weights(name)
    task, network = found.spec.make_task(), found.build().network.eval()
    canvas_BHW3 = torch.from_numpy(np.stack([task.prepare(PICTURE, None)[0]] * 2))
    raw = dict(network(task.network_input(canvas_BHW3)))
    inside = post_inside(network, task)(canvas_BHW3)
    assert inside.pop(FINITE).dtype == torch.bool
    told = task.constants()["outputs"]
    given = {**raw, **inside}
    assert given.keys() == told.keys()
    for key, value in given.items():
        match = re.match(r"(\w+) \(([^)]*)\)", told[key])
        assert match is not None
        assert match[1] == str(value.dtype).removeprefix("torch.")
        axes = match[2].split(",")
        assert len(axes) == value.ndim
        sizes = {axis: size for axis, size in zip(axes, value.shape, strict=True) if axis.isdigit()}
        assert all(int(axis) == size for axis, size in sizes.items())
        within = "with post-processing inside" in told[key]
        assert within == (key not in raw) or (name == "detector-nano" and key == "boxes")


@pytest.mark.parametrize("name", DENSE)
def test_a_whole_picture_lands_on_the_canvas_as_told(name: str) -> None:
    task = task_of(name)
    assert "bilinear with half-pixel centres, aspect not kept" in task.constants()["canvas"]
    canvas_HW3, _ = task.prepare(PICTURE, None)
    height, width = task.constants()["canvas_hw"]
    expected = bilinear(bilinear(PICTURE.astype(float), height), width, axis=1)
    assert np.abs(canvas_HW3 - expected).max() <= 1


def bilinear(values: np.ndarray, size: int, axis: int = 0) -> np.ndarray:
    """Resize one axis, half-pixel centres, edges held."""
    length = values.shape[axis]
    place = np.clip((np.arange(size) + 0.5) * length / size - 0.5, 0, length - 1)
    low = np.floor(place).astype(int)
    high = np.minimum(low + 1, length - 1)
    share = (place - low).reshape([-1 if other == axis else 1 for other in range(values.ndim)])
    return np.asarray(values.take(low, axis) * (1 - share) + values.take(high, axis) * share)


BOXES = [(10.0, 5.0, 30.0, 25.0), (0.0, 0.0, 45.0, 31.0), (-5.0, 3.0, 10.0, 30.0), (3.5, 2.25, 40.0, 9.75)]


@pytest.mark.parametrize("box", BOXES)
def test_a_person_is_cut_out_as_told(box: tuple[float, float, float, float]) -> None:
    """The formulas of `canvas`, in NumPy, on a picture whose values are its coordinates."""
    task = task_of("sapiens-pose-nano")
    constants = task.constants()
    assert "x' = (x - cx + w/2) (W-1)/w, y' = (y - cy + h/2) (H-1)/h" in constants["canvas"]
    height, width = constants["canvas_hw"]
    w, h, cx, cy = crop_of(box, constants)
    ramp = np.zeros((31, 45, 3), np.uint8)
    ramp[..., 0], ramp[..., 1] = np.arange(45) * 5, np.arange(31)[:, None] * 8
    canvas_HW3, geometry = task.prepare(ramp, Region(box_xyxy=box))
    np.testing.assert_allclose((*geometry.size_wh, *geometry.centre_xy), (w, h, cx, cy), rtol=1e-6)
    for x_canvas, y_canvas in ((width // 2, height // 2), (width // 3, height // 2), (width // 2, height // 3)):
        x, y = x_canvas * w / (width - 1) + cx - w / 2, y_canvas * h / (height - 1) + cy - h / 2
        if 1 < x < 43 and 1 < y < 29:
            assert np.abs(canvas_HW3[y_canvas, x_canvas, :2] - np.array([x * 5, y * 8])).max() <= 2


def crop_of(box: tuple[float, float, float, float], constants: dict[str, Any]) -> tuple[float, float, float, float]:
    """The box times `box_padding`, grown to the canvas' aspect: its size and centre."""
    height, width = constants["canvas_hw"]
    w, h = (box[2] - box[0]) * constants["box_padding"], (box[3] - box[1]) * constants["box_padding"]
    w, h = max(w, h * width / height), max(h, w * height / width)
    return w, h, (box[0] + box[2]) / 2, (box[1] + box[3]) / 2


@pytest.mark.parametrize("box", BOXES)
def test_points_come_back_as_told(box: tuple[float, float, float, float]) -> None:
    task = task_of("sapiens-pose-nano")
    constants = task.constants()
    assert constants["source"] == "x = x' / W * w + cx - w/2, y = y' / H * h + cy - h/2"
    height, width = constants["canvas_hw"]
    w, h, cx, cy = crop_of(box, constants)
    points = np.random.default_rng(2).uniform(0, 180, (5, 2))
    _, geometry = task.prepare(PICTURE, Region(box_xyxy=box))
    found = decode.to_source(points, geometry.centre_xy, geometry.size_wh, geometry.canvas_hw)
    expected = points / [width, height] * [w, h] + [cx - w / 2, cy - h / 2]
    np.testing.assert_allclose(found, expected, atol=1e-4)


def test_names_of_what_is_found_are_told() -> None:
    assert task_of("sapiens-pose-nano").constants()["keypoints"] == list(keypoint_set("coco17").names)
    seg: Any = task_of("sapiens-seg-nano")
    assert seg.constants()["classes"] == list(label_set(seg.labels.name).names)
    normal: Any = task_of("sapiens-normal-nano")
    assert normal.constants()["frame"] == normal.frame.description
    told = task_of("detector-nano").constants()
    assert (told["person_class"], told["min_score"], told["suppressed_from_overlap"]) == (0, 0.4, 0.5)
