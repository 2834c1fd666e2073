"""Micro-batches of prepared samples as tensors. In: samples on their canvases. Out: tensors, on any device.

Pictures travel as uint8, targets as small as they are; heat maps are made of keypoints where they are needed.
"""

# Shape suffixes: B samples, H W canvas, K keypoints, 2 = x y, 3 = RGB.

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields, is_dataclass, replace
from typing import Protocol, TypeVar

import numpy as np
import torch
from torch import Tensor

from vitruvian.datasets.preparing import Prepared, PreparedPerson
from vitruvian.models.sapiens.config import HeadKind


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class DenseBatch:
    """Pictures and maps."""

    canvas_BHW3: Tensor
    """uint8 RGB."""
    target: Tensor
    """seg: uint8 (B,H,W); depth: float32 (B,H,W); normal: float32 (B,3,H,W); no value as in `Prepared`."""


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class PoseBatch:
    """Persons and their keypoints."""

    canvas_BHW3: Tensor
    """uint8 RGB."""
    xy_BK2: Tensor
    """float32 canvas pixels."""
    visible_BK: Tensor
    """float32; 1 for keypoints to learn from."""


class Canvases(Protocol):
    """A batch of any kind: a frozen dataclass of tensors."""

    @property
    def canvas_BHW3(self) -> Tensor:
        """uint8 RGB."""


Batch = DenseBatch | PoseBatch
AnyBatch = TypeVar("AnyBatch", bound=Canvases)
Sample = Prepared | PreparedPerson


def stacked(samples: Sequence[Sample]) -> Batch:
    """Samples of one task as one batch, in host memory."""
    canvas_BHW3 = torch.from_numpy(np.stack([sample.image_HW3 for sample in samples]))
    persons = [sample for sample in samples if isinstance(sample, PreparedPerson)]
    if persons:
        return PoseBatch(
            canvas_BHW3=canvas_BHW3,
            xy_BK2=torch.from_numpy(np.stack([person.xy_K2 for person in persons])),
            visible_BK=torch.from_numpy(np.stack([person.visible_K for person in persons])),
        )
    target = torch.from_numpy(np.stack([sample.target for sample in samples if isinstance(sample, Prepared)]))
    if target.ndim == 4:
        target = target.permute(0, 3, 1, 2)
    return DenseBatch(canvas_BHW3=canvas_BHW3, target=target)


def on_device(batch: AnyBatch, device: str) -> AnyBatch:
    """The same on a device; itself where it is there."""
    if device == "cpu":
        return batch
    assert is_dataclass(batch)
    moved = {field.name: getattr(batch, field.name).to(device, non_blocking=True) for field in fields(batch)}
    return replace(batch, **moved)


def blank_batch(kind: HeadKind, samples: int, channels: int, hw: tuple[int, int], device: torch.device) -> Batch:
    """A batch of nothing, of the sizes and types of a real one, for planners."""
    canvas_BHW3 = torch.zeros((samples, *hw, 3), dtype=torch.uint8, device=device)
    if kind == "pose":
        xy_BK2 = torch.zeros((samples, channels, 2), device=device)
        return PoseBatch(canvas_BHW3=canvas_BHW3, xy_BK2=xy_BK2, visible_BK=xy_BK2[..., 0] + 1)
    if kind == "seg":
        target = torch.zeros((samples, *hw), dtype=torch.uint8, device=device)
    else:
        target = torch.ones((samples, *([3] if kind == "normal" else []), *hw), device=device)
    return DenseBatch(canvas_BHW3=canvas_BHW3, target=target)


def size_of(batch: Canvases) -> int:
    """Samples of a batch."""
    return len(batch.canvas_BHW3)
