"""What an artefact's inputs must be, and the check that every call goes through.

Compiled code reads memory as it was told at export: another type, size or stride gives garbage or reads out of bounds,
without an error. So nothing reaches it unchecked. The check costs microseconds, and a copy where strides are not plain.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeGuard

import torch
from torch import Tensor

from vitruvian.errors import UsageError

BATCH = "batch"
"""Name of the axis along which inputs are independent of each other."""

DTYPE_NAMES: Mapping[str, torch.dtype] = {
    name: getattr(torch, name)
    for name in ("float32", "float16", "bfloat16", "float64", "uint8", "int8", "int16", "int32", "int64", "bool")
}
"""Element types that inputs and outputs may have, by torch's names."""

MAX_NAME = 500
"""Characters of a name of a tensor or an axis."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Axis:
    """An axis whose length is chosen at each call."""

    name: str
    """Equal names mean equal lengths, over all inputs of a call."""
    minimum: int = 1
    maximum: int | None = None
    """None: no limit."""
    multiple: int = 1
    """Lengths must be divisible by it."""

    def __str__(self) -> str:
        upper = "any" if self.maximum is None else str(self.maximum)
        step = f", multiples of {self.multiple}" if self.multiple > 1 else ""
        return f"{self.name} {self.minimum} to {upper}{step}"

    def accepts(self, length: int) -> bool:
        """Whether a length will do."""
        within = self.minimum <= length and (self.maximum is None or length <= self.maximum)
        return within and length % self.multiple == 0


@dataclass(frozen=True, kw_only=True, slots=True)
class TensorContract:
    """One input or output."""

    name: str
    dtype: str
    """Element type by torch's name."""
    shape: tuple[int | Axis, ...]
    values: str = ""
    """Range and meaning of the values, for people."""

    @property
    def torch_dtype(self) -> torch.dtype:
        """Element type as torch has it."""
        return DTYPE_NAMES[self.dtype]

    @property
    def batch(self) -> Axis | None:
        """The batch axis, where there is one; always the first."""
        first = self.shape[0] if self.shape else None
        return first if isinstance(first, Axis) and first.name == BATCH else None

    def sizes(self, lengths: Mapping[str, int]) -> tuple[int, ...]:
        """The shape for given lengths of the named axes."""
        return tuple(lengths[side.name] if isinstance(side, Axis) else side for side in self.shape)

    def __str__(self) -> str:
        sides = " x ".join(f"[{side}]" if isinstance(side, Axis) else str(side) for side in self.shape)
        return f"{self.name}: {self.dtype} {sides or 'number'}"


def checked(contracts: Sequence[TensorContract], inputs: Sequence[Tensor], device: str) -> tuple[Tensor, ...]:
    """The inputs, contiguous, if they are what the contracts say.

    Args:
        contracts: In call order.
        inputs: As a caller gave them.
        device: torch device string they must lie on; a kind without a number takes any of that kind.

    Raises:
        UsageError: another number of inputs, a type, device, rank, size or range that does not hold; says which.
    """
    if len(inputs) != len(contracts):
        raise UsageError(
            f"got {len(inputs)} inputs; expected {len(contracts)}: {'; '.join(map(str, contracts))}; pass these"
        )
    lengths: dict[str, int] = {}
    return tuple(_checked(contract, value, device, lengths) for contract, value in zip(contracts, inputs, strict=True))


def _checked(contract: TensorContract, value: Tensor, device: str, lengths: dict[str, int]) -> Tensor:
    if not isinstance(value, Tensor):
        raise _refused(contract, f"a {type(value).__name__}", "pass a tensor")
    if value.layout != torch.strided or value.is_nested:
        raise _refused(contract, f"a tensor of layout {value.layout}", "pass an ordinary, dense one")
    if value.dtype != contract.torch_dtype:
        raise _refused(contract, f"elements of {_named(value.dtype)}", f"convert it: .to(torch.{contract.dtype})")
    wanted = torch.device(device)
    if value.device.type != wanted.type or (wanted.index is not None and value.device.index != wanted.index):
        raise _refused(contract, f"a tensor on {value.device}", f"move it: .to({device!r})")
    if value.ndim != len(contract.shape):
        raise _refused(contract, f"{value.ndim} axes ({_sizes(value)})", "give it the axes named here")
    for place, (side, length) in enumerate(zip(contract.shape, value.shape, strict=True)):
        if isinstance(side, int):
            if length != side:
                raise _refused(contract, f"{length} on axis {place} ({_sizes(value)})", "resize or crop it")
        else:
            _check_axis(contract, side, place, length, value, lengths)
    return value.detach().contiguous()


def _check_axis(
    contract: TensorContract, axis: Axis, place: int, length: int, value: Tensor, lengths: dict[str, int]
) -> None:
    if not axis.accepts(length):
        what = f"{length} on axis {place} ({_sizes(value)})"
        if axis.name != BATCH:
            raise _refused(contract, what, "resize the input, or export again for this size")
        if length < axis.minimum:
            raise _refused(contract, what, f"give it {axis.minimum} or more at a time")
        raise _refused(contract, what, "split the batch, or export again with a larger --max-batch")
    if lengths.setdefault(axis.name, length) != length:
        what = f"{length} on axis {place} ({axis.name}), where another input has {lengths[axis.name]}"
        raise _refused(contract, what, "give all inputs the same")


def _refused(contract: TensorContract, got: str, step: str) -> UsageError:
    return UsageError(f"got {got} for {contract.name}; expected {contract}; {step}")


def _sizes(value: Tensor) -> str:
    return " x ".join(map(str, value.shape))


def _named(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")


def contract_to_json(contract: TensorContract) -> dict[str, Any]:
    """Plain containers; strides are always those of a contiguous tensor, said for readers of other languages."""
    sides = [
        side
        if isinstance(side, int)
        else {"name": side.name, "minimum": side.minimum, "maximum": side.maximum, "multiple": side.multiple}
        for side in contract.shape
    ]
    return {
        "name": contract.name,
        "dtype": contract.dtype,
        "shape": sides,
        "strides": "contiguous, last axis fastest",
        "values": contract.values,
    }


def contract_from_json(document: Any) -> TensorContract:
    """The contract that `contract_to_json` wrote.

    Raises:
        ValueError: it is none; says what is wrong.
    """
    if not isinstance(document, dict) or not isinstance(document.get("shape"), list):
        raise ValueError("a tensor without a shape")
    name, dtype, values = (document.get(key) for key in ("name", "dtype", "values"))
    if not _is_name(name) or not isinstance(dtype, str) or dtype not in DTYPE_NAMES or not isinstance(values, str):
        raise ValueError(f"the tensor {name!r} of type {dtype!r}")
    contract = TensorContract(name=name, dtype=dtype, shape=tuple(map(_side, document["shape"])), values=values)
    if contract.batch is not None and (contract.batch.minimum, contract.batch.multiple) != (1, 1):
        raise ValueError(f"the axis {contract.batch}, where single pictures must do")
    if any(isinstance(side, Axis) and side.name == BATCH for side in contract.shape[1:]):
        raise ValueError(f"the tensor {name!r} with its batch on another axis than the first")
    return contract


def _side(side: Any) -> int | Axis:
    if not isinstance(side, dict):
        return _whole(side, 0)
    name, maximum = side.get("name"), side["maximum"]
    if not _is_name(name):
        raise ValueError(f"the axis {name!r}")
    axis = Axis(
        name=name,
        minimum=_whole(side.get("minimum"), 1),
        maximum=None if maximum is None else _whole(maximum, 1),
        multiple=_whole(side.get("multiple"), 1),
    )
    if axis.maximum is not None and axis.maximum < axis.minimum:
        raise ValueError(f"the axis {axis}")
    return axis


def _is_name(value: Any) -> TypeGuard[str]:
    return isinstance(value, str) and 0 < len(value) <= MAX_NAME and value.isprintable()


def _whole(value: Any, least: int) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or not least <= value < 2**62:
        raise ValueError(f"the length {value!r}")
    return value
