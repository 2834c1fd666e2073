"""What a pickle becomes when nothing in it may run: names, placeholders, storage and tensor records.

A name stays a `Global` (two strings, never looked up). What would be a call becomes an `Inert` holding its arguments,
except for the handful of constructors in `_REBUILD`, which are written here again over plain values. Tensors are
`TensorRecord`s: nothing of torch is touched, storages are checked and opened later.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

_SCALARS = (str, int, float, bool, bytes, type(None))


@dataclass(frozen=True, slots=True)
class Global:
    """A class or function that the pickle names; never looked up."""

    module: str
    name: str

    def __str__(self) -> str:
        return f"{self.module}.{self.name}"


@dataclass(eq=False, repr=False, slots=True)
class Inert:
    """Stands for an object of a class, or a result of a call, that the reader does not know; holds data only."""

    what: str
    """Dotted name of the class or function, or a description where there is none."""
    args: Any = ()
    """Arguments it would have been made with."""
    state: Any = None
    """State it would have been given; for `__torch__` classes the dictionary of attributes."""
    items: dict[Any, Any] = field(default_factory=dict)
    """Items set on it, where it stands for a mapping."""
    elements: list[Any] = field(default_factory=list)
    """Elements added to it, where it stands for a sequence or set."""


@dataclass(frozen=True, eq=False, repr=False, slots=True)
class StorageRecord:
    """A storage by reference: the bytes lie elsewhere in the file."""

    type_name: str
    """Name of the storage class, e.g. `FloatStorage`; `UntypedStorage` counts bytes."""
    key: str
    elements: int


@dataclass(frozen=True, eq=False, repr=False, slots=True)
class TensorRecord:
    """A tensor as the pickle describes it; nothing about it is checked yet."""

    storage: StorageRecord
    offset: Any
    shape: Any
    stride: Any
    dtype_name: str | None = None
    """Element type, where the storage is untyped."""


def hashable(key: Any) -> Any:
    """The key itself if it is flat; anything deeper becomes a placeholder (hashing nested tuples recurses in C)."""
    if isinstance(key, (*_SCALARS, Global, Inert, StorageRecord, TensorRecord)):
        return key
    if type(key) is tuple and all(isinstance(part, _SCALARS) for part in key):
        return key
    return Inert("a key", args=(key,))


def label(function: Any) -> str:
    """What to call a placeholder for something made by `function`."""
    return str(function) if isinstance(function, Global) else f"something made of {type(function).__name__}"


def storage_record(persistent_id: Any) -> StorageRecord | Inert:
    """`('storage', type, key, location, elements, ...)`; older files carry a sixth part, views, always None here."""
    match persistent_id:
        case ("storage", Global(module=_, name=type_name), str(key), _, int(elements)):
            return StorageRecord(type_name, key, elements)
        case ("storage", Global(module=_, name=type_name), str(key), _, int(elements), None):
            return StorageRecord(type_name, key, elements)
    return Inert("a persistent id", args=(persistent_id,))


def without_calling(function: Any, args: Any) -> Any:
    """What a known constructor would give, made of plain values; a placeholder for everything else."""
    if isinstance(function, Global) and type(args) is tuple:
        rebuild = _REBUILD.get(str(function))
        if rebuild is not None:
            value = rebuild(args)
            if value is not None:
                return value
    return Inert(label(function), args=args)


def _ordered_dict(args: tuple[Any, ...]) -> dict[Any, Any] | None:
    match args:
        case ():
            return {}
        case (list(pairs),) if all(isinstance(pair, (list, tuple)) and len(pair) == 2 for pair in pairs):
            return {hashable(key): value for key, value in pairs}
    return None


def _set(args: tuple[Any, ...]) -> set[Any] | None:
    match args:
        case (list(values) | tuple(values),):
            return set(map(hashable, values))
    return None


def _size(args: tuple[Any, ...]) -> tuple[Any, ...] | None:
    match args:
        case (list(values) | tuple(values),):
            return tuple(values)
    return None


def _tensor(args: tuple[Any, ...]) -> TensorRecord | None:
    match args:
        case (StorageRecord() as storage, offset, shape, stride, *_):
            return TensorRecord(storage, offset, shape, stride)
    return None


def _tensor_with_dtype(args: tuple[Any, ...]) -> TensorRecord | None:
    match args:
        case (StorageRecord() as storage, offset, shape, stride, _, _, Global(module="torch", name=dtype_name), *_):
            return TensorRecord(storage, offset, shape, stride, dtype_name)
    return None


def _parameter(args: tuple[Any, ...]) -> TensorRecord | None:
    match args:
        case (TensorRecord() as tensor, *_):
            return tensor
    return None


def _subclass(args: tuple[Any, ...]) -> TensorRecord | None:
    """A tensor with attributes: (function, class, its arguments, state); only plain tensors count."""
    match args:
        case (Global() as function, Global(module="torch" | "torch.nn.parameter"), tuple(inner), *_):
            rebuild = {_tensor, _tensor_with_dtype} & {_REBUILD.get(str(function))}
            return rebuild.pop()(inner) if rebuild else None
    return None


_REBUILD: dict[str, Callable[[tuple[Any, ...]], Any]] = {
    "collections.OrderedDict": _ordered_dict,
    "builtins.set": _set,
    "__builtin__.set": _set,
    "torch.Size": _size,
    "torch._utils._rebuild_tensor": _tensor,
    "torch._utils._rebuild_tensor_v2": _tensor,
    "torch._utils._rebuild_tensor_v3": _tensor_with_dtype,
    "torch._utils._rebuild_parameter": _parameter,
    "torch._utils._rebuild_parameter_with_state": _parameter,
    "torch.nn.parameter.Parameter": _parameter,
    "torch._tensor._rebuild_from_type_v2": _subclass,
}
