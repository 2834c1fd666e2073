"""The rung `aoti`: native code by AOTInductor, weights beside it.

The file holds no weights (2 MB), so one compilation serves every set of weights of the same network. Compiling takes 10
to 40 s and a C++ compiler (or CUDA's) on this machine only; opening takes milliseconds. The code uses whatever
instructions the processor here has, and is bound to torch's exact version. It does not check what it is given.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.utils import _pytree as pytree

from vitruvian.artefacts.quiet import quiet
from vitruvian.artefacts.rounding import rounding_as_eager
from vitruvian.artefacts.rung import Built, Compiled, Draft, Opening, Rung
from vitruvian.errors import RefusedError
from vitruvian.hardware import compiler_works

ENTRY = "network.pt2"
_MODEL = "model"
"""Name of the program inside a package, torch's default."""


def _build(draft: Draft, folder: Path) -> Built:
    from torch._inductor import aoti_compile_and_package

    configs: dict[str, Any] = {
        **rounding_as_eager(),
        "aot_inductor.package_constants_in_so": False,
        "cpp.dynamic_threads": True,  # else the number of threads here would be part of the code
        "aot_inductor.metadata": {"model": draft.name, "precision": str(draft.precision)},
    }
    program = draft.program
    with quiet() as log, torch.no_grad():
        aoti_compile_and_package(program, package_path=str(folder / ENTRY), inductor_configs=configs)
    constants = {name: value for name, value in program.constants.items() if isinstance(value, Tensor)}
    return Built(entry=ENTRY, constants=constants, weights_outside=True, log=log.text)


def _open(opening: Opening) -> Compiled:
    path = opening.folder / opening.manifest.entry
    try:
        with quiet():
            loader = _loader(path, opening)
            return _Package(loader, _handed_over(loader, opening.weights()))
    except (RuntimeError, KeyError, OSError) as error:
        raise RefusedError(
            f"got {path.name}, which torch does not open ({_first_line(error)}); expected a package made by this torch "
            "on such a machine; export the model again"
        ) from error


def _loader(path: Path, opening: Opening) -> Any:
    """torch's loader itself: the function round it imports the whole compiler, which takes 1 to 2 s."""
    loader_type: Any = torch._C._aoti.AOTIModelPackageLoader
    single_threaded = False
    return loader_type(str(path), _MODEL, single_threaded, opening.calls_at_once, _index(opening))


def keeps_weights() -> bool:
    """Whether weights can be handed to compiled code for good; torch 2.6 crashes or computes with freed memory."""
    loader_type: Any = torch._C._aoti.AOTIModelPackageLoader
    return "user_managed" in (loader_type.load_constants.__doc__ or "")


def _handed_over(loader: Any, weights: dict[str, Tensor]) -> dict[str, Tensor]:
    """Weights to the compiled code, without a second copy: they must live as long as it."""
    wanted = set(loader.get_constant_fqns())
    missing = sorted(wanted - weights.keys())
    if missing:
        raise RefusedError(
            f"got weights without {', '.join(missing[:4])}; expected all that the compiled file takes; "
            "export the model again"
        )
    given = {name: weights[name] for name in wanted}
    use_inactive, check_full_update, user_managed = False, True, True
    loader.load_constants(given, use_inactive, check_full_update, user_managed)
    return given


class _Package:
    """A loaded package and the weights it reads."""

    def __init__(self, loader: Any, weights: dict[str, Tensor]) -> None:
        self._run = loader.boxed_run
        self._outputs = pytree.treespec_loads(loader.get_call_spec()[1])
        self._weights = weights

    def __call__(self, *inputs: Tensor) -> Mapping[str, Tensor]:
        outputs: Mapping[str, Tensor] = pytree.tree_unflatten(self._run(list(inputs)), self._outputs)
        return outputs


def _index(opening: Opening) -> int:
    index = torch.device(opening.device).index
    return -1 if index is None else index


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:200]


def _missing(device: str) -> str:
    if not keeps_weights():
        return f"torch {torch.__version__} frees weights that compiled code still reads; install a newer one"
    if compiler_works(device):
        return ""
    return "no compiler for generated kernels works here; install a C++ compiler (Debian: apt install g++)"


AOTI = Rung(
    name="aoti",
    what="native code by AOTInductor",
    build=_build,
    open=_open,
    executes=True,
    bonds=frozenset({"torch", "device", "architecture", "instructions", "system"}),
    missing=_missing,
)
