"""The joint objective of the nano networks: the losses of the published recipes plus a calm background.

In: raw outputs of the four heads, a batch. Out: eight terms, each a sum and a count, weights inside the sums. Time: a
few per cent of the network's.
"""

# Shape suffixes: B pictures, H W canvas, h w head output, K keypoints, T loss terms.

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from vitruvian.tasks.labels import label_set
from vitruvian.training.losses import (
    LossSum,
    depth_silog,
    normal_cosine,
    normal_l1,
    pose_mse,
    seg_cross_entropy,
)
from vitruvian.training.nano.batches import Batch
from vitruvian.training.nano.recipe import NanoRecipe

NO_TARGET = -1000.0
"""Marks pixels that a normal loss leaves out."""
TASK_OF_TERM = ("pose", "seg", "depth", "depth", "normal", "normal", "normal", "normal")
FLAT_WEIGHT, BACKGROUND_FLAT_WEIGHT = 2.0, 0.3
"""Of the plain error of depth beside the scale-invariant one; of pixels without a person in it."""


@dataclass(frozen=True, kw_only=True, slots=True)
class JointObjective:
    """The four tasks' losses, weighted."""

    recipe: NanoRecipe

    @property
    def from_zero(self) -> bool:
        """Yes."""
        return True

    def losses(self, outputs: Mapping[str, Tensor], batch: Batch) -> tuple[LossSum, ...]:
        """Terms to be added, in the order of `TASK_OF_TERM`."""
        recipe, seg_BChw = self.recipe, outputs["seg"].float()
        weights_C = seg_BChw.new_tensor(seg_weights())
        terms = (
            (recipe.pose_weight, pose_mse(outputs["pose"], batch.heat_BKhw, batch.heat_weight_BK)),
            (recipe.seg_weight, seg_cross_entropy(seg_BChw, batch.labels_Bhw, weights_C)),
            *((recipe.depth_weight, term) for term in self._depth(outputs["depth"].squeeze(1).float(), batch)),
            *((recipe.normal_weight, term) for term in self._normal(outputs["normal"], batch)),
        )
        return tuple(_weighted(weight, term) for weight, term in terms)

    def counts(self, batch: Batch) -> Tensor:
        """(T,) what the terms will be divided by."""
        persons = float(batch.person_Bhw.sum())
        elsewhere = batch.person_Bhw.numel() - persons
        depth = [float(len(batch.depth_BHW)), float(batch.depth_BHW.numel())]
        dense = [float(batch.heat_BKhw.numel()), float(batch.labels_Bhw.numel())]
        return torch.tensor([*dense, *depth, persons, persons, elsewhere, elsewhere])

    def _depth(self, depth_BHW: Tensor, batch: Batch) -> tuple[LossSum, LossSum]:
        empty_BHW = batch.depth_BHW < 0
        target_BHW = torch.where(empty_BHW, self.recipe.background_depth, batch.depth_BHW)
        weight_BHW = torch.where(empty_BHW, BACKGROUND_FLAT_WEIGHT, 1.0)
        error_BHW = (depth_BHW - target_BHW).abs() * weight_BHW
        flat = LossSum(total=error_BHW.sum(), count=error_BHW.new_tensor(float(error_BHW.numel())))
        return depth_silog(depth_BHW, batch.depth_BHW), _weighted(FLAT_WEIGHT, flat)

    def _normal(self, normal_B3hw: Tensor, batch: Batch) -> tuple[LossSum, ...]:
        """Cosine and plain error on persons, then elsewhere."""
        person_B1hw, share = batch.person_Bhw[:, None], self.recipe.background_normal_weight
        on_person_B3hw = torch.where(person_B1hw, batch.normals_B3hw, NO_TARGET)
        elsewhere_B3hw = torch.where(person_B1hw, NO_TARGET, batch.normals_B3hw)
        return tuple(
            _weighted(weight, loss(normal_B3hw, target_B3hw))
            for weight, target_B3hw in ((1 - share, on_person_B3hw), (share, elsewhere_B3hw))
            for loss in (normal_cosine, normal_l1)
        )


def by_task(total_T: Tensor, count_T: Tensor) -> dict[str, float]:
    """Each task's part of the loss, from sums of the terms over any number of batches."""
    parts = dict.fromkeys(TASK_OF_TERM, 0.0)
    for task, mean in zip(TASK_OF_TERM, (total_T / count_T.clamp_min(1)).tolist(), strict=True):
        parts[task] += mean
    return parts


def seg_weights() -> tuple[float, ...]:
    """The square root of the published class weights: on few classes and pictures the full spread costs precision."""
    published = label_set(28).class_weights
    assert published is not None
    return tuple(map(math.sqrt, published))


def _weighted(weight: float, term: LossSum) -> LossSum:
    return LossSum(total=weight * term.total, count=term.count)
