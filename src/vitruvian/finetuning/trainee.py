"""What tells the training of one family of networks from another's: a value that planning and carrying out are given.

Functions of values; nothing here knows a family. Those that there are: `trainees.TRAINEES`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from torch import nn

from vitruvian import weights, zoo
from vitruvian.finetuning.memory import SampleBytes
from vitruvian.finetuning.recipe import Recipe
from vitruvian.finetuning.samples import TrainingData
from vitruvian.finetuning.score import Score
from vitruvian.finetuning.start import Start
from vitruvian.finetuning.wishes import Wishes
from vitruvian.fit.workload import Workload
from vitruvian.models.sapiens.config import HeadKind
from vitruvian.tasks.normal import NormalFrame
from vitruvian.training.objectives import Objective


@dataclass(frozen=True, kw_only=True, slots=True)
class Asked:
    """What a user says about the network to train; None: as the base has it."""

    task: HeadKind
    channels: int | None = None
    input_hw: tuple[int, int] | None = None
    """Canvas height and width."""
    patch_size: int | None = None
    frame: NormalFrame | None = None
    """Axes of the data's normals."""


class Measures(Protocol):
    """Knows how good a network is."""

    def score(self, network: nn.Module, batches: Iterable[Any], picture: Path | None = None) -> Score:
        """Measure a network on batches, and draw a picture of some samples."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Trainee:
    """How the networks of one family are trained; `spec` is that of the network to train throughout."""

    spec: Callable[[zoo.ModelSpec, Asked], zoo.ModelSpec]
    """(base, what was asked for) -> spec; `UsageError` for what the network cannot have."""
    recipe: Callable[[zoo.ModelSpec, Wishes], Recipe]
    """The published one with the user's wishes in place; `UsageError` for keys that mean nothing."""
    workload: Callable[[zoo.ModelSpec], Workload]
    """A training step, for planners."""
    sample_bytes: Callable[[zoo.ModelSpec], SampleBytes]
    data: Callable[[Path, zoo.ModelSpec, Recipe], TrainingData[Any]]
    """Samples of a folder."""
    begin: Callable[[weights.FoundWeights, zoo.ModelSpec, int], Start]
    """(the base's weights, spec, seed) -> a network ready to be trained."""
    objective: Callable[[zoo.ModelSpec, Recipe], Objective[Any]]
    validation: Callable[[zoo.ModelSpec, Objective[Any]], Measures]
    rates: Mapping[str, float] = field(default_factory=dict)
    """Pattern of parameter names -> factor on their learning rate."""
