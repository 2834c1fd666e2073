"""Compute types: which ones a device carries out natively, and how a network is put into one.

Device and float32 islands -> the candidates in order (`precision_ladder`); network and `Precision` -> the same network
with its weights cast and its types matched at run time (`apply_precision`). Casting needs one extra copy of one weight
at a time; at run time a module whose input has its type already pays one comparison, about two microseconds.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase, translate
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from vitruvian.errors import UsageError
from vitruvian.hardware import DTYPES, Device, Dtype

_TORCH: Mapping[Dtype, torch.dtype] = {
    "float32": torch.float32,
    "bfloat16": torch.bfloat16,
    "float16": torch.float16,
}
SHORT_NAMES: Mapping[str, Dtype] = {"fp32": "float32", "bf16": "bfloat16", "fp16": "float16"}
"""Names of compute types that people type."""

_CAST = frozenset({torch.float16, torch.bfloat16, torch.float32, torch.float64})
"""Types that are cast; whole numbers, complex and 8-bit types mean something else and stay as they are."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Precision:
    """A compute type and the modules that stay in float32 all the same."""

    dtype: Dtype = "float32"
    islands: tuple[str, ...] = ()
    """Name patterns (as `fnmatch`; `*` crosses dots) of modules, with everything inside them, or of single weights."""

    def __str__(self) -> str:
        count = len(self.islands)
        return f"{self.dtype} with {count} float32 island{'s' if count > 1 else ''}" if count else self.dtype

    @property
    def torch_dtype(self) -> torch.dtype:
        """The compute type as torch has it."""
        return _TORCH[self.dtype]

    def covers(self, name: str) -> bool:
        """Whether the module or weight of this dotted name lies on an island."""
        parts = name.split(".")
        return any(self.names(".".join(parts[: length + 1])) for length in range(len(parts)))

    def names(self, name: str) -> bool:
        """Whether an island's pattern means this very module or weight."""
        return _matcher(self.islands).match(name) is not None

    def dtype_of(self, key: str) -> torch.dtype:
        """The type of one weight by its key in the state dict."""
        return torch.float32 if self.covers(key) else self.torch_dtype


def check_dtype(name: str) -> Dtype:
    """The compute type of a full or short name.

    Raises:
        UsageError: there is none.
    """
    full = SHORT_NAMES.get(name, name)
    for dtype in DTYPES:
        if dtype == full:
            return dtype
    raise UsageError(f"got --dtype {name}; expected one of {', '.join(DTYPES)}; leave it out to have one chosen")


def compute_types(device: Device) -> tuple[Dtype, ...]:
    """Types worth computing in on a device, best first: those with instructions of their own, bfloat16 before float16.

    bfloat16 goes first because it has float32's range; what is emulated or unknown is never offered, nor what the
    device's rates, where they are known, show to be no faster than float32. A CPU's float16 without known rates is left
    out: on one with `avx512_fp16` it ran at 0.9 times the speed of float32, without it at 0.07.
    """
    reduced: tuple[Dtype, ...] = ("bfloat16", "float16")
    native = [dtype for dtype in reduced if device.support(dtype) == "native" and _pays(device, dtype)]
    return (*native, "float32")


def usable_types(device: Device) -> tuple[Dtype, ...]:
    """`compute_types`, and where float32 is the only one a smaller type after it, for what does not fit in float32.

    That one is emulated or no faster. float16 it is on accelerators that know it, bfloat16 elsewhere: a CPU without
    its own float16 instructions needs 14 times as long as for float32.
    """
    types = compute_types(device)
    if len(types) > 1:
        return types
    smaller: Dtype = "bfloat16" if device.kind == "cpu" or device.fp16 == "none" else "float16"
    return types if device.support(smaller) == "none" else (*types, smaller)


def _pays(device: Device, dtype: Dtype) -> bool:
    if device.rates is None:
        return dtype == "bfloat16" or device.kind != "cpu"
    return device.rates.tflops(dtype) > device.rates.float32_tflops


def precision_ladder(
    device: Device,
    islands: Sequence[str] = (),
    more: Sequence[Sequence[str]] = (),
    *,
    dtypes: Sequence[Dtype] | None = None,
) -> tuple[Precision, ...]:
    """Candidates in the order they are tried: each type with the published islands, then with more of them.

    Args:
        device: Where the network runs.
        islands: Published by the network's family.
        more: Larger sets of islands (`more_islands`).
        dtypes: Types to use instead of `usable_types`, for a type that the user insists on.
    """
    found: dict[Precision, None] = {}
    for dtype in usable_types(device) if dtypes is None else dtypes:
        for kept in [()] if dtype == "float32" else [islands, *more]:
            found[Precision(dtype=dtype, islands=tuple(kept))] = None
    return tuple(found)


def more_islands(
    module: nn.Module, islands: Sequence[str] = (), head: Sequence[str] = ()
) -> tuple[tuple[str, ...], ...]:
    """Islands for further tries: the published ones with normalisation layers, tables and tokens; then the head, too.

    The first step costs next to no time: a float32 position table alone makes the whole residual stream float32, while
    the matrix products stay in the compute type, which takes a third to a half off the error of a bfloat16 encoder. A
    float32 head takes as much again and can cost as much as float32 throughout, where the head dominates.

    Args:
        module: The network; on meta will do.
        islands: Published by its family.
        head: Name patterns of its head.
    """
    names = dict(module.named_modules())
    norms = {name for name, part in names.items() if "norm" in type(part).__name__.lower() and not _has_parts(part)}
    # Matrices that a module multiplies by itself must keep its type; what is broadcast over the batch may promote.
    tables = {
        f"{name}.{key}".lstrip(".")
        for name, part in names.items()
        if _has_parts(part) and not isinstance(part, nn.MultiheadAttention)
        for key, weight in _own(part)
        if key in part._parameters and (weight.ndim == 1 or weight.shape[:1] == (1,))
    }
    everything = {*names, *(key for key, _ in module.named_parameters())}
    published = Precision(islands=tuple(islands))
    found = [*_patterns(norms, everything), *_patterns(tables, everything)]
    gentle = tuple(dict.fromkeys([*islands, *(name for name in found if not published.covers(name))]))
    present = [pattern for pattern in head if any(fnmatchcase(name, pattern) for name in names)]
    return gentle, tuple(dict.fromkeys([*gentle, *present]))


def after_non_finite(current: Precision, ladder: Sequence[Precision]) -> Precision | None:
    """Where to go when a network gave values that are not finite; None from float32: they are the network's own.

    bfloat16 goes to its next step with more islands, then to float32: float16 has a smaller range. float16 goes to
    bfloat16 where that is on the ladder, else to float32. Leave out of the ladder what an audit has turned down.
    """
    if current.dtype == "float32":
        return None
    wider = [step for step in ladder if step.dtype == "bfloat16"]
    if current.dtype == "bfloat16":
        wider = wider[wider.index(current) + 1 :] if current in wider else []
    return wider[0] if wider else Precision()


def apply_precision(module: nn.Module, precision: Precision) -> nn.Module:
    """Put a module into a precision, in place; eager runs, exports and footprints all come through here.

    Weights and buffers off the islands are cast to the compute type, those on them to float32. Inputs of the whole
    module are cast to the compute type. Where there are islands, every module with weights of its own casts its
    inputs to its type, so that a float32 island's output can flow on; what an island names gets float32 inputs even
    where it has no weights. Elsewhere torch's promotion rules hold: bfloat16 plus float32 is float32, so a residual sum
    or an activation behind an island is float32 until the next module with weights. A module that uses the weights of
    another without calling it has to match types by itself.

    Applying the same precision again changes nothing; another one replaces it, but weights once rounded stay rounded.
    Keys of the state dict stay. Works on meta, with fake tensors, with tied weights (an island keeps them) and in
    `torch.export`; not in inference mode, whose tensors make no parameters.
    """
    modules = list(module.named_modules(remove_duplicate=False))
    places: dict[int, list[tuple[nn.Module, str, str]]] = {}
    weights: dict[int, Tensor] = {}
    for name, part in modules:
        for key, weight in _own(part):
            weights[id(weight)] = weight
            places.setdefault(id(weight), []).append((part, key, f"{name}.{key}".lstrip(".")))
    has_islands = False
    while weights:
        identity, weight = weights.popitem()
        tied = places[identity]
        on_island = any(precision.covers(full) for _, _, full in tied)
        has_islands |= on_island
        dtype = torch.float32 if on_island else precision.torch_dtype
        if weight.dtype != dtype:
            converted = _converted(weight, dtype)
            for part, key, _ in tied:
                setattr(part, key, converted)
        del weight  # the old one goes before the next is made
    _match_types(modules, precision, has_islands)
    return module


def _match_types(modules: Sequence[tuple[str, nn.Module]], precision: Precision, has_islands: bool) -> None:
    """Hang casts of inputs before the modules that need them, and take away those of an earlier precision."""
    for _, part in modules:
        for hook in list(part._forward_pre_hooks.values()):
            if isinstance(hook, CastInputs):
                hook.remove()
    if precision.dtype == "float32":
        return
    named = {id(part) for name, part in modules if precision.names(name)}
    covered = {id(part) for name, part in modules if precision.covers(name)}
    has_islands |= bool(named)
    for name, part in {id(part): (name, part) for name, part in modules}.values():
        if id(part) in covered:
            if id(part) in named or _own(part):
                CastInputs(torch.float32).attach(part)
        elif not name or (has_islands and _own(part)):
            CastInputs(precision.torch_dtype).attach(part)


class CastInputs:
    """Forward pre-hook: floating inputs in the type its module computes in; those already in it pass untouched."""

    def __init__(self, dtype: torch.dtype) -> None:
        self.dtype = dtype
        self._handle: RemovableHandle | None = None

    def attach(self, module: nn.Module) -> None:
        """Run before the module's forward from now on."""
        self._handle = module.register_forward_pre_hook(self, with_kwargs=True)

    def remove(self) -> None:
        """Undo `attach`."""
        if self._handle is not None:
            self._handle.remove()

    def __call__(self, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        if not kwargs and len(args) == 1 and isinstance(args[0], Tensor) and args[0].dtype == self.dtype:
            return None
        return self._cast(args), self._cast(kwargs)

    def _cast(self, value: Any) -> Any:
        if isinstance(value, Tensor):
            # A number without axes widens nothing by torch's promotion, and may be a time step that rounding changes.
            return value.to(self.dtype) if value.dtype in _CAST and value.ndim else value
        if type(value) is dict:
            return {key: self._cast(inside) for key, inside in value.items()}
        if type(value) in (tuple, list):
            return type(value)(map(self._cast, value))
        if isinstance(value, tuple) and hasattr(value, "_fields"):
            return type(value)(*map(self._cast, value))
        return value


def _own(module: nn.Module) -> list[tuple[str, Tensor]]:
    """Weights and buffers held by the module itself, of the types that are cast."""
    held = {**module._parameters, **module._buffers}
    return [(key, tensor) for key, tensor in held.items() if tensor is not None and tensor.dtype in _CAST]


def _has_parts(module: nn.Module) -> bool:
    return next(module.children(), None) is not None


def _converted(weight: Tensor, dtype: torch.dtype) -> Tensor:
    if isinstance(weight, nn.Parameter):
        return nn.Parameter(weight.detach().to(dtype), requires_grad=weight.requires_grad)
    return weight.to(dtype)


def _patterns(names: Collection[str], everything: Collection[str]) -> list[str]:
    """The names with their numbers as `*`, wherever such a pattern means nothing but more of these names."""
    kept: dict[str, None] = {}
    meant: dict[str, bool] = {}
    for name in sorted(names):
        pattern = ".".join("*" if part.isdigit() else part for part in name.split("."))
        if pattern not in meant:
            others = [other for other in everything if fnmatchcase(other, pattern)]
            meant[pattern] = all(other in names or other.rpartition(".")[0] in names for other in others)
        kept[pattern if meant[pattern] else name] = None
    return list(kept)


@lru_cache(maxsize=64)
def _matcher(islands: tuple[str, ...]) -> re.Pattern[str]:
    """One expression for all patterns; matches nothing where there are none."""
    return re.compile("|".join(f"(?:{translate(pattern)})" for pattern in islands) or r"(?!)")
