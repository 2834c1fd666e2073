"""The joint objective of the nano networks: the losses of the published recipes plus a calm background.

In: network, batch. Out: one scalar and its parts. Time: the network; the losses are a few per cent.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from vitruvian.tasks.labels import label_set
from vitruvian.tasks.preprocess import normalise
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


def joint_loss(
    network: nn.Module, batch: Batch, recipe: NanoRecipe, *, autocast_bf16: bool
) -> tuple[Tensor, dict[str, float]]:
    """Weighted sum of the four tasks' losses and each task's value."""
    device = batch.canvas_BHW3.device
    with torch.autocast(device.type, dtype=torch.bfloat16, enabled=autocast_bf16):
        raw = network(normalise(batch.canvas_BHW3))
    parts = {
        "pose": recipe.pose_weight * pose_mse(raw["pose"], batch.heat_BKhw, batch.heat_weight_BK).mean,
        "seg": recipe.seg_weight * seg_cross_entropy(raw["seg"], batch.labels_Bhw, seg_weights().to(device)).mean,
        "depth": recipe.depth_weight * _depth_loss(raw["depth"].squeeze(1).float(), batch, recipe),
        "normal": recipe.normal_weight * _normal_loss(raw["normal"], batch, recipe),
    }
    loss = torch.stack(list(parts.values())).sum()
    return loss, {name: value.item() for name, value in parts.items()}


def seg_weights() -> Tensor:
    """The square root of the published class weights: on few classes and pictures the full spread costs precision."""
    return torch.tensor(label_set(28).class_weights).sqrt()


def _depth_loss(depth_BHW: Tensor, batch: Batch, recipe: NanoRecipe) -> Tensor:
    target_BHW = torch.where(batch.depth_BHW < 0, recipe.background_depth, batch.depth_BHW)
    weight_BHW = torch.where(batch.depth_BHW < 0, 0.3, 1.0)
    flat = ((depth_BHW - target_BHW).abs() * weight_BHW).mean()
    return depth_silog(depth_BHW, batch.depth_BHW).mean + 2 * flat


def _normal_loss(normal_B3hw: Tensor, batch: Batch, recipe: NanoRecipe) -> Tensor:
    def both(target_B3hw: Tensor) -> Tensor:
        sums: tuple[LossSum, LossSum] = normal_cosine(normal_B3hw, target_B3hw), normal_l1(normal_B3hw, target_B3hw)
        return sums[0].mean + sums[1].mean

    on_person = both(torch.where(batch.person_Bhw[:, None], batch.normals_B3hw, NO_TARGET))
    elsewhere = both(torch.where(batch.person_Bhw[:, None], NO_TARGET, batch.normals_B3hw))
    share = recipe.background_normal_weight
    return (1 - share) * on_person + share * elsewhere
