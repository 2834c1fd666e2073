"""What one training step of a Metric3D v2 network takes, for planners: the network with all its steps, and its losses.

In: a configuration. Out: a `Workload` on meta, picklable.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from functools import partial

import torch
from torch import Tensor, nn

from vitruvian.errors import UsageError
from vitruvian.fit.workload import Workload
from vitruvian.models.metric3d import ISLANDS, Metric3dConfig, RefinerConfig, build_network
from vitruvian.training.metric.nano_recipe import MetricNanoRecipe
from vitruvian.training.metric.objective import MetricObjective
from vitruvian.training.metric.samples import blank_metric_batch
from vitruvian.training.metric.stepped import CANVAS, SteppedNetwork
from vitruvian.zoo.metric3d import METRIC3D
from vitruvian.zoo.spec import picture_inputs

LOSSES = 1
"""Counts up when a step comes to hold other tensors than before: what is remembered of it is void then."""


def metric_workload(config: Metric3dConfig) -> Workload:
    """A training step."""
    return Workload(
        name="metric3d, training all steps",
        build=partial(_blank_network, config),
        inputs=partial(picture_inputs, config.input_hw),
        islands=ISLANDS,
        blocks=METRIC3D.blocks,
        loss=partial(_blank_loss, config),
        input_hw=config.input_hw,
        key=json.dumps({"train": "metric", "losses": LOSSES, "config": config.to_json()}, sort_keys=True),
    )


def metric_tuning_workload(name: str, config: Metric3dConfig) -> Workload:
    """A training step of a network that is there, on any canvas that it can take."""
    return replace(
        metric_workload(config),
        name=f"{name}, training depth",
        head=METRIC3D.head,
        stride=config.stride,
        resized=partial(_resized, name, config),
    )


def _resized(name: str, config: Metric3dConfig, input_hw: tuple[int, int], stride: int) -> Workload:
    if stride != config.stride:
        raise UsageError(f"got patches of {stride} for {name}; expected none: they are as pretrained; leave them out")
    return metric_tuning_workload(name, replace(config, input_hw=input_hw))


def objective_of(decoder: RefinerConfig, recipe: MetricNanoRecipe) -> MetricObjective:
    """The losses with a recipe's weights."""
    return MetricObjective(
        decoder=decoder,
        metre_weight=recipe.metre_weight,
        log_weight=recipe.log_weight,
        confidence_weight=recipe.confidence_weight,
        normal_weight=recipe.normal_weight,
    )


def _blank_network(config: Metric3dConfig) -> nn.Module:
    return SteppedNetwork(build_network(config))


def _blank_loss(config: Metric3dConfig, outputs: Mapping[str, Tensor]) -> Tensor:
    assert isinstance(config.decoder, RefinerConfig)
    canvas_BSHW = outputs[CANVAS]
    batch = blank_metric_batch(len(canvas_BSHW), config.input_hw, canvas_BSHW.device)
    terms = objective_of(config.decoder, MetricNanoRecipe()).losses(outputs, batch)
    return torch.stack([term.mean for term in terms]).sum()
