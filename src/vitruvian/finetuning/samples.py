"""The samples of any fine-tuning, and how they become what a network sees.

In: what a family found in a folder. Out: `TrainingData`, with samples to measure on spread over all. Nothing is read.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Generic, TypeVar

import numpy as np

from vitruvian.datasets.preparing import Prepared, PreparedPerson
from vitruvian.errors import UsageError
from vitruvian.finetuning.recipe import Recipe
from vitruvian.fit.decisions import Decision
from vitruvian.media.names import shown
from vitruvian.training.batches import Canvases, stacked
from vitruvian.training.metric.samples import MetricSample

AnySample = TypeVar("AnySample")
Ready = Prepared | PreparedPerson | MetricSample


@dataclass(frozen=True, kw_only=True, slots=True)
class TrainingData(Generic[AnySample]):
    """Samples and how they are prepared."""

    layout: str
    """What the folder looks like, in words."""
    train: Sequence[AnySample]
    validation: Sequence[AnySample]
    prepare: Callable[[AnySample, np.random.Generator], Ready]
    """A sample as it is trained on; `InputError`: it is no use."""
    prepare_plain: Callable[[AnySample, None], Ready]
    """A sample as it is measured on."""
    stack: Callable[[Sequence[Any]], Canvases] = stacked
    """Prepared samples -> batch, in host memory."""
    missing: tuple[str, ...]
    """A sentence for every file without a partner."""
    decisions: tuple[Decision, ...] = ()
    """What the folder decides about the training."""
    identity: Mapping[str, Any] = field(default_factory=dict)
    """What of it decides the weights beside the names of its samples; JSON-able."""


def as_wanted(
    layout: str,
    train: Sequence[AnySample],
    validation: Sequence[AnySample],
    prepared: Callable[[AnySample, Any], Any],
    recipe: Recipe,
    missing: tuple[str, ...],
) -> TrainingData[AnySample]:
    """With samples to validate on spread over all, and without augmentation where none is wanted."""
    places = np.linspace(0, len(validation) - 1, min(len(validation), recipe.validation_limit)).round().astype(int)
    return TrainingData(
        layout=layout,
        train=train,
        validation=[validation[place] for place in places],
        prepare=prepared if recipe.augment is not None else lambda sample, rng: prepared(sample, None),
        prepare_plain=prepared,
        missing=missing,
    )


def with_samples(folder: Path, found: TrainingData[AnySample]) -> TrainingData[AnySample]:
    """The data as they are.

    Raises:
        UsageError: without a sample to train on.
    """
    if not found.train:
        first = f" ({found.missing[0]})" if found.missing else ""
        raise UsageError(
            f"got {shown(folder)} without a sample to train on{first}; expected some beside the "
            f"{len(found.validation)} to validate on; add some, or lower validation_share"
        )
    return found
