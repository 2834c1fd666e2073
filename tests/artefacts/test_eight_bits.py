"""Matrices in 8 bits: which ones, how far the results are, and files that need nobody's library."""

from __future__ import annotations

import importlib.util
import logging
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from vitruvian.artefacts import eight_bits
from vitruvian.artefacts.contract import Axis, TensorContract
from vitruvian.artefacts.eight_bits import (
    FP8,
    INT8,
    MATRICES,
    EightBitLinear,
    fp8_config,
    int8_config,
    matrices,
    packed,
)
from vitruvian.artefacts.rung import Compiled, Draft, Opening, Rung
from vitruvian.errors import RefusedError, UsageError
from vitruvian.fit.precision import Precision, apply_precision

pytestmark = pytest.mark.skipif(importlib.util.find_spec("torchao") is None, reason="needs torchao")

BATCH = Axis(name="batch", maximum=64)
ERROR = {"int8": 0.02, "fp8": 0.08}
"""Relative L2 of one product with random weights: rounding to 1/254 of a row's largest, to 3 bits of mantissa."""
CONFIG = {"int8": int8_config, "fp8": fp8_config}
STORED = {"int8": torch.int8, "fp8": torch.float8_e4m3fn}


class Product(nn.Linear):
    """Not a plain linear layer: what it does with its weight is its own affair."""


class Small(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(16, 32)
        self.norm = nn.LayerNorm(32)
        self.blocks = nn.ModuleList(nn.Linear(32, 32) for _ in range(2))
        self.own = Product(32, 32)
        self.head = nn.Sequential(nn.Linear(32, 8), nn.Linear(8, 4))

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        x = self.norm(self.first(x)).tanh()
        for block in self.blocks:
            x = x + block(x).tanh()
        return {"y": self.head(self.own(x))}


def small(precision: Precision | None = None) -> Small:
    torch.manual_seed(3)
    module = Small().eval().requires_grad_(False)
    apply_precision(module, precision or Precision())
    return module


def numbers(*shape: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(sum(shape)))


def draft(module: nn.Module, **more: Any) -> Draft:
    contract = TensorContract(name="x", dtype="float32", shape=(BATCH, 16))
    fields = {"precision": Precision(), "device": "cpu", **more}
    return Draft(name="one", module=module, inputs=(contract,), sample=(numbers(2, 16),), **fields)


def distance(one: Tensor, other: Tensor) -> float:
    return float((one.float() - other.float()).norm() / other.float().norm())


PLAIN = ["first", "blocks.0", "blocks.1", "head.0", "head.1"]


@pytest.mark.parametrize(
    ("more", "left"),
    [
        ({}, []),
        ({"head": ("head",)}, ["head.0", "head.1"]),
        ({"head": ("head.1", "blocks.*")}, ["blocks.0", "blocks.1", "head.1"]),
        ({"precision": Precision(dtype="bfloat16", islands=("blocks.*",))}, ["blocks.0", "blocks.1"]),
        ({"precision": Precision(dtype="bfloat16", islands=("first.weight",))}, []),
    ],
)
def test_plain_layers_off_head_and_islands(more: dict[str, Any], left: list[str]) -> None:
    assert matrices(draft(small(), **more)) == [name for name in PLAIN if name not in left]


def test_islands_are_named_without_the_prefix() -> None:
    module = nn.ModuleDict({"network": small()})
    islands = Precision(dtype="bfloat16", islands=("blocks",))
    found = matrices(draft(module, precision=islands, prefix="network.", head=("network.head",)))
    assert found == ["network.first"]


def test_layers_that_something_hangs_on_are_left() -> None:
    module = small(Precision(dtype="bfloat16", islands=("norm",)))  # hangs casts of inputs before the layers
    module.blocks[0].register_forward_hook(lambda *_: None)
    module.head[0].register_forward_pre_hook(lambda *_: None)
    assert matrices(draft(module)) == ["first", "blocks.1", "head.1"]


@pytest.mark.parametrize("kind", CONFIG)
@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16"])
def test_packed_while_it_lasts(kind: str, dtype: Any) -> None:
    precision = Precision(dtype=dtype, islands=("norm",))
    module = small(precision)
    names, own, x = matrices(draft(module)), dict(module.named_modules()), numbers(5, 16)
    wanted = module(x)["y"]
    with packed(module, names, CONFIG[kind]()):
        got = module(x)["y"]
        layer = module.blocks[0]
        assert isinstance(layer, EightBitLinear)
        assert (layer.codes.dtype, layer.scale.dtype) == (STORED[kind], torch.float32)
        assert layer.weight.dtype == precision.torch_dtype
        assert distance(layer.weight, own["blocks.0"].weight) < ERROR[kind]
    assert got.dtype == wanted.dtype
    assert 0 < distance(got, wanted) < ERROR[kind]
    assert dict(module.named_modules()) == own
    assert torch.equal(module(x)["y"], wanted)


@pytest.mark.parametrize("kind", CONFIG)
def test_rows_of_zeros_stay_zeros(kind: str) -> None:
    module = small()
    module.first.weight[3] = 0
    with packed(module, ["first"], CONFIG[kind]()):
        assert torch.equal(module.first.weight[3], torch.zeros(16))
        assert module(numbers(2, 16))["y"].isfinite().all()


def test_comes_back_when_the_build_fails() -> None:
    module = small()
    own = dict(module.named_modules())
    with pytest.raises(ZeroDivisionError), packed(module, PLAIN, int8_config()):
        raise ZeroDivisionError
    assert dict(module.named_modules()) == own


def test_nothing_to_store_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="without linear layers that may be stored in 8 bits"):
        INT8.build(draft(small(), head=("*",)), tmp_path)


@dataclass(frozen=True, kw_only=True)
class Made:
    rung: Rung
    folder: Path
    entry: str
    module: Small

    def opened(self, folder: Path | None = None) -> Compiled:
        manifest: Any = SimpleNamespace(entry=self.entry)
        return self.rung.open(
            Opening(folder=folder or self.folder, manifest=manifest, device="cpu", weights=dict, calls_at_once=2)
        )


@pytest.fixture(
    scope="module",
    params=[
        pytest.param((INT8, "bfloat16"), marks=pytest.mark.slow),
        pytest.param((FP8, "float32"), marks=pytest.mark.slow),
    ],
    ids=["int8-bfloat16", "fp8-float32"],
)
def made(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Made:
    if shutil.which("g++") is None:
        pytest.skip("needs a compiler")
    rung, dtype = request.param  # one compilation takes half a minute
    folder = tmp_path_factory.mktemp(rung.name)
    precision = Precision(dtype=dtype, islands=("norm",) if dtype != "float32" else ())
    module = small(precision)
    built = rung.build(draft(module, precision=precision, head=("head",)), folder)
    assert (built.files, built.weights_outside, dict(built.options)) == ((MATRICES,), False, {"matrices_in_8_bits": 3})
    return Made(rung=rung, folder=folder, entry=built.entry, module=module)


def test_the_file_runs_without_torchao(made: Made, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in sys.modules if name.partition(".")[0] == "torchao"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "torchao", None)
    compiled = made.opened()
    for batch in (1, 2, 7):
        x = numbers(batch, 16)
        got, wanted = compiled(x)["y"], made.module(x)["y"]
        assert (got.shape, got.dtype) == (wanted.shape, wanted.dtype)
        assert 0 < distance(got, wanted) < ERROR[made.rung.name]


def test_matrices_lie_in_8_bits_beside_the_rest(made: Made) -> None:
    stored = load_file(made.folder / MATRICES)
    for name in ("first", "blocks.0", "blocks.1"):
        assert stored[f"{name}.codes"].dtype == STORED[made.rung.name]
        assert stored[f"{name}.scale"].shape == (stored[f"{name}.codes"].shape[0], 1)
        assert f"{name}.weight" not in stored
    assert stored["head.0.weight"].dtype == made.module.head[0].weight.dtype
    assert stored["own.weight"].dtype == made.module.own.weight.dtype


@pytest.mark.parametrize("kept_bytes", [0, 9, 700])
def test_a_damaged_file_is_refused(made: Made, kept_bytes: int, tmp_path: Path) -> None:
    shutil.copytree(made.folder, tmp_path / "copy")
    path = tmp_path / "copy" / MATRICES
    path.write_bytes(path.read_bytes()[:kept_bytes])
    with pytest.raises(RefusedError, match=MATRICES):
        made.opened(tmp_path / "copy")


def test_a_missing_library_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(eight_bits, "find_spec", lambda name: None)
    for rung in (INT8, FP8):
        assert 'pip install "vitruvian[quantize]"' in rung.missing("cpu")


@pytest.mark.parametrize(
    ("kind", "support", "here"),
    [("cuda", "none", False), ("cuda", "native", True), ("xpu", "unknown", False), ("cpu", "none", True)],
)
def test_float8_where_the_device_can_convert_it(
    kind: str, support: str, here: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = SimpleNamespace(kind=kind, fp8=support, name="A Card")
    monkeypatch.setattr(eight_bits, "probe", lambda: SimpleNamespace(device=lambda name: one))
    monkeypatch.setattr(eight_bits, "_int8_missing", lambda device: "")
    assert (FP8.missing(kind) == "") == here
    assert here or "A Card" in FP8.missing(kind)


def test_torchao_says_nothing_on_the_terminal(capfd: pytest.CaptureFixture[str]) -> None:
    logger = logging.getLogger("torchao")
    with eight_bits._hushed():
        logger.warning("Failed to load _C_for_another_machine.so")
        logging.getLogger("torch.utils._pytree").warning("an enumeration")
    assert capfd.readouterr() == ("", "")
    assert logger.getEffectiveLevel() <= logging.WARNING
