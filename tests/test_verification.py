"""`verify`: weights that belong to the network, and agreement with an official file in the units of its task."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from command import Command
from parity.legacy import _config as legacy_config
from vitruvian.errors import RefusedError, UsageError
from vitruvian.models.sapiens import BackboneConfig, HeadConfig, SapiensConfig, build_network, load_network
from vitruvian.models.weight_files import read_weights
from vitruvian.verification import AGREEMENT, verify

pytestmark = [
    pytest.mark.filterwarnings("ignore:.*torch.jit.*:DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::torch.jit.TracerWarning"),
]
LEGACY = Path(__file__).parent / "golden" / "legacy"
BACKBONE = BackboneConfig(width=16, depth=2, heads=2, mlp_width=32, input_hw=(64, 48), patch_padding=2)
HEADS: dict[str, HeadConfig | None] = {
    "pose": HeadConfig(kind="pose", channels=17, deconv_widths=(16,), conv_widths=(16,)),
    "seg": HeadConfig(kind="seg", channels=28, deconv_widths=(16,), conv_widths=()),
    "depth": HeadConfig(kind="depth", channels=1, deconv_widths=(16,), conv_widths=()),
    "normal": HeadConfig(kind="normal", channels=3, deconv_widths=(16,), conv_widths=()),
    "features": None,
}


def config_of(task: str, **changes: Any) -> SapiensConfig:
    return SapiensConfig(backbone=replace(BACKBONE, **changes), head=HEADS[task])


def random_weights(config: SapiensConfig, seed: int = 0) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    shapes = {key: value.shape for key, value in build_network(config).state_dict().items()}
    return {key: 0.3 * torch.randn(shape, generator=generator) for key, shape in shapes.items()}


def save(path: Path, config: SapiensConfig, tensors: Mapping[str, Tensor]) -> Path:
    metadata = {"vitruvian_config": json.dumps(config.to_json()), "licence": "mine"}
    save_file({key: value.contiguous() for key, value in tensors.items()}, path, metadata=metadata)
    return path


class Official(nn.Module):
    """Returns what official files return: a tensor, or a 1-tuple for pretrained encoders."""

    def __init__(self, network: nn.Module, after: Any = None) -> None:
        super().__init__()
        self.network, self.after = network, after

    def forward(self, x_B3HW: Tensor) -> Any:
        ((name, value),) = self.network(x_B3HW).items()
        if self.after is not None:
            value = self.after(x_B3HW, value)
        return (value,) if name == "features" else value


def trace(path: Path, config: SapiensConfig, tensors: Mapping[str, Tensor], after: Any = None) -> Path:
    """An official file in small: traced at batch 1 and one size."""
    network = Official(load_network(config, tensors).network, after).eval()
    with torch.inference_mode():
        traced = torch.jit.trace(network, torch.randn(1, 3, *config.backbone.input_hw), check_trace=False)
    torch.jit.save(traced, str(path))
    return path


@pytest.fixture(scope="module")
def on(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A dark picture and a bright one, in this order."""
    folder = tmp_path_factory.mktemp("pictures")
    rng = np.random.default_rng(1)
    for name, low in {"a.png": 0, "b.png": 150}.items():
        noise = rng.integers(low, low + 100, (6, 6, 3), dtype=np.uint8)
        assert cv2.imwrite(str(folder / name), cv2.resize(noise, (70, 60), interpolation=cv2.INTER_CUBIC))
    return folder


def test_a_file_is_loaded_strictly_and_hashed(tmp_path: Path) -> None:
    config = config_of("pose")
    path = save(tmp_path / "own.safetensors", config, random_weights(config))
    found = verify(path)
    assert found.model == "own"
    assert found.parameters == config.parameters
    assert found.weights_sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
    assert (found.discrepancies, found.agrees, found.pictures) == (None, None, 0)


def test_weights_of_another_network_are_refused(tmp_path: Path) -> None:
    config = config_of("pose")
    weights = random_weights(config)
    del weights["backbone.ln1.bias"]
    with pytest.raises(RefusedError, match=r"1 missing: backbone\.ln1\.bias"):
        verify(save(tmp_path / "own.safetensors", config, weights))


@pytest.mark.parametrize("task", HEADS)
def test_the_same_weights_agree_and_others_do_not(tmp_path: Path, on: Path, task: str) -> None:
    config = config_of(task)
    own = save(tmp_path / "own.safetensors", config, random_weights(config))
    same = verify(own, against=trace(tmp_path / "same.pt2", config, random_weights(config)), trust=True, on=on)
    assert same.agrees is True
    assert same.other_padding_agrees is None
    assert (same.pictures, same.padding) == (2, 2)
    assert same.discrepancies is not None
    assert same.discrepancies.keys() <= AGREEMENT.keys()
    other = verify(own, against=trace(tmp_path / "other.pt2", config, random_weights(config, 1)), trust=True, on=on)
    assert other.agrees is False
    assert other.other_padding_agrees is False


def test_every_unit_of_every_task_has_a_limit_and_no_limit_is_idle(tmp_path: Path, on: Path) -> None:
    units: set[str] = set()
    for task in HEADS:
        config = config_of(task)
        weights = random_weights(config)
        own = save(tmp_path / f"{task}.safetensors", config, weights)
        found = verify(own, against=trace(tmp_path / f"{task}.pt2", config, weights), trust=True, on=on)
        units |= (found.discrepancies or {}).keys()
    assert units == AGREEMENT.keys()


@pytest.mark.parametrize(("ours", "theirs"), [(2, "corner"), ("corner", 2)])
def test_the_other_patch_padding_is_tried(tmp_path: Path, on: Path, ours: Any, theirs: Any) -> None:
    weights = random_weights(config_of("pose"))
    own = save(tmp_path / "own.safetensors", config_of("pose", patch_padding=ours), weights)
    official = trace(tmp_path / "official.pt2", config_of("pose", patch_padding=theirs), weights)
    found = verify(own, against=official, trust=True, on=on)
    assert (found.agrees, found.padding, found.other_padding_agrees) == (False, ours, True)


def test_two_networks_that_see_nothing_are_not_the_same(tmp_path: Path, on: Path) -> None:
    config = config_of("pose")
    blind = random_weights(config)
    blind["head.final_layer.bias"] = blind["head.final_layer.bias"] - 50
    blinder = blind | {"head.final_layer.bias": blind["head.final_layer.bias"] - 1}
    own = save(tmp_path / "own.safetensors", config, blind)
    found = verify(own, against=trace(tmp_path / "other.pt2", config, blinder), trust=True, on=on)
    assert found.discrepancies is not None
    assert found.discrepancies["px_max"] == 0
    assert found.agrees is False


def nan_when_dark(x_B3HW: Tensor, value: Tensor) -> Tensor:
    return torch.where(x_B3HW.max() < 1, torch.nan, value)


def nan_when_bright(x_B3HW: Tensor, value: Tensor) -> Tensor:
    return torch.where(x_B3HW.max() > 1, torch.nan, value)


@pytest.mark.parametrize("after", [nan_when_dark, nan_when_bright])
@pytest.mark.parametrize("task", ["pose", "depth", "normal", "features"])
def test_one_picture_without_numbers_is_no_agreement(tmp_path: Path, on: Path, task: str, after: Any) -> None:
    config = config_of(task)
    own = save(tmp_path / "own.safetensors", config, random_weights(config))
    official = trace(tmp_path / "official.pt2", config, random_weights(config), after)
    assert verify(own, against=official, trust=True, on=on).agrees is False


def test_the_old_published_archive_agrees_with_its_own_weights(tmp_path: Path, on: Path) -> None:
    config = legacy_config(json.loads((LEGACY / "pose_tiny.json").read_text(encoding="utf-8")))
    archive = LEGACY / "pose_tiny_torchscript.pt2"
    own = save(tmp_path / "own.safetensors", config, read_weights(archive).tensors)
    found = verify(own, against=archive, trust=True, on=on)
    assert found.agrees is True, found.discrepancies


def test_code_runs_with_consent_only(tmp_path: Path, on: Path, command: Command, monkeypatch: Any) -> None:
    config = config_of("pose")
    own = save(tmp_path / "own.safetensors", config, random_weights(config))
    official = trace(tmp_path / "official.pt2", config, random_weights(config))
    with monkeypatch.context() as patched:
        patched.setattr(torch.jit, "load", lambda *_, **__: pytest.fail("loaded without consent"))
        ran = command("verify", own, "--against", official, "--on", on)
    assert ran.code == 5
    assert "--trust" in ran.err
    assert hashlib.sha256(official.read_bytes()).hexdigest() in ran.err
    ran = command("verify", own, "--against", official, "--on", on, "--trust")
    assert (ran.code, ran.err) == (0, "")
    assert "agrees with the official file" in ran.out
    assert "2 pictures, patch padding 2: worst px_median" in ran.out


@pytest.mark.parametrize(
    ("padding", "seed", "advice"),
    [("corner", 0, "the catalogue's setting is wrong"), (2, 1, "not the same weights")],
    ids=["padding", "weights"],
)
def test_disagreement_ends_with_6(
    tmp_path: Path, on: Path, command: Command, padding: Any, seed: int, advice: str
) -> None:
    own = save(tmp_path / "own.safetensors", config_of("pose"), random_weights(config_of("pose")))
    config = config_of("pose", patch_padding=padding)
    official = trace(tmp_path / "official.pt2", config, random_weights(config, seed))
    ran = command("verify", own, "--against", official, "--on", on, "--trust")
    assert ran.code == 6
    assert "got outputs that differ from official.pt2" in ran.err
    assert advice in ran.err


def wrong_size(path: Path) -> None:
    config = config_of("pose", input_hw=(96, 64))
    trace(path, config, random_weights(config))


def wrong_task(path: Path) -> None:
    trace(path, config_of("seg"), random_weights(config_of("seg")))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda path: path.write_bytes(b"nothing of this kind"), "not load as TorchScript"),
        (lambda path: save_file({"a": torch.zeros(1)}, path), "not load as TorchScript"),
        (lambda path: torch.save({"a": torch.zeros(1)}, path), "not load as TorchScript"),
        (lambda path: path.write_bytes((LEGACY / "pose_tiny_bfloat16.pt2").read_bytes()), "not load as TorchScript"),
        (wrong_size, r"fails on an input of \(1, 3, 64, 48\).*input size"),
        (wrong_task, r"output of \(1, 28, 8, 6\).*expected \(1, 17, 8, 6\)"),
    ],
    ids=["garbage", "safetensors", "pth", "exported program", "other size", "other task"],
)
def test_unusable_official_files_are_explained(tmp_path: Path, on: Path, make: Any, message: str) -> None:
    own = save(tmp_path / "own.safetensors", config_of("pose"), random_weights(config_of("pose")))
    make(tmp_path / "official.pt2")
    with pytest.raises(RefusedError, match=message):
        verify(own, against=tmp_path / "official.pt2", trust=True, on=on)


@pytest.mark.parametrize("trust", [False, True])
def test_a_missing_official_file_is_a_usage_error(tmp_path: Path, trust: bool) -> None:
    own = save(tmp_path / "own.safetensors", config_of("pose"), random_weights(config_of("pose")))
    with pytest.raises(UsageError, match=r"got --against missing\.pt2, which is no file"):
        verify(own, against=tmp_path / "missing.pt2", trust=trust)


def test_a_folder_without_pictures_is_refused(tmp_path: Path) -> None:
    config = config_of("pose")
    own = save(tmp_path / "own.safetensors", config, random_weights(config))
    official = trace(tmp_path / "official.pt2", config, random_weights(config))
    (tmp_path / "empty").mkdir()
    (tmp_path / "empty" / "broken.png").write_bytes(b"no picture")
    with pytest.raises(RefusedError, match="got empty without a readable picture"):
        verify(own, against=official, trust=True, on=tmp_path / "empty")
