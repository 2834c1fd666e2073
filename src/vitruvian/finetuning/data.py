"""The samples of a Sapiens fine-tuning: found, split, and prepared for one network.

In: a data folder and the network to train. Out: `TrainingData`. Annotations are read, pictures are not.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from vitruvian.datasets.augment import DENSE_RECIPES, DenseRecipe, PoseRecipe
from vitruvian.datasets.coco_persons import PersonSample, find_persons
from vitruvian.datasets.layouts import DenseKind, Sample, find_samples, split_samples
from vitruvian.datasets.preparing import DensePreparation, PosePreparation, Prepared
from vitruvian.datasets.targets import IGNORE
from vitruvian.errors import InputError, UsageError
from vitruvian.finetuning.recipe import Recipe
from vitruvian.finetuning.samples import TrainingData, as_wanted, with_samples
from vitruvian.models.sapiens.config import HeadConfig
from vitruvian.tasks.labels import KEYPOINT_SETS, keypoint_set
from vitruvian.tasks.normal import CAMERA, NormalFrame
from vitruvian.tasks.own_labels import labels_of


def training_data(
    folder: Path,
    head: HeadConfig,
    input_hw: tuple[int, int],
    recipe: Recipe,
    frame: NormalFrame = CAMERA,
) -> TrainingData[Any]:
    """The samples of a folder for a network.

    Raises:
        UsageError: no such folder, no layout or sample for this task, or annotations of other keypoints.
    """
    found: TrainingData[Any] = (
        _persons(folder, head, input_hw, recipe)
        if head.kind == "pose"
        else _pictures(folder, head.kind, head, input_hw, recipe, frame)
    )
    return with_samples(folder, found)


def _pictures(
    folder: Path, kind: DenseKind, head: HeadConfig, input_hw: tuple[int, int], recipe: Recipe, frame: NormalFrame
) -> TrainingData[Sample]:
    found = find_samples(folder, kind)
    train, validation = split_samples(found.samples, recipe.validation_share)
    augment = recipe.augment or DENSE_RECIPES[kind]
    assert isinstance(augment, DenseRecipe)
    preparation = DensePreparation(
        task=kind,
        recipe=replace(augment, canvas_hw=input_hw),
        flip_pairs=labels_of(head.channels).flip_pairs if kind == "seg" else (),
        frame=frame,
    )
    return as_wanted(found.layout.in_words, train, validation, _checked(preparation, head), recipe, found.missing)


def _persons(folder: Path, head: HeadConfig, input_hw: tuple[int, int], recipe: Recipe) -> TrainingData[PersonSample]:
    found = find_persons(folder, head.channels if head.channels in KEYPOINT_SETS.values() else None)
    if found.convention.count != head.channels:
        raise UsageError(
            f"got annotations of {found.convention.count} keypoints for a network of {head.channels}; expected equal "
            f"numbers; say channels={found.convention.count} for a last layer of that size"
        )
    train, validation = split_samples(found.samples, recipe.validation_share)
    augment = recipe.augment or PoseRecipe()
    assert isinstance(augment, PoseRecipe)
    preparation = PosePreparation(convention=keypoint_set(head.channels), recipe=replace(augment, canvas_hw=input_hw))
    layout = f"COCO annotations of {found.convention.count} keypoints"
    return as_wanted(layout, train, validation, preparation.prepared, recipe, found.missing)


def _checked(preparation: DensePreparation, head: HeadConfig) -> Callable[[Sample, Any], Prepared]:
    """Preparation that refuses labels that the network has no output for: they would end a training on a GPU."""
    if preparation.task != "seg":
        return preparation.prepared

    def prepared(sample: Sample, rng: Any) -> Prepared:
        ready = preparation.prepared(sample, rng)
        largest = int(ready.target.max(where=ready.target != IGNORE, initial=0))
        if largest >= head.channels:
            raise InputError(
                f"{sample.name} holds the label {largest}; expected 0 to {head.channels - 1} or {IGNORE}; say "
                f"channels={largest + 1} for a last layer of that size, or correct the labels"
            )
        return ready

    return prepared
