"""Scratch that no tensor shows: which rows of the tables apply to which calls."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.nn import functional as F

from vitruvian.fit.footprint.tracker import COLUMNS, Tracker
from vitruvian.fit.footprint.workspace import process_bytes, scratch_bytes

X, OUT, W = 64 * 32 * 32 * 4, 128 * 32 * 32 * 4, 128 * 64 * 4


def conv(x: Tensor) -> Tensor:
    return F.conv2d(x, torch.empty(128, 64, 1, 1, dtype=x.dtype))


def deconv(x: Tensor) -> Tensor:
    return F.conv_transpose2d(x, torch.empty(64, 32, 4, 4, dtype=x.dtype), stride=2, padding=1)


def last(x: Tensor) -> Tensor:
    return conv(x.contiguous(memory_format=torch.channels_last))


def backward(x: Tensor) -> Tensor:
    result = conv(x.requires_grad_())
    return torch.autograd.grad(result, x, torch.empty_like(result))[0]


def attention(x: Tensor) -> Tensor:
    tokens = x.flatten(2)[:, None]
    return F.scaled_dot_product_attention(tokens, tokens, tokens)


def odd_attention(x: Tensor) -> Tensor:
    tokens = x.flatten(2)[:, None, :, :60]
    return F.scaled_dot_product_attention(tokens, tokens, tokens)


ODD = 64 * 60 * 4


@pytest.mark.parametrize(
    ("call", "backend", "dtype", "expected"),
    [
        (conv, "cpu", torch.float32, max(X, OUT)),
        (conv, "cpu", torch.bfloat16, max(X, 2 * OUT) // 2),
        (last, "cpu", torch.float32, 0),
        (backward, "cpu", torch.float32, X + OUT),
        (deconv, "cpu", torch.float32, 2 * 2 * X),
        (F.gelu, "cpu", torch.float32, 0),
        (attention, "cpu", torch.float32, 0),
        (attention, "cpu", torch.bfloat16, 2 * X // 2),
        (attention, "cuda", torch.bfloat16, 0),
        (odd_attention, "cuda", torch.bfloat16, 4 * ODD // 2),
        (conv, "cuda", torch.bfloat16, (X + OUT) // 2),
        (last, "cuda", torch.bfloat16, 0),
        (conv, "mps", torch.float32, X + OUT),
    ],
)
def test_the_row_that_applies(
    call: Callable[[Tensor], Tensor], backend: str, dtype: torch.dtype, expected: int
) -> None:
    def scratch(name: str, args: tuple[Any, ...], out: Any) -> int:
        return scratch_bytes(backend, name, args, out)

    with FakeTensorMode():
        x = torch.empty(1, 64, 32, 32, dtype=dtype)
        with Tracker(scratch) as tracker:
            call(x)
    at = COLUMNS.index("workspace")
    assert max(row[at] for row in tracker.timeline.rows) == expected


def test_every_process_holds_something() -> None:
    assert process_bytes("cpu", train=True) > process_bytes("cpu", train=False) > 100e6
    assert process_bytes("cuda", train=False) > 400e6
