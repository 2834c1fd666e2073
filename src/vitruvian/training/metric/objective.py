"""The losses of a Metric3D v2 network: every prediction's depth, confidence and normals.

In: outputs of a `SteppedNetwork`, a batch. Out: terms, each a sum and a count, weights inside the sums. All predictions
but the last are compared at 1/4 of the canvas, where they are made: bringing each to the canvas would cost more than
the step. The last one is compared on the canvas.
"""

# Shape suffixes: B pictures, T predictions before the last, S = 6 state channels, H W canvas, h w a quarter of it.

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from vitruvian.models.metric3d import RefinerConfig
from vitruvian.models.metric3d.refiner import DEPTH_UNIT_M
from vitruvian.training.losses import LossSum
from vitruvian.training.metric.losses import (
    angles_rad,
    confidence_l1,
    depth_l1,
    depth_log_l1,
    has_normal,
    normal_likelihood,
    step_weights,
)
from vitruvian.training.metric.samples import MetricBatch
from vitruvian.training.metric.stepped import CANVAS, STATES, quarter_of

TASKS = ("depth", "confidence", "normal")
TASK_OF_TERM = ("depth", "depth", "confidence", "normal") * 2
"""Terms at 1/4, then the same on the canvas."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Prediction:
    """A raw state in the units of targets."""

    depth_BHW: Tensor
    """Canonical metres, not cut to the network's range."""
    confidence_BHW: Tensor
    normal_B3HW: Tensor
    kappa_BHW: Tensor


def prediction_of(state_BSHW: Tensor, far_m: float) -> Prediction:
    """A state as `Refiner.outputs` reads it, but for the cut to the range of depth."""
    vector_B3HW = state_BSHW[:, 2:5]
    # Not torch's own norm, which takes many times as long across channels on a CPU.
    length_B1HW = vector_B3HW.square().sum(dim=1, keepdim=True).clamp_min(1e-12).sqrt()
    return Prediction(
        depth_BHW=DEPTH_UNIT_M * state_BSHW[:, 0] + far_m,
        confidence_BHW=state_BSHW[:, 1],
        normal_B3HW=vector_B3HW / length_B1HW,
        kappa_BHW=F.elu(state_BSHW[:, 5]) + 1.01,
    )


@dataclass(frozen=True, kw_only=True, slots=True)
class MetricObjective:
    """The weights of the published training, as far as it is made of these terms, beside a logarithmic one of ours."""

    decoder: RefinerConfig
    metre_weight: float = 0.5
    log_weight: float = 0.0
    confidence_weight: float = 0.5
    normal_weight: float = 1.0

    @property
    def from_zero(self) -> bool:
        """No: one is the likelihood of a density, which may exceed 1."""
        return False

    def losses(self, outputs: Mapping[str, Tensor], batch: MetricBatch) -> tuple[LossSum, ...]:
        """Terms to be added, in the order of `TASK_OF_TERM`."""
        states_BTShw = outputs[STATES].float()
        weights = step_weights(states_BTShw.shape[1] + 1)
        depth_Bhw, normal_B3hw = quarter_of(batch.depth_BHW), quarter_of(batch.normals_B3HW)
        early = [
            self._terms(state_BShw, depth_Bhw, normal_B3hw, weight)
            for state_BShw, weight in zip(states_BTShw.unbind(dim=1), weights, strict=False)
        ]
        # One count for all predictions: each is a mean over the same pixels.
        summed = tuple(
            LossSum(total=torch.stack([term.total for term in terms]).sum(), count=terms[0].count)
            for terms in zip(*early, strict=True)
        )
        return (*summed, *self._terms(outputs[CANVAS].float(), batch.depth_BHW, batch.normals_B3HW, weights[-1]))

    def counts(self, batch: MetricBatch) -> Tensor:
        """(T,) what the terms will be divided by."""
        found = []
        for depth, normals in (
            (quarter_of(batch.depth_BHW), quarter_of(batch.normals_B3HW)),
            (batch.depth_BHW, batch.normals_B3HW),
        ):
            found += [(depth > 0).sum()] * 3 + [has_normal(normals).sum()]
        return torch.stack(found).float()

    def _terms(self, state_BSHW: Tensor, depth_BHW: Tensor, normal_B3HW: Tensor, weight: float) -> Sequence[LossSum]:
        made = prediction_of(state_BSHW, self.decoder.far_m)
        nearest_m, farthest_m = self.decoder.near_m, self.decoder.far_m
        in_range_BHW = made.depth_BHW.detach().clamp(nearest_m, farthest_m)
        return (
            _weighted(weight * self.metre_weight, depth_l1(made.depth_BHW, depth_BHW)),
            _weighted(weight * self.log_weight, depth_log_l1(made.depth_BHW, depth_BHW)),
            _weighted(weight * self.confidence_weight, confidence_l1(made.confidence_BHW, in_range_BHW, depth_BHW)),
            _weighted(weight * self.normal_weight, normal_likelihood(made.normal_B3HW, made.kappa_BHW, normal_B3HW)),
        )


@torch.no_grad()
def measures(decoder: RefinerConfig, outputs: Mapping[str, Tensor], batch: MetricBatch) -> dict[str, LossSum]:
    """Errors of the last prediction in the usual terms, on the canvas: relative depth error, and degrees."""
    made = prediction_of(outputs[CANVAS].float(), decoder.far_m)
    known_BHW = batch.depth_BHW > 0
    depth_BHW = made.depth_BHW.clamp(decoder.near_m, decoder.far_m)
    safe_BHW = torch.where(known_BHW, batch.depth_BHW, 1.0)
    relative_BHW = torch.where(known_BHW, (depth_BHW - safe_BHW).abs() / safe_BHW, 0.0)
    near_BHW = known_BHW & (torch.maximum(depth_BHW / safe_BHW, safe_BHW / depth_BHW) < 1.25)
    seen_BHW = has_normal(batch.normals_B3HW)
    angle_BHW = torch.where(seen_BHW, angles_rad(made.normal_B3HW, batch.normals_B3HW).rad2deg(), 0.0)
    return {
        "AbsRel": LossSum(total=relative_BHW.sum(), count=known_BHW.sum()),
        "delta1": LossSum(total=near_BHW.sum(), count=known_BHW.sum()),
        "mean deg": LossSum(total=angle_BHW.sum(), count=seen_BHW.sum()),
    }


def by_task(total_T: Tensor, count_T: Tensor) -> dict[str, float]:
    """Each task's part of the loss, from sums of the terms over any number of batches."""
    parts = dict.fromkeys(TASKS, 0.0)
    for task, mean in zip(TASK_OF_TERM, (total_T / count_T.clamp_min(1)).tolist(), strict=True):
        parts[task] += mean
    return parts


def _weighted(weight: float, term: LossSum) -> LossSum:
    return LossSum(total=weight * term.total, count=term.count)
