"""Scratch memory inside operators, which no tensor shows: a table by backend, operator, type and layout.

In: an operator call on fake tensors. Out: bytes it needs beside its inputs and results while it runs; and what the
process itself holds. The CPU's values were measured by `benchmarks/workspace.py` (torch 2.13, oneDNN on an x86-64 with
AMX, 2 threads, resident peak of a fresh process per operator): oneDNN reorders plain NCHW tensors into its blocked
layout and back, half types through float32, and leaves channels-last ones alone. Norms, activations, sums, softmax,
resizing and float32 products measured as nothing; so they are not listed. The first convolution of a network (3
channels) deviates and is not modelled: it is never the peak. The accelerator's values are knowledge about cuDNN and
cuBLAS, not measured.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

Terms = tuple[tuple[float, float, float], ...]
"""Sums of shares of (input, weight, result) bytes; the largest sum counts, because they are needed one after the other.
For a backward operator input and result are those of its forward one."""

NONE: Terms = ((0, 0, 0),)
CPU: Mapping[tuple[str, str, str], Terms] = {
    # (kind, float32 or half, layout)
    ("conv", "float32", "nchw"): ((1, 0, 0), (0, 0, 1)),
    ("conv", "half", "nchw"): ((1, 0, 0), (0, 0, 2)),
    ("conv_backward", "float32", "nchw"): ((1, 0, 1),),
    ("conv_backward", "half", "nchw"): ((1, 0, 1), (2, 0, 0)),
    ("deconv", "float32", "nchw"): ((0, 0, 2),),
    ("deconv", "half", "nchw"): ((0, 1, 2),),
    ("deconv", "float32", "nhwc"): ((0, 1, 0),),
    ("deconv", "half", "nhwc"): ((1, 1, 0),),
    ("deconv_backward", "float32", "nchw"): ((1, 0, 1),),
    ("deconv_backward", "half", "nchw"): ((1, 2, 1),),
    ("deconv_backward", "float32", "nhwc"): ((0, 2, 0),),
    ("deconv_backward", "half", "nhwc"): ((0, 3, 0),),
    # Measured from nothing to 0.28 of the first matrix, most where the inner side is 4096.
    ("product", "half", "any"): ((0.25, 0, 0),),
    ("attention", "half", "any"): ((2, 0, 0),),
    ("resize_backward", "half", "nhwc"): ((2, 0, 0),),
}
ACCELERATOR: Mapping[tuple[str, str, str], Terms] = {
    # Matrix units want channels last (TF32 ones, too): cuDNN turns NCHW tensors round in its workspace.
    ("conv", "float32", "nchw"): ((1, 0, 1),),
    ("conv", "half", "nchw"): ((1, 0, 1),),
    ("conv_backward", "float32", "nchw"): ((1, 1, 1),),
    ("conv_backward", "half", "nchw"): ((1, 1, 1),),
    ("deconv", "float32", "nchw"): ((1, 0, 1),),
    ("deconv", "half", "nchw"): ((1, 0, 1),),
    ("deconv_backward", "float32", "nchw"): ((1, 1, 1),),
    ("deconv_backward", "half", "nchw"): ((1, 1, 1),),
    # Fused kernels take head widths that are multiples of 8: query, key, value and result are padded copies.
    ("attention_unaligned", "half", "any"): ((4, 0, 0),),
    ("attention_unaligned", "float32", "any"): ((4, 0, 0),),
}

PROCESS_BYTES = {"cpu": 290_000_000}
"""Interpreter, torch, OpenCV and their code in memory, thread stacks and kernels generated at run time, measured."""
TRAINING_PROCESS_BYTES = {"cpu": 40_000_000}
"""On top in training: autograd's engine and the backward kernels."""
ACCELERATOR_PROCESS_BYTES = 500_000_000 + 33_554_432
"""Driver context and loaded kernels, about; cuBLAS's workspace on Hopper (8 MiB before it). Not measured."""


def scratch_bytes(backend: str, operator: str, args: tuple[Any, ...], out: Any) -> int:
    """Bytes an operator needs while it runs and that no tensor shows."""
    seen = _seen(operator, args, out)
    if seen is None:
        return 0
    kind, source, weight_bytes, result_bytes, layout = seen
    half = "half" if source.dtype in (torch.bfloat16, torch.float16) else "float32"
    if kind == "attention" and source.shape[-1] % 8 and backend != "cpu":
        kind = "attention_unaligned"
    terms = (CPU if backend == "cpu" else ACCELERATOR).get((kind, half, layout), NONE)
    sizes = (source.nbytes, weight_bytes, result_bytes)
    return round(max(sum(map(math.prod, zip(term, sizes, strict=True))) for term in terms))


def process_bytes(backend: str, *, train: bool) -> int:
    """What the process holds before any tensor."""
    if backend not in PROCESS_BYTES:
        return ACCELERATOR_PROCESS_BYTES
    return PROCESS_BYTES[backend] + (TRAINING_PROCESS_BYTES[backend] if train else 0)


def _seen(operator: str, args: tuple[Any, ...], out: Any) -> tuple[str, Tensor, int, int, str] | None:
    """(kind, forward input, weight bytes, forward result bytes, layout) of the operators in the tables."""
    name = operator.removeprefix("aten.")
    if name == "convolution":
        kind = "deconv" if args[6] else "conv"
        return kind, args[0], args[1].nbytes, out.nbytes, _layout(out)
    if name == "convolution_backward":
        kind = "deconv_backward" if args[7] else "conv_backward"
        return kind, args[1], args[2].nbytes, args[0].nbytes, _layout(args[1])
    if name in ("mm", "addmm"):
        return "product", args[-2], args[-1].nbytes, 0, "any"
    if name.startswith("_scaled_dot_product_"):
        query = args[1] if name.endswith("backward") else args[0]
        return "attention" + "_backward" * name.endswith("backward"), query, 0, 0, "any"
    if name.startswith("upsample_") and name.endswith("2d_backward"):
        return "resize_backward", out, 0, args[0].nbytes, _layout(args[0])
    return None


def _layout(tensor: Tensor) -> str:
    """Channels last only where that differs from the plain layout."""
    if tensor.ndim != 4 or tensor.is_contiguous():
        return "nchw"
    return "nhwc" if tensor.is_contiguous(memory_format=torch.channels_last) else "nchw"
