"""ONNX files: networks for ONNX Runtime, TensorRT and programs in other languages.

In: a draft. Out: `network.onnx`, with the weights inside, or beside it in `network.onnx.data` where they are too much
for one file. Translating takes seconds to a minute; writing and checking need about four times the weights in memory.
"""

from __future__ import annotations

from pathlib import Path

from torch.utils import _pytree as pytree

from vitruvian.artefacts.onnx_graph import IR_VERSION, Graph, graph_of
from vitruvian.artefacts.onnx_session import missing, open_session
from vitruvian.artefacts.quiet import quiet
from vitruvian.artefacts.rung import Built, Draft, Rung
from vitruvian.errors import UsageError

ENTRY = "network.onnx"
BESIDE = "network.onnx.data"

MOST_INSIDE_BYTES = 1_500_000_000
"""A file of this format ends at 2 GiB, and readers hold it twice."""


def build_onnx(draft: Draft, folder: Path) -> Built:
    """Write a network as an ONNX file.

    Raises:
        UsageError: a precision that ONNX Runtime has no operators for, or names it cannot keep apart.
        Exception: whatever torch or the checker of the format raise.
    """
    check_precision(draft)
    with quiet() as log:
        graph = graph_of(draft.program, draft.inputs, output_names(draft), draft.name)
        beside = graph.weights_bytes > MOST_INSIDE_BYTES
        write(graph, folder / ENTRY, beside=beside)
    return Built(
        entry=ENTRY,
        files=(BESIDE,) if beside else (),
        options={"opset": graph.opset, "ir_version": IR_VERSION},
        log="\n".join([*graph.notes, *log.lines]),
    )


def check_precision(draft: Draft, dtypes: tuple[str, ...] = ("float32", "float16")) -> None:
    """Refuse compute types that ONNX Runtime cannot run on the draft's device, or that are not among `dtypes`."""
    dtype, kind = draft.precision.dtype, draft.device.partition(":")[0]
    if dtype in dtypes and (dtype == "float32" or (dtype == "float16" and kind == "cuda")):
        return
    expected = "float32, or float16 on cuda" if "float16" in dtypes else "float32"
    raise UsageError(
        f"got {dtype} on {draft.device} for an ONNX file; expected {expected}, which ONNX Runtime can compute in; "
        "leave out --dtype or take another backend"
    )


def output_names(draft: Draft) -> list[str]:
    """Names of the outputs, in the order in which the draft's program gives them.

    Raises:
        UsageError: the module does not give a dictionary of tensors.
    """
    spec = draft.program.call_spec.out_spec
    assert spec is not None
    named = pytree.tree_unflatten(list(range(spec.num_leaves)), spec)
    if not isinstance(named, dict) or not all(isinstance(place, int) for place in named.values()):
        raise UsageError(
            f"got a module that gives a {type(named).__name__}; expected a dictionary of tensors by name, for an ONNX "
            "file names its outputs; return {name: tensor}"
        )
    return sorted(named, key=named.__getitem__)


def write(graph: Graph, path: Path, *, beside: bool) -> None:
    """Write a graph and let the format's own checker read it."""
    import onnx
    import onnx_ir as ir

    ir.save(graph.model, path, external_data=BESIDE if beside else None)
    onnx.checker.check_model(str(path), full_check=True)


ONNX = Rung(
    name="onnx",
    what="a file for ONNX Runtime, TensorRT and other programs",
    build=build_onnx,
    open=open_session,
    executes=False,
    missing=missing,
    portable=True,
    dtypes=("float32", "float16"),
)
