"""ONNX files opened with ONNX Runtime, on the processor or a CUDA device, and never on another than was asked for.

In: an opening. Out: a function from torch tensors to torch tensors, both in place on the device: ONNX Runtime reads the
inputs where they lie, and the outputs are its own buffers. Several threads may call at once.
"""

from __future__ import annotations

import importlib.util
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from vitruvian.artefacts.contract import TensorContract
from vitruvian.artefacts.onnx_reading import check_onnx
from vitruvian.artefacts.rung import Compiled, Opening
from vitruvian.errors import RefusedError, UsageError
from vitruvian.hardware import synchronize

PACKAGES = ("onnx", "onnxscript", "onnxruntime")
_INSTALL = 'install with: pip install "vitruvian[onnx]"'
_TENSORRT = "TensorrtExecutionProvider"
_CUDA = "CUDAExecutionProvider"

_NO_MEMORY = re.compile(r"bad_alloc|failed to allocate|out of memory|BFCArena", re.IGNORECASE)
_SILENT = 4
"""Severity below which ONNX Runtime says nothing; what goes wrong is raised as well."""


def missing(device: str, packages: Sequence[str] = PACKAGES) -> str:
    """Why ONNX is not to be had for a torch device string, and what to do; empty where it is."""
    absent = [name for name in packages if importlib.util.find_spec(name) is None]
    if absent:
        return f"got no package {', '.join(absent)}; expected it for ONNX files; {_INSTALL}"
    kind = torch.device(device).type
    if kind not in ("cpu", "cuda"):
        return f"got the device {device}; expected cpu or cuda for ONNX files; take another device or another backend"
    return _provider_missing(_CUDA) if kind == "cuda" else ""


def open_session(opening: Opening) -> Compiled:
    """Open the entry of an artefact.

    Raises:
        UsageError: ONNX Runtime is not here, or not for this device.
        RefusedError: the file wants foreign code or files, is damaged, or is not the one the manifest describes.
    """
    manifest = opening.manifest
    said = missing(opening.device, ("onnxruntime",))
    if said:
        raise UsageError(said)
    import onnxruntime

    path = opening.folder / manifest.entry
    check_onnx(path, frozenset(manifest.files) - {manifest.entry})
    providers = _providers(opening)
    with _explained(f"opening {manifest.entry}"):
        session = onnxruntime.InferenceSession(
            str(path), sess_options=_options(opening.calls_at_once), providers=providers
        )
    session.disable_fallback()
    if providers[0][0] not in session.get_providers():
        raise RefusedError(
            f"got an ONNX Runtime that cannot start {providers[0][0]} here; expected its libraries beside it; install "
            f"onnxruntime-gpu for this CUDA version, or use --device cpu"
        )
    named = [one.name for one in session.get_inputs()], [one.name for one in session.get_outputs()]
    expected = [one.name for one in manifest.inputs], [one.name for one in manifest.outputs]
    if list(map(sorted, named)) != list(map(sorted, expected)):
        raise RefusedError(
            f"got {manifest.entry} from {', '.join(named[0])} to {', '.join(named[1])}; expected, by the manifest, "
            f"{', '.join(expected[0])} to {', '.join(expected[1])}; export it again: vitruvian export MODEL -o DIR"
        )
    return _Session(
        session=session, device=torch.device(opening.device), inputs=manifest.inputs, outputs=manifest.outputs
    )


def _providers(opening: Opening) -> list[tuple[str, dict[str, Any]]]:
    """Best first; the processor takes what a CUDA device has no operator for, never everything."""
    device = torch.device(opening.device)
    if device.type == "cpu":
        return [("CPUExecutionProvider", {})]
    asked = opening.manifest.options.get("providers", [])
    wanted = [_TENSORRT, _CUDA] if _TENSORRT in asked else [_CUDA]
    for name in wanted:
        said = _provider_missing(name)
        if said:
            raise RefusedError(said)
    return [(name, {"device_id": device.index or 0}) for name in wanted]


def _provider_missing(name: str) -> str:
    import onnxruntime

    if name in onnxruntime.get_available_providers():
        return ""
    needs = "onnxruntime-gpu" + (" and TensorRT" if name == _TENSORRT else "")
    return (
        f"got an ONNX Runtime without {name}; expected one made for CUDA; install {needs} instead of onnxruntime, or "
        "use --device cpu"
    )


def _options(calls_at_once: int) -> Any:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = _SILENT
    # The threads of a session serve all its calls, and each caller's own thread is one of them.
    options.intra_op_num_threads = max(1, torch.get_num_threads() // calls_at_once)
    options.inter_op_num_threads = 1
    # Memory planned ahead for each shape doubles the peak, and an arena never gives back: a batch that did not fit
    # would stay in the way of the smaller one that is tried next.
    options.enable_mem_pattern = False
    options.enable_cpu_mem_arena = False
    return options


@dataclass(frozen=True, kw_only=True, slots=True)
class _Session:
    session: Any
    device: torch.device
    inputs: Sequence[TensorContract]
    outputs: Sequence[TensorContract]

    def __call__(self, *inputs: Tensor) -> Mapping[str, Tensor]:
        import numpy as np

        place = self.device.type, self.device.index or 0
        binding = self.session.io_binding()
        for contract, value in zip(self.inputs, inputs, strict=True):
            element = np.dtype(contract.dtype)
            binding.bind_input(contract.name, *place, element, tuple(value.shape), value.data_ptr())
        for contract in self.outputs:
            binding.bind_output(contract.name, *place)
        synchronize(str(self.device))  # ONNX Runtime has a stream of its own
        with _explained("running the network"):
            self.session.run_with_iobinding(binding)
        values = binding.get_outputs_as_ortvaluevector()
        return {
            contract.name: torch.from_dlpack(values[index]).view(contract.torch_dtype)
            for index, contract in enumerate(self.outputs)
        }


@contextmanager
def _explained(doing: str) -> Iterator[None]:
    """ONNX Runtime's errors as ours; memory that ran out as such, so that a smaller batch is tried."""
    from onnxruntime.capi import onnxruntime_pybind11_state as state

    kinds: tuple[type[Exception], ...] = (
        RuntimeError,  # of calls with bound tensors
        *(kind for kind in vars(state).values() if isinstance(kind, type) and issubclass(kind, Exception)),
    )
    try:
        yield
    except kinds as error:
        said = " ".join(str(error).split())
        if _NO_MEMORY.search(said):
            raise MemoryError(said) from error
        raise RefusedError(
            f"got an error of ONNX Runtime while {doing} ({said[:300]}); expected none; export the model again: "
            "vitruvian export MODEL -o DIR, with another --backend if it stays"
        ) from error
