"""What a validation comes to, and what all of them do alike: the loss over batches, and a sheet of some samples.

In: a network in training, batches on its device. Out: a mean loss; tiles as a PNG. Memory: a forward pass of a batch.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

import numpy as np
import torch
from torch import Tensor, nn

from vitruvian.media.atomic import write_atomic
from vitruvian.media.png import encode_png
from vitruvian.tasks import drawing
from vitruvian.tasks.preprocess import normalise
from vitruvian.training.batches import Canvases
from vitruvian.training.objectives import Objective

AnyBatch = TypeVar("AnyBatch", bound=Canvases)
SHOWN = 8
"""Samples in the picture of a validation."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Score:
    """One validation."""

    loss: float
    """Mean over the samples, as it is trained on."""
    numbers: Mapping[str, float]
    leading: str
    """Name of the number that decides."""
    more_is_better: bool

    @property
    def value(self) -> float:
        """The number that decides; NaN where nothing could be measured."""
        return self.numbers.get(self.leading, float("nan"))

    def is_better_than(self, best: float | None) -> bool:
        """Whether a state with this score is to be kept in the place of the best so far; never without a number."""
        if best is None or math.isnan(self.value):
            return not math.isnan(self.value)
        return self.value > best if self.more_is_better else self.value < best


@torch.no_grad()
def mean_loss(
    network: nn.Module,
    batches: Iterable[AnyBatch],
    objective: Objective[AnyBatch],
    seen: Callable[[Mapping[str, Tensor], AnyBatch], None],
) -> float:
    """The loss over all batches, however they are cut; NaN without any.

    Args:
        network: is in evaluation mode meanwhile and in training mode again afterwards.
        batches: on the network's device.
        objective: what is trained on.
        seen: is shown the outputs of every batch.
    """
    total = torch.zeros(0)
    count = torch.zeros(0)
    with _evaluating(network):
        for batch in batches:
            outputs = network(normalise(batch.canvas_BHW3))
            terms = objective.losses(outputs, batch)
            sums = torch.stack([term.total.float() for term in terms]).cpu()
            counts = torch.stack([term.count.float() for term in terms]).cpu()
            total, count = (sums, counts) if not len(total) else (total + sums, count + counts)
            seen(outputs, batch)
    return (total / count.clamp_min(1)).sum().item() if len(total) else float("nan")


@contextmanager
def _evaluating(network: nn.Module) -> Iterator[None]:
    network.eval()
    try:
        yield
    finally:
        network.train()


@dataclass(kw_only=True)
class SampleSheet:
    """Rows of picture, truth and result."""

    count: int
    tiles: list[np.ndarray] = field(default_factory=list)

    @property
    def full(self) -> bool:
        """Whether there is room for no other sample."""
        return len(self.tiles) >= 3 * self.count

    def add(self, *tiles: np.ndarray) -> None:
        """A sample's three uint8 RGB pictures, while there is room."""
        if not self.full:
            self.tiles += tiles

    def write(self, path: Path | None) -> None:
        """As PNG; not at all without a path or a tile."""
        if path is None or not self.tiles:
            return
        captions = ["picture", "truth", "result"] * (len(self.tiles) // 3)
        height = min(360, self.tiles[0].shape[0])
        write_atomic(path, encode_png(drawing.side_by_side(self.tiles, captions, height=height, columns=6)))
