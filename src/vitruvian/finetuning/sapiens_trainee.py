"""How Sapiens networks are trained: the published recipes of pose, body parts, relative depth and normals."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

from vitruvian import weights, zoo
from vitruvian.finetuning.data import training_data
from vitruvian.finetuning.memory import SampleBytes
from vitruvian.finetuning.recipe import Recipe, recipe_for
from vitruvian.finetuning.samples import TrainingData
from vitruvian.finetuning.start import Start, start, start_spec
from vitruvian.finetuning.trainee import Asked, Trainee
from vitruvian.finetuning.validation import Validation
from vitruvian.finetuning.wishes import Wishes
from vitruvian.fit.workload import Workload
from vitruvian.models.sapiens.config import HeadConfig, HeadKind
from vitruvian.training.batches import Batch
from vitruvian.training.objectives import Objective, objective_for
from vitruvian.training.workload import training_workload

SAMPLE_BYTES: Mapping[HeadKind, SampleBytes] = {
    "pose": SampleBytes(target=0, decoded=6),
    "seg": SampleBytes(target=1, decoded=8),
    "depth": SampleBytes(target=4, decoded=20),
    "normal": SampleBytes(target=12, decoded=44),
}


def _spec(base: zoo.ModelSpec, asked: Asked) -> zoo.ModelSpec:
    return start_spec(
        base,
        asked.task,
        channels=asked.channels,
        input_hw=asked.input_hw,
        patch_size=asked.patch_size,
        normal_frame=asked.frame,
    )


def _recipe(spec: zoo.ModelSpec, wishes: Wishes) -> Recipe:
    return wishes.applied(recipe_for(zoo.sapiens_config(spec)))


def _workload(spec: zoo.ModelSpec) -> Workload:
    return training_workload(spec, cast(HeadKind, spec.task))


def _sample_bytes(spec: zoo.ModelSpec) -> SampleBytes:
    return SAMPLE_BYTES[_head(spec).kind]


def _data(folder: Path, spec: zoo.ModelSpec, recipe: Recipe) -> TrainingData[Any]:
    return training_data(folder, _head(spec), spec.config.input_hw, recipe, spec.normal_frame)


def _begin(found: weights.FoundWeights, spec: zoo.ModelSpec, seed: int) -> Start:
    return start(found, spec, seed=seed)


def _objective(spec: zoo.ModelSpec, recipe: Recipe) -> Objective[Batch]:
    return objective_for(
        zoo.sapiens_config(spec), weighted=recipe.weighted, hardest=recipe.hardest, sigma=recipe.heat_sigma
    )


def _validation(spec: zoo.ModelSpec, objective: Objective[Batch]) -> Validation:
    head = _head(spec)
    return Validation(kind=head.kind, head=head, objective=objective, frame=spec.normal_frame)


def _head(spec: zoo.ModelSpec) -> HeadConfig:
    head = zoo.sapiens_config(spec).head
    assert head is not None
    return head


SAPIENS_TRAINEE = Trainee(
    spec=_spec,
    recipe=_recipe,
    workload=_workload,
    sample_bytes=_sample_bytes,
    data=_data,
    begin=_begin,
    objective=_objective,
    validation=_validation,
)
