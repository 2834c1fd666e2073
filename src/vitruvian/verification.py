"""Prove a network: strict load, hashes, and agreement with an official TorchScript file in task units.

In: a model name or weight file, optionally an official `_torchscript.pt2`. Out: a `Verification`. The other patch
padding is tried too when the two disagree, because a wrong padding loads cleanly and only shifts what the network sees.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from vitruvian import zoo
from vitruvian.bundled import bundled_pictures
from vitruvian.errors import RefusedError, UsageError
from vitruvian.media.items import Failure
from vitruvian.media.listing import list_inputs
from vitruvian.media.read_ahead import read_ahead
from vitruvian.models.sapiens import load_network
from vitruvian.models.sapiens.config import Padding
from vitruvian.models.weight_files import sha256_of
from vitruvian.tasks.base import Provenance, Result, Task
from vitruvian.tasks.metrics import relative_l2
from vitruvian.weights import LoadedWeights, load_weights

Official = Callable[[Tensor], Tensor]
"""Runs an official file: network input to raw output."""

AGREEMENT: Mapping[str, tuple[str, float]] = {
    "px_median": ("<=", 0.25),
    "px_p90": ("<=", 0.25),
    "px_max": ("<=", 0.25),
    "score_max": ("<=", 1e-3),
    "label_share": (">=", 0.9995),
    "deg_mean": ("<=", 0.05),
    "relative": ("<=", 1e-3),
    "relative_l2": ("<=", 1e-3),
    "raw_relative_l2": ("<=", 1e-3),
}
"""What counts as the same network, both in float32; far tighter than any reduced precision, far wider than rounding.
Every unit of every task's `discrepancy` has its row: distances alone would pass two networks that see no keypoint.
"""


@dataclass(frozen=True, kw_only=True, slots=True)
class Verification:
    """What was checked and how it came out."""

    model: str
    parameters: int
    weights_sha256: str
    notes: tuple[str, ...]
    discrepancies: dict[str, float] | None = None
    """Worst value over the pictures per unit, against the official file; None when none was given."""
    pictures: int = 0
    agrees: bool | None = None
    padding: Padding | None = None
    """Patch padding of the compared network."""
    other_padding_agrees: bool | None = None
    """Whether the other padding would have agreed; None unless this one did not."""


def verify(
    name: str | Path,
    *,
    against: Path | None = None,
    trust: bool = False,
    on: Path | None = None,
    accept_licence: Collection[str] = (),
    ask: Callable[[str], bool] | None = None,
    report: Callable[[str], None] = lambda line: None,
) -> Verification:
    """Load strictly and, with `against`, compare on real pictures.

    Raises:
        UsageError: no such model or file.
        RefusedError: weights that do not belong to the network, a TorchScript file without `trust` (it runs code), or
            one that is damaged or made for another task or input size.
    """
    if against is not None and not against.is_file():
        raise UsageError(f"got --against {against.name}, which is no file; expected a _torchscript.pt2; check the path")
    loaded = load_weights(name, accept_licence=accept_licence, ask=ask, report=report)
    plain = Verification(
        model=loaded.spec.name,
        parameters=sum(parameter.numel() for parameter in loaded.network.parameters()),
        weights_sha256=loaded.provenance.weights_sha256,
        notes=loaded.notes,
    )
    if against is None:
        return plain
    if not trust:
        raise RefusedError(
            f"got --against {against.name}, a TorchScript file, which runs its own code when loaded; expected your "
            f"consent; add --trust if its source is trusted (sha256 {sha256_of(against)})"
        )
    return _compare(plain, loaded, _official(against), on or bundled_pictures())


def _official(path: Path) -> Official:
    """A trusted TorchScript file as a function; its errors become refusals."""
    try:
        module = torch.jit.load(path, map_location="cpu").eval()
    except RuntimeError as error:
        raise RefusedError(
            f"got --against {path.name}, which torch does not load as TorchScript ({_first_line(error)}); expected an "
            "official _torchscript.pt2; _bfloat16.pt2 and .pth files hold no program to compare with"
        ) from error

    def run(x_B3HW: Tensor) -> Tensor:
        try:
            output = module(x_B3HW)
        except RuntimeError as error:
            raise RefusedError(
                f"got --against {path.name}, which fails on an input of {tuple(x_B3HW.shape)} ({_first_line(error)}); "
                "expected a file traced at the network's own input size; name the model it was made from"
            ) from error
        # The pretrained files return a 1-tuple, the others a tensor.
        return output[0] if isinstance(output, (tuple, list)) else output

    return run


def _first_line(error: Exception) -> str:
    """The line of a library's error that says what happened; a TorchScript traceback has it last."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    said = next((line for line in lines if line.startswith("RuntimeError:")), lines[0] if lines else "no reason given")
    return said.removeprefix("RuntimeError: ")[:200]


def _compare(plain: Verification, loaded: LoadedWeights, official: Official, folder: Path) -> Verification:
    task = loaded.spec.make_task()
    canvases = _canvases(task, folder)
    padding = zoo.sapiens_config(loaded.spec).backbone.patch_padding
    worst = _worst(task, loaded.network, official, canvases, loaded.provenance)
    agrees = _within(worst)
    return replace(
        plain,
        discrepancies=worst,
        pictures=len(canvases),
        agrees=agrees,
        padding=padding,
        other_padding_agrees=None if agrees else _other_agrees(loaded, task, official, canvases),
    )


def _other_agrees(loaded: LoadedWeights, task: Task, official: Official, canvases: Sequence[Any]) -> bool:
    config = zoo.sapiens_config(loaded.spec)
    other: Padding = "corner" if config.backbone.patch_padding == 2 else 2
    changed = replace(config, backbone=replace(config.backbone, patch_padding=other))
    if changed.backbone.grid_hw() != config.backbone.grid_hw():
        return False
    network = load_network(changed, loaded.network.state_dict()).network
    return _within(_worst(task, network, official, canvases, loaded.provenance))


def _canvases(task: Task, folder: Path) -> list[tuple[np.ndarray, Any]]:
    pictures = read_ahead(list_inputs([folder], recursive=False), workers=1, ahead=2)
    found = [task.prepare(item.image_HW3, None) for item in pictures if not isinstance(item, Failure)]
    if not found:
        raise RefusedError(
            f"got {folder.name} without a readable picture; expected pictures to compare on; name a folder"
        )
    return found


@torch.inference_mode()
def _worst(
    task: Task, ours: nn.Module, official: Official, canvases: Sequence[tuple[np.ndarray, Any]], provenance: Provenance
) -> dict[str, float]:
    """Worst discrepancy per unit; one picture at a time, because official files were traced at batch 1."""
    worst: dict[str, float] = {}
    for canvas_HW3, geometry in canvases:
        x_B3HW = task.network_input(torch.from_numpy(canvas_HW3)[None])
        raw = ours(x_B3HW)
        official_raw = dict.fromkeys(raw, official(x_B3HW))
        for key, value in raw.items():
            if official_raw[key].shape != value.shape:
                raise RefusedError(
                    f"got an output of {tuple(official_raw[key].shape)} from the file given with --against; expected "
                    f"{tuple(value.shape)} ({key}) as {provenance.model} has it; name the model the file was made from"
                )
        first, second = (_result(task, given, geometry, provenance) for given in (raw, official_raw))
        # Task units may forgive a scale (relative depth): the raw maps must agree as well.
        raw_difference = max(relative_l2(raw[key].numpy(), official_raw[key].numpy()) for key in raw)
        for unit, value in {**task.discrepancy(first, second), "raw_relative_l2": raw_difference}.items():
            # NumPy's extremes keep a NaN, which Python's drop: one picture without a value must not pass for agreement.
            worse = np.minimum if AGREEMENT.get(unit, ("<=", 0.0))[0] == ">=" else np.maximum
            worst[unit] = float(worse(worst.get(unit, value), value))
    return worst


def _result(task: Task, raw: Mapping[str, Tensor], geometry: Any, provenance: Provenance) -> Result:
    rows = {name: value[0] for name, value in task.finish_tensors(raw).items()}
    return task.finish(rows, geometry, provenance)[0]


def _within(worst: Mapping[str, float]) -> bool:
    if not worst or worst.keys() - AGREEMENT.keys():
        raise RefusedError(
            f"got discrepancies {sorted(worst)}; expected some of {sorted(AGREEMENT)}: report this as a bug"
        )
    held = {unit: AGREEMENT[unit] for unit in worst}
    return all(worst[unit] <= limit if sign == "<=" else worst[unit] >= limit for unit, (sign, limit) in held.items())
