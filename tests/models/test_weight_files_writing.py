"""What is written in pieces is a safetensors file, without a second copy of the tensors."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file
from torch import Tensor

from vitruvian.errors import RefusedError
from vitruvian.models.weight_files.writing import safetensors_bytes, safetensors_pieces

DTYPES = (
    *(torch.float64, torch.float32, torch.float16, torch.bfloat16, torch.float8_e4m3fn, torch.float8_e5m2),
    *(torch.int64, torch.int32, torch.int16, torch.int8, torch.uint8, torch.bool),
)


def write(path: Path, tensors: dict[str, Tensor], metadata: dict[str, str]) -> Path:
    with path.open("wb") as file:
        for piece in safetensors_pieces(dict(tensors), metadata):
            file.write(piece)
    return path


def test_every_type_comes_back_bit_for_bit(tmp_path: Path) -> None:
    torch.manual_seed(0)
    tensors = {str(dtype): (torch.randn(3, 5) * 7).to(dtype) for dtype in DTYPES}
    tensors |= {"scalar": torch.tensor(2.5), "empty": torch.empty(0, 4), "ünï": torch.arange(3)}
    tensors |= {"turned": torch.randn(4, 6).T, "part": torch.randn(9)[2:5], "tied": tensors["torch.float32"]}
    path = write(tmp_path / "a.safetensors", tensors, {"note": 'grün "x"'})
    found = load_file(path)
    assert found.keys() == tensors.keys()
    for key, value in tensors.items():
        assert found[key].dtype == value.dtype, key
        assert found[key].shape == value.shape, key
        assert torch.equal(found[key].reshape(-1).view(torch.uint8), value.reshape(-1).view(torch.uint8)), key
    with safe_open(path, framework="pt") as file:
        assert file.metadata() == {"note": 'grün "x"'}


def test_tensors_lie_aligned(tmp_path: Path) -> None:
    tensors = {"a": torch.zeros(3, dtype=torch.bool), "b": torch.zeros(3, dtype=torch.float64), "c": torch.zeros(1)}
    data = write(tmp_path / "a.safetensors", tensors, {}).read_bytes()
    header_bytes = int.from_bytes(data[:8], "little")
    table = json.loads(data[8 : 8 + header_bytes])
    for key, value in tensors.items():
        assert (8 + header_bytes + table[key]["data_offsets"][0]) % value.itemsize == 0
    assert len(data) == 8 + header_bytes + safetensors_bytes(tensors)


def test_nothing_is_copied_and_what_was_written_is_let_go() -> None:
    tensors = {"a": torch.randn(40), "b": torch.randn(50)}
    first = tensors["a"]
    pieces = safetensors_pieces(tensors, {})
    next(pieces)
    piece = next(pieces)
    assert np.shares_memory(np.frombuffer(piece, dtype=np.uint8), first.numpy())
    assert tensors.keys() == {"b"}


def test_a_type_without_a_name_is_refused() -> None:
    with pytest.raises(RefusedError, match=r"the tensor 'phase' of torch\.complex64"):
        next(safetensors_pieces({"phase": torch.zeros(2, dtype=torch.complex64)}, {}))
