"""What a validation of metric depth says of a network that knows the truth, and of one that errs by a known share."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from torch import Tensor, nn

from training.metric.tiny_metric import DECODER, TINY, slope
from vitruvian.finetuning.metric_validation import MetricValidation
from vitruvian.models.metric3d.refiner import DEPTH_UNIT_M
from vitruvian.training.metric.objective import MetricObjective
from vitruvian.training.metric.samples import MetricAugmentation, MetricBatch, metric_batch, metric_sample
from vitruvian.training.metric.stepped import CANVAS, STATES, quarter_of

VALIDATION = MetricValidation(objective=MetricObjective(decoder=DECODER), shown=3)


class Oracle(nn.Module):
    """Says what it was told, batch after batch."""

    def __init__(self, batches: list[MetricBatch], factor: float = 1.0) -> None:
        super().__init__()
        self.answers, self.modes = [self._answer(batch, factor) for batch in batches], list[bool]()

    def forward(self, x_B3HW: Tensor) -> dict[str, Tensor]:
        self.modes.append(self.training)
        canvas_BSHW = self.answers[len(self.modes) - 1]
        return {STATES: quarter_of(canvas_BSHW)[:, None], CANVAS: canvas_BSHW}

    @staticmethod
    def _answer(batch: MetricBatch, factor: float) -> Tensor:
        depth_B1HW = ((factor * batch.depth_BHW - DECODER.far_m) / DEPTH_UNIT_M)[:, None]
        one_B1HW = torch.ones_like(depth_B1HW)
        return torch.cat([depth_B1HW, one_B1HW, batch.normals_B3HW, one_B1HW], dim=1)


def batches(*sizes: int) -> list[MetricBatch]:
    samples = [
        metric_sample(slope(90 + 6 * at, 140), TINY.input_hw, TINY.depth_range_m, MetricAugmentation(), None)
        for at in range(sum(sizes))
    ]
    return [metric_batch([samples.pop() for _ in range(size)]) for size in sizes]


def test_the_truth_is_without_error_and_drawn(tmp_path: Path) -> None:
    oracle = Oracle(batches(3, 1))
    score = VALIDATION.score(oracle, batches(3, 1), tmp_path / "v.png")
    assert oracle.modes == [False, False]
    assert oracle.training
    assert score.value == score.numbers["AbsRel"] == pytest.approx(0, abs=1e-5)
    assert score.numbers == pytest.approx({"AbsRel": 0, "delta1": 1, "mean deg": 0}, abs=1e-3)
    picture_HW3 = cv2.imread(str(tmp_path / "v.png"))
    assert picture_HW3 is not None
    assert picture_HW3.shape[0] > 2 * TINY.input_hw[0]  # two samples a row, three are shown


@pytest.mark.parametrize(("factor", "delta1"), [(1.2, 1.0), (1.3, 0.0)])
def test_errors_are_shares_of_the_truth_however_batches_are_cut(factor: float, delta1: float) -> None:
    whole = VALIDATION.score(Oracle(batches(4), factor), batches(4))
    split = VALIDATION.score(Oracle(batches(1, 3), factor), batches(1, 3))
    assert whole.numbers["AbsRel"] == pytest.approx(factor - 1, rel=1e-3)
    assert whole.numbers["delta1"] == delta1
    assert split.numbers == pytest.approx(whole.numbers, rel=1e-5, abs=1e-6)
    assert split.loss == pytest.approx(whole.loss, rel=1e-5)
    assert VALIDATION.score(Oracle(batches(4)), batches(4)).is_better_than(whole.value)


def test_what_has_no_truth_has_no_number() -> None:
    (batch,) = batches(1)
    blind = MetricBatch(
        canvas_BHW3=batch.canvas_BHW3,
        depth_BHW=batch.depth_BHW,
        normals_B3HW=torch.zeros_like(batch.normals_B3HW),
    )
    assert VALIDATION.score(Oracle([batch]), [blind]).numbers.keys() == {"AbsRel", "delta1"}
    nothing = VALIDATION.score(Oracle([]), [])
    assert not nothing.numbers
    assert np.isnan(nothing.loss)
