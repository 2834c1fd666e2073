"""Scratch memory inside operators: what the table in `fit/footprint/workspace.py` was made from.

Every operator runs in a fresh process, at several shapes: once small, so that kernels are loaded and threads started,
then large while the high-water mark of the resident memory is watched. Scratch is that mark above what was held before,
minus the results. The terms printed for a row are the largest of sums of whole shares of input, weight and result bytes
that explain all shapes best; "table" is what the table says. Linux only. About 15 minutes on two cores.
Run: python benchmarks/workspace.py [--only conv,linear]
"""

from __future__ import annotations

import argparse
import gc
import json
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import product
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from side_by_side import Watch, conditions_line, print_json, print_table
from vitruvian.fit.footprint.workspace import CPU, NONE, Terms
from vitruvian.hardware.process_memory import process_memory, restart_peak, trim_heap

DTYPES = {"float32": torch.float32, "half": torch.bfloat16}
SHRUNK = 8
"""The warm-up's shapes are this much smaller in what can shrink."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Operator:
    """One operator at one shape."""

    call: Callable[..., Tensor]
    shapes: tuple[tuple[int, ...], ...]
    """Of the arguments: input, weight, others."""
    shrinks: tuple[int, ...]
    """Axes of the first argument that the warm-up makes smaller."""
    pictures: bool = False
    """Whether there is a channels-last layout."""
    first: bool = False
    """Whether it stands at the beginning of a network, where no gradient of the input is wanted."""


def _conv(inner: int, outer: int, side: int, kernel: int = 1, **options: Any) -> Operator:
    height, width = side * 4 // 3, side
    return Operator(
        call=partial(F.conv2d, **options),
        shapes=((1, inner, height, width), (outer, inner, kernel, kernel), (outer,)),
        shrinks=(2, 3),
        pictures=True,
    )


def _deconv(inner: int, outer: int, side: int) -> Operator:
    return Operator(
        call=partial(F.conv_transpose2d, stride=2, padding=1),
        shapes=((1, inner, side * 4 // 3, side), (inner, outer, 4, 4)),
        shrinks=(2, 3),
        pictures=True,
    )


def _linear(rows: int, inner: int, outer: int) -> Operator:
    return Operator(call=F.linear, shapes=((rows, inner), (outer, inner), (outer,)), shrinks=(0,))


def _attention(batch: int, heads: int, tokens: int, width: int) -> Operator:
    return Operator(call=_attend, shapes=((batch, tokens, heads, width),) * 3, shrinks=(1,))


def _attend(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """Heads beside their width, as a projection leaves them; another layout is copied before the backward pass."""
    return F.scaled_dot_product_attention(q.transpose(1, 2), k.transpose(1, 2), v.transpose(1, 2))


def _map(call: Callable[..., Tensor], *weights: tuple[int, ...], channels: int = 384) -> Operator:
    return Operator(call=call, shapes=((2, channels, 384, 288), *weights), shrinks=(2, 3), pictures=True)


def _tokens(call: Callable[..., Tensor], *weights: tuple[int, ...]) -> Operator:
    return Operator(call=call, shapes=((24, 3072, 1024), *weights), shrinks=(0,))


OPERATORS: dict[str, tuple[Operator, ...]] = {
    "conv": (
        _conv(768, 768, 288),
        _conv(768, 28, 288),
        _conv(192, 768, 288),
        _conv(256, 256, 288, 3, padding=1),
        _conv(64, 256, 384, 3, padding=1),
    ),
    "patch": tuple(
        replace(_conv(3, outer, side, 16, stride=16), first=True) for outer, side in ((1024, 1536), (256, 2304))
    ),
    "deconv": (_deconv(768, 768, 144), _deconv(1024, 384, 144), _deconv(384, 384, 288)),
    "linear": (
        _linear(36864, 1024, 4096),
        _linear(36864, 4096, 1024),
        _linear(12288, 4096, 1024),
        _linear(12288, 1920, 7680),
        _linear(12288, 7680, 1920),
        _linear(3072, 4096, 16384),
    ),
    "attention": (_attention(6, 16, 3072, 64), _attention(3, 32, 3072, 60), _attention(48, 16, 768, 64)),
    "matmul": (Operator(call=torch.matmul, shapes=((128, 768, 768), (128, 768, 768)), shrinks=(0,)),),
    "instance_norm": (_map(F.instance_norm),),
    "batch_norm": (_map(lambda x, w, b: F.batch_norm(x, None, None, w, b, training=True), (384,), (384,)),),
    "group_norm": (_map(lambda x, w, b: F.group_norm(x, 32, w, b), (384,), (384,)),),
    "layer_norm": (_tokens(lambda x, w, b: F.layer_norm(x, (1024,), w, b), (1024,), (1024,)),),
    "gelu": (_tokens(F.gelu),),
    "silu": (_map(F.silu),),
    "softmax": (_tokens(lambda x: F.softmax(x, -1)),),
    "resize": (_map(lambda x: F.interpolate(x, scale_factor=2, mode="bilinear"), channels=96),),
}


def measure_here(operator: Operator, dtype: torch.dtype, *, last: bool, backward: bool) -> dict[str, int]:
    """Bytes of one operator in this process: input, weight, result, scratch."""
    shrunk = tuple(size // SHRUNK if axis in operator.shrinks else size for axis, size in enumerate(operator.shapes[0]))
    small = [_random(shrunk, dtype, last=last), *(_random(s, dtype, last=last) for s in operator.shapes[1:])]
    if len(operator.shapes) > 1 and operator.shapes[1] == operator.shapes[0]:
        small = [_random(shrunk, dtype, last=last) for _ in operator.shapes]
    _run(operator, small, backward=backward)()
    arguments = [_random(shape, dtype, last=last) for shape in operator.shapes]
    run = _run(operator, arguments, backward=backward)
    del small
    gc.collect()
    trim_heap()
    held = process_memory().resident_bytes
    restart_peak()
    results = run()
    made = {result.data_ptr(): result.nbytes for result in results}
    scratch = process_memory().peak_bytes - held - sum(made.values())
    with torch.no_grad():
        result_bytes = operator.call(*arguments).nbytes
    weight_bytes = arguments[1].nbytes if len(arguments) > 1 else 0
    return {"input": arguments[0].nbytes, "weight": weight_bytes, "result": result_bytes, "scratch": scratch}


def _run(operator: Operator, arguments: Sequence[Tensor], *, backward: bool) -> Callable[[], Sequence[Tensor]]:
    """What is measured: the operator, or the backward pass of one that already ran."""
    call = operator.call
    if not backward:

        def forward() -> Sequence[Tensor]:
            with torch.inference_mode():
                return (call(*arguments),)

        return forward
    wanted = arguments[1:] if operator.first else arguments
    for argument in wanted:
        argument.requires_grad_(True)
    result = call(*arguments)
    gradient = torch.randn_like(result)
    return lambda: torch.autograd.grad(result, wanted, gradient)


def _random(shape: tuple[int, ...], dtype: torch.dtype, *, last: bool) -> Tensor:
    tensor = torch.empty(shape).normal_().to(dtype)
    return tensor.contiguous(memory_format=torch.channels_last) if last and tensor.ndim == 4 else tensor


def rows(only: str) -> Iterator[tuple[str, str, str, str]]:
    """(operator, type, layout, direction)"""
    for name, operators in OPERATORS.items():
        if only and name not in only.split(","):
            continue
        layouts = ("nchw", "nhwc") if operators[0].pictures else ("any",)
        yield from product((name,), DTYPES, layouts, ("forward", "backward"))


def explaining(found: Sequence[dict[str, int]]) -> tuple[Terms, float]:
    """One or two sums of whole shares that explain all shapes with the least error, and that error as a share of the
    larger of input and result."""
    sums = [(i, w, r) for i, w, r in product((0, 1, 2), (0, 1, 2), (0, 1, 2))]
    candidates: list[Terms] = [(one,) for one in sums]
    candidates += [(one, other) for one in sums for other in sums if one < other and 0 in (one[0], one[2])]
    return min(
        ((terms, _error(terms, found)) for terms in candidates),
        # Of explanations that differ by less than the noise the shorter one is taken.
        key=lambda pair: (round(pair[1], 1), sum(sum(term) for term in pair[0]), pair[1]),
    )


def _error(terms: Terms, found: Sequence[dict[str, int]]) -> float:
    return max(abs(_bytes_by(terms, one) - one["scratch"]) / max(one["input"], one["result"]) for one in found)


def _bytes_by(terms: Terms, found: dict[str, int]) -> float:
    return max(i * found["input"] + w * found["weight"] + r * found["result"] for i, w, r in terms)


def main() -> None:
    """Measure all rows and compare them with the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", default="", help="operators, separated by commas")
    parser.add_argument("--child", nargs=5, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.child:
        name, index, dtype, layout, direction = arguments.child
        operator = OPERATORS[name][int(index)]
        print_json(measure_here(operator, DTYPES[dtype], last=layout == "nhwc", backward=direction == "backward"))
        return
    watch, table, documents = Watch(), [], []
    for name, dtype, layout, direction in rows(arguments.only):
        found = [_measured(name, index, dtype, layout, direction) for index in range(len(OPERATORS[name]))]
        terms, error = explaining(found)
        kind = name + "_backward" * (direction == "backward")
        known = _known(name, dtype, layout, backward=direction == "backward")
        shares = " / ".join(f"{one['scratch'] / max(one['input'], one['result']):.2f}" for one in found)
        table.append(
            (kind, dtype, layout, shares, _text(terms), f"{error:.2f}", _text(known), f"{_error(known, found):.2f}")
        )
        documents.append({"kind": kind, "dtype": dtype, "layout": layout, "found": found, "table": known})
        print(table[-1], file=sys.stderr)
    header = (
        "operator",
        "type",
        "layout",
        "scratch / larger of input and result",
        "explained by",
        "error",
        "table",
        "error",
    )
    print_table(header, table)
    conditions = watch.conditions()
    print(conditions_line(conditions))
    print_json({"conditions": conditions, "threads": torch.get_num_threads(), "rows": documents})


def _known(name: str, dtype: str, layout: str, *, backward: bool) -> Terms:
    """What the table says."""
    if name == "linear":
        terms = CPU.get(("product", dtype, layout), NONE)
        # The backward pass is products again, whose first matrix is as large as the result was.
        return tuple((r, w, i) for i, w, r in terms) if backward else terms
    return CPU.get((name + "_backward" * backward, dtype, layout), NONE)


def _measured(*child: object) -> dict[str, int]:
    command = [sys.executable, __file__, "--child", *map(str, child)]
    return json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()[-1])


def _text(terms: Terms) -> str:
    def one(term: tuple[float, float, float]) -> str:
        parts = [f"{share:g} {name}" for share, name in zip(term, ("in", "weight", "out"), strict=True) if share]
        return " + ".join(parts) or "0"

    return one(terms[0]) if len(terms) == 1 else f"max({', '.join(map(one, terms))})"


if __name__ == "__main__":
    main()
