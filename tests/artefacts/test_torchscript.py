"""Traced files: equal to eager at any batch and size, or refused with the place that stands in the way."""

from __future__ import annotations

import warnings
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from vitruvian.artefacts.capture import CaptureError
from vitruvian.artefacts.contract import Axis, TensorContract
from vitruvian.artefacts.pictures import post_inside
from vitruvian.artefacts.quiet import quiet
from vitruvian.artefacts.rung import Compiled, Draft, Opening
from vitruvian.artefacts.torchscript import TORCHSCRIPT
from vitruvian.errors import RefusedError
from vitruvian.fit.precision import Precision, apply_precision
from vitruvian.models.sapiens import BackboneConfig, HeadConfig, SapiensConfig, build_network
from vitruvian.weights import find_weights

BATCH = Axis(name="batch", maximum=64)
HEADS = {
    "pose": HeadConfig(kind="pose", channels=5, deconv_widths=(8, 8), conv_widths=(8,)),
    "seg": HeadConfig(kind="seg", channels=4, deconv_widths=(8, 8), conv_widths=()),
    "features": None,
}


def tiny(kind: str) -> nn.Module:
    backbone = BackboneConfig(width=32, depth=2, heads=2, mlp_width=64, input_hw=(64, 48), patch_padding="corner")
    network = build_network(SapiensConfig(backbone=backbone, head=HEADS[kind]), "cpu")
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for weight in network.parameters():
            weight.normal_(0.0, 0.2, generator=generator)
    return network


def numbers(*shape: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(sum(shape)))


def draft(module: nn.Module, sample: Tensor, sides: tuple[int | Axis, ...], **more: Any) -> Draft:
    kind = str(sample.dtype).removeprefix("torch.")
    contract = TensorContract(name="x", dtype=kind, shape=(BATCH, *sides))
    fields = {"precision": Precision(), "device": "cpu", **more}
    return Draft(name="one", module=module.eval(), inputs=(contract,), sample=(sample,), **fields)


def opened(folder: Path, entry: str, device: str = "cpu") -> Compiled:
    manifest: Any = SimpleNamespace(entry=entry)
    return TORCHSCRIPT.open(Opening(folder=folder, manifest=manifest, device=device, weights=dict))


def through_a_file(one: Draft, folder: Path) -> Compiled:
    return opened(folder, TORCHSCRIPT.build(one, folder).entry)


@pytest.mark.parametrize("kind", HEADS)
@pytest.mark.parametrize(
    "precision",
    [
        Precision(),
        Precision(dtype="bfloat16", islands=("*.ln1", "head.final_layer", "decode_head")),
        Precision(dtype="float16", islands=("*.ln1",)),
    ],
    ids=str,
)
def test_equals_eager_at_every_batch(kind: str, precision: Precision, tmp_path: Path) -> None:
    network = apply_precision(tiny(kind), precision)
    compiled = through_a_file(draft(network, numbers(2, 3, 64, 48), (3, 64, 48), precision=precision), tmp_path)
    for batch in (1, 2, 3, 7):
        x = numbers(batch, 3, 64, 48)
        with torch.no_grad():
            wanted = network(x)
        got = compiled(x)
        assert got.keys() == wanted.keys()
        for name, value in wanted.items():
            assert got[name].dtype == value.dtype
            torch.testing.assert_close(got[name], value)


def test_post_processing_goes_in(tmp_path: Path) -> None:
    found = find_weights("sapiens-pose-nano")
    module = post_inside(found.build().network, found.spec.make_task())
    canvases = (numbers(3, 256, 192, 3) * 60 + 128).clamp(0, 255).byte()
    compiled = through_a_file(draft(module, canvases[:2], (256, 192, 3)), tmp_path)
    with torch.no_grad():
        wanted = module(canvases)
    got = compiled(canvases)
    assert {name: tuple(value.shape) for name, value in got.items()} == {"points": (3, 17, 3), "finite": (3,)}
    torch.testing.assert_close(got["points"], wanted["points"], atol=1e-3, rtol=1e-4, equal_nan=True)


def test_other_sizes_although_the_sample_has_the_special_one(tmp_path: Path) -> None:
    network = tiny("seg")
    sides = tuple(Axis(name=name, minimum=32, maximum=256, multiple=16) for name in ("height", "width"))
    compiled = through_a_file(draft(network, numbers(2, 3, 64, 48), (3, *sides)), tmp_path)
    for height, width in ((64, 48), (80, 48), (32, 96)):
        x = numbers(3, 3, height, width)
        with torch.no_grad():
            torch.testing.assert_close(compiled(x), network(x))


class Fixed(nn.Module):
    def forward(self, x: Tensor) -> dict[str, Tensor]:
        rows = int(x.shape[0])
        return {"y": x.flatten().reshape(rows, 4) * 2}


class Wider(nn.Module):
    """Runs at every batch, with the factor of the sample."""

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        return {"y": x * (2.0 if x.shape[0] > 1 else 3.0)}


class Named(nn.Module):
    def forward(self, x: Tensor) -> dict[str, Tensor]:
        return {"one": x} if x.shape[0] == 2 else {"other": x}


@pytest.mark.parametrize(
    ("module", "said"),
    [
        (Fixed(), "does not run at batch 1"),
        (Wider(), "gives y off by 0.33 at batch 1"),
        (Named(), "gives one instead of other at batch 1"),
    ],
)
def test_a_length_that_becomes_a_constant_is_refused(module: nn.Module, said: str, tmp_path: Path) -> None:
    with pytest.raises(CaptureError, match=said):
        TORCHSCRIPT.build(draft(module, numbers(2, 4), (4,)), tmp_path)
    assert not list(tmp_path.iterdir())


class Branch(nn.Module):
    def forward(self, x: Tensor) -> dict[str, Tensor]:
        if x.sum() > 0:
            return {"y": x}
        return {"y": -x}


class Item(nn.Module):
    def forward(self, x: Tensor) -> dict[str, Tensor]:
        scale = (x.abs() + 1).max()
        return {"y": x / scale.item()}


class Equal(nn.Module):
    def forward(self, x: Tensor) -> dict[str, Tensor]:
        return {"y": x if torch.equal(x, x.round()) else x + 1}


@pytest.mark.parametrize("module", [Branch(), Item(), Equal()])
def test_a_value_that_becomes_a_constant_is_refused_with_its_line(module: nn.Module, tmp_path: Path) -> None:
    with pytest.raises(CaptureError, match=r"Python number \(test_torchscript\.py:\d+\)"):
        TORCHSCRIPT.build(draft(module, numbers(2, 4), (4,)), tmp_path)


class Scaled(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.tensor(3.0))

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        return {"y": x / self.scale.item()}


def test_a_number_from_the_weights_may_stay(tmp_path: Path) -> None:
    compiled = through_a_file(draft(Scaled(), numbers(2, 4), (4,)), tmp_path)
    torch.testing.assert_close(compiled(numbers(5, 4))["y"], numbers(5, 4) / 3)


def test_the_file_asks_for_no_gradients_and_the_module_is_left_as_it_was(tmp_path: Path) -> None:
    network = tiny("pose")
    flags = [weight.requires_grad for weight in network.parameters()]
    entry = TORCHSCRIPT.build(draft(network, numbers(2, 3, 64, 48), (3, 64, 48)), tmp_path).entry
    assert flags == [weight.requires_grad for weight in network.parameters()]
    assert any(flags)
    with quiet():
        read = torch.jit.load(str(tmp_path / entry))
    assert read.state_dict().keys() == network.state_dict().keys()
    assert not read(numbers(1, 3, 64, 48))["heatmaps"].requires_grad


def test_threads_share_it(tmp_path: Path) -> None:
    network = tiny("seg")
    compiled = through_a_file(draft(network, numbers(2, 3, 64, 48), (3, 64, 48)), tmp_path)
    inputs = [numbers(1 + place % 3, 3, 64, 48) for place in range(12)]
    with torch.no_grad():
        wanted = [network(x)["logits"] for x in inputs]
    with ThreadPoolExecutor(4) as pool:
        got = list(pool.map(lambda x: compiled(x)["logits"], inputs))
    for one, other in zip(got, wanted, strict=True):
        torch.testing.assert_close(one, other)


def test_says_nothing_on_the_terminal(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        compiled = through_a_file(draft(tiny("pose"), numbers(2, 3, 64, 48), (3, 64, 48)), tmp_path)
        compiled(numbers(1, 3, 64, 48))
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("contents", [None, b"", b"no archive at all", b"PK\x03\x04" + bytes(100)])
def test_a_file_that_is_none_is_refused(contents: bytes | None, tmp_path: Path) -> None:
    if contents is not None:
        (tmp_path / "a.pt").write_bytes(contents)
    with pytest.raises(RefusedError, match=r"got a\.pt, which torch does not open"):
        opened(tmp_path, "a.pt")
