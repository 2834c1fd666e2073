"""Metric depth as an ONNX artefact: any batch, all outputs, the numbers of the network, and a program beside it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

import metric_artefacts
import small_artefacts
import tiny_metric
from command import Command
from tolerances import METRIC_DEPTH_M, METRIC_NORMALS_ABS
from vitruvian.artefacts.artefact import open_artefact
from vitruvian.artefacts.manifest import read_manifest
from vitruvian.bundled import bundled_runner
from vitruvian.cli.export import _summary
from vitruvian.exporting import Exported
from vitruvian.weights import find_weights

pytest.importorskip("onnx")
pytest.importorskip("onnxscript")
pytest.importorskip("onnxruntime")

RUNNER = "run_metric_depth.py"


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory, own_cache: None) -> Path:
    return metric_artefacts.artefact(tmp_path_factory)


@pytest.mark.parametrize("batch", [1, 3])
def test_an_artefact_gives_what_the_network_gives_at_any_batch(made: Path, batch: int) -> None:
    network = find_weights(made.with_name("tiny.safetensors")).build().network.eval()
    x_B3HW = torch.randn(
        batch, 3, tiny_metric.HEIGHT, tiny_metric.WIDTH, generator=torch.Generator().manual_seed(batch)
    )
    found = open_artefact(made, device="cpu")(x_B3HW)
    with torch.no_grad():
        true = network(x_B3HW)
    assert set(found) == {"depth", "confidence", "normal", "kappa"}
    for name, value in true.items():
        tolerance = METRIC_DEPTH_M if name == "depth" else METRIC_NORMALS_ABS
        torch.testing.assert_close(found[name], value, atol=tolerance, rtol=0)


def test_the_manifest_says_all_that_other_programs_need(made: Path) -> None:
    manifest, _ = read_manifest(made)
    assert manifest.batch_range == (1, metric_artefacts.MAX_BATCH)
    assert [contract.shape[1:] for contract in manifest.outputs] == [(channels, 112, 196) for channels in (1, 1, 3, 1)]
    assert manifest.options["opset"] == 17  # what the TensorRT of older small devices reads
    facts = manifest.preparation
    assert (facts["canvas_hw"], facts["pad_rgb"], facts["canonical_focal_px"]) == ([112, 196], [124, 116, 104], 1000.0)
    assert (facts["farthest_m"], facts["canonical_far_m"]) == (300.0, 200.0)
    (attempt,) = manifest.report["attempts"]
    assert attempt["state"] == "verified"
    assert [row["batch"] for row in attempt["batches"]] == [1, 2, 4]


def test_the_program_for_other_machines_lies_beside_the_file(made: Path) -> None:
    manifest, _ = read_manifest(made)
    assert manifest.runner == RUNNER
    assert (made / RUNNER).read_bytes() == bundled_runner("metric_depth.py").read_bytes()
    said = _summary(Exported(folder=made, manifest=manifest, attempts=()))
    assert f"python {made / RUNNER} {made} PICTURES -o OUT" in said


def test_files_that_need_torch_and_other_networks_come_without_a_program(plain: Path) -> None:
    assert read_manifest(plain)[0].runner == ""
    assert not [name for name in small_artefacts.contents(plain) if name.endswith(".py")]


def test_pictures_run_through_the_artefact_like_through_the_weights(
    made: Path, tmp_path: Path, command: Command
) -> None:
    picture = metric_artefacts.picture(tmp_path / "a.png", 240, 160)
    arguments = ("--focal-px", 300, "--format", "npy", "--device", "cpu", "--quiet")
    for name, model in (("artefact", made), ("weights", made.with_name("tiny.safetensors"))):
        more = () if name == "artefact" else ("--dtype", "float32")
        ran = command("depth", picture, "-o", tmp_path / name, "-m", model, *arguments, *more)
        assert ran.code == 0, ran.err
    found, true = (np.load(tmp_path / name / "a.png.depth.npy") for name in ("artefact", "weights"))
    np.testing.assert_allclose(found, true, atol=METRIC_DEPTH_M, rtol=0)
    assert np.ptp(true) > 0.1
