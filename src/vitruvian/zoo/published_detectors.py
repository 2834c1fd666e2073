"""Published person detectors in the catalogue: RT-DETR v2 and D-FINE of the hub, and such weights in one's own folder.

The networks of the catalogue are written down in a table, so that they can be planned before anything is fetched. A
file of one's own has its `config.json` beside it, as on the hub.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from importlib import resources
from pathlib import Path
from typing import Any

from vitruvian.errors import RefusedError
from vitruvian.hub import RemoteFile
from vitruvian.models.detectors.published import build_published, load_published, with_parameters
from vitruvian.models.detectors.published_config import PublishedConfig, config_of, labels_of
from vitruvian.tasks.detect import DetectTask
from vitruvian.zoo.sources import UNKNOWN_LICENCE, WEIGHTS_NAME, LocalFile, WeightSource
from vitruvian.zoo.spec import Family, ModelSpec

CONFIG_NAME = "config.json"
LICENCE = "apache-2.0"
"""As the pages of all of them on the hub say."""
COCO_CLASSES, COCO_PERSON = 80, 0
LARGEST_CONFIG_BYTES = 1_000_000
"""Published ones have 5 to 7 kB."""
_MARK = "model.encoder_input_proj."
"""Begins keys of both families and of no other that we read."""


def published_config(spec: ModelSpec) -> PublishedConfig:
    """The configuration of a spec of this family."""
    assert isinstance(spec.config, PublishedConfig)
    return spec.config


def _make_task(spec: ModelSpec) -> DetectTask:
    config = published_config(spec)
    return DetectTask(input_hw=config.input_hw, person=config.person)


PUBLISHED_FAMILY = Family(
    build=build_published,
    load=load_published,
    make_task=_make_task,
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
    return any(key.startswith(_MARK) for key in keys)


def published_spec_of_file(path: Path) -> ModelSpec:
    """A spec for a detector's weight file, by the `config.json` beside it.

    Raises:
        RefusedError: there is none, or it is not that of such a detector.
        UsageError: the library that builds it is missing.
    """
    document = _document(path.with_name(CONFIG_NAME), path)
    classes, person = labels_of(document)
    config = with_parameters(config_of(document, classes=classes, person=person))
    name = path.resolve().parent.name if path.name == WEIGHTS_NAME else path.stem
    return _spec(name=name, config=config, file=LocalFile(path=path), licence=UNKNOWN_LICENCE)


def _document(path: Path, weights: Path) -> dict[str, Any]:
    try:
        with path.open("rb") as file:
            text = file.read(LARGEST_CONFIG_BYTES + 1)
        if len(text) > LARGEST_CONFIG_BYTES:
            raise ValueError(f"more than {LARGEST_CONFIG_BYTES} bytes")
        document = json.loads(text)
        if not isinstance(document, dict):
            raise ValueError("no table of fields")
    except (OSError, ValueError, RecursionError) as error:
        raise RefusedError(
            f"got the detector weights {weights} without a readable {CONFIG_NAME} beside them ({error}); expected the "
            "one they were published with; put both files into one folder"
        ) from error
    return document
