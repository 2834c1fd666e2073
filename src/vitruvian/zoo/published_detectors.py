"""Published person detectors in the catalogue: RT-DETR v2 and D-FINE of the hub, and such weights in one's own folder.

The networks of the catalogue are written down in a table, so that they can be planned before anything is fetched. A
file of one's own has its `config.json` beside it, as on the hub, or the same text in its metadata, as we write it.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from importlib import resources
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from vitruvian.errors import RefusedError
from vitruvian.hub import RemoteFile
from vitruvian.models.assembly import DtypeOf, Loaded, all_float32, assemble
from vitruvian.models.detectors.published import build_published, load_published, with_parameters
from vitruvian.models.detectors.published_config import ModelType, PublishedConfig, config_of, labels_of
from vitruvian.tasks.detect import DetectTask
from vitruvian.zoo.sources import UNKNOWN_LICENCE, WEIGHTS_NAME, LocalFile, WeightSource
from vitruvian.zoo.spec import CONFIG_KEY, LICENCE_KEY, Family, ModelSpec, plain_metadata

CONFIG_NAME = "config.json"
LICENCE = "apache-2.0"
"""As the pages of all of them on the hub say."""
COCO_CLASSES, COCO_PERSON = 80, 0
LARGEST_CONFIG_BYTES = 1_000_000
"""Published ones have 5 to 7 kB."""
_MARK = "model.encoder_input_proj."
"""Begins keys of both families and of no other that we read."""
_OWN_PREFIX = "network."
"""Before every key of the network as we run it, its batch norms folded into convolutions."""
_BACKBONES: Mapping[ModelType, str] = {"rt_detr_v2": "rt_detr_resnet", "d_fine": "hgnet_v2"}


def published_config(spec: ModelSpec) -> PublishedConfig:
    """The configuration of a spec of this family."""
    assert isinstance(spec.config, PublishedConfig)
    return spec.config


def _make_task(spec: ModelSpec) -> DetectTask:
    config = published_config(spec)
    return DetectTask(input_hw=config.input_hw, person=config.person)


def _load(
    config: PublishedConfig,
    tensors: Mapping[str, Tensor],
    *,
    device: str | torch.device = "cpu",
    dtype_of: DtypeOf = all_float32,
) -> Loaded:
    """A detector with weights as published, or as the network that we made of them has them."""
    if any(key.startswith(_OWN_PREFIX) for key in tensors):
        network = build_published(config)
        assemble(network, dict(tensors), device=device, dtype_of=dtype_of)
        return Loaded(network=network.to(memory_format=torch.channels_last), notes=())  # type: ignore[call-overload]
    if torch.device(device).type == "meta":  # the library fills networks with values only
        loaded = load_published(config, tensors)
        return Loaded(network=loaded.network.to("meta"), notes=loaded.notes)
    return load_published(config, tensors, device=device, dtype_of=dtype_of)


def _metadata(spec: ModelSpec) -> dict[str, str]:
    """The configuration in the published form, so that it is read and checked as a published one."""
    config = published_config(spec)
    fields = config.fields
    document = fields | {
        "model_type": config.model_type,
        "backbone_config": fields["backbone_config"] | {"model_type": _BACKBONES[config.model_type]},
        "id2label": {str(i): "person" if i == config.person else f"class {i}" for i in range(config.classes)},
    }
    return plain_metadata(spec) | {CONFIG_KEY: json.dumps(document, sort_keys=True)}


PUBLISHED_FAMILY = Family(
    name="rt-detr",
    build=build_published,
    load=_load,
    make_task=_make_task,
    metadata=_metadata,
    islands=("network.model.decoder_input_proj.*", "network.model.enc_*", "network.model.decoder"),
)
"""Everything behind the last feature maps stays in float32: boxes are refined by adding small corrections to positions,
of which bfloat16 keeps 8 bits (1.3 pixels of 640), and the decoder looks features up at those positions."""


def _catalogue() -> dict[str, ModelSpec]:
    table: dict[str, Any] = json.loads(
        resources.files("vitruvian").joinpath("data", "published_detectors.json").read_text(encoding="utf-8")
    )
    return {
        name: _spec(
            name=name,
            config=config_of(entry["config"], classes=COCO_CLASSES, person=COCO_PERSON, parameters=entry["parameters"]),
            file=RemoteFile(
                repo_id=entry["repo_id"],
                filename=WEIGHTS_NAME,
                revision=None,
                sha256=None,
                confirmed=entry["confirmed"],
                index=entry["repo_id"].partition("/")[0],
            ),
            licence=LICENCE,
        )
        for name, entry in table.items()
    }


def _spec(*, name: str, config: PublishedConfig, file: WeightSource, licence: str) -> ModelSpec:
    return ModelSpec(name=name, task="detect", family=PUBLISHED_FAMILY, config=config, files=(file,), licence=licence)


PUBLISHED_DETECTORS: Mapping[str, ModelSpec] = _catalogue()
"""Every published detector by its name on the hub."""


def is_published_detector(keys: Collection[str]) -> bool:
    """Whether a weight file with these keys holds a detector of this family."""
    return any(key.removeprefix(_OWN_PREFIX).startswith(_MARK) for key in keys)


def published_spec_of_file(path: Path, metadata: Mapping[str, str]) -> ModelSpec:
    """A spec for a detector's weight file, by the configuration in its metadata or the `config.json` beside it.

    Raises:
        RefusedError: there is none, or it is not that of such a detector.
        UsageError: the library that builds it is missing.
    """
    document = _document(path, metadata.get(CONFIG_KEY))
    classes, person = labels_of(document)
    config = with_parameters(config_of(document, classes=classes, person=person))
    name = path.resolve().parent.name if path.name == WEIGHTS_NAME else path.stem
    licence = metadata.get(LICENCE_KEY, UNKNOWN_LICENCE)
    return _spec(name=name, config=config, file=LocalFile(path=path), licence=licence)


def _document(weights: Path, stored: str | None) -> dict[str, Any]:
    place = f"{CONFIG_NAME} beside them" if stored is None else f"{CONFIG_KEY!r} in their metadata"
    try:
        document = json.loads(_config_text(weights) if stored is None else stored)
        if not isinstance(document, dict):
            raise ValueError("no table of fields")
    except (OSError, ValueError, RecursionError) as error:
        step = "put both files into one folder" if stored is None else "write the file again, or leave the entry out"
        raise RefusedError(
            f"got the detector weights {weights} without a readable {place} ({error}); expected the one they were "
            f"published with; {step}"
        ) from error
    return document


def _config_text(weights: Path) -> bytes:
    with weights.with_name(CONFIG_NAME).open("rb") as file:
        text = file.read(LARGEST_CONFIG_BYTES + 1)
    if len(text) > LARGEST_CONFIG_BYTES:
        raise ValueError(f"more than {LARGEST_CONFIG_BYTES} bytes")
    return text
