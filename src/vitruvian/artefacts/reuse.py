"""One compilation for every set of weights of a network: another artefact's compiled file, if it is of that graph."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from vitruvian.artefacts import trust as ledger
from vitruvian.artefacts.compatibility import require_match
from vitruvian.artefacts.folder import check_files
from vitruvian.artefacts.manifest import Manifest, read_manifest
from vitruvian.artefacts.rung import Draft, Rung
from vitruvian.errors import RefusedError
from vitruvian.hardware import target_here

STRUCTURE = "structure"
"""Name of the graph's fingerprint among a manifest's options."""


def structure_of(draft: Draft) -> str:
    """A fingerprint of everything that compiled code depends on but the values of weights.

    The graph with its constants, ranges, shapes and types; equal for two trainings of one network.
    """
    program = draft.program
    parts = [
        str(program.graph),
        *(f"{name} {value.dtype} {tuple(value.shape)}" for name, value in program.state_dict.items()),
        *(f"{name} {_bytes(value)}" for name, value in program.constants.items()),
        *map(str, draft.inputs),
        str(draft.precision),
    ]
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()


def _bytes(value: Any) -> str:
    if not isinstance(value, Tensor):
        return str(value)
    plain = value.detach().cpu().contiguous().reshape(-1).view(torch.uint8)
    return f"{value.dtype} {tuple(value.shape)} {hashlib.sha256(plain.numpy().tobytes()).hexdigest()}"


def reusable_from(folder: Path | None, draft: Draft, *, trust: bool) -> Callable[[Rung], tuple[Path, Manifest] | None]:
    """What a climb asks for each backend: an artefact whose compiled file it may take.

    Raises:
        RefusedError: when asked for the backend of the artefact: not trusted, changed, for another machine or network.
    """
    if folder is None:
        return lambda rung: None
    manifest, data = read_manifest(folder)

    def found(rung: Rung) -> tuple[Path, Manifest] | None:
        if rung.name != manifest.backend or manifest.weights is None or not manifest.entry:
            return None
        if rung.executes and not trust:
            ledger.require(data, folder.name)
        check_files(folder, manifest.files)
        require_match(rung, manifest.target, target_here(draft.device), folder.name, manifest.source)
        if manifest.options.get(STRUCTURE) != structure_of(draft):
            raise RefusedError(
                f"got --reuse {folder.name}, compiled for another network, precision or range of batches; expected one "
                "that differs in its weights alone; leave --reuse out"
            )
        return folder, manifest

    return found
