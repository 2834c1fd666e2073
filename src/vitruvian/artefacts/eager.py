"""The rung `eager`: weights alone, run operator by operator. Always to be had, never tied to anything."""

from __future__ import annotations

import copy
from pathlib import Path

from torch import nn

from vitruvian import zoo
from vitruvian.artefacts.manifest import WEIGHTS
from vitruvian.artefacts.pictures import post_inside
from vitruvian.artefacts.rung import Built, Compiled, Draft, Opening, Rung
from vitruvian.artefacts.wrapping import NamedOutputs
from vitruvian.errors import UsageError
from vitruvian.fit.precision import apply_precision
from vitruvian.models.weight_files import read_weights
from vitruvian.tasks.sizing import at_size


def _build(draft: Draft, folder: Path) -> Built:
    return Built(entry="", weights_outside=True)


def _open(opening: Opening) -> Compiled:
    manifest = opening.manifest
    if not manifest.task:
        return _of_user(opening)
    file = read_weights(opening.folder / WEIGHTS)
    spec = zoo.spec_of_file(opening.folder / WEIGHTS, file.tensors, file.metadata)
    precision = manifest.precision
    loaded = spec.family.load(spec.config, file.tensors, device=opening.device, dtype_of=precision.dtype_of)
    network = apply_precision(loaded.network.eval().requires_grad_(False), precision)
    if not manifest.with_post:
        return network
    task = at_size(spec.make_task(), _canvas_hw(opening))
    return post_inside(network, task)


def _canvas_hw(opening: Opening) -> tuple[int, int]:
    height, width = opening.manifest.preparation["canvas_hw"]
    return int(height), int(width)


def _of_user(opening: Opening) -> nn.Module:
    """A module of the user's: its class is not in the artefact."""
    if opening.module is None:
        raise UsageError(
            f"got the artefact {opening.folder.name}, which holds weights alone; expected the module they belong to; "
            "pass it: open_artefact(DIR, module=...)"
        )
    manifest = opening.manifest
    wrapper = NamedOutputs(copy.deepcopy(opening.module)).to(opening.device)  # the module itself stays as it is
    wrapper.load_state_dict(opening.weights(), assign=True)
    return apply_precision(wrapper.eval().requires_grad_(False), manifest.precision)


EAGER = Rung(name="eager", what="weights alone, operator by operator", build=_build, open=_open, executes=False)
