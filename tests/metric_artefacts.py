"""A tiny metric-depth network as an ONNX artefact, exported as users do it; made once for the whole run."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import small_artefacts
import tiny_metric
from vitruvian.exporting import export

MAX_BATCH = 4


def artefact(root: pytest.TempPathFactory) -> Path:
    """The folder; not to be changed. The weight file lies beside it as `tiny.safetensors`."""
    return small_artefacts.once(root, "metric-onnx", _exported)


def _exported(folder: Path) -> None:
    weights = tiny_metric.weight_file(folder.with_name("tiny.safetensors"))
    export(weights, out=folder, backend="onnx", max_batch=MAX_BATCH, device="cpu")


def picture(path: Path, width: int, height: int, seed: int = 0, exif: Image.Exif | None = None) -> Path:
    """A smooth picture in which every part looks different."""
    small = np.random.default_rng(seed).integers(0, 256, (5, 7, 3), np.uint8)
    shown = Image.fromarray(small).resize((width, height), Image.Resampling.BICUBIC)
    shown.save(path, **({} if exif is None else {"exif": exif}))
    return path
