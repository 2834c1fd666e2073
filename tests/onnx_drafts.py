"""Small modules on their way into ONNX files and out again, for the tests of that backend."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from vitruvian.artefacts import onnx_files
from vitruvian.artefacts.contract import Axis, TensorContract
from vitruvian.artefacts.onnx_files import ONNX
from vitruvian.artefacts.rung import Built, Compiled, Draft, Opening
from vitruvian.fit.precision import Precision

BATCH = Axis(name="batch", maximum=64)


class Function(nn.Module):
    """A function of tensors as a module."""

    def __init__(self, function: Callable[..., Mapping[str, Tensor]]) -> None:
        super().__init__()
        self.function = function

    def forward(self, *inputs: Tensor) -> dict[str, Tensor]:
        return dict(self.function(*inputs))


class Linears(nn.Module):
    """Weights that are worth a file."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(64, 64), nn.Linear(64, 2)

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        return {"y": self.second(self.first(x))}


def numbers(*shape: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(sum(shape)))


def contract(name: str, sample: Tensor, sides: Sequence[int | Axis] | None = None) -> TensorContract:
    shape = tuple(sample.shape[1:]) if sides is None else tuple(sides)
    return TensorContract(name=name, dtype=str(sample.dtype).removeprefix("torch."), shape=(BATCH, *shape))


def draft(module: nn.Module, *samples: Tensor, names: Sequence[str] = ("x",), **more: Any) -> Draft:
    fields = {
        "inputs": tuple(map(contract, names, samples)),
        "precision": Precision(),
        "device": "cpu",
        **more,
    }
    return Draft(name="one", module=module.eval(), sample=samples, **fields)


def manifest_of(one: Draft, built: Built) -> Any:
    with torch.no_grad():
        outputs = one.module(*one.sample)
    return SimpleNamespace(
        entry=built.entry,
        files=dict.fromkeys((built.entry, *built.files)),
        inputs=one.inputs,
        outputs=[contract(name, value) for name, value in outputs.items()],
        options=built.options,
    )


def opened(folder: Path, manifest: Any, device: str = "cpu", calls_at_once: int = 1) -> Compiled:
    return ONNX.open(
        Opening(folder=folder, manifest=manifest, device=device, weights=dict, calls_at_once=calls_at_once)
    )


def through_a_file(one: Draft, folder: Path) -> Compiled:
    return opened(folder, manifest_of(one, ONNX.build(one, folder)))


def assert_equal(found: Mapping[str, Tensor], true: Mapping[str, Tensor], tolerance: float) -> None:
    assert set(found) == set(true)
    for name, value in true.items():
        assert found[name].dtype == value.dtype
        torch.testing.assert_close(found[name], value, atol=tolerance, rtol=1e-4, equal_nan=True)


@dataclass(frozen=True)
class Written:
    """A file and what it was made of."""

    draft: Draft
    folder: Path
    built: Built
    manifest: Any


def written(one: Draft, folder: Path) -> Written:
    """A draft in a file."""
    built = ONNX.build(one, folder)
    return Written(draft=one, folder=folder, built=built, manifest=manifest_of(one, built))


def with_weights_beside(folder: Path) -> Written:
    """Two linear layers with their weights in a file of their own."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(onnx_files, "MOST_INSIDE_BYTES", 1000)
        return written(draft(Linears().requires_grad_(False), numbers(2, 64)), folder)
