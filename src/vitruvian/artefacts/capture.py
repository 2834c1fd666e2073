"""A module as one graph, with a named range for every axis that may change.

In: module, sample inputs, contracts. Out: an exported program whose ranges are those of the contracts, or the error of
whoever could not make one; `explanations` says what it means. Takes seconds, memory for one batch of two.
"""

from __future__ import annotations

import inspect
import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, redirect_stderr
from io import StringIO
from typing import Any

import torch
from torch import Tensor, nn
from torch.export import Dim

from vitruvian.artefacts.contract import Axis, TensorContract
from vitruvian.errors import VitruvianError


class CaptureError(VitruvianError):
    """A module could not be made one graph, or not for the ranges that were asked for."""


def capture(
    module: nn.Module, sample: Sequence[Tensor], contracts: Sequence[TensorContract]
) -> torch.export.ExportedProgram:
    """Export a module.

    A sample batch of one would be taken for a constant, and torch's automatic ranges accept that silently: so every
    axis is named, with its range, and the result is held against it.

    Raises:
        CaptureError: the graph exists, but not for the whole range.
        Exception: whatever torch raises for this module.
    """
    for contract, tensor in zip(contracts, sample, strict=True):
        if contract.batch is not None and tensor.shape[0] < 2:
            raise ValueError(f"got a sample of batch {tensor.shape[0]} for {contract.name}; expected at least 2")
    shapes = _dynamic_shapes(module, contracts)
    with torch.no_grad(), _quiet():
        try:
            program = torch.export.export(module, tuple(sample), dynamic_shapes=shapes, strict=False)
        except Exception as loose:
            try:
                program = torch.export.export(module, tuple(sample), dynamic_shapes=shapes, strict=True)
            except Exception as strict:
                raise strict from loose  # its message names file and line
    _check_ranges(program, contracts)
    return program


def _dynamic_shapes(module: nn.Module, contracts: Sequence[TensorContract]) -> dict[str, Any]:
    """By the names of the module's parameters, of which one may take several inputs (`*inputs`)."""
    dims: dict[str, Any] = {}
    shapes = [
        {
            place: dims.setdefault(side.name, _dim(side))
            for place, side in enumerate(contract.shape)
            if isinstance(side, Axis)
        }
        or None
        for contract in contracts
    ]
    return dict(inspect.signature(module.forward).bind(*shapes).arguments)


def _dim(axis: Axis) -> Any:
    """torch's dimension; one that must be divisible is a multiple of a hidden one."""
    least = -(-axis.minimum // axis.multiple)
    most = None if axis.maximum is None else axis.maximum // axis.multiple
    name = axis.name if axis.multiple == 1 else f"{axis.name}_over_{axis.multiple}"
    dim = Dim(name, min=least) if most is None else Dim(name, min=least, max=most)
    return dim if axis.multiple == 1 else axis.multiple * dim


def _check_ranges(program: torch.export.ExportedProgram, contracts: Sequence[TensorContract]) -> None:
    """The program's own ranges must hold what the contracts promise."""
    users = [node for node in program.graph.nodes if node.op == "placeholder"]
    by_name = dict(zip((node.name for node in users), users, strict=True))
    for contract, name in zip(contracts, program.graph_signature.user_inputs, strict=True):
        value = by_name[str(name)].meta["val"]
        for place, side in enumerate(contract.shape):
            if isinstance(side, Axis):
                _check_range(program, contract, place, side, value.shape[place])


def _check_range(
    program: torch.export.ExportedProgram, contract: TensorContract, place: int, wanted: Axis, length: Any
) -> None:
    if isinstance(length, int):
        raise CaptureError(
            f"got a graph in which axis {place} of {contract.name} is fixed at {length}; expected {wanted}; something "
            "in the module turns its length into a constant: look for int(), len() or a comparison of x.shape"
        )
    (symbol,) = length.node.expr.free_symbols
    found, factor = program.range_constraints[symbol], length.node.expr.coeff(symbol)
    lowest, highest = found.lower * factor, found.upper * factor
    if wanted.maximum is None:
        is_open = not highest.is_Integer  # torch has an infinity of its own for lengths
    else:
        is_open = highest >= wanted.maximum
    if lowest > wanted.minimum or not is_open:
        raise CaptureError(
            f"got a graph for {lowest} to {highest} on axis {place} of {contract.name}; "
            f"expected {wanted}; something in the module compares that length with a number: look for x.shape in "
            "conditions"
        )


@contextmanager
def _quiet() -> Iterator[None]:
    """torch prints whole graphs as warnings before it raises; the error says the same."""
    loggers = [
        logging.getLogger(name)
        for name in ("torch.export", "torch._export", "torch._dynamo", "torch._guards", "torch.fx")
    ]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.CRITICAL)
    try:
        with redirect_stderr(StringIO()):
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
