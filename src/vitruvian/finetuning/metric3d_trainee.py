"""How Metric3D networks of the second kind are trained: depth in metres, its confidence, and normals where there are.

Losses, rates, schedule, clipping and augmentation are as published, as far as `training.metric` has them; how long, and
the weight decay, are ours. The canvas may be another one: the network resizes its position table as it runs.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from vitruvian import weights, zoo
from vitruvian.errors import UsageError
from vitruvian.finetuning.memory import SampleBytes
from vitruvian.finetuning.metric_data import metric_data
from vitruvian.finetuning.metric_validation import MetricValidation
from vitruvian.finetuning.recipe import Recipe
from vitruvian.finetuning.samples import TrainingData
from vitruvian.finetuning.start import Start
from vitruvian.finetuning.trainee import Asked, Trainee
from vitruvian.finetuning.wishes import Wishes
from vitruvian.fit.workload import Workload
from vitruvian.models.assembly import assemble
from vitruvian.models.metric3d import build_network
from vitruvian.tasks.normal import CAMERA
from vitruvian.training.metric.objective import MetricObjective
from vitruvian.training.metric.samples import MetricAugmentation
from vitruvian.training.metric.stepped import SteppedNetwork, refiner_of
from vitruvian.training.metric.workload import metric_tuning_workload
from vitruvian.zoo.metric3d import metric3d_config

ENCODER_RATE: Mapping[str, float] = {"depth_model.encoder.*": 0.1}
"""Factor on the learning rate of what was pretrained on far more pictures."""
METRIC_TUNING = Recipe(
    epochs=50,
    batch_size=16,
    lr=1e-4,
    schedule="poly",
    warmup=500,
    weight_decay=0.01,
    layer_decay=1.0,
    clip_norm=2.5,
    augment=MetricAugmentation(),
)
MEANINGLESS = ("hardest", "heat_sigma", "weighted", "drop_path")
"""Keys of a recipe that mean nothing here."""
SAMPLE_BYTES = SampleBytes(target=4 + 12, decoded=64)
"""Depth and normals; both are decoded, and normals made unit length, before anything is let go."""


def _spec(base: zoo.ModelSpec, asked: Asked) -> zoo.ModelSpec:
    config = metric3d_config(base)
    refiner_of(config)
    _check(base, asked)
    config = config if asked.input_hw is None else replace(config, input_hw=asked.input_hw)
    return replace(base, config=config, files=(), canvas_hw=None, fit=False)


def _check(base: zoo.ModelSpec, asked: Asked) -> None:
    if asked.task != "depth":
        both = ", which teaches depth and normals" if asked.task == "normal" else ""
        raise UsageError(
            f"got --task {asked.task} for {base.name}; expected --task depth{both}; say so, or name a Sapiens model"
        )
    if asked.channels is not None:
        raise UsageError(
            f"got channels={asked.channels} for {base.name}; expected none: its outputs are fixed; leave it out"
        )
    if asked.patch_size is not None:
        raise UsageError(
            f"got patch_size={asked.patch_size} for {base.name}; expected none: its patches are as pretrained; a "
            "smaller crop saves memory, such as crop=448x784"
        )
    if asked.frame not in (None, CAMERA):
        assert asked.frame is not None
        raise UsageError(
            f"got normals in the frame {asked.frame.name} for {base.name}, which gives the camera's; expected those; "
            "convert the data, and leave --frame out"
        )


def _recipe(spec: zoo.ModelSpec, wishes: Wishes) -> Recipe:
    given = [key for key in wishes.recipe if key in MEANINGLESS]
    if given:
        raise UsageError(
            f"got {given[0]} for {spec.name}; expected keys that mean something for metric depth, such as steps, "
            "epochs, batch_size, lr, clip_norm, augment.resize; leave it out"
        )
    return wishes.applied(METRIC_TUNING)


def _workload(spec: zoo.ModelSpec) -> Workload:
    return metric_tuning_workload(spec.name, metric3d_config(spec))


def _sample_bytes(spec: zoo.ModelSpec) -> SampleBytes:
    return SAMPLE_BYTES


def _data(folder: Path, spec: zoo.ModelSpec, recipe: Recipe) -> TrainingData[Any]:
    config = metric3d_config(spec)
    return metric_data(folder, config.input_hw, config.depth_range_m, recipe)


def _begin(found: weights.FoundWeights, spec: zoo.ModelSpec, seed: int) -> Start:
    """All of the base's weights go on; nothing is drawn."""
    loaded = found.build()
    notes = loaded.notes
    tensors = loaded.network.state_dict()
    del loaded  # else every tensor taken out below would live on in it
    network = build_network(metric3d_config(spec))
    # Copies: training writes into them, and must not write into the pages of a file.
    assemble(network, {key: tensors.pop(key).clone() for key in list(tensors)}, device="cpu")
    before_hw, after_hw = found.spec.config.input_hw, spec.config.input_hw
    if before_hw != after_hw:
        notes = (
            *notes,
            f"the canvas is {after_hw[0]}x{after_hw[1]} where the base has {before_hw[0]}x{before_hw[1]}: the trained "
            "network runs on it, too",
        )
    stepped = SteppedNetwork(network)
    stepped.requires_grad_(True).train()
    return Start(spec=spec, network=stepped, fresh=(), base=found.provenance, notes=notes)


def _objective(spec: zoo.ModelSpec, recipe: Recipe) -> MetricObjective:
    return MetricObjective(decoder=refiner_of(metric3d_config(spec)))


def _validation(spec: zoo.ModelSpec, objective: Any) -> MetricValidation:
    return MetricValidation(objective=objective)


METRIC3D_TRAINEE = Trainee(
    spec=_spec,
    recipe=_recipe,
    workload=_workload,
    sample_bytes=_sample_bytes,
    data=_data,
    begin=_begin,
    objective=_objective,
    validation=_validation,
    rates=ENCODER_RATE,
)
