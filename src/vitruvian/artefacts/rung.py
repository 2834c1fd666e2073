"""What every backend of the ladder is: a function that writes its files, and one that opens them again.

`build(draft, folder)` -> `Built`; `open(opening)` -> a function from checked inputs to outputs. A backend knows tensors
and files, neither tasks nor families.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn

from vitruvian.artefacts.capture import capture
from vitruvian.artefacts.contract import BATCH, Axis, TensorContract
from vitruvian.artefacts.manifest import Backend, Manifest
from vitruvian.fit.precision import Precision

Compiled = Callable[..., Mapping[str, Tensor]]
"""Checked inputs in call order -> outputs by name; safe to call from several threads."""

Bond = Literal["torch", "device", "architecture", "instructions", "system"]
"""What of the machine an artefact's files depend on."""


@dataclass(kw_only=True)
class Draft:
    """A network on its way into a file."""

    name: str
    module: nn.Module
    """In its precision, in evaluation mode, on its device; positional tensors -> {name: tensor}."""
    inputs: tuple[TensorContract, ...]
    sample: tuple[Tensor, ...]
    """Inputs that fit the contracts, with a batch of at least 2, real values."""
    precision: Precision
    device: str
    """torch device string."""
    prefix: str = ""
    """Before the names of the weights, where the network is wrapped."""
    blocks: tuple[str, ...] = ()
    """Names of the repeated blocks, with the prefix."""
    calibration: Sequence[tuple[Tensor, ...]] = ()
    """Further inputs of batch 1, for backends that measure ranges of values."""
    head: tuple[str, ...] = ()
    """Name patterns (with the prefix) of modules that backends with fewer bits leave alone."""

    @cached_property
    def program(self) -> torch.export.ExportedProgram:
        """The graph, captured once for all backends that want one; see `capture`."""
        return capture(self.module, self.sample, self.inputs)

    @property
    def batch(self) -> Axis | None:
        """The batch axis."""
        return next((contract.batch for contract in self.inputs if contract.batch), None)

    @property
    def axes(self) -> dict[str, Axis]:
        """Every named axis."""
        return {side.name: side for contract in self.inputs for side in contract.shape if isinstance(side, Axis)} or {
            BATCH: Axis(name=BATCH)
        }


@dataclass(frozen=True, kw_only=True, slots=True)
class Built:
    """What a backend wrote."""

    entry: str
    """The file that is opened."""
    files: tuple[str, ...] = ()
    """Others beside it."""
    constants: Mapping[str, Tensor] = field(default_factory=dict)
    """Tensors that the file wants beside the weights, by its names for them."""
    weights_outside: bool = False
    """Whether the weights are handed in from their own file."""
    options: Mapping[str, Any] = field(default_factory=dict)
    """For `Manifest.options`."""
    log: str = ""
    """What its tools said."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Opening:
    """What a backend needs to open its files."""

    folder: Path
    manifest: Manifest
    device: str
    """torch device string."""
    weights: Callable[[], dict[str, Tensor]]
    """Weights and constants on the device in their types, by the file's own names; empty where they are inside."""
    calls_at_once: int = 1
    """Threads that will call at the same time."""
    module: nn.Module | None = None
    """What the weights belong to, where the artefact is a user's own module."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Rung:
    """One backend."""

    name: Backend
    what: str
    """In a few words, for people."""
    build: Callable[[Draft, Path], Built]
    open: Callable[[Opening], Compiled]
    executes: bool
    """Whether opening or running the files can execute code that is in them."""
    bonds: frozenset[Bond] = frozenset()
    missing: Callable[[str], str] = lambda device: ""
    """torch device string -> why this backend is not to be had here and what to do; empty where it is."""
    dtypes: tuple[str, ...] = ("float32", "bfloat16", "float16")
    """Compute types it can take."""
    portable: bool = False
    """Whether programs that know nothing of torch can read its files."""
    rounds: bool = False
    """Whether it rounds beyond the compute type: float32 with 8-bit weights is no float32."""
