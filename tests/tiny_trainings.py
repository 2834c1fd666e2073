"""Trainings that take a second: a network of 64x48 pixels in a file, rendered people to learn from."""

from __future__ import annotations

import json
import time
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file, save_file

from training_folders import people, put_png, write_dense_set
from vitruvian import zoo
from vitruvian.finetuning.road import FineTuned, finetune
from vitruvian.models.sapiens import BackboneConfig, HeadConfig, SapiensConfig, build_network
from vitruvian.people import View

INPUT_HW = (64, 48)
TRUNK = BackboneConfig(width=16, depth=2, heads=2, mlp_width=32, input_hw=INPUT_HW, patch_padding="corner")
CHANNELS = {"pose": 17, "seg": 28, "depth": 1, "normal": 3}
SETTINGS = (
    *("steps=6", "batch_size=4", "log_every=1", "validation_share=0.3", "validate_every=3", "checkpoint_every=2"),
    *("dtype=float32", "warmup=0"),
)


@cache
def views() -> tuple[View, ...]:
    return tuple(people(10))


def tiny_base(folder: Path, kind: str = "normal", channels: int | None = None) -> Path:
    """A weight file of a network of one task."""
    head = HeadConfig(kind=kind, channels=channels or CHANNELS[kind], deconv_widths=(8,), conv_widths=())  # type: ignore[arg-type]
    config = SapiensConfig(backbone=TRUNK, head=head)
    torch.manual_seed(3)
    network = build_network(config, device="cpu")
    spec = replace(zoo.find(f"sapiens-{kind}-nano"), config=config, licence="mine")
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{kind}.safetensors"
    save_file(network.state_dict(), path, metadata=zoo.metadata_of(spec))
    return path


def tiny_data(folder: Path, kind: str = "normal") -> Path:
    """A folder of ten samples."""
    if kind == "pose":
        return _persons(folder)
    return write_dense_set(folder, kind, list(views()))


def train(tmp_path: Path, *settings: str, kind: str = "normal", run: str = "run", **options: Any) -> FineTuned:
    """A training of six steps; later settings go before earlier ones."""
    base = tmp_path / "base" / f"{kind}.safetensors"
    data = tmp_path / f"data-{kind}"
    if not base.exists():
        tiny_base(base.parent, kind)
    if not data.exists():
        tiny_data(data, kind)
    return finetune(kind, base, data, tmp_path / run, [*SETTINGS, *settings], **options)


def weights(folder: Path, name: str = "last.safetensors") -> dict[str, torch.Tensor]:
    return load_file(folder / name)


def same_bits(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(value, other[key]) for key, value in one.items())


def log_of(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]


def wait_for_steps(folder: Path, steps: int) -> None:
    """Until a training in another process has taken so many."""
    until = time.monotonic() + 120
    log = folder / "log.jsonl"
    while not (log.exists() and log.read_text().count('"lr"') >= steps) and time.monotonic() < until:
        time.sleep(0.005)


def _persons(folder: Path) -> Path:
    images, annotations = [], []
    for number, view in enumerate(views(), start=1):
        put_png(folder / "images" / f"{number:04d}.png", view.image_HW3)
        images.append({"id": number, "file_name": f"{number:04d}.png"})
        keypoints_K3 = np.nan_to_num(view.keypoints_PK3[0])
        x0, y0, x1, y1 = map(float, view.boxes_P4[0])
        entry = {"id": number, "image_id": number, "category_id": 1, "bbox": [x0, y0, x1 - x0, y1 - y0]}
        annotations.append({**entry, "keypoints": keypoints_K3.ravel().tolist()})
    (folder / "annotations").mkdir()
    document = {"images": images, "annotations": annotations}
    (folder / "annotations" / "person_keypoints.json").write_text(json.dumps(document))
    return folder
