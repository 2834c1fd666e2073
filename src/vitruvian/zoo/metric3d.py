"""Metric3D (v1 and v2) in the catalogue: the five released models and the embedded one."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from pathlib import Path

from torch import Tensor

from vitruvian.errors import RefusedError, UsageError
from vitruvian.hub import RemoteFile
from vitruvian.models.metric3d import (
    CANONICAL_FOCAL_PX,
    ISLANDS,
    NANO,
    PUBLISHED,
    Metric3dConfig,
    build_network,
    config_of,
    load_network,
)
from vitruvian.tasks.metric_canvas import canvas_of_pixels
from vitruvian.tasks.metric_depth import MetricDepthTask
from vitruvian.zoo.sources import OWN_LICENCE, UNKNOWN_LICENCE, LocalFile, PackagedFile, WeightSource
from vitruvian.zoo.spec import CONFIG_KEY, LICENCE_KEY, Family, ModelSpec

METRIC3D_LICENCE = "bsd-2-clause"
"""Of the published code; nobody here could confirm that the weights are under it, too."""
PREFIX = "metric3d-"
METRIC_NANO_NAME = f"{PREFIX}nano"
TOKEN_PIXELS = 14 * 14
"""What `--tokens` counts in; of v1, which has no tokens, areas of the same size."""
_KEYS = "depth_model."
_FILES = {
    "convnext-tiny": "convtiny_hourglass_v1.pth",
    "convnext-large": "convlarge_hourglass_0.3_150_step750k_v1.1.pth",
    "vit-small": "metric_depth_vit_small_800k.pth",
    "vit-large": "metric_depth_vit_large_800k.pth",
    "vit-giant2": "metric_depth_vit_giant2_800k.pth",
}


def metric3d_config(spec: ModelSpec) -> Metric3dConfig:
    """The configuration of a spec of this family.

    Raises:
        UsageError: the spec is of another family.
    """
    if not isinstance(spec.config, Metric3dConfig):
        raise UsageError(f"got {spec.name}; expected a Metric3D network; `vitruvian models` lists them")
    return spec.config


def _make_task(spec: ModelSpec) -> MetricDepthTask:
    config = metric3d_config(spec)
    return MetricDepthTask(
        input_hw=config.input_hw,
        native_hw=config.input_hw,
        far_m=config.depth_range_m[1],
        canonical_focal_px=CANONICAL_FOCAL_PX,
        stride=config.stride,
        has_normals=config.has_normals,
        fit=spec.fit,
    )


def _stride(config: Metric3dConfig) -> int:
    return config.stride


def _fits(config: Metric3dConfig) -> bool:
    """v1 reads the places of its pixels, which tie it to the canvas it was trained on."""
    return config.has_normals


METRIC3D = Family(
    name="metric3d",
    build=build_network,
    load=load_network,
    make_task=_make_task,
    islands=ISLANDS,
    blocks=("depth_model.encoder.blocks.0.*", "depth_model.encoder.stages.*.*"),
    head=("depth_model.decoder",),
    stem=("*patch_embed.*", "*pos_embed", "*cls_token", "*register_tokens"),
    undecayed=("*pos_embed", "*cls_token", "*register_tokens"),
    stride=_stride,
    fits=_fits,
    person_wise=False,
    runner="metric_depth.py",
)


def with_tokens(spec: ModelSpec, tokens: int) -> ModelSpec:
    """The network on a smaller canvas of about so many tokens of 14 pixels a side; fitted where it can be.

    Raises:
        UsageError: another family, or a number that no canvas has.
    """
    config = metric3d_config(spec)
    native = config.input_hw[0] * config.input_hw[1] // TOKEN_PIXELS
    least = -(-(config.stride**2) // TOKEN_PIXELS)
    if not least <= tokens <= 4 * native:
        raise UsageError(f"got --tokens {tokens}; expected {least} to {4 * native}; the published canvas has {native}")
    smaller = spec.at_size(canvas_of_pixels(tokens * TOKEN_PIXELS, config.input_hw, config.stride))
    return smaller.fitted() if _fits(config) else smaller


def _spec(name: str, config: Metric3dConfig, file: WeightSource, licence: str) -> ModelSpec:
    return ModelSpec(name=name, task="depth", family=METRIC3D, config=config, files=(file,), licence=licence)


def _published(kind: str) -> ModelSpec:
    file = RemoteFile(
        repo_id="JUGGHM/Metric3D", filename=_FILES[kind], revision=None, sha256=None, confirmed=False, index="JUGGHM"
    )
    return _spec(f"{PREFIX}{kind}", PUBLISHED[kind], file, METRIC3D_LICENCE)


METRIC3D_MODELS: Mapping[str, ModelSpec] = {
    METRIC_NANO_NAME: _spec(METRIC_NANO_NAME, NANO, PackagedFile(path="nano/metric.safetensors"), OWN_LICENCE),
    **{spec.name: spec for spec in map(_published, PUBLISHED)},
}
"""Every Metric3D model by its name."""


def is_metric3d(keys: Collection[str]) -> bool:
    """Whether a weight file with these keys holds a network of this family."""
    return any(key.startswith(_KEYS) for key in keys)


def metric3d_spec_of_file(path: Path, tensors: Mapping[str, Tensor], metadata: Mapping[str, str]) -> ModelSpec:
    """A spec for a weight file, by the configuration in its metadata or else by its shapes.

    Raises:
        RefusedError: neither tells what it is, or the metadata is not a configuration.
    """
    stored = metadata.get(CONFIG_KEY)
    config = config_of(tensors) if stored is None else _stored_config(path, stored)
    licence = metadata.get(LICENCE_KEY, UNKNOWN_LICENCE if stored else METRIC3D_LICENCE)
    return _spec(path.stem, config, LocalFile(path=path), licence)


def _stored_config(path: Path, stored: str) -> Metric3dConfig:
    try:
        return Metric3dConfig.from_json(json.loads(stored))
    except (ValueError, TypeError, AttributeError, KeyError, RecursionError, UsageError, RefusedError) as error:
        raise RefusedError(
            f"got {path.name} with a 'vitruvian_config' that cannot be read ({error}); expected the JSON of a Metric3D "
            "configuration; write the file again with this version, or leave the entry out of the metadata"
        ) from error
