"""How good a metric-depth network in training is, on whole pictures as it sees them, without chance.

In: the network, prepared samples in micro-batches. Out: a `Score` of relative depth errors and degrees over all pixels
with a truth, and a picture of depth. What counts in the end is `vitruvian eval`, which works at source size. Memory: a
forward pass of a micro-batch.
"""

# Shape suffixes: B samples, H W canvas.

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from torch import Tensor, nn

from vitruvian.datasets.sheet import hatched
from vitruvian.finetuning.score import SHOWN, SampleSheet, Score, mean_loss
from vitruvian.models.metric3d import RefinerConfig
from vitruvian.tasks.drawing import depth_limits, draw_depth
from vitruvian.training.losses import LossSum
from vitruvian.training.metric.objective import MetricObjective, measures, prediction_of
from vitruvian.training.metric.samples import MetricBatch
from vitruvian.training.metric.stepped import CANVAS

ABS_REL = "AbsRel"
"""The number that decides: mean relative error; less is better."""


@dataclass(frozen=True, kw_only=True, slots=True)
class MetricValidation:
    """What is measured on, and how."""

    objective: MetricObjective
    shown: int = SHOWN

    def score(self, network: nn.Module, batches: Iterable[MetricBatch], picture: Path | None = None) -> Score:
        """Measure a network, which is in training mode again afterwards; without a truth a measure has no number."""
        found: dict[str, LossSum] = {}
        sheet = SampleSheet(count=self.shown)
        decoder = self.objective.decoder

        def seen(outputs: Mapping[str, Tensor], batch: MetricBatch) -> None:
            for name, part in measures(decoder, outputs, batch).items():
                found[name] = found[name] + part if name in found else part
            if not sheet.full:
                _draw(sheet, decoder, outputs, batch)

        loss = mean_loss(network, batches, self.objective, seen)
        sheet.write(picture)
        numbers = {name: part.mean.item() for name, part in found.items() if part.count > 0}
        return Score(loss=loss, numbers=numbers, leading=ABS_REL, more_is_better=False)


def _draw(sheet: SampleSheet, decoder: RefinerConfig, outputs: Mapping[str, Tensor], batch: MetricBatch) -> None:
    """Canonical depth, true and found in the colours of the true one's range."""
    made = prediction_of(outputs[CANVAS].float(), decoder.far_m)
    found_BHW = made.depth_BHW.clamp(decoder.near_m, decoder.far_m).cpu().numpy()
    true_BHW = batch.depth_BHW.cpu().numpy()
    for canvas_HW3, found_HW, known_HW in zip(batch.canvas_BHW3.cpu().numpy(), found_BHW, true_BHW, strict=True):
        true_HW = np.where(known_HW > 0, known_HW, np.nan)
        drawn_HW3 = hatched(draw_depth(true_HW), np.isnan(true_HW))
        sheet.add(canvas_HW3, drawn_HW3, draw_depth(found_HW, limits=depth_limits(true_HW)))
