"""What tells one training of a small network from another: a value that the plan and the road of both are given."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Protocol

import numpy as np
from torch import Tensor, nn

from vitruvian.finetuning.recipe import Recipe
from vitruvian.fit.workload import Workload
from vitruvian.training.losses import LossSum
from vitruvian.training.objectives import Objective
from vitruvian.zoo import Family


class PictureRecipe(Protocol):
    """What is rendered and how it is taught; a frozen dataclass whose fields all have defaults."""

    __dataclass_fields__: ClassVar[dict[str, Any]]

    @property
    def pictures(self) -> int:
        """How many to train on."""

    @property
    def seed(self) -> int:
        """Of the first picture to train on."""

    @property
    def held_out_seed(self) -> int:
        """Seeds from here on are never trained on."""


class RenderedPictures(Protocol):
    """Pictures by index."""

    def __len__(self) -> int: ...

    def __getitem__(self, index: int, /) -> Any: ...


Draw = Callable[[Any, np.random.Generator, Any], Any]
"""(picture, chance, recipe of the pictures) -> sample; a function of its arguments alone."""


def no_measures(outputs: Any, batch: Any) -> dict[str, LossSum]:
    """Nothing beside the losses."""
    return {}


@dataclass(frozen=True, kw_only=True, slots=True)
class NanoKind:
    """A network that begins from nothing and learns from rendered pictures."""

    task: str
    """As `--task` names it."""
    what: str
    """The network in a few words."""
    pictures: Callable[..., PictureRecipe]
    """Makes the recipe of the pictures; takes `pictures=` and no more from users."""
    training: Recipe
    """What is learnt and how, where users say nothing else."""
    workload: Callable[[], Workload]
    """A training step, for planners."""
    network: Callable[[int], nn.Module]
    """Seed -> a network with first values, on the CPU; torch's own generator has that seed, too."""
    objective: Callable[[Any], Objective[Any]]
    """Recipe of the pictures -> losses."""
    stack: Callable[[Sequence[Any]], Any]
    """Samples -> batch."""
    family: Family
    rendered: Callable[..., RenderedPictures]
    """(recipe of the pictures, folder, workers=, report=) -> pictures, rendering what is not there yet."""
    sample: Draw
    held_out_sample: Draw
    """The same for what is measured on."""
    parts: Callable[[Tensor, Tensor], dict[str, float]]
    """(sums, counts) of the losses' terms -> each task's part of the loss."""
    measures: Callable[[Any, Any], Mapping[str, LossSum]] = no_measures
    """(outputs, batch) -> further numbers of a validation."""
    best: str
    """Name of the file with the best weights so far."""
    metadata: Mapping[str, str]
    """Of the weight files in the training's own folder."""
    write_weights: Callable[[Mapping[str, Tensor], Path], int]
    """(weights of the end, folder) -> bytes of the files that come with the package."""
    licence: str
    picture_bytes: int
    """A rendered picture on disk."""
    sample_bytes: int
    """A prepared sample in memory."""
    meaningless: tuple[str, ...] = ()
    """Keys that mean nothing for this kind, beside those that are for data of one's own."""
    rates: Mapping[str, float] = field(default_factory=dict)
    """Pattern of parameter names -> factor on their learning rate."""
    knobs: Mapping[str, Any] = field(default_factory=dict)
    """Knobs where users say nothing else."""
