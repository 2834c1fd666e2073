"""ONNX files whose large matrix products run in 8 bits.

In: a draft with calibration inputs. Out: `network.onnx` of a quarter to a half the size. Weights are stored in 8 bits
with a scale for each output channel; the inputs of their products are rounded to 8 bits between the extremes that they
reached in calibration. The rest computes in float32: the head, attention's products of activations, and everything up
to the end of the first block, because what is rounded there goes through all the others (two to three times the error
of the nano networks came from it). Calibration takes a float32 pass for each input.
"""

from __future__ import annotations

import io
import logging
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from logging.handlers import BufferingHandler
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vitruvian.artefacts.onnx_files import (
    BESIDE,
    ENTRY,
    MOST_INSIDE_BYTES,
    check_precision,
    output_names,
    write,
)
from vitruvian.artefacts.onnx_graph import IR_VERSION, Graph, graph_of, module_of, nodes_of, signed
from vitruvian.artefacts.onnx_session import missing, open_session
from vitruvian.artefacts.quiet import Log, quiet
from vitruvian.artefacts.rung import Built, Draft, Rung
from vitruvian.errors import UsageError
from vitruvian.fit.precision import Precision
from vitruvian.hardware import target_here

if TYPE_CHECKING:
    import onnx_ir as ir

LEAST_INPUTS = 4
"""Below it the extremes of a few pictures decide; nano networks gained nothing from more than 16."""

_PRODUCTS = ("Conv", "Gemm", "MatMul")


def build_int8(draft: Draft, folder: Path) -> Built:
    """Write a network as an ONNX file with products in 8 bits.

    Raises:
        UsageError: too few calibration inputs, a precision other than float32, or nothing to quantise.
        Exception: whatever torch, the quantiser or the checker of the format raise.
    """
    check_precision(draft, ("float32",))
    if len(draft.calibration) < LEAST_INPUTS:
        raise UsageError(
            f"got {len(draft.calibration)} calibration inputs; expected at least {LEAST_INPUTS} real ones, which set "
            "what 8 bits can say; name a folder of pictures: --check-on DIR"
        )
    with quiet() as log, _quantiser_heard(log), tempfile.TemporaryDirectory(dir=folder) as scratch:
        graph = graph_of(draft.program, draft.inputs, output_names(draft), draft.name)
        chosen = products(graph.model, draft)
        narrow = _weights_in_7_bits()
        whole, rounded = Path(scratch) / "float32.onnx", Path(scratch) / "int8.onnx"
        beside = graph.weights_bytes > MOST_INSIDE_BYTES
        write(graph, whole, beside=beside)
        _quantise(draft, whole, rounded, chosen, beside=beside, narrow=narrow)
        beside = _finish(rounded, folder / ENTRY, draft.name, graph.opset)
    options = {
        "opset": graph.opset,
        "ir_version": IR_VERSION,
        "calibration_inputs": len(draft.calibration),
        "products_in_8_bits": len(chosen),
        "weight_bits": 7 if narrow else 8,
    }
    text = "\n".join([*graph.notes, *log.lines])
    return Built(entry=ENTRY, files=(BESIDE,) if beside else (), options=options, log=text)


def products(model: ir.Model, draft: Draft) -> list[str]:
    """Names of the nodes that run in 8 bits: products with weights, behind the first block and outside the head.

    Raises:
        UsageError: there are none.
    """
    nodes = list(nodes_of(model))
    weighted = [place for place, node in enumerate(nodes) if node.op_type in _PRODUCTS and _has_weights(node)]
    first = Precision(islands=draft.blocks[:1])
    spared = [place for place, node in enumerate(nodes) if first.covers(module_of(node.name or ""))] or weighted[:1]
    head = Precision(islands=draft.head)
    chosen = [
        str(nodes[place].name)
        for place in weighted
        if place > max(spared) and not head.covers(module_of(nodes[place].name or ""))
    ]
    if not chosen:
        raise UsageError(
            f"got {draft.name} without products with weights behind its first part and outside its head; expected some "
            "to compute in 8 bits; take the backend onnx"
        )
    return chosen


def _has_weights(node: ir.Node) -> bool:
    weight = node.inputs[1]
    return weight is not None and weight.const_value is not None


def _weights_in_7_bits() -> bool:
    """Whether this processor's products of 8 bits overflow: those of x86 without VNNI add pairs in 16 bits."""
    target = target_here("cpu")
    return target.machine.lower() in ("x86_64", "amd64") and not any("vnni" in name for name in target.instructions)


def _quantise(draft: Draft, whole: Path, rounded: Path, chosen: list[str], *, beside: bool, narrow: bool) -> None:
    from onnxruntime import quantization

    providers = ["CUDAExecutionProvider"] if draft.device.startswith("cuda") else ["CPUExecutionProvider"]
    quantization.quantize_static(
        str(whole),
        str(rounded),
        _reader(draft),
        quant_format=quantization.QuantFormat.QDQ,
        op_types_to_quantize=list(_PRODUCTS),
        nodes_to_quantize=chosen,
        per_channel=True,
        reduce_range=narrow,
        activation_type=quantization.QuantType.QUInt8,
        weight_type=quantization.QuantType.QInt8,
        calibrate_method=quantization.CalibrationMethod.MinMax,
        calibration_providers=providers,
        use_external_data_format=beside,
        # Sums leave a matrix product in float32; a convolution has no such way out in ONNX Runtime. Left out is
        # CalibMaxIntermediateOutputs, said to save memory: it forgets the extremes it has seen (1.22 to 1.31).
        extra_options={"OpTypesToExcludeOutputQuantization": ["Gemm", "MatMul"]},
    )


def _reader(draft: Draft) -> Any:
    from onnxruntime.quantization import CalibrationDataReader

    class Reader(CalibrationDataReader):
        """The draft's inputs as ONNX Runtime wants them, one after the other."""

        def __init__(self, feeds: Iterator[dict[str, Any]]) -> None:
            self.feeds = feeds

        def get_next(self) -> dict[str, Any] | None:
            return next(self.feeds, None)

    names = [contract.name for contract in draft.inputs]
    return Reader(
        {name: value.cpu().numpy() for name, value in zip(names, values, strict=True)} for values in draft.calibration
    )


@contextmanager
def _quantiser_heard(log: Log) -> Iterator[None]:
    """It prints, and logs through the root, which would get a handler to the terminal at the first message."""
    root, printed = logging.getLogger(), io.StringIO()
    handlers = root.handlers
    records = BufferingHandler(capacity=10_000)
    root.handlers = [records]
    try:
        with redirect_stdout(printed):
            yield
    finally:
        root.handlers = handlers
        for line in (*(record.getMessage() for record in records.buffer), *printed.getvalue().splitlines()):
            log.add(line)


def _finish(rounded: Path, path: Path, name: str, opset: int) -> bool:
    """Write what the quantiser left as our own files are; whether its weights lie beside it."""
    import onnx_ir as ir

    # Weights beside the float32 file may fit inside this one: a reference to the other's would lead nowhere.
    graph = Graph(model=signed(ir.external_data.load_to_model(ir.load(rounded)), name), opset=opset)
    beside = graph.weights_bytes > MOST_INSIDE_BYTES
    write(graph, path, beside=beside)
    return beside


ONNX_INT8 = Rung(
    rounds=True,
    name="onnx-int8",
    what="a file for ONNX Runtime with products in 8 bits",
    build=build_int8,
    open=open_session,
    executes=False,
    missing=missing,
    portable=True,
    dtypes=("float32",),
)
