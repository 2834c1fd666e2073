"""Raw answers of a detector -> persons."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from vitruvian.errors import InputError, UsageError
from vitruvian.tasks.base import Provenance, Region
from vitruvian.tasks.detect import FAINT_SCORE, MOST, Detections, DetectTask

FROM = Provenance(model="m", weights_sha256="", licence="l")


def found(task: DetectTask, scores: list[float], boxes: list[tuple[float, ...]], hw: tuple[int, int]) -> Detections:
    """What the task makes of boxes cx, cy, w, h in shares of the canvas."""
    logits = torch.tensor([scores]).logit()
    tensors = task.finish_tensors({"logits": logits, "boxes": torch.tensor([boxes])})
    _, geometry = task.prepare(np.zeros((*hw, 3), np.uint8), None)
    (result,) = task.finish({key: value[0] for key, value in tensors.items()}, geometry, FROM)
    return result


def test_boxes_come_out_in_source_pixels_the_most_certain_first() -> None:
    task = DetectTask(input_hw=(32, 32))
    result = found(
        task, [0.4, 0.9, 0.2, 0.05], [(0.5, 0.5, 0.5, 1.0), (0.25, 0.5, 0.5, 0.5), *[(0.5,) * 4] * 2], (100, 200)
    )
    assert np.allclose(result.scores_P, [0.9, 0.4, 0.2])
    assert np.allclose(result.boxes_P4[:2], [[0, 25, 100, 75], [50, 0, 150, 100]])
    assert [round(region.score, 3) for region in result.regions] == [0.9, 0.4]
    assert len(result.candidates) == 3, "faint ones are kept for whoever follows persons"


def test_boxes_end_at_the_picture_and_empty_ones_go() -> None:
    task = DetectTask(input_hw=(32, 32))
    result = found(task, [0.9, 0.8, 0.7], [(0.0, 0.0, 1.0, 1.0), (2.0, 0.5, 0.5, 0.5), (0.5, 0.5, 0.0, 0.3)], (10, 10))
    assert result.boxes_P4.tolist() == [[0, 0, 5, 5]]


def test_one_of_many_classes_is_the_person() -> None:
    task = DetectTask(input_hw=(32, 32), person=1)
    logits = torch.tensor([[[9.0, -9.0], [-9.0, 9.0]]])
    tensors = task.finish_tensors({"logits": logits, "boxes": torch.rand(1, 2, 4)})
    assert tensors["scores"][0, 0] > 0.99 > 0.01 > tensors["scores"][0, 1]


def test_doubles_go_only_where_the_network_makes_them() -> None:
    boxes = [(0.5, 0.5, 0.5, 0.5), (0.51, 0.5, 0.5, 0.5), (0.2, 0.2, 0.2, 0.2)]
    assert len(found(DetectTask(input_hw=(32, 32)), [0.9, 0.8, 0.7], boxes, (64, 64)).regions) == 3
    kept = found(DetectTask(input_hw=(32, 32), overlap=0.6), [0.8, 0.9, 0.7], boxes, (64, 64))
    assert np.allclose(kept.scores_P, [0.9, 0.7])


def test_no_person_is_an_empty_result(tmp_path: Any) -> None:
    result = found(DetectTask(input_hw=(32, 32)), [FAINT_SCORE / 2], [(0.5,) * 4], (10, 10))
    assert result.boxes_P4.shape == (0, 4)
    assert result.regions == result.candidates == ()


def test_no_more_candidates_than_can_be_told_apart() -> None:
    tensors = DetectTask(input_hw=(32, 32)).finish_tensors(
        {"logits": torch.randn(2, 2 * MOST), "boxes": torch.rand(2, 2 * MOST, 4)}
    )
    assert tensors["scores"].shape == (2, MOST)
    assert tensors["boxes"].shape == (2, MOST, 4)


@pytest.mark.parametrize("hw", [(8, 8), (64, 48), (300, 40)])
def test_any_picture_becomes_the_canvas(hw: tuple[int, int]) -> None:
    canvas, geometry = DetectTask(input_hw=(32, 48)).prepare(np.full((*hw, 3), 7, np.uint8), None)
    assert canvas.shape == (32, 48, 3)
    assert (canvas == 7).all()
    assert geometry.source_hw == hw


def test_what_cannot_be_looked_at_is_refused() -> None:
    task = DetectTask(input_hw=(32, 32))
    with pytest.raises(UsageError, match="whole picture"):
        task.prepare(np.zeros((8, 8, 3), np.uint8), Region(box_xyxy=(0, 0, 4, 4)))
    with pytest.raises(InputError):
        task.prepare(np.zeros((8, 8), np.uint8), None)


def test_an_audit_counts_persons_that_are_found_again() -> None:
    task = DetectTask(input_hw=(32, 32))
    both = found(task, [0.9, 0.8, 0.3], [(0.3, 0.3, 0.2, 0.2), (0.7, 0.7, 0.2, 0.2), (0.5, 0.5, 0.1, 0.1)], (100, 100))
    one = found(task, [0.9, 0.2], [(0.3, 0.3, 0.2, 0.2), (0.9, 0.1, 0.1, 0.1)], (100, 100))
    assert task.discrepancy(both, both) == {"person_share": 1.0}
    assert task.discrepancy(both, one) == task.discrepancy(one, both) == {"person_share": 2 / 3}
    nobody = found(task, [0.01], [(0.5,) * 4], (100, 100))
    assert task.discrepancy(nobody, nobody) == {"person_share": 1.0}
