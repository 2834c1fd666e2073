"""The kind of training that makes the small network of metric depth and normals."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from vitruvian.finetuning.folder import BEST
from vitruvian.finetuning.nano_kind import NanoKind
from vitruvian.finetuning.recipe import Recipe
from vitruvian.models.metric3d import NANO, Metric3dConfig, RefinerConfig, build_network
from vitruvian.training.metric.fresh import SLOW_STEPS, initialise_metric
from vitruvian.training.metric.nano_pictures import rendered_metric_pictures
from vitruvian.training.metric.nano_recipe import MetricNanoRecipe
from vitruvian.training.metric.objective import by_task, measures
from vitruvian.training.metric.samples import (
    MetricPicture,
    MetricSample,
    metric_batch,
    metric_sample,
)
from vitruvian.training.metric.stepped import SteppedNetwork
from vitruvian.training.metric.weights import metric_metadata, write_metric_weights
from vitruvian.training.metric.workload import metric_workload, objective_of
from vitruvian.zoo.metric3d import METRIC3D
from vitruvian.zoo.sources import OWN_LICENCE

METRIC_TRAINING = Recipe(
    steps=4600,
    batch_size=16,
    lr=8e-4,
    schedule="cosine",
    warmup=200,
    weight_decay=0.05,
    layer_decay=1.0,
    clip_norm=20.0,  # one layer's gradient, of what changes depth, is as large as all others: 10 to 100
    average=0.999,
    seed=MetricNanoRecipe().seed,
    validation_limit=64,
    corrupt_limit=0,
)


def metric_kind(config: Metric3dConfig = NANO) -> NanoKind:
    """The training of a network of this configuration, of the second kind of Metric3D."""
    decoder = config.decoder
    assert isinstance(decoder, RefinerConfig)
    height, width = config.input_hw
    return NanoKind(
        task="metric-nano",
        what="metric depth and normals",
        pictures=MetricNanoRecipe,
        training=METRIC_TRAINING,
        workload=partial(metric_workload, config),
        network=partial(fresh_network, config),
        objective=partial(objective_of, decoder),
        stack=metric_batch,
        family=METRIC3D,
        rendered=rendered_metric_pictures,
        sample=partial(_sample, config),
        held_out_sample=partial(_held_out_sample, config),
        parts=by_task,
        measures=partial(measures, decoder),
        best=BEST,
        metadata=metric_metadata(config, OWN_LICENCE),
        write_weights=partial(_write_weights, config),
        licence=OWN_LICENCE,
        picture_bytes=380_000,
        sample_bytes=19 * height * width,
        meaningless=("drop_path",),
        rates=SLOW_STEPS,
    )


def fresh_network(config: Metric3dConfig, seed: int) -> SteppedNetwork:
    """A network that nobody has trained, on the CPU."""
    network = build_network(config, "cpu")
    initialise_metric(network, torch.Generator().manual_seed(seed))
    return SteppedNetwork(network)


def _sample(
    config: Metric3dConfig, picture: MetricPicture, rng: np.random.Generator, recipe: MetricNanoRecipe
) -> MetricSample:
    return metric_sample(picture, config.input_hw, config.depth_range_m, recipe.augmentation, rng)


def _held_out_sample(
    config: Metric3dConfig, picture: MetricPicture, rng: np.random.Generator, recipe: MetricNanoRecipe
) -> MetricSample:
    """The whole picture, as networks are used."""
    return metric_sample(picture, config.input_hw, config.depth_range_m, recipe.augmentation, None)


def _write_weights(config: Metric3dConfig, weights: Mapping[str, Tensor], folder: Path) -> int:
    return write_metric_weights(weights, config, folder, OWN_LICENCE)


METRIC_NANO = metric_kind()
