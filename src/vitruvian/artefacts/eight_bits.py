"""The rungs `int8` and `fp8`: matrices of linear layers stored in 8 bits, computed with in the compute type.

torchao chooses the codes, one scale for each row; around them stands native code by AOTInductor, which another process
opens without torchao, without the network's class and without this project's. Codes, scales and all other weights lie
beside it. The point is memory: each matrix is unpacked when its turn comes, so no multiplication is saved. Run operator
by operator, unpacking made the nano network up to 2.5 times as slow (fp8 on a CPU); compiled, it cost at most a tenth.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from fnmatch import fnmatchcase
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from vitruvian.artefacts.aoti import AOTI
from vitruvian.artefacts.quiet import quiet
from vitruvian.artefacts.rung import Built, Compiled, Draft, Opening, Rung
from vitruvian.errors import RefusedError, UsageError
from vitruvian.fit.precision import CastInputs
from vitruvian.hardware import probe

MATRICES = "weights_8bit.safetensors"
"""Every tensor that the compiled file takes: `<layer>.codes` with `<layer>.scale` for a matrix, others as they were."""
_INSTALL = 'install it with: pip install "vitruvian[quantize]"'

MakeConfig = Callable[[], Any]
"""-> what torchao's `quantize_` wants."""


class EightBitLinear(nn.Module):
    """A linear layer whose matrix is codes of 8 bits times one float32 scale for each output."""

    codes: Tensor
    """(outputs, inputs), int8 or float8."""
    scale: Tensor
    """(outputs, 1), float32."""
    bias: nn.Parameter | None

    def __init__(self, codes: Tensor, scale: Tensor, bias: nn.Parameter | None, dtype: torch.dtype) -> None:
        super().__init__()
        self.register_buffer("codes", codes)
        self.register_buffer("scale", scale)
        self.register_parameter("bias", bias)
        self.dtype = dtype

    @property
    def weight(self) -> Tensor:
        """The matrix in the compute type, unpacked at every use.

        Scaling the matrix instead of the product: codes times inputs would pass float16's range, and on a CPU
        Inductor would take the other order for its int8 kernel, which needs 2.6 times as long for many rows.
        """
        return (self.codes.to(self.scale.dtype) * self.scale).to(self.dtype)

    def forward(self, x: Tensor) -> Tensor:
        return F.linear(x.to(self.dtype), self.weight, self.bias)


def _build(make_config: MakeConfig, draft: Draft, folder: Path) -> Built:
    from safetensors.torch import save_file

    names = matrices(draft)
    if not names:
        raise UsageError(
            f"got {draft.name} without linear layers that may be stored in 8 bits; expected some outside its head and "
            "its float32 islands; take another --backend"
        )
    with _hushed():
        config = make_config()
        with packed(draft.module, names, config):
            small = replace(draft, module=draft.module)  # a graph of its own
            built = AOTI.build(small, folder)
    tensors = {**small.program.state_dict, **built.constants}
    save_file({name: value.detach().cpu().contiguous().clone() for name, value in tensors.items()}, folder / MATRICES)
    return Built(entry=built.entry, files=(MATRICES,), options={"matrices_in_8_bits": len(names)}, log=built.log)


def matrices(draft: Draft) -> list[str]:
    """Names of the linear layers that are stored in 8 bits: plain ones, off the head and off the float32 islands."""
    return [
        name
        for name, part in draft.module.named_modules()
        if type(part) is nn.Linear
        and not part._forward_hooks
        and all(isinstance(hook, CastInputs) for hook in part._forward_pre_hooks.values())
        and not draft.precision.covers(name.removeprefix(draft.prefix))
        and not any(fnmatchcase(name, form) for pattern in draft.head for form in (pattern, f"{pattern}.*"))
    ]


@contextmanager
def packed(module: nn.Module, names: list[str], config: Any) -> Iterator[None]:
    """Linear layers in 8 bits while the context lasts; the module's own come back unchanged."""
    places = [(module.get_submodule(name.rpartition(".")[0]), name.rpartition(".")[2]) for name in names]
    layers = [getattr(parent, key) for parent, key in places]
    try:
        for (parent, key), layer in zip(places, layers, strict=True):
            codes, scale = _coded(layer.weight.detach(), config)
            setattr(parent, key, EightBitLinear(codes, scale, layer.bias, layer.weight.dtype))
        yield
    finally:
        for (parent, key), layer in zip(places, layers, strict=True):
            setattr(parent, key, layer)


def _coded(weight: Tensor, config: Any) -> tuple[Tensor, Tensor]:
    """Codes and scales that torchao gives a matrix; rows of zeros, which it makes NaN in float8, stay zeros."""
    from torchao.quantization import quantize_

    holder = nn.Linear(weight.shape[1], weight.shape[0], bias=False, device="meta")
    holder.weight = nn.Parameter(weight, requires_grad=False)
    quantize_(holder, config)
    stored: Any = holder.weight
    if not hasattr(stored, "qdata"):
        raise UsageError(
            f"got a torchao that stores matrices as {type(stored).__name__}; expected version 0.18; {_INSTALL}"
        )
    codes, scale = stored.qdata.contiguous(), stored.scale.float().reshape(-1, 1)
    zero = weight.abs().amax(1) == 0
    codes.view(torch.uint8)[zero] = 0
    scale[zero] = 1.0
    return codes, scale


@contextmanager
def _hushed() -> Iterator[None]:
    """torchao reports extensions for other machines that it could not load, one line each."""
    logger = logging.getLogger("torchao")
    before = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with quiet():
            yield
    finally:
        logger.setLevel(before)


def int8_config() -> Any:
    """Symmetric int8, one scale a row."""
    from torchao.quantization import Int8WeightOnlyConfig

    return Int8WeightOnlyConfig(version=2, set_inductor_config=False)


def fp8_config() -> Any:
    """Symmetric float8 (4 bits of exponent, 3 of mantissa), one scale a row."""
    from torchao.quantization import Float8WeightOnlyConfig

    return Float8WeightOnlyConfig(version=2, set_inductor_config=False)


def _open(opening: Opening) -> Compiled:
    return AOTI.open(replace(opening, weights=partial(_read, opening)))


def _read(opening: Opening) -> dict[str, Tensor]:
    """All tensors; on a CPU they are the file's own pages, so that they count once however many processes share it."""
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        return load_file(opening.folder / MATRICES, device=opening.device)
    except (SafetensorError, OSError) as error:
        raise RefusedError(
            f"got {MATRICES}, which cannot be read ({error}); expected the file that was exported; copy the artefact "
            "again, whole, or export the model again"
        ) from error


def _int8_missing(device: str) -> str:
    if find_spec("torchao") is None:
        return f"torchao, which stores matrices in 8 bits, is not installed; {_INSTALL}"
    return AOTI.missing(device)


def _fp8_missing(device: str) -> str:
    one = probe().device(device)
    if one.kind != "cpu" and one.fp8 != "native":
        return f"{one.name} is not known to convert float8 by itself (CUDA from compute capability 8.9 does); take int8"
    return _int8_missing(device)


INT8 = Rung(
    rounds=True,
    name="int8",
    what="matrices stored as int8, native code round them",
    build=partial(_build, int8_config),
    open=_open,
    executes=True,
    bonds=AOTI.bonds,
    missing=_int8_missing,
)

FP8 = replace(
    INT8,
    name="fp8",
    what="matrices stored as float8, native code round them",
    build=partial(_build, fp8_config),
    missing=_fp8_missing,
)
