"""The rung `torchscript`: a traced graph with its weights inside, for environments whose torch is older than ours.

`torch.jit.load(FILE)(x)` gives {name: tensor} wherever torch 2.3 or newer runs; neither this project nor the network's
class is needed there. A trace is one walk through the module: what depends on values would stay as it was on that walk,
and lengths become numbers where Python looks at them. Both are looked for here. Takes a few forward passes; the file
has the size of the weights. Speed is that of eager or a little better, since Python is out of the way.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.weak import WeakTensorKeyDictionary

from vitruvian.artefacts.capture import CaptureError
from vitruvian.artefacts.contract import Axis, TensorContract
from vitruvian.artefacts.quiet import quiet
from vitruvian.artefacts.rung import Built, Compiled, Draft, Opening, Rung
from vitruvian.errors import RefusedError

ENTRY = "network.torchscript.pt"
_LIMIT = 0.01
"""Largest difference from eager that is put down to rounding: relative L2, or share of whole numbers that differ. What
was fixed by mistake is off by far more, or does not run."""
_READS = frozenset({torch.ops.aten._local_scalar_dense.default, torch.ops.aten.equal.default})
"""Operators that turn values into Python numbers."""


def _build(draft: Draft, folder: Path) -> Built:
    """Raises CaptureError where a trace would not compute what the module does."""
    module = draft.module
    with torch.no_grad(), _without_gradients(module), quiet() as log:
        _refuse_value_reads(module, draft.sample)
        faults = []
        for sample in _samples(draft):
            traced = torch.jit.trace(module, sample, strict=False, check_trace=False)
            fault = _fault(draft, traced)
            if not fault:
                break
            faults.append(fault)
        else:
            raise CaptureError(
                f"got a traced graph that {faults[-1]}; expected one for {', '.join(map(str, draft.axes.values()))}; "
                "something in the module turns a length into a constant: look for int(), len() or a comparison of "
                "x.shape"
            )
        torch.jit.save(traced, str(folder / ENTRY))
    return Built(entry=ENTRY, log=log.text)


@contextmanager
def _without_gradients(module: nn.Module) -> Iterator[None]:
    """Weights that ask for no gradients, so that the file's do not either: their user may not know of no_grad."""
    learned = [weight for weight in module.parameters() if weight.requires_grad]
    for weight in learned:
        weight.requires_grad_(False)
    try:
        yield
    finally:
        for weight in learned:
            weight.requires_grad_(True)


def _samples(draft: Draft) -> Iterator[tuple[Tensor, ...]]:
    """The draft's own sample; then one of another size: a network may treat the size it was made for in a special way,
    and a trace of that way serves no other."""
    yield draft.sample
    others = {name: axis for name, axis in draft.axes.items() if draft.batch is None or name != draft.batch.name}
    sample = draft.sample
    for name, axis in others.items():
        sample = _stretched(draft.inputs, sample, name, _lengths(axis, _length(draft, name))[-1])
    if others:
        yield sample


def _fault(draft: Draft, traced: Any) -> str:
    """Where a trace and its module part, other lengths tried axis by axis; empty where they do not."""
    for name, axis in draft.axes.items():
        for length in _lengths(axis, _length(draft, name)):
            inputs = _stretched(draft.inputs, draft.sample, name, length)
            wanted = draft.module(*inputs)
            try:
                got = traced(*inputs)
            except RuntimeError as error:
                return f"does not run at {name} {length} ({str(error).strip().splitlines()[-1][:200]})"
            fault = _difference(wanted, got)
            if fault:
                return f"{fault} at {name} {length}"
    return ""


def _length(draft: Draft, name: str) -> int:
    """How long an axis is in the sample; 1 where no input has it."""
    sides = (
        value.shape[place]
        for contract, value in zip(draft.inputs, draft.sample, strict=True)
        for place, side in enumerate(contract.shape)
        if isinstance(side, Axis) and side.name == name
    )
    return next(sides, 1)


def _lengths(axis: Axis, sampled: int) -> list[int]:
    """The shortest one, the sample's and the next; for a batch that is 1, 2 and 3."""
    shortest = max(1, -(-axis.minimum // axis.multiple)) * axis.multiple
    return [length for length in sorted({shortest, sampled, sampled + axis.multiple}) if axis.accepts(length)]


def _stretched(
    contracts: tuple[TensorContract, ...], sample: tuple[Tensor, ...], name: str, length: int
) -> tuple[Tensor, ...]:
    """Inputs whose axis of this name has another length: rows are left out, or come again."""
    given = list(sample)
    for index, contract in enumerate(contracts):
        for place, side in enumerate(contract.shape):
            if isinstance(side, Axis) and side.name == name:
                value = given[index]
                rows = torch.arange(length, device=value.device) % value.shape[place]
                given[index] = value.index_select(place, rows)
    return tuple(given)


def _difference(wanted: Mapping[str, Tensor], got: Mapping[str, Tensor]) -> str:
    if wanted.keys() != got.keys():
        return f"gives {', '.join(got)} instead of {', '.join(wanted)}"
    for name, value in wanted.items():
        other = got[name]
        if (value.shape, value.dtype) != (other.shape, other.dtype):
            return f"gives {name} as {_kind(other)} instead of {_kind(value)}"
        distance = _distance(value, other)
        if distance > _LIMIT:
            return f"gives {name} off by {distance:.2g}"
    return ""


def _distance(value: Tensor, other: Tensor) -> float:
    """Relative L2 of floating values, share of unequal ones else; values that are no numbers count as 0."""
    if not value.is_floating_point():
        return float((value != other).float().mean())
    value, other = (part.nan_to_num(0.0, 0.0, 0.0).double() for part in (value, other))
    return float((value - other).norm() / value.norm().clamp_min(1e-30))


def _kind(value: Tensor) -> str:
    return f"{str(value.dtype).removeprefix('torch.')} {' x '.join(map(str, value.shape))}"


def _refuse_value_reads(module: nn.Module, sample: tuple[Tensor, ...]) -> None:
    reads = _ValueReads(sample)
    with reads:
        module(*sample)
    if reads.places:
        raise CaptureError(
            f"got a module that turns a value computed from its inputs into a Python number ({', '.join(reads.places)})"
            "; expected none: a trace would keep that number for all inputs; compute with tensors there, torch.where "
            "instead of if"
        )


class _ValueReads(TorchDispatchMode):
    """Hears where values that follow from the inputs become Python numbers; lengths and weights may."""

    def __init__(self, inputs: tuple[Tensor, ...]) -> None:
        super().__init__()
        self.places: list[str] = []
        """File and line of each."""
        self._follow: Any = WeakTensorKeyDictionary(dict.fromkeys(inputs, True))

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        result = func(*args, **kwargs)
        if any(value in self._follow for value in tree_leaves((args, kwargs)) if isinstance(value, Tensor)):
            if func in _READS:
                self.places = list(dict.fromkeys([*self.places, _caller()]))
            for value in tree_leaves(result):
                if isinstance(value, Tensor):
                    self._follow[value] = True
        return result


def _caller() -> str:
    """The innermost line of Python outside torch and this file."""
    frame = sys._getframe(1)
    own, library = __file__, str(Path(torch.__file__).parent)
    while frame.f_back and (frame.f_code.co_filename == own or frame.f_code.co_filename.startswith(library)):
        frame = frame.f_back
    return f"{Path(frame.f_code.co_filename).name}:{frame.f_lineno}"


def _open(opening: Opening) -> Compiled:
    path = opening.folder / opening.manifest.entry
    try:
        with quiet():
            network = torch.jit.load(str(path), map_location=opening.device)
    except (RuntimeError, ValueError, OSError) as error:
        said = (str(error).strip().splitlines() or [type(error).__name__])[0][:200]
        raise RefusedError(
            f"got {path.name}, which torch does not open ({said}); expected a TorchScript file whose operators this "
            "torch has; export the model again"
        ) from error

    def run(*inputs: Tensor) -> Mapping[str, Tensor]:
        with torch.no_grad():
            return dict(network(*inputs))

    return run


TORCHSCRIPT = Rung(
    name="torchscript",
    what="traced graph for torch 2.3 and newer",
    build=_build,
    open=_open,
    executes=True,
    bonds=frozenset({"device"}),
)
"""Not bound to torch's version. Bound to the kind of device, because a trace keeps the places of tensors it made."""
