"""The objective of all steps: what each term is, how predictions weigh, and that micro-batches add up."""

from __future__ import annotations

from dataclasses import fields

import numpy as np
import pytest
import torch
from torch import Tensor

from tolerances import LOSS_REL
from training.metric.tiny_metric import DECODER, TINY, slope
from vitruvian.models.metric3d import RefinerConfig
from vitruvian.training.metric.losses import confidence_l1, depth_l1, depth_log_l1, normal_likelihood
from vitruvian.training.metric.objective import TASK_OF_TERM, MetricObjective, by_task, measures, prediction_of
from vitruvian.training.metric.samples import MetricAugmentation, MetricBatch, metric_batch, metric_sample
from vitruvian.training.metric.stepped import CANVAS, STATES, quarter_of

WEIGHTS = {"metre_weight": 0.3, "log_weight": 0.7, "confidence_weight": 0.2, "normal_weight": 0.9}
OBJECTIVE = MetricObjective(decoder=DECODER, **WEIGHTS)


def batch_of(count: int = 3) -> MetricBatch:
    rng = np.random.default_rng(0)
    sizes = [(70, 60), (40, 90), (56, 84)][:count]
    pictures = [slope(*size) for size in sizes]
    range_m = TINY.depth_range_m
    return metric_batch([metric_sample(one, TINY.input_hw, range_m, MetricAugmentation(), rng) for one in pictures])


def outputs_of(count: int = 3) -> dict[str, Tensor]:
    """States that mean 20 to 60 m."""
    generator = torch.Generator().manual_seed(2)
    height, width = TINY.input_hw
    states = torch.randn(count, DECODER.steps, 6, height // 4, width // 4, generator=generator)
    canvas = torch.randn(count, 6, height, width, generator=generator)
    for state in (states[:, :, 0], canvas[:, 0]):
        state.mul_(0.1).sub_(1.6)
    return {STATES: states, CANVAS: canvas}


def part(batch: MetricBatch, rows: slice) -> MetricBatch:
    return MetricBatch(**{field.name: getattr(batch, field.name)[rows] for field in fields(batch)})


def test_states_are_read_as_the_network_reads_them() -> None:
    state = torch.tensor([-1.95, 0.4, 3.0, 0.0, -4.0, -0.5]).reshape(1, 6, 1, 1)
    made = prediction_of(state, 200.0)
    assert made.depth_BHW.item() == pytest.approx(5.0, abs=1e-4)
    assert made.confidence_BHW.item() == pytest.approx(0.4)
    assert made.normal_B3HW.flatten().tolist() == pytest.approx([0.6, 0.0, -0.8])
    assert made.kappa_BHW.item() == pytest.approx(np.exp(-0.5) - 1 + 1.01)


def test_terms_are_weighted_losses_of_every_prediction() -> None:
    batch, outputs = batch_of(), outputs_of()
    terms = OBJECTIVE.losses(outputs, batch)
    assert len(terms) == len(TASK_OF_TERM) == 8
    depth_Bhw, normal_B3hw = quarter_of(batch.depth_BHW), quarter_of(batch.normals_B3HW)
    # Three predictions: the first two at a quarter.
    early = [
        (outputs[STATES][:, index], depth_Bhw, normal_B3hw, weight) for index, weight in ((0, 0.9**15), (1, 0.9**7.5))
    ]
    last = [(outputs[CANVAS], batch.depth_BHW, batch.normals_B3HW, 1.0)]
    for offset, group in ((0, early), (4, last)):
        wanted = [0.0] * 4
        for state, depth, normal, weight in group:
            made = prediction_of(state, DECODER.far_m)
            clamped = made.depth_BHW.clamp(DECODER.near_m, DECODER.far_m)
            means = (
                0.3 * depth_l1(made.depth_BHW, depth).mean,
                0.7 * depth_log_l1(made.depth_BHW, depth).mean,
                0.2 * confidence_l1(made.confidence_BHW, clamped, depth).mean,
                0.9 * normal_likelihood(made.normal_B3HW, made.kappa_BHW, normal).mean,
            )
            wanted = [before + weight * mean.item() for before, mean in zip(wanted, means, strict=True)]
        assert [term.mean.item() for term in terms[offset : offset + 4]] == pytest.approx(wanted, rel=LOSS_REL)


def test_counts_come_from_targets_alone_and_micro_batches_add_up() -> None:
    batch, outputs = batch_of(), outputs_of()
    terms = OBJECTIVE.losses(outputs, batch)
    assert torch.equal(OBJECTIVE.counts(batch), torch.stack([term.count.float() for term in terms]))
    halves = [
        OBJECTIVE.losses({key: value[rows] for key, value in outputs.items()}, part(batch, rows))
        for rows in (slice(0, 1), slice(1, 3))
    ]
    for whole, first, second in zip(terms, *halves, strict=True):
        summed = first + second
        assert summed.count == whole.count
        assert summed.total.item() == pytest.approx(whole.total.item(), rel=LOSS_REL)


def test_parts_by_task() -> None:
    total_T, count_T = torch.tensor([2.0, 4, 6, 8, 1, 1, 1, 1]), torch.tensor([2.0, 2, 2, 4, 1, 1, 1, 1])
    assert by_task(total_T, count_T) == {"depth": 5.0, "confidence": 4.0, "normal": 3.0}


def test_measures_by_hand() -> None:
    decoder = RefinerConfig(quarter_width=4, seventh_width=4, shared_width=4, hidden=4, steps=1)
    depth_BHW = torch.tensor([[[10.0, 10.0, 10.0, 0.0]]])
    normals_B3HW = torch.tensor([0.0, 0.0, -1.0]).reshape(1, 3, 1, 1).repeat(1, 1, 1, 4)
    normals_B3HW[..., 3] = 0
    batch = MetricBatch(canvas_BHW3=torch.zeros(1, 1, 4, 3), depth_BHW=depth_BHW, normals_B3HW=normals_B3HW)
    canvas = torch.zeros(1, 6, 1, 4)
    canvas[:, 0] = (torch.tensor([11.0, 13.0, 10.0, 99.0]) - 200) / 100
    canvas[:, 2:5] = torch.tensor([0.0, 0.0, -2.0]).reshape(1, 3, 1, 1)
    canvas[0, 2:5, 0, 0] = torch.tensor([1.0, 0.0, -1.0])
    found = measures(decoder, {CANVAS: canvas}, batch)
    assert found["AbsRel"].mean.item() == pytest.approx(0.4 / 3, rel=1e-4)
    assert found["delta1"].mean.item() == pytest.approx(2 / 3)
    assert found["mean deg"].mean.item() == pytest.approx(15.0, abs=1e-3)
