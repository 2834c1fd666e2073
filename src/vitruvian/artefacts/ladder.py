"""Every backend there is, and the order in which `auto` tries them."""

from __future__ import annotations

from collections.abc import Mapping

from vitruvian.artefacts.aoti import AOTI
from vitruvian.artefacts.eager import EAGER
from vitruvian.artefacts.eight_bits import FP8, INT8
from vitruvian.artefacts.manifest import Backend
from vitruvian.artefacts.onnx_files import ONNX
from vitruvian.artefacts.onnx_int8 import ONNX_INT8
from vitruvian.artefacts.program import EXPORT
from vitruvian.artefacts.rung import Rung
from vitruvian.artefacts.torchscript import TORCHSCRIPT
from vitruvian.errors import UsageError

_ALL = (AOTI, EXPORT, EAGER, ONNX, ONNX_INT8, INT8, FP8, TORCHSCRIPT)
RUNGS: Mapping[Backend, Rung] = {rung.name: rung for rung in _ALL}
"""Backends by name."""


def check_backend(name: str) -> Backend:
    """The backend of this name.

    Raises:
        UsageError: there is none.
    """
    for backend in RUNGS:
        if backend == name:
            return backend
    raise UsageError(f"got --backend {name}; expected one of {', '.join(RUNGS)}; leave it out to have one chosen")


AUTO: tuple[Backend, ...] = ("aoti", "export", "eager")
"""What `auto` tries, first verified one wins, and `best` builds all of; others only on request."""
