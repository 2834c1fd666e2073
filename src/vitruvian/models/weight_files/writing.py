"""Tensors by key -> the bytes of a safetensors file, piece by piece.

Unlike the format's own library this never holds all tensors twice, takes tensors that share memory or are not
contiguous, and leaves writing to the caller, whose errors then say what the disk has to say. Time: that of copying;
memory: one tensor where it must be brought into order, else none.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping

import torch
from torch import Tensor

from vitruvian.errors import RefusedError

_TYPE_CODES: Mapping[torch.dtype, str] = {
    torch.float64: "F64",
    torch.float32: "F32",
    torch.float16: "F16",
    torch.bfloat16: "BF16",
    torch.float8_e4m3fn: "F8_E4M3",
    torch.float8_e5m2: "F8_E5M2",
    torch.int64: "I64",
    torch.int32: "I32",
    torch.int16: "I16",
    torch.int8: "I8",
    torch.uint8: "U8",
    torch.bool: "BOOL",
}
"""Element types by the format's names."""
_ALIGNMENT_BYTES = 8
"""Of the first tensor in the file; the others follow in order of their element size, so all lie aligned."""


def safetensors_bytes(tensors: Mapping[str, Tensor]) -> int:
    """Bytes of the tensors in a file, without its table of contents."""
    return sum(tensor.nbytes for tensor in tensors.values())


def safetensors_pieces(tensors: dict[str, Tensor], metadata: Mapping[str, str]) -> Iterator[bytes | memoryview]:
    """What to write one after the other: the table of contents, then each tensor, which is taken out of the dict.

    Args:
        tensors: by key, on any device.
        metadata: text beside them.

    Raises:
        RefusedError: an element type that the format does not have.
    """
    order = sorted(tensors, key=lambda key: (-tensors[key].itemsize, key))
    table: dict[str, object] = {"__metadata__": dict(metadata)}
    end = 0
    for key in order:
        tensor = tensors[key]
        code = _TYPE_CODES.get(tensor.dtype)
        if code is None:
            raise RefusedError(
                f"got the tensor {key!r} of {tensor.dtype}; expected elements that safetensors files can hold; convert "
                "it, or save the weights without it"
            )
        start, end = end, end + tensor.nbytes
        table[key] = {"dtype": code, "shape": list(tensor.shape), "data_offsets": [start, end]}
    header = json.dumps(table, separators=(",", ":"), ensure_ascii=False).encode()
    header += b" " * (-len(header) % _ALIGNMENT_BYTES)
    yield len(header).to_bytes(8, "little") + header
    for key in order:
        yield _bytes_of(tensors.pop(key))


def _bytes_of(tensor: Tensor) -> memoryview:
    return tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data
