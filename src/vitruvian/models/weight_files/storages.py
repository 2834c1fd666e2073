"""Tensor records -> tensors, each over exactly the bytes of its own storage, after checking that it stays inside.

A storage whose place in the file suits its element type is mapped (pages come in when used, copy-on-write, the file
is never written); any other is read into memory of its own, once. Peak memory: the tensors, each storage once.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable
from typing import Any, cast

import torch
from torch import Tensor

from vitruvian.errors import RefusedError
from vitruvian.models.weight_files.archive import Span
from vitruvian.models.weight_files.inert_values import StorageRecord, TensorRecord

_DTYPE_OF_STORAGE = {
    "DoubleStorage": torch.float64,
    "FloatStorage": torch.float32,
    "HalfStorage": torch.float16,
    "BFloat16Storage": torch.bfloat16,
    "LongStorage": torch.int64,
    "IntStorage": torch.int32,
    "ShortStorage": torch.int16,
    "CharStorage": torch.int8,
    "ByteStorage": torch.uint8,
    "BoolStorage": torch.bool,
    "ComplexDoubleStorage": torch.complex128,
    "ComplexFloatStorage": torch.complex64,
}
_UNTYPED_DTYPE_NAMES = (
    "uint16",
    "uint32",
    "uint64",
    "float8_e4m3fn",
    "float8_e5m2",
    "float8_e4m3fnuz",
    "float8_e5m2fnuz",
)
"""Element types that have no storage class of their own."""
_MAX_DIMENSIONS = 16


class Storages:
    """The storages of one file, opened when first asked for and shared by the tensors that share them."""

    def __init__(self, locate: Callable[[StorageRecord], Span]) -> None:
        """`locate` says where a storage's bytes lie, or raises RefusedError."""
        self._locate = locate
        self._open: dict[tuple[str, int], torch.UntypedStorage] = {}
        self._mapped: torch.UntypedStorage | None = None

    def tensor(self, record: TensorRecord, name: str) -> Tensor:
        """The tensor of a record; `name` is for messages.

        Raises:
            RefusedError: unknown element type, or a shape that does not lie inside its storage.
        """
        dtype = _dtype(record, name)
        elements = record.storage.elements
        if record.storage.type_name == "UntypedStorage":
            elements //= dtype.itemsize
        shape, stride, offset = _checked_layout(record, elements, name)
        span = self._locate(record.storage)
        if not 0 <= elements * dtype.itemsize <= span.size_bytes:
            raise _lie(name, f"a storage of {span.size_bytes} bytes, said to hold more")
        storage = self._storage(record.storage.key, span, dtype.itemsize)
        return torch.empty(0, dtype=dtype).set_(storage, offset, shape, stride)

    def _storage(self, key: str, span: Span, alignment_bytes: int) -> torch.UntypedStorage:
        place = (key, alignment_bytes)
        if place not in self._open:
            # Smaller element types are converted before use; mapped pages would stay beside the converted weights.
            if alignment_bytes >= 4 and span.start % alignment_bytes == 0 and span.size_bytes:
                self._open[place] = self._whole(span)[span.start : span.start + span.size_bytes]
            else:
                self._open[place] = _read(span)
        return self._open[place]

    def _whole(self, span: Span) -> torch.UntypedStorage:
        if self._mapped is None:
            size_bytes = span.path.stat().st_size
            mapped = torch.UntypedStorage.from_file(os.fspath(span.path), False, size_bytes)
            self._mapped = cast(torch.UntypedStorage, mapped)
        return self._mapped


def item_bytes(record: StorageRecord) -> int:
    """Bytes of one element of a storage as its class says; untyped ones count bytes."""
    return _DTYPE_OF_STORAGE.get(record.type_name, torch.uint8).itemsize


def _read(span: Span) -> torch.UntypedStorage:
    """The span's bytes in memory of their own."""
    data = torch.empty(span.size_bytes, dtype=torch.uint8)
    with span.path.open("rb", buffering=0) as file:
        file.seek(span.start)
        view = data.numpy().data
        while view:
            count = file.readinto(view)
            if not count:
                raise RefusedError(f"got {span.path.name}, which ended while it was read; download it again")
            view = view[count:]
    return data.untyped_storage()


def _dtype(record: TensorRecord, name: str) -> torch.dtype:
    if record.dtype_name is not None and record.dtype_name in _UNTYPED_DTYPE_NAMES:
        dtype: Any = getattr(torch, record.dtype_name, None)
    else:
        dtype = _DTYPE_OF_STORAGE.get(record.storage.type_name)
    if dtype is None:
        raise RefusedError(
            f"got the tensor {name!r} with elements of kind {record.dtype_name or record.storage.type_name}; expected "
            "plain floating-point or integer elements; save the weights unquantised, best as safetensors"
        )
    return dtype


def _checked_layout(record: TensorRecord, elements: int, name: str) -> tuple[tuple[int, ...], tuple[int, ...], int]:
    """Shape, stride and offset in elements, proven to lie inside `elements` and to repeat none."""
    shape, stride, offset = record.shape, record.stride, record.offset
    for values in (shape, stride):
        if not isinstance(values, (tuple, list)) or any(type(value) is not int or value < 0 for value in values):
            raise _lie(name, "a shape or stride that is no list of counts")
    if len(shape) != len(stride) or len(shape) > _MAX_DIMENSIONS or type(offset) is not int or offset < 0:
        raise _lie(name, "a shape that does not go with its stride or offset")
    count = math.prod(shape)
    last = offset + sum((size - 1) * step for size, step in zip(shape, stride, strict=True)) if count else offset - 1
    if last >= elements or offset > elements:
        raise _lie(name, "a shape that reaches beyond its storage")
    if count > elements:
        raise _lie(name, "a shape with more elements than its storage")
    # torch keeps sizes in 64 bits; an axis of an empty tensor is not bounded by the storage.
    if max((*shape, *stride, 0)) >= 2**62:
        raise _lie(name, "a shape beyond all memory")
    return tuple(shape), tuple(stride), offset


def _lie(name: str, what: str) -> RefusedError:
    return RefusedError(
        f"got the tensor {name!r} with {what}; expected a tensor inside its storage; the file is damaged or forged, "
        "get it again from its publisher"
    )
