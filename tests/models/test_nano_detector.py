"""The nano detector: shapes, geometry of its boxes, one exportable graph, and the file that comes with the package."""

from __future__ import annotations

import json
from importlib import resources
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file
from torch import nn

from tolerances import EXPORT_ABS
from vitruvian.errors import UsageError
from vitruvian.models.detectors import NANO_DETECTOR, DetectorConfig, NanoDetector, build_detector
from vitruvian.models.detectors.nano import SIZE_PX, STRIDE

SMALL = DetectorConfig(input_hw=(64, 96), widths=(8, 8, 16, 16, 32), depths=(1, 1, 1, 1), head_width=16)
EMBEDDED = Path(str(resources.files("vitruvian").joinpath("data", "nano", "detector.safetensors")))


def small_network() -> NanoDetector:
    torch.manual_seed(3)
    return NanoDetector(SMALL).eval()


@pytest.mark.parametrize(("batch", "height", "width"), [(1, 64, 96), (3, 64, 96), (2, 128, 32), (0, 64, 96)])
def test_one_logit_and_one_box_a_cell(batch: int, height: int, width: int) -> None:
    with torch.inference_mode():
        out = small_network()(torch.rand(batch, 3, height, width))
    cells = height * width // STRIDE**2
    assert list(out) == ["logits", "boxes"]
    assert out["logits"].shape == (batch, cells)
    assert out["boxes"].shape == (batch, cells, 4)
    assert out["boxes"].isfinite().all()


def test_boxes_start_at_their_cells() -> None:
    network = small_network()
    for parameter in network.box.parameters():
        nn.init.zeros_(parameter)
    with torch.inference_mode():
        boxes_N4 = network(torch.rand(1, 3, 64, 96))["boxes"][0]
    second_row = 96 // STRIDE
    expected = torch.tensor([0.5 * STRIDE / 96, 1.5 * STRIDE / 64, SIZE_PX / 96, SIZE_PX / 64])
    torch.testing.assert_close(boxes_N4[second_row], expected)


def test_a_picture_does_not_depend_on_its_neighbours_in_the_batch() -> None:
    network, pictures = small_network(), torch.rand(3, 3, 64, 96)
    with torch.inference_mode():
        together, alone = network(pictures), network(pictures[1:2])
    for key, value in alone.items():
        torch.testing.assert_close(together[key][1:2], value, atol=EXPORT_ABS, rtol=0)


def test_the_same_picture_gives_the_same_boxes() -> None:
    network, picture = small_network(), torch.rand(1, 3, 64, 96)
    with torch.inference_mode():
        first, second = network(picture), network(picture)
    assert all(torch.equal(first[key], second[key]) for key in first)


def test_exports_with_any_batch() -> None:
    network = small_network()
    program = torch.export.export(
        network, (torch.rand(2, 3, 64, 96),), dynamic_shapes=({0: torch.export.Dim("batch", min=1, max=64)},)
    )
    pictures = torch.rand(5, 3, 64, 96)
    with torch.inference_mode():
        exported, eager = program.module()(pictures), network(pictures)
    for key, value in eager.items():
        torch.testing.assert_close(exported[key], value, atol=EXPORT_ABS, rtol=0)


def test_configurations_survive_json() -> None:
    assert DetectorConfig.from_json(json.loads(json.dumps(SMALL.to_json()))) == SMALL


@pytest.mark.parametrize(
    "change", [{"input_hw": (60, 96)}, {"input_hw": (0, 96)}, {"widths": (8, 8, 16, 16, 40)}], ids=str
)
def test_impossible_sizes_are_refused(change: dict[str, tuple[int, ...]]) -> None:
    with pytest.raises(UsageError, match="expected"):
        DetectorConfig.from_json({**SMALL.to_json(), **change})


def test_built_on_meta_by_default() -> None:
    network = build_detector(SMALL)
    assert not network.training
    assert all(parameter.device.type == "meta" for parameter in network.parameters())


def test_the_embedded_file_is_the_network_and_nothing_else() -> None:
    network = build_detector(NANO_DETECTOR, "cpu")
    network.load_state_dict(load_file(EMBEDDED), strict=True)
    with safe_open(EMBEDDED, "pt") as file:
        metadata = file.metadata()
    assert DetectorConfig.from_json(json.loads(metadata["vitruvian_config"])) == NANO_DETECTOR
    assert metadata["licence"] == "apache-2.0"
    assert EMBEDDED.stat().st_size < 3_000_000
    assert not any("norm.running" in key for key in network.state_dict())
