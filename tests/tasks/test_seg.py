"""From logits to `Segmentation` and its files."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Literal

import numpy as np
import pytest
import torch
from torch.nn import functional

from tasks.sinks import PROVENANCE, KeepingSink, origin
from vitruvian.errors import UsageError
from vitruvian.tasks.labels import label_set
from vitruvian.tasks.seg import Segmentation, SegTask

IMAGE = np.zeros((60, 80, 3), np.uint8)
LABELS = label_set("body28")


def resized(map_BChw: torch.Tensor, hw: tuple[int, int]) -> torch.Tensor:
    return functional.interpolate(map_BChw, hw, mode="bilinear", align_corners=False)


def run(task: SegTask, logits_1Chw: torch.Tensor) -> Segmentation:
    _, geometry = task.prepare(IMAGE, None)
    tensors = task.finish_tensors({"logits": logits_1Chw})
    (result,) = task.finish({"logits": tensors["logits"][0]}, geometry, PROVENANCE)
    return result


@pytest.mark.parametrize("route", ["one-step", "full"])
def test_routes_to_source_size(route: Literal["one-step", "full"]) -> None:
    torch.manual_seed(0)
    logits = torch.randn(1, 28, 16, 12)
    result = run(SegTask(labels=LABELS, input_hw=(32, 24), route=route), logits)
    via = resized(logits, (32, 24)) if route == "full" else logits
    expected = resized(via, (60, 80)).argmax(1)[0].numpy()
    np.testing.assert_array_equal(result.labels_HW, expected)
    assert result.labels_HW.dtype == np.uint8


def test_low_precision_logits_are_decided_in_float32() -> None:
    torch.manual_seed(0)
    task = SegTask(labels=LABELS, input_hw=(32, 24))
    logits = torch.randn(1, 28, 16, 12).bfloat16()
    assert task.finish_tensors({"logits": logits})["logits"].dtype == torch.float32
    np.testing.assert_array_equal(run(task, logits).labels_HW, run(task, logits.float()).labels_HW)


def test_discrepancy_is_the_share_of_equal_labels() -> None:
    task = SegTask(labels=LABELS, input_hw=(32, 24))
    a = run(task, torch.randn(1, 28, 16, 12))
    other = a.labels_HW.copy()
    other[:15] = (other[:15] + 1) % 28
    assert task.discrepancy(a, replace(a, labels_HW=other)) == {"label_share": 0.75}
    with pytest.raises(UsageError, match="one picture"):
        task.discrepancy(a, replace(a, labels_HW=other[:5]))


def test_files() -> None:
    task = SegTask(labels=LABELS, input_hw=(32, 24))
    result = replace(run(task, torch.randn(1, 28, 16, 12)), origin=origin())
    sink = KeepingSink(*Segmentation.formats)
    result.write(sink)
    assert sink.files.keys() == {"seg.png", "seg.npy", "seg.drawn.jpg"}
    labels_HW, about = sink.files["seg.png"]
    np.testing.assert_array_equal(labels_HW, result.labels_HW)
    np.testing.assert_array_equal(sink.palettes["seg.png"], LABELS.palette_N3)
    assert json.loads(json.dumps(about))["classes"][2] == "Face_Neck"
    assert sink.files["seg.drawn.jpg"][0].shape == (60, 80, 3)


def test_drawing_needs_the_picture() -> None:
    result = run(SegTask(labels=LABELS, input_hw=(32, 24)), torch.randn(1, 28, 16, 12))
    with pytest.raises(UsageError, match="without its picture"):
        result.draw()
