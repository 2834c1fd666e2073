"""What is learnt, by task: raw network outputs and a batch -> terms of the published losses, each a sum and a count.

Dense outputs are enlarged to the targets' size in float32 first, as the recipes do, which is the largest tensor outside
the network; heat maps keep their size, and their targets are made on the device.
"""

# Shape suffixes: B samples, C classes, T loss terms, H W canvas, h w raw output.

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol, TypeVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from vitruvian.datasets.layouts import DenseKind
from vitruvian.errors import UsageError
from vitruvian.models.sapiens.config import SapiensConfig
from vitruvian.tasks.encode import SIGMA, encode_heatmaps
from vitruvian.tasks.own_labels import labels_of
from vitruvian.tasks.preprocess import normalise
from vitruvian.training.batches import Batch, Canvases, DenseBatch, PoseBatch, on_device
from vitruvian.training.losses import (
    NORMAL_VALID_ABOVE,
    LossSum,
    depth_silog,
    normal_cosine,
    normal_l1,
    pose_hard_mse,
    pose_mse,
    seg_cross_entropy,
)

AnyBatch = TypeVar("AnyBatch", bound=Canvases)
Taken = TypeVar("Taken", bound=Canvases, contravariant=True)
SIGMA_AT_WIDTH = 192
"""Heat-map width of the published recipe; its sigma is meant for that."""


class Objective(Protocol[Taken]):
    """The losses of a training."""

    @property
    def from_zero(self) -> bool:
        """Whether they cannot fall below 0."""

    def losses(self, outputs: Mapping[str, Tensor], batch: Taken, /) -> Sequence[LossSum]:
        """Terms to be added."""

    def counts(self, batch: Taken, /) -> Tensor:
        """(T,) what the terms will be divided by, from targets alone."""


@dataclass(frozen=True, kw_only=True, slots=True)
class DenseObjective:
    """Body parts, relative depth or normals."""

    kind: DenseKind
    class_weights: tuple[float, ...] | None = None
    """Of seg; None: all the same."""

    @property
    def from_zero(self) -> bool:
        """Yes."""
        return True

    def losses(self, outputs: Mapping[str, Tensor], batch: Batch) -> tuple[LossSum, ...]:
        """Terms to be added."""
        assert isinstance(batch, DenseBatch)
        raw_BCHW = enlarged(raw_of(outputs), batch.canvas_BHW3.shape[1:3])
        if self.kind == "seg":
            weights_C = None if self.class_weights is None else raw_BCHW.new_tensor(self.class_weights)
            return (seg_cross_entropy(raw_BCHW, batch.target, weights_C),)
        if self.kind == "depth":
            return (depth_silog(raw_BCHW[:, 0], batch.target),)
        return normal_cosine(raw_BCHW, batch.target), normal_l1(raw_BCHW, batch.target)

    def counts(self, batch: Batch) -> Tensor:
        """(T,) what the terms will be divided by."""
        assert isinstance(batch, DenseBatch)
        if self.kind == "seg":
            return torch.tensor([float(batch.target.numel())])
        if self.kind == "depth":
            return torch.tensor([float(len(batch.target))])
        valid = (batch.target[:, 0] > NORMAL_VALID_ABOVE).sum().float()
        return torch.stack([valid, valid])


@dataclass(frozen=True, kw_only=True, slots=True)
class PoseObjective:
    """Heat maps of keypoints."""

    input_hw: tuple[int, int]
    """Canvas that keypoints are in."""
    heat_hw: tuple[int, int]
    """Size of the network's maps."""
    sigma: float = SIGMA
    """Width of the targets in heat-map pixels where maps are 192 across; smaller maps have narrower ones."""
    hardest: int | None = None
    """Keypoints of each person that count; None: all."""

    @property
    def from_zero(self) -> bool:
        """Yes."""
        return True

    def losses(self, outputs: Mapping[str, Tensor], batch: Batch) -> tuple[LossSum, ...]:
        """Terms to be added."""
        assert isinstance(batch, PoseBatch)
        raw_BKhw = raw_of(outputs)
        target_BKhw, weight_BK = encode_heatmaps(
            batch.xy_BK2,
            batch.visible_BK,
            input_hw=self.input_hw,
            heat_hw=self.heat_hw,
            sigma=self.sigma * self.heat_hw[1] / SIGMA_AT_WIDTH,
        )
        if self.hardest is not None:
            return (pose_hard_mse(raw_BKhw, target_BKhw, weight_BK, hardest=self.hardest),)
        return (pose_mse(raw_BKhw, target_BKhw, weight_BK),)

    def counts(self, batch: Batch) -> Tensor:
        """(T,) what the terms will be divided by."""
        assert isinstance(batch, PoseBatch)
        persons, keypoints = batch.visible_BK.shape
        each = 1 if self.hardest is not None else keypoints * self.heat_hw[0] * self.heat_hw[1]
        return torch.tensor([float(persons * each)])


def objective_for(
    config: SapiensConfig, *, weighted: bool = True, hardest: int | None = None, sigma: float = SIGMA
) -> Objective[Batch]:
    """The losses of a network with a head, by the published recipe of its task.

    Args:
        config: of the network.
        weighted: seg: classes weigh as published, where weights were published.
        hardest: pose: keypoints of each person that count, the worst ones; None: all.
        sigma: pose: width of the targets in heat-map pixels, where maps are 192 wide.

    Raises:
        UsageError: more of the hardest keypoints than there are.
    """
    head = config.head
    assert head is not None
    if head.kind == "pose":
        if hardest is not None and hardest > head.channels:
            raise UsageError(f"got hardest={hardest} of {head.channels} keypoints; expected at most all; lower it")
        heat_hw = head.output_hw(config.backbone.grid_hw())
        return PoseObjective(input_hw=config.input_hw, heat_hw=heat_hw, sigma=sigma, hardest=hardest)
    weights = labels_of(head.channels).class_weights if head.kind == "seg" and weighted else None
    return DenseObjective(kind=head.kind, class_weights=weights)


def losses_on(device: str, objective: Objective[AnyBatch], network: nn.Module, batch: AnyBatch) -> Sequence[LossSum]:
    """Take a batch to the network's device, run the network and take its losses."""
    batch = on_device(batch, device)
    return objective.losses(network(normalise(batch.canvas_BHW3)), batch)


def raw_of(outputs: Mapping[str, Tensor]) -> Tensor:
    """The only output of a task network."""
    (raw_BChw,) = outputs.values()
    return raw_BChw


def enlarged(raw_BChw: Tensor, size_hw: Sequence[int]) -> Tensor:
    """Raw maps at another size, bilinear, in float32."""
    raw_BChw = raw_BChw.float()
    if raw_BChw.shape[2:] == tuple(size_hw):
        return raw_BChw
    return F.interpolate(raw_BChw, size=tuple(size_hw), mode="bilinear", align_corners=False)
