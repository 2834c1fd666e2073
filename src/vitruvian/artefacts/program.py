"""The rung `export`: an exported program, its repeated blocks compiled when it is opened.

The file holds the graph alone (1 MB), weights lie beside it. Blocks that are alike share one compilation, so opening
takes seconds instead of the minutes that a whole network of 24 blocks needs; where no compiler works, the graph runs
operator by operator. Opening may unpickle, so it counts as running code.
"""

from __future__ import annotations

import operator
from collections import defaultdict
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor, fx, nn

from vitruvian.artefacts.contract import Axis, TensorContract
from vitruvian.artefacts.quiet import quiet
from vitruvian.artefacts.rounding import rounding_as_eager
from vitruvian.artefacts.rung import Built, Compiled, Draft, Opening, Rung
from vitruvian.errors import RefusedError
from vitruvian.hardware import compiler_works
from vitruvian.media.names import printable

ENTRY = "program.pt2"


def _build(draft: Draft, folder: Path) -> Built:
    program = draft.program
    whole = dict(program.state_dict)
    try:
        program.state_dict.update({name: _thin(value) for name, value in whole.items()})
        with quiet() as log:
            torch.export.save(program, folder / ENTRY)
    finally:
        program.state_dict.update(whole)
    return Built(entry=ENTRY, weights_outside=True, log=log.text)


def _thin(value: Tensor) -> Tensor:
    """A tensor of the same shape and type that takes one number of storage."""
    thin = torch.zeros((), dtype=value.dtype, device=value.device).expand(value.shape)
    return nn.Parameter(thin, requires_grad=False) if isinstance(value, nn.Parameter) else thin


def _open(opening: Opening) -> Compiled:
    path = opening.folder / opening.manifest.entry
    try:
        with quiet():
            program = torch.export.load(path)
            module = torch.export.unflatten(program)
            weights = opening.weights()
            module.load_state_dict({name: weights[name] for name in program.state_dict}, assign=True, strict=False)
    except (RuntimeError, KeyError, ValueError, OSError) as error:
        said = (str(error).strip().splitlines() or [type(error).__name__])[0][:200]
        raise RefusedError(
            f"got {path.name}, which torch does not open ({said}); expected a program exported by this torch; "
            "export the model again"
        ) from error
    module.eval()
    if compiler_works(opening.device):
        with quiet():
            compile_blocks(module, _known(opening.manifest.blocks, module, path.name))
            # The number of threads is part of what compiled code is looked up by, and each thread has its own.
            threads = 1 if opening.calls_at_once > 1 else torch.get_num_threads()
            with ThreadPoolExecutor(1, initializer=torch.set_num_threads, initargs=(threads,)) as pool:
                pool.submit(_warm_up, module, opening.manifest.inputs, opening.device).result()
    return module


def _known(names: Sequence[str], module: nn.Module, file: str) -> Sequence[str]:
    unknown = sorted(set(names) - {name for name, _ in module.named_modules()})
    if unknown:
        raise RefusedError(
            f"got the block {printable(unknown[0])[:200]}, which {file} does not have; expected the manifest that was "
            "written with it; export the model again"
        )
    return names


def compile_blocks(module: nn.Module, names: Sequence[str]) -> None:
    """Compile the named parts of an unflattened program, those with equal graphs once; without names, the whole."""
    alike: dict[Any, list[nn.Module]] = defaultdict(list)
    for name in names:
        block = module.get_submodule(name)
        alike[_likeness(block)].append(block)
    for blocks in alike.values():
        share(blocks)
    if not names:
        module.compile(dynamic=True, options={**OPTIONS, **rounding_as_eager()})


OPTIONS: dict[str, Any] = {"cpp.dynamic_threads": True}
"""The number of threads is that of the call, not that of the first one."""


def share(blocks: Sequence[nn.Module]) -> None:
    """Give blocks of one structure one compiled function, with each block's own weights as arguments.

    A function without state: several threads may be in it at once.
    """
    function, names = as_function(blocks[0])
    compiled = torch.compile(function, dynamic=True, options={**OPTIONS, **rounding_as_eager()})
    for block in blocks:
        tensors = [cast(Tensor, operator.attrgetter(name)(block)) for name in names]
        block.forward = partial(compiled, *tensors)


def as_function(block: nn.Module) -> tuple[fx.GraphModule, list[str]]:
    """A part of an unflattened program as a graph whose weights are its first arguments, and their names in order."""
    names: list[str] = []
    _each_attribute(block, "", names)
    graph = fx.Graph()
    tensors = {name: graph.placeholder(f"tensor_{place}") for place, name in enumerate(names)}
    own = [node for node in _graph_of(block).nodes if node.op == "placeholder"]
    given = [graph.placeholder(f"input_{place}") for place in range(len(own))]
    graph.output(_inlined(graph, block, "", given, tensors))
    return fx.GraphModule(nn.Module(), graph), names


def _graph_of(part: nn.Module) -> fx.Graph:
    return cast(fx.Graph, part.graph)


def _each_attribute(part: nn.Module, prefix: str, names: list[str]) -> None:
    """Names of all tensors that a part's graph and those inside it read."""
    for node in _graph_of(part).nodes:
        if node.op == "get_attr" and prefix + node.target not in names:
            names.append(prefix + node.target)
        elif node.op == "call_module":
            _each_attribute(part.get_submodule(node.target), f"{prefix}{node.target}.", names)


def _inlined(
    graph: fx.Graph, part: nn.Module, prefix: str, given: Sequence[Any], tensors: Mapping[str, fx.Node]
) -> Any:
    """Copy a part's nodes into a graph; gives what stands for its output."""
    made: dict[fx.Node, Any] = {}
    waiting = list(given)
    for node in _graph_of(part).nodes:
        args, kwargs = fx.map_arg((node.args, node.kwargs), made.__getitem__)
        if node.op == "placeholder":
            made[node] = waiting.pop(0)
        elif node.op == "get_attr":
            made[node] = tensors[prefix + node.target]
        elif node.op == "call_module":
            inner = part.get_submodule(node.target)
            made[node] = _inlined(graph, inner, f"{prefix}{node.target}.", args, tensors)
        elif node.op == "output":
            return args[0]
        else:
            made[node] = graph.create_node(node.op, node.target, args, kwargs)
    raise ValueError("got a graph without an output")


def _likeness(block: nn.Module) -> Any:
    """What two blocks must share to be computed by one function: operators, their arguments, shapes of weights."""
    graphs = [part.graph for _, part in block.named_modules() if isinstance(getattr(part, "graph", None), fx.Graph)]
    weights = tuple((name, value.dtype, tuple(value.shape)) for name, value in block.state_dict().items())
    return tuple(map(_spelled, graphs)), weights


def _spelled(graph: fx.Graph) -> tuple[Any, ...]:
    """A graph without the names of its values."""
    place = {node: index for index, node in enumerate(graph.nodes)}

    def argument(value: Any) -> Any:
        return f"%{place[value]}" if isinstance(value, fx.Node) else str(value)

    spelled = []
    for node in graph.nodes:
        target = "" if node.op in ("placeholder", "output") else str(node.target)
        spelled.append((node.op, target, str(fx.map_arg((node.args, node.kwargs), argument))))
    return tuple(spelled)


@torch.inference_mode()
def _warm_up(module: nn.Module, contracts: Sequence[TensorContract], device: str) -> None:
    """Compile now what the first calls would: one input at a time is a case of its own for the compiler."""
    smallest, largest = 1, 2
    batch = next((contract.batch for contract in contracts if contract.batch), None)
    if batch is not None and batch.maximum == 1:
        largest = 1
    for length in sorted({smallest, largest}, reverse=True):
        module(*(_zeros(contract, length, device) for contract in contracts))


def _zeros(contract: TensorContract, batch: int, device: str) -> Tensor:
    sizes = tuple(_length(side, batch, contract) for side in contract.shape)
    return torch.zeros(sizes, dtype=contract.torch_dtype, device=device)


def _length(side: int | Axis, batch: int, contract: TensorContract) -> int:
    if isinstance(side, int):
        return side
    return batch if side is contract.batch else -(-side.minimum // side.multiple) * side.multiple


EXPORT = Rung(
    name="export",
    what="exported program, its blocks compiled when it is opened",
    build=_build,
    open=_open,
    executes=True,
    bonds=frozenset({"torch", "device"}),
)
"""Bound to torch's exact version: what another one makes of the graph was not verified."""

__all__ = ["EXPORT", "compile_blocks"]
