"""Modules round a network that give every backend the same face: tensors in, {name: tensor} out."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import fields, is_dataclass
from typing import Any

import torch
from torch import Tensor, nn

from vitruvian.errors import UsageError

Function = Callable[[Any], Any]

FINITE = "finite"
"""Output of networks with their post-processing inside: whether everything the network gave for a picture was a number.
What comes after may give NaN by itself, for a keypoint that is not there."""


class NamedOutputs(nn.Module):
    """Any module with its outputs by name: those of a dict by their keys, a single one as `output`, others by place."""

    prefix = "module."
    """Before the names of the wrapped weights."""

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module = module

    def forward(self, *inputs: Tensor) -> dict[str, Tensor]:
        return named(self.module(*inputs))


class PostInside(nn.Module):
    """A network with what stands before and after it, so that another program needs neither."""

    prefix = "network."
    """Before the names of the wrapped weights."""

    def __init__(self, network: nn.Module, before: Function, after: Function) -> None:
        super().__init__()
        self.network = network
        self.before = before
        self.after = after

    def forward(self, canvas_BHW3: Tensor) -> dict[str, Tensor]:
        raw = self.network(self.before(canvas_BHW3))
        sums = [value.float().flatten(1).sum(1) for value in raw.values() if value.is_floating_point()]
        return {**self.after(raw), FINITE: torch.stack(sums).isfinite().all(0)}


def named(outputs: Any) -> dict[str, Tensor]:
    """Outputs of any nesting as a flat table; what is no tensor is left out.

    Raises:
        UsageError: no tensor at all, or two of one name.
    """
    if isinstance(outputs, Mapping) and all(isinstance(value, Tensor) for value in outputs.values()):
        found = [(str(key), value) for key, value in outputs.items()]
    else:
        found = list(_leaves("output", outputs))
    table = dict(found)
    if not table or len(table) < len(found):
        names = ", ".join(name for name, _ in found) or "no tensor"
        raise UsageError(f"got {names} as outputs of a module; expected tensors, each with a name of its own; wrap it")
    return table


def _leaves(name: str, value: Any) -> Iterator[tuple[str, Tensor]]:
    if isinstance(value, Tensor):
        yield name, value
        return
    inner: Iterable[tuple[Any, Any]] = ()
    if isinstance(value, Mapping):
        inner = value.items()
    elif isinstance(value, (list, tuple)):
        inner = zip(getattr(value, "_fields", range(len(value))), value, strict=True)
    elif is_dataclass(value):
        inner = [(one.name, getattr(value, one.name)) for one in fields(value)]
    for key, part in inner:
        yield from _leaves(f"{name}_{key}", part)
