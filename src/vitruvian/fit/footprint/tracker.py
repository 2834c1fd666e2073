"""Counts the bytes of every storage that operators make, operator by operator, while a network runs on fake tensors.

In: whatever runs inside the mode. Out: a `Timeline`: one row per operator with the bytes alive by what they are, and
what the operators compute and move. Cost: about 25 microseconds an operator beside the fake tensors' own.
"""

from __future__ import annotations

import math
import weakref
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode, is_traceable_wrapper_subclass
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import flop_registry

Category = Literal["weights", "casts", "gradients", "optimizer", "activations", "results"]
KEPT: tuple[Category, ...] = ("weights", "casts", "gradients", "optimizer", "activations", "results")
"""What storages are counted as; casts are copies of weights in another type, as autocast keeps them."""
COLUMNS = (*KEPT, "workspace")
"""Columns of a timeline."""
GRANULE_BYTES = 512
"""Allocators round up to this."""

Scratch = Callable[[str, tuple[Any, ...], Any], int]
"""(operator, arguments, result) -> bytes that the operator needs while it runs and that no tensor shows."""

aten = torch.ops.aten
_DEVICE = torch.ops.prim.device.default
_RESIZES = ("resize_", "resize_as_", "set_")


@dataclass(kw_only=True, slots=True)
class Timeline:
    """What happened, operator by operator."""

    operators: list[str] = field(default_factory=list)
    rows: list[tuple[int, ...]] = field(default_factory=list)
    """Bytes alive when the operator had made its result, by `COLUMNS`."""
    spans: list[tuple[str, int, int]] = field(default_factory=list)
    """Phases: name, first row, row past the last."""
    flops: float = 0.0
    bytes_moved: float = 0.0
    """Activations read and written."""
    launches: int = 0
    """Operators that do work; views do none."""


class Tracker(TorchDispatchMode):
    """The mode that counts. Storages are known by their C++ address and leave the count when the last user lets go."""

    def __init__(self, scratch: Scratch) -> None:
        super().__init__()
        self.timeline = Timeline()
        self.new: Category = "activations"
        """What storages made from now on count as."""
        self.times = 1
        """How often the work done from now on counts."""
        self._scratch = scratch
        self._live = dict.fromkeys(KEPT, 0)
        self._held: dict[int, tuple[Category, int]] = {}

    def __enter__(self) -> Tracker:
        self._plain_resize = torch.UntypedStorage.resize_
        tracker = self

        def resize_(storage: torch.UntypedStorage, size: int) -> torch.UntypedStorage:
            # Sharded training frees and refills storages by resizing, without any operator.
            tracker._plain_resize(storage, size)
            tracker._resized(storage)
            return storage

        torch.UntypedStorage.resize_ = resize_  # type: ignore[assignment]
        super().__enter__()
        return self

    def __exit__(self, *error: Any) -> None:
        torch.UntypedStorage.resize_ = self._plain_resize  # type: ignore[method-assign]
        super().__exit__(*error)

    def live_bytes(self, category: Category) -> int:
        """What is alive of one kind."""
        return self._live[category]

    def count(self, tensors: Iterable[Tensor], category: Category) -> None:
        """Count these tensors' storages as `category`, whatever they counted as before."""
        for tensor in tensors:
            for storage in _storages(tensor):
                self._count(storage, category)

    @contextmanager
    def phase(self, name: str, new: Category = "activations") -> Iterator[None]:
        """Rows within belong to this phase; what is made within counts as `new`."""
        first, before, self.new = len(self.timeline.rows), self.new, new
        yield
        self.timeline.spans.append((name, first, len(self.timeline.rows)))
        self.new = before

    def __torch_dispatch__(self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None) -> Any:
        if func is _DEVICE:  # fake tensors ask this of themselves, as often as everything else together
            return args[0].fake_device
        # What only writes into an argument needs no shape rule: fake tensors take longest over exactly these.
        place = _written(func)
        out = None if place is None else args[0] if place == 0 else kwargs["out"]
        if out is None or not out.numel():  # an empty `out` grows
            out = func(*args, **(kwargs or {}))
        if func.namespace in ("profiler", "prim") or getattr(func, "is_view", False):
            return out
        category = self._category_of(func, args)
        results = [leaf for leaf in tree_leaves(out) if isinstance(leaf, Tensor)]
        for tensor in results:
            for storage in _storages(tensor):
                if storage._cdata not in self._held:
                    self._count(storage, category)
        timeline = self.timeline
        name = str(func._overloadpacket) if hasattr(func, "_overloadpacket") else str(func)
        timeline.operators.append(name)
        timeline.rows.append((*self._live.values(), self._scratch(name, args, out)))
        self._work(func, args, kwargs or {}, out, results)
        return out

    def _category_of(self, func: Any, args: tuple[Any, ...]) -> Category:
        """A copy of a weight in another type is a weight of its own: autocast keeps it for the whole pass."""
        if func is aten._to_copy.default and self.new == "activations":
            held = self._held.get(args[0].untyped_storage()._cdata)
            if held is not None and held[0] in ("weights", "casts"):
                return "casts"
        return self.new

    def _work(self, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any], out: Any, results: list[Tensor]) -> None:
        timeline = self.timeline
        inputs = [leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, Tensor)]
        moved = sum(tensor.nbytes for tensor in (*inputs, *results) if not self._is_weight(tensor))
        timeline.launches += self.times
        timeline.flops += self.times * flops_of(func, args, kwargs, out)
        timeline.bytes_moved += self.times * moved

    def _is_weight(self, tensor: Tensor) -> bool:
        held = self._held.get(tensor.untyped_storage()._cdata)
        return held is not None and held[0] in ("weights", "casts", "gradients", "optimizer")

    def _count(self, storage: torch.UntypedStorage, category: Category) -> None:
        key, size = storage._cdata, in_granules(storage.nbytes())
        if key in self._held:
            before, counted = self._held[key]
            self._live[before] -= counted
        else:
            # Without atexit, or ten thousands of finalizers would run when the process ends.
            weakref.finalize(storage, self._drop, key).atexit = False
        self._held[key] = (category, size)
        self._live[category] += size

    def _drop(self, key: int) -> None:
        category, size = self._held.pop(key)
        self._live[category] -= size

    def _resized(self, storage: torch.UntypedStorage) -> None:
        held = self._held.get(storage._cdata)
        if held is not None:
            self._count(storage, held[0])


@cache
def _written(func: Any) -> int | str | None:
    """The argument (first one, or `out`) that an operator fills and returns with shape, storage and type unchanged."""
    schema = getattr(func, "_schema", None)
    if schema is None or func.namespace != "aten" or len(schema.returns) != 1 or not schema.arguments:
        return None
    name = schema.name.partition("::")[2]
    if torch.Tag.inplace_view in func.tags or name.startswith("_") or name in _RESIZES:
        return None
    for place, argument in ((0, schema.arguments[0]), ("out", schema.arguments[-1])):
        written = argument.alias_info is not None and argument.alias_info.is_write
        if (
            written
            and str(argument.type) == "Tensor"
            and (name.endswith("_") if place == 0 else argument.name == "out")
        ):
            return place
    return None


def flops_of(func: Any, args: tuple[Any, ...], kwargs: dict[str, Any], out: Any) -> float:
    """Multiplications and additions of one operator, each counted; those without matrix products count as none."""
    packet = getattr(func, "_overloadpacket", func)
    if packet is aten._scaled_dot_product_flash_attention_for_cpu:  # torch's own table knows the CUDA kernels only
        return attention_flops(args[0], args[1], args[2], products=2)
    if packet is aten._scaled_dot_product_flash_attention_for_cpu_backward:
        return attention_flops(args[1], args[2], args[3], products=5)
    formula = flop_registry.get(packet)
    return float(formula(*args, **kwargs, out_val=out)) if formula is not None else 0.0


def attention_flops(query: Tensor, key: Tensor, value: Tensor, *, products: int) -> float:
    """Fused attention: two matrix products forward, five backward (one recomputes the scores)."""
    rows = math.prod(query.shape[:-1])
    return 2.0 * products * rows * key.shape[-2] * (query.shape[-1] + value.shape[-1]) / 2


def tensors_of(module: nn.Module) -> list[Tensor]:
    """Parameters, buffers and plain tensor attributes."""
    plain = [value for part in module.modules() for value in vars(part).values() if isinstance(value, Tensor)]
    return [*module.parameters(), *module.buffers(), *plain]


def _storages(tensor: Tensor) -> Iterator[torch.UntypedStorage]:
    """Of a wrapper subclass, the storages of what it wraps: a sharded tensor's own reports its global size."""
    if is_traceable_wrapper_subclass(tensor):
        names, _ = tensor.__tensor_flatten__()
        for name in names:
            inner = getattr(tensor, name)
            if isinstance(inner, Tensor):  # a sharded tensor lists its mesh, too
                yield from _storages(inner)
    else:
        yield tensor.untyped_storage()


def in_granules(size: int) -> int:
    """Rounded up as allocators do."""
    return -(-size // GRANULE_BYTES) * GRANULE_BYTES
