"""The largest batch for which no tensor of a graph passes 2^31 elements, where kernels count in 32 bits."""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import torch
from torch import Tensor

MAX_ELEMENTS = 2**31 - 1

Side = Any
"""A number, or an expression of the lengths that may change (sympy's)."""


def largest_batch(program: torch.export.ExportedProgram, batch_of: str) -> int | None:
    """The batch, other axes at their longest; None where nothing grows with it.

    Tensors whose size depends on values are passed over: nothing is known about them beforehand.

    Args:
        program: Captured without an upper end of its batch.
        batch_of: Name of an input whose first axis is the batch, as the graph has it.
    """
    nodes = {node.name: node for node in program.graph.nodes}
    batch = nodes[batch_of].meta["val"].shape[0].node.expr
    ranges = program.range_constraints.items()
    ends = {symbol: found.upper for symbol, found in ranges if symbol != batch and found.upper <= MAX_ELEMENTS}
    shapes = {_sides(value) for node in nodes.values() for value in _tensors(node.meta.get("val"))}
    counts = filter(None, map(partial(_count, batch, ends), shapes))
    limits = [_last(count) for count in counts if count(MAX_ELEMENTS) > count(1)]
    return max(1, min(limits)) if limits else None


def _tensors(value: Any) -> list[Tensor]:
    if isinstance(value, Tensor):
        return [value]
    return [one for one in value if isinstance(one, Tensor)] if isinstance(value, (tuple, list)) else []


def _sides(value: Tensor) -> tuple[Side, ...]:
    return tuple(side if isinstance(side, int) else side.node.expr for side in value.shape)


def _count(batch: Side, ends: Mapping[Side, Side], sides: tuple[Side, ...]) -> Callable[[int], int] | None:
    """Elements by the batch; None where they do not change with it, or with what nobody knows."""
    elements = math.prod(side if isinstance(side, int) else side.subs(ends) for side in sides)
    if isinstance(elements, int) or elements.free_symbols != {batch}:
        return None
    return lambda length: int(elements.subs(batch, length))


def _last(count: Callable[[int], int]) -> int:
    """The last batch for which a growing count keeps the limit."""
    one, two = count(1), count(2)
    if two > one:
        straight = max(1, (MAX_ELEMENTS - (2 * one - two)) // (two - one))
        if count(straight) <= MAX_ELEMENTS < count(straight + 1):
            return straight
    return bisect_right(range(1, MAX_ELEMENTS), MAX_ELEMENTS, key=count)  # grows in steps, or faster than the batch
