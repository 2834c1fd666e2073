"""The example for other programs: numpy and ONNX Runtime alone make of pictures what the network's own road makes."""

from __future__ import annotations

import json
import runpy
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

import tolerances
from onnx_drafts import Function, draft
from vitruvian.artefacts.contract import contract_to_json
from vitruvian.artefacts.onnx_files import ONNX
from vitruvian.tasks.base import Task
from vitruvian.tasks.preprocess import crop_geometry
from vitruvian.weights import find_weights

pytest.importorskip("onnx")
pytest.importorskip("onnxscript")
pytest.importorskip("onnxruntime")

CANVAS_HW = (64, 48)
EXAMPLE = Path(__file__).parents[2] / "examples" / "onnx_numpy.py"
POINTS = torch.tensor([[0.0, 0.0, 1.0], [47.0, 63.0, 0.5], [torch.nan, torch.nan, 0.0]])


def copied(canvas: Tensor) -> dict[str, Tensor]:
    """The canvas itself, and points of which the first two are its corners."""
    still = canvas.float().mean((1, 2, 3))[:, None, None] * 0
    return {"points": POINTS + still, "copy": canvas.float()}


@pytest.mark.parametrize(("task", "least", "most"), [("pose", 1, 2), ("pose", 4, None), ("seg", 1, 64)])
def test_the_example_needs_nothing_but_the_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, task: str, least: int, most: int | None
) -> None:
    one = draft(Function(copied), torch.zeros(2, *CANVAS_HW, 3, dtype=torch.uint8), names=["canvas_BHW3"])
    built = ONNX.build(one, tmp_path)
    maker = find_weights(f"sapiens-{task}-nano").spec.make_task()
    document = {
        "task": task,
        "entry": built.entry,
        "batch": {"minimum": least, "maximum": most},
        "inputs": [contract_to_json(one.inputs[0])],
        "preparation": {**maker.constants(), "canvas_hw": list(CANVAS_HW)},
    }
    (tmp_path / "manifest.json").write_text(json.dumps(document), encoding="utf-8")
    pictures = {"a.png": (90, 70), "b.png": (60, 120), "c.png": (48, 64)}
    images = {}
    for name, size in pictures.items():
        small = np.random.default_rng(len(name)).integers(0, 255, (5, 4, 3), dtype=np.uint8)
        Image.fromarray(small).resize(size, Image.Resampling.BICUBIC).save(tmp_path / name)
        images[name] = np.asarray(Image.open(tmp_path / name))
    monkeypatch.setattr(sys, "argv", [str(EXAMPLE), str(tmp_path), *(str(tmp_path / name) for name in pictures)])
    runpy.run_path(str(EXAMPLE), run_name="__main__")
    prepared: Task = replace(maker, input_hw=CANVAS_HW)  # type: ignore[type-var]
    for name, image_HW3 in images.items():
        canvas, geometry = prepared.prepare(image_HW3, None)
        seen = np.load(tmp_path / f"{name}.copy.npy")
        close = np.abs(seen - canvas).max(axis=2) <= tolerances.WARP_LEVELS
        assert close.mean() > 0.93  # OpenCV blends the picture's border with black; half a pixel off gives 0.83
        if task == "pose":
            crop = crop_geometry(image_HW3.shape[:2], None, CANVAS_HW)
            assert crop.size_wh == geometry.size_wh
            (cx, cy), (w, h) = geometry.centre_xy, geometry.size_wh
            points = np.load(tmp_path / f"{name}.points.npy")
            assert points[0, :2] == pytest.approx((cx - w / 2, cy - h / 2), abs=1e-3)
            assert points[1, :2] == pytest.approx((47 / 48 * w + cx - w / 2, 63 / 64 * h + cy - h / 2), abs=1e-3)
            assert np.isnan(points[2, :2]).all()


def test_the_example_is_short_and_needs_no_package_of_ours() -> None:
    text = EXAMPLE.read_text(encoding="utf-8")
    assert text.count("\n") <= 30
    assert "vitruvian" not in text.replace("vitruvian export", "")
    assert "torch" not in text
