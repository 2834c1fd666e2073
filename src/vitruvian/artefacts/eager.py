"""The rung `eager`: weights alone, run operator by operator. Always to be had, never tied to anything."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from torch import Tensor, nn

from vitruvian import zoo
from vitruvian.artefacts.manifest import WEIGHTS
from vitruvian.artefacts.pictures import post_inside
from vitruvian.artefacts.rung import Built, Compiled, Draft, Opening, Rung
from vitruvian.artefacts.wrapping import NamedOutputs
from vitruvian.errors import UsageError
from vitruvian.fit.apply import apply_knobs
from vitruvian.fit.knobs import Knobs
from vitruvian.fit.ladder import strips_are_faster
from vitruvian.fit.precision import Precision, apply_precision
from vitruvian.media.names import printable
from vitruvian.models.weight_files import read_weights


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
    network = _prepared(loaded.network, spec, precision, opening.device)
    if not manifest.with_post:
        return network
    return post_inside(network, spec.at_size(manifest.canvas_hw).make_task())


def _prepared(network: nn.Module, spec: zoo.ModelSpec, precision: Precision, device: str) -> nn.Module:
    """Ready to run as the road would run it: nothing was compiled that would stand in the way of its measures."""
    offered = "chunked_head" in spec.workload.knobs
    strips = offered and strips_are_faster(spec.config.parameters, device.partition(":")[0])
    workload = replace(spec.workload, islands=precision.islands)
    apply_knobs(network, workload, Knobs(dtype=precision.dtype, chunked_head=strips))
    return network


def _of_user(opening: Opening) -> nn.Module:
    """A module of the user's: its class is not in the artefact."""
    if opening.module is None:
        raise UsageError(
            f"got the artefact {opening.folder.name}, which holds weights alone; expected the module they belong to; "
            "pass it: open_artefact(DIR, module=...)"
        )
    manifest = opening.manifest
    wrapper = NamedOutputs(copy.deepcopy(opening.module)).to(opening.device)  # the module itself stays as it is
    weights = opening.weights()
    _check_belongs(weights, wrapper, opening.folder.name)
    wrapper.load_state_dict(weights, assign=True)
    return apply_precision(wrapper.eval().requires_grad_(False), manifest.precision)


def _check_belongs(weights: Mapping[str, Tensor], module: nn.Module, folder: str) -> None:
    own = {name: tuple(value.shape) for name, value in module.state_dict().items()}
    given = {name: tuple(value.shape) for name, value in weights.items()}
    odd = sorted(name for name in own.keys() | given.keys() if own.get(name) != given.get(name))
    if odd:
        name = odd[0]
        raise UsageError(
            f"got a module whose {printable(name.removeprefix(NamedOutputs.prefix))[:200]} has the shape "
            f"{own.get(name, 'of nothing')}, beside weights of {given.get(name, 'none')} in {folder} ({len(odd)} "
            "differ in all); expected the module that was exported; pass that one"
        )


EAGER = Rung(name="eager", what="weights alone, operator by operator", build=_build, open=_open, executes=False)
