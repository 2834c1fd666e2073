"""Weights of the trained detector: folding norms changes nothing; a short training run ends with a file that loads."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import nn

from tolerances import STREAMED_REL
from vitruvian.models.detectors import DetectorConfig, NanoDetector
from vitruvian.training.detector import __main__ as job
from vitruvian.training.detector.network import TrainedDetector, trainable_detector
from vitruvian.training.detector.recipe import DetectorRecipe, Phase
from vitruvian.training.detector.weights import folded, write_weights
from vitruvian.training.loop import LoopConfig

SMALL = DetectorConfig(input_hw=(64, 64), widths=(8, 8, 16, 16, 32), depths=(1, 1, 1, 1), head_width=16)


def unsettled() -> TrainedDetector:
    """A trainable network whose norms do something."""
    torch.manual_seed(1)
    network = trainable_detector(SMALL)
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.normal_(module.bias, std=0.3)
            nn.init.normal_(module.running_mean, std=0.3)
            nn.init.uniform_(module.running_var, 0.5, 2.0)
    return network.eval()


def test_folded_norms_compute_the_same() -> None:
    network, plain = unsettled(), NanoDetector(SMALL).eval()
    plain.load_state_dict(folded(network.state_dict(), SMALL), strict=True)
    picture = torch.rand(2, 3, 64, 64)
    with torch.inference_mode():
        expected, got = network(picture), plain(picture)
    assert expected.keys() - got.keys() == {"owned"}
    for key, value in got.items():
        scale = expected[key].abs().max().item()
        torch.testing.assert_close(value, expected[key], atol=STREAMED_REL * scale, rtol=0)


def test_written_weights_are_halves_without_norms(tmp_path: Path) -> None:
    path = tmp_path / "run" / "detector.safetensors"
    size_bytes = write_weights(unsettled().state_dict(), SMALL, path)
    tensors = load_file(path)
    assert size_bytes == path.stat().st_size
    assert {value.dtype for value in tensors.values()} == {torch.float16}
    assert tensors.keys() == NanoDetector(SMALL).state_dict().keys()


def test_the_whole_job_is_repeatable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tiny = Phase(canvas_hw=(32, 32), plain_share=0.5, mosaic_share=0.3, whole_share=0.5, disturbance=1.0)
    recipe = DetectorRecipe(
        pictures=2,
        longer_side=32,
        batch=2,
        early=tiny,
        late=replace(tiny, canvas_hw=(64, 64)),
        late_from=0.5,
        loop=replace(LoopConfig(steps=2, lr=1e-3), log_every=1, checkpoint_every=2),
    )
    monkeypatch.setattr(job, "NANO_DETECTOR", SMALL)
    for name in ("a", "b"):
        job.train_detector(recipe, tmp_path / name, threads=1)
    first, second = (load_file(tmp_path / name / "detector.safetensors") for name in ("a", "b"))
    assert all(torch.equal(first[key], second[key]) for key in first)
