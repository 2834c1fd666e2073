"""How good a network in training is, on canvases as it sees them, without chance.

In: the network, prepared samples in micro-batches. Out: a `Score`, and a picture of the first samples. What counts in
the end is `vitruvian eval`, which works at source size; these numbers compare states of one training. Memory: a forward
pass of a micro-batch, and its maps at canvas size.
"""

# Shape suffixes: B samples, C classes, K keypoints, H W canvas, h w raw output, 2 = x y, 3 = RGB or x y z.

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from torch import Tensor, nn

from vitruvian.datasets.preparing import NO_DEPTH, NO_NORMAL
from vitruvian.datasets.sheet import hatched, shown_classes
from vitruvian.datasets.targets import IGNORE
from vitruvian.evaluation.dense_accuracy import DepthTally, LabelTally, NormalTally
from vitruvian.finetuning.score import SHOWN, SampleSheet, Score, mean_loss
from vitruvian.models.sapiens.config import HeadConfig, HeadKind
from vitruvian.tasks import drawing
from vitruvian.tasks.decode import decode_heatmaps
from vitruvian.tasks.labels import keypoint_set
from vitruvian.tasks.normal import NormalFrame
from vitruvian.tasks.own_labels import labels_of
from vitruvian.training.batches import Batch, PoseBatch
from vitruvian.training.objectives import Objective, enlarged, raw_of

NEAR_SHARE = 0.05
NEAR_KEYPOINTS = f"PCK@{NEAR_SHARE:g} of the crop"
FITTED_RMSE = "RMSE, scale and shift fitted"

LEADING: Mapping[HeadKind, tuple[str, bool]] = {
    "pose": (NEAR_KEYPOINTS, True),
    "seg": ("mIoU", True),
    "depth": (FITTED_RMSE, False),
    "normal": ("mean deg", False),
}
"""The number that decides which state is the best, and whether more of it is better."""


class _Tally(Protocol):
    def numbers(self) -> Mapping[str, float]: ...


@dataclass(kw_only=True)
class KeypointTally:
    """Keypoints near the true ones."""

    near: int = 0
    visible: int = 0

    def add(self, found_K2: np.ndarray, true_K2: np.ndarray, visible_K: np.ndarray, height: int) -> None:
        """One person."""
        distance_K = np.linalg.norm(found_K2 - true_K2, axis=1)
        self.near += int(((distance_K <= NEAR_SHARE * height) & (visible_K > 0)).sum())
        self.visible += int((visible_K > 0).sum())

    def numbers(self) -> dict[str, float]:
        """Share of visible keypoints; empty without any."""
        return {NEAR_KEYPOINTS: self.near / self.visible} if self.visible else {}


@dataclass(frozen=True, kw_only=True)
class Validation:
    """What is measured on, and how."""

    kind: HeadKind
    head: HeadConfig
    objective: Objective[Batch]
    frame: NormalFrame
    shown: int = SHOWN

    def score(self, network: nn.Module, batches: Iterable[Batch], picture: Path | None = None) -> Score:
        """Measure a network, which is in training mode again afterwards."""
        tally, sheet = self._tally(), SampleSheet(count=self.shown)

        def seen(outputs: Mapping[str, Tensor], batch: Batch) -> None:
            self._add(tally, sheet, raw_of(outputs), batch)

        loss = mean_loss(network, batches, self.objective, seen)
        sheet.write(picture)
        leading, more_is_better = LEADING[self.kind]
        return Score(loss=loss, numbers=dict(tally.numbers()), leading=leading, more_is_better=more_is_better)

    def _tally(self) -> _Tally:
        if self.kind == "seg":
            return LabelTally(labels=labels_of(self.head.channels))
        if self.kind == "depth":
            return DepthTally()
        return NormalTally() if self.kind == "normal" else KeypointTally()

    def _add(self, tally: _Tally, sheet: SampleSheet, raw_BChw: Tensor, batch: Batch) -> None:
        if isinstance(batch, PoseBatch):
            assert isinstance(tally, KeypointTally)
            self._add_persons(tally, sheet, raw_BChw, batch)
            return
        canvas_BHW3 = batch.canvas_BHW3.cpu().numpy()
        raw_BCHW = enlarged(raw_BChw, canvas_BHW3.shape[1:3])
        for place, canvas_HW3 in enumerate(canvas_BHW3):
            found, true = self._maps(raw_BCHW[place], batch.target[place])
            tally.add(found, true)  # type: ignore[attr-defined]
            if not sheet.full:
                sheet.add(canvas_HW3, self._drawn(canvas_HW3, true), self._drawn(canvas_HW3, found))

    def _add_persons(self, tally: KeypointTally, sheet: SampleSheet, raw_BKhw: Tensor, batch: PoseBatch) -> None:
        canvas_BHW3 = batch.canvas_BHW3.cpu().numpy()
        height, width = canvas_BHW3.shape[1:3]
        found_BK3 = decode_heatmaps(raw_BKhw.float(), (height, width)).cpu().numpy()
        true_BK2, visible_BK = batch.xy_BK2.cpu().numpy(), batch.visible_BK.cpu().numpy()
        for place, canvas_HW3 in enumerate(canvas_BHW3):
            found_K2, score_K = found_BK3[place, :, :2], found_BK3[place, :, 2]
            true_K2, visible_K = true_BK2[place], visible_BK[place]
            tally.add(found_K2, true_K2, visible_K, height)
            if not sheet.full:
                truth_HW3 = self._skeleton(canvas_HW3, true_K2, visible_K)
                sheet.add(canvas_HW3, truth_HW3, self._skeleton(canvas_HW3, found_K2, score_K))

    def _maps(self, raw_CHW: Tensor, target: Tensor) -> tuple[np.ndarray, np.ndarray]:
        """Found and true map in the form that tallies and drawings take: no value is NaN, or 255 of labels."""
        true = target.cpu().numpy()
        if self.kind == "seg":
            return raw_CHW.argmax(dim=0).to(torch.uint8).cpu().numpy(), true
        if self.kind == "depth":
            return raw_CHW[0].cpu().numpy(), np.where(true == NO_DEPTH, np.nan, true)
        found_HW3, true_HW3 = raw_CHW.permute(1, 2, 0).cpu().numpy(), true.transpose(1, 2, 0)
        return found_HW3, np.where(true_HW3 == NO_NORMAL, np.nan, true_HW3)

    def _drawn(self, canvas_HW3: np.ndarray, values: np.ndarray) -> np.ndarray:
        if self.kind == "seg":
            shown = shown_classes(self.head.channels, values)
            drawn_HW3 = drawing.draw_labels(canvas_HW3, np.ascontiguousarray(values), shown)
            return hatched(drawn_HW3, values == IGNORE)
        if self.kind == "depth":
            return hatched(drawing.draw_depth(values), ~np.isfinite(values))
        length_HW1 = np.maximum(np.linalg.norm(values, axis=2, keepdims=True), 1e-6)
        drawn_HW3 = drawing.draw_normals(values / length_HW1, self.frame.to_display)
        return hatched(drawn_HW3, ~np.isfinite(values).all(axis=2))

    def _skeleton(self, canvas_HW3: np.ndarray, xy_K2: np.ndarray, score_K: np.ndarray) -> np.ndarray:
        height, width = canvas_HW3.shape[:2]
        box_14 = np.array([[0.0, 0.0, width, height]])
        convention = keypoint_set(self.head.channels)
        return drawing.draw_pose(canvas_HW3, xy_K2[None].astype(np.float64), score_K[None], box_14, convention)
