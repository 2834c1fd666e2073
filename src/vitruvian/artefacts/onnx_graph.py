"""An exported program as an ONNX graph that many programs read.

In: program, contracts, names of the outputs. Out: a graph in the lowest opset it can be written in, with the contracts'
names on inputs, outputs and axes, nodes named after the modules they come from, and no trace of the machine it was made
on. Weights are shared with the program, not copied.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch

from vitruvian import __version__
from vitruvian.artefacts.contract import Axis, TensorContract
from vitruvian.errors import UsageError

if TYPE_CHECKING:
    import onnx_ir as ir

OPSET = 17
"""Aimed at: the parsers of TensorRT 8.5 and 8.6 know operators up to it."""

_WRITTEN_OPSET = 18
"""torch's own translations begin here."""

IR_VERSION = 8
"""Of the file format; came with opset 17, and every ONNX Runtime since 1.12 reads it."""

_SCOPES = "pkg.torch.onnx.name_scopes"

_REDUCTIONS = frozenset(
    f"Reduce{kind}" for kind in ("L1", "L2", "LogSum", "LogSumExp", "Max", "Mean", "Min", "Prod", "SumSquare")
)
"""Their axes became an input with opset 18."""

_PARTS = "num_outputs"
"""Attribute of Split that came with opset 18."""

_RESIZE_NEWS = {"antialias": 0, "keep_aspect_ratio_policy": "stretch"}
"""What opset 18 added to Resize, and the values that mean what was done before."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Graph:
    """An ONNX graph ready to be written."""

    model: ir.Model
    opset: int
    notes: tuple[str, ...] = ()
    """What stood in the way of a lower opset."""

    @property
    def weights_bytes(self) -> int:
        """All constants together."""
        constants = (value.const_value for value in self.model.graph.initializers.values())
        return sum(constant.nbytes for constant in constants if constant is not None)


def graph_of(
    program: torch.export.ExportedProgram, contracts: Sequence[TensorContract], outputs: Sequence[str], name: str
) -> Graph:
    """Translate a program.

    Args:
        program: With named ranges.
        contracts: Of its inputs, in call order.
        outputs: Names in the order in which the program gives them.
        name: Of the graph.

    Raises:
        UsageError: names that the format cannot keep apart.
        Exception: whatever torch raises for a program it cannot translate.
    """
    exported = torch.onnx.export(program, (), dynamo=True, opset_version=_WRITTEN_OPSET, optimize=True, verbose=False)
    assert exported is not None
    model = exported.model
    _name_axes(model, contracts)
    _name_tensors(model, [contract.name for contract in contracts], outputs)
    _name_nodes(model)
    _order_gelu(model)
    notes = _lower(model)
    return Graph(model=signed(model, name), opset=model.opset_imports[""], notes=notes)


def module_of(node_name: str) -> str:
    """The module that a node comes from, by the name `graph_of` gave it; empty where it comes from none."""
    return node_name.rpartition("/")[0]


def nodes_of(model: ir.Model) -> Iterator[ir.Node]:
    import onnx_ir as ir

    return iter(ir.traversal.RecursiveGraphIterator(model.graph))


def _values(model: ir.Model) -> Iterator[ir.Value]:
    yield from model.graph.inputs
    yield from list(model.graph.initializers.values())
    for node in nodes_of(model):
        yield from node.outputs


def _name_axes(model: ir.Model, contracts: Sequence[TensorContract]) -> None:
    """Axes by the contracts' names, on inputs and outputs; torch calls them s43 and the like."""
    import onnx_ir as ir

    known: dict[str, tuple[Axis, int]] = {}
    for value, contract in zip(model.graph.inputs, contracts, strict=True):
        assert value.shape is not None
        for side, dim in zip(contract.shape, value.shape, strict=True):
            found = re.fullmatch(r"(?:(\d+)\*)?(\w+)", str(getattr(dim, "value", "") or ""))
            if isinstance(side, Axis) and found:
                known[found[2]] = (side, int(found[1] or 1))
    for value in (*model.graph.inputs, *model.graph.outputs):
        if value.shape is not None:
            dims = [dim if isinstance(dim, int) else _named(str(dim.value or ""), known) for dim in value.shape]
            value.shape = ir.Shape(dims)


def _named(expression: str, known: dict[str, tuple[Axis, int]]) -> str | None:
    def said(match: re.Match[str]) -> str:
        if match[2] not in known:
            return match[0]
        axis, whole = known[match[2]]
        factor = int(match[1] or 1)
        if factor % whole == 0:
            return axis.name if factor == whole else f"{factor // whole}*{axis.name}"
        return f"{axis.name}/{whole // factor}" if whole % factor == 0 else f"{factor}*{axis.name}/{whole}"

    return re.sub(r"(?:\b(\d+)\*)?\b([A-Za-z_]\w*)\b", said, expression) or None


def _name_tensors(model: ir.Model, inputs: Sequence[str], outputs: Sequence[str]) -> None:
    """Inputs and outputs by their own names, whatever else bears one of these; a tensor that is both gets a copy."""
    import onnx_ir as ir

    graph, wanted = model.graph, [*inputs, *outputs]
    if len(set(wanted)) != len(wanted):
        raise UsageError(
            f"got the inputs {', '.join(inputs)} and outputs {', '.join(outputs)}; expected no name twice in an ONNX "
            "file; rename one of them, or take another backend"
        )
    taken = {value.name for value in _values(model)} | set(wanted)
    for value in _values(model):
        if value.name in wanted:
            value.name = next(name for count in range(len(taken)) if (name := f"{value.name}.{count}") not in taken)
            taken.add(value.name)
    for value, name in zip(graph.inputs, inputs, strict=True):
        value.name = name
    for place, name in enumerate(outputs):
        value = graph.outputs[place]
        if value.producer() is None or any(value is earlier for earlier in graph.outputs[:place]):
            copy = ir.node("Identity", [value])
            copy.outputs[0].shape, copy.outputs[0].type = value.shape, value.type
            graph.append(copy)
            graph.outputs[place] = value = copy.outputs[0]
        value.name = name


def _name_nodes(model: ir.Model) -> None:
    """`layers.0.attn.qkv/MatMul_7`: later steps and people find a module's part of the graph by it."""
    for place, node in enumerate(nodes_of(model)):
        scopes = ast.literal_eval(node.metadata_props.get(_SCOPES, "[]"))
        module = scopes[-2] if len(scopes) > 1 else ""
        node.name = f"{module}/{node.op_type}_{place}".removeprefix("/")


def _order_gelu(model: ir.Model) -> None:
    """x * (1 + erf(x / sqrt 2)) * 0.5 in this order, which runtimes know as one step; torch writes x * (0.5 * ...)."""
    for erf in nodes_of(model):
        if erf.op_type != "Erf":
            continue
        divided = erf.inputs[0].producer() if erf.inputs[0] is not None else None
        one, half, outer = _chain(erf, ("Add", "Mul", "Mul"))
        if divided is None or divided.op_type not in ("Div", "Mul") or one is None or half is None or outer is None:
            continue
        x, others = divided.inputs[0], [value for value in half.inputs if value is not one.outputs[0]]
        if x in outer.inputs and len(others) == 1 and others[0] is not None and others[0].const_value is not None:
            half.replace_input_with(list(half.inputs).index(others[0]), x)
            outer.replace_input_with(list(outer.inputs).index(x), others[0])


def _chain(node: ir.Node, kinds: Sequence[str]) -> list[ir.Node | None]:
    """The nodes of these kinds that follow one another as only users; None from where they do not."""
    found: list[ir.Node | None] = [node]
    for kind in kinds:
        last = found[-1]
        users = [user for user, _ in last.outputs[0].uses()] if last is not None else []
        found.append(users[0] if len(users) == 1 and users[0].op_type == kind else None)
    return found[1:]


def _lower(model: ir.Model) -> tuple[str, ...]:
    """Rewrite for `OPSET` if every operator can be; else say what cannot and leave all as it is."""
    import onnx_ir.passes.common as passes

    nodes = list(nodes_of(model))
    hindrances = dict.fromkeys(filter(None, map(_hindrance, nodes)))
    if hindrances:
        return tuple(f"kept at opset {model.opset_imports['']}: {one}" for one in hindrances)
    for node in nodes:
        if node.op_type in _REDUCTIONS:
            _axes_as_attribute(node)
        elif node.op_type == "Resize":
            for name in _RESIZE_NEWS:
                node.attributes.pop(name, None)
        elif node.op_type == "Split":
            node.attributes.pop(_PARTS, None)
    model.opset_imports[""] = OPSET
    passes.RemoveUnusedNodesPass()(model)
    return ()


def _hindrance(node: ir.Node) -> str:
    """Why a node cannot be written for `OPSET`; empty where it can."""
    import onnx

    if node.domain not in ("", "ai.onnx"):
        return f"{node.op_type} of {node.domain}"
    if node.op_type in _REDUCTIONS:
        axes = node.inputs[1] if len(node.inputs) > 1 else None
        lasting = axes is None or axes.const_value is not None
        return (
            "" if lasting and not _attribute(node, "noop_with_empty_axes", 0) else f"{node.op_type} over unknown axes"
        )
    if node.op_type == "Resize":
        new = "axes" in node.attributes or any(_attribute(node, *news) != news[1] for news in _RESIZE_NEWS.items())
        return "Resize with what opset 18 added" if new else ""
    if node.op_type == "Pad":
        return "Pad along named axes" if len(node.inputs) > 3 and node.inputs[3] is not None else ""
    if node.op_type in ("ScatterElements", "ScatterND"):
        kind = _attribute(node, "reduction", "none")
        return "" if kind in ("none", "add", "mul") else f"{node.op_type} with {kind}"
    if node.op_type == "Split":
        return "" if _PARTS not in node.attributes or _split_evenly(node) else "Split into parts that may differ"
    now = onnx.defs.get_schema(node.op_type, _WRITTEN_OPSET).since_version
    return "" if now <= OPSET else node.op_type


def _split_evenly(node: ir.Node) -> bool:
    """Whether all parts are known to be of one length, as opset 17 makes them without being told a number."""
    axis = _attribute(node, "axis", 0)
    shapes = [value.shape for value in node.outputs]
    lengths = {None if shape is None else shape[axis] for shape in shapes}
    return len(lengths) == 1 and all(isinstance(length, int) for length in lengths)


def _attribute(node: ir.Node, name: str, default: Any) -> Any:
    return node.attributes[name].value if name in node.attributes else default


def _axes_as_attribute(node: ir.Node) -> None:
    import onnx_ir as ir

    node.attributes.pop("noop_with_empty_axes", None)
    if len(node.inputs) > 1:
        axes = node.inputs[1]
        if axes is not None:
            assert axes.const_value is not None
            node.attributes["axes"] = ir.AttrInt64s("axes", [int(axis) for axis in axes.const_value.numpy().ravel()])
        node.resize_inputs(1)


def signed(model: ir.Model, name: str) -> ir.Model:
    """The model under its name, in the format's version that we write, and without what the tools noted in it."""
    _forget_origins(model)
    model.graph.name, model.ir_version = name, IR_VERSION
    model.producer_name, model.producer_version = "vitruvian", __version__
    return model


def _forget_origins(model: ir.Model) -> None:
    """Take out what the translation noted: paths of source files, torch's names, shapes in the middle."""
    graph = model.graph
    parts: list[Any] = [model, graph, *nodes_of(model), *_values(model)]
    for part in parts:
        part.metadata_props.clear()
        part.doc_string = None
    ends = {id(value) for value in (*graph.inputs, *graph.outputs)}
    for node in nodes_of(model):
        for value in node.outputs:
            if id(value) not in ends:
                value.shape = value.type = None
    for domain in set(model.opset_imports) - {"", *(node.domain for node in nodes_of(model))}:
        del model.opset_imports[domain]
