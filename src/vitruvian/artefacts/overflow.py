"""Where a network's numbers leave the range of their type, and which modules to keep in float32 so that they do not.

In: a module in any precision, inputs. Out: the innermost module that made values infinite or no numbers out of finite
ones, or a set of float32 islands that was tried. Costs one pass of the module and two reductions of every tensor that
goes in or out of a part of it; one pass more for each island.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor, nn

from vitruvian.fit.precision import Precision, apply_precision

MAX_ISLANDS = 16
"""Beyond that, another type is the better answer."""


@dataclass(frozen=True, kw_only=True, slots=True)
class NonFinite:
    """The first module whose outputs are not finite while what it was given is."""

    name: str
    """Dotted; empty for the whole module, where none of its parts is to blame."""
    dtype: str
    """Type of the outputs by torch's name."""
    infinite: bool
    """Whether values are infinite; else they are no numbers at all (0/0, the difference of infinities)."""
    largest_before: float
    """Largest magnitude among its inputs and what earlier modules gave."""

    def sentence(self, dtype: str, prefix: str = "") -> str:
        """What happened and what to do.

        Args:
            dtype: Compute type of the module.
            prefix: Left out before the name, where the module was wrapped.
        """
        name = f"{self.name}.".removeprefix(prefix).strip(".")
        where = f"`{name}`" if name else "the module's own forward"
        found = f"{dtype} overflows in" if self.infinite else f"{dtype} gives values that are no numbers in"
        limit = f", {dtype} ends at {torch.finfo(getattr(torch, dtype)).max:.5g}" if self.infinite else ""
        before = f"the largest value before it is {self.largest_before:.4g}{limit}"
        if self.dtype == "float32":
            cure = "that part is in float32 already: look at its weights and at what it is given"
        else:
            keep = f"keep it in float32 (islands=({name!r},))" if name else "compute that part in float32"
            cure = f"{keep} or take {'bfloat16' if dtype == 'float16' else 'float32'}"
        return f"{found} {where} ({before}): {cure}"


def first_non_finite(module: nn.Module, inputs: Sequence[Tensor]) -> NonFinite | None:
    """The module where values stop being finite; None where none does.

    Modules are looked at in the order in which they finish, so a part comes before what contains it. Modules that give
    infinities on purpose (attention masks) count, too.

    Args:
        module: In its precision; it is run once, without gradients.
        inputs: Positional arguments of its forward.
    """
    watch = _Watch()
    handles = []
    try:
        for name, part in module.named_modules():
            # In front of other hooks: those of `apply_precision` cast inputs, and a cast can overflow.
            handles.append(part.register_forward_pre_hook(watch.enter, prepend=True, with_kwargs=True))
            handles.append(part.register_forward_hook(watch.leave(name), always_call=True))
        with torch.no_grad():
            module(*inputs)
    finally:
        for handle in handles:
            handle.remove()
    return watch.found


def islands_against_overflow(
    build: Callable[[], nn.Module], precision: Precision, inputs: Sequence[Tensor]
) -> Precision | None:
    """The precision with as many float32 islands more as it takes for finite numbers; None where that does not help.

    One island is seldom enough: what it gives is still too large for the next module.

    Args:
        build: A new float32 copy of the module at each call.
        precision: To begin with.
        inputs: Positional arguments of its forward.
    """
    for _ in range(MAX_ISLANDS + 1):
        found = first_non_finite(apply_precision(build(), precision), inputs)
        if found is None:
            return precision
        if not found.name or precision.covers(found.name):
            return None
        precision = replace(precision, islands=(*precision.islands, found.name))
    return None


@dataclass(slots=True)
class _Watch:
    """What the hooks have seen."""

    found: NonFinite | None = None
    largest: float = 0.0
    _given: list[float] = field(default_factory=list)
    """Largest magnitude of the inputs of each module under way."""

    def enter(self, part: nn.Module, args: Any, kwargs: Any) -> None:
        self._given.append(_magnitude((args, kwargs)))

    def leave(self, name: str) -> Callable[[nn.Module, Any, Any], None]:
        def look(part: nn.Module, args: Any, output: Any) -> None:
            given = self._given.pop()
            if self.found is None:
                self._judge(name, given, output)

        return look

    def _judge(self, name: str, given: float, output: Any) -> None:
        if math.isfinite(given):
            self.largest = max(self.largest, given)
        broken = next((value for value in _tensors(output) if not math.isfinite(_magnitude(value))), None)
        if broken is None:
            self.largest = max(self.largest, _magnitude(output))
        elif math.isfinite(given):
            self.found = NonFinite(
                name=name,
                dtype=str(broken.dtype).removeprefix("torch."),
                infinite=bool(broken.isinf().any()),
                largest_before=self.largest,
            )


def _magnitude(value: Any) -> float:
    """Largest absolute value; infinite or NaN where any value is."""
    found = [float(torch.linalg.vector_norm(tensor.detach(), ord=math.inf)) for tensor in _tensors(value)]
    return math.nan if any(map(math.isnan, found)) else max(found, default=0.0)


def _tensors(value: Any) -> Iterator[Tensor]:
    """Tensors of floating types with infinities, at any depth of containers."""
    if isinstance(value, Tensor):
        if value.is_floating_point() and value.dtype.itemsize > 1 and value.numel():
            yield value
    elif isinstance(value, Mapping):
        for one in value.values():
            yield from _tensors(one)
    elif isinstance(value, (tuple, list)):
        for one in value:
            yield from _tensors(one)
