"""What is done with an artefact in a process that knows nothing of how it was made: open it, run it, time it.

Called through a child process of `fit.footprint.isolate`; arguments and results travel by pickle. The artefact stays
open between the calls of one child.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from vitruvian.artefacts.artefact import Artefact, open_artefact
from vitruvian.artefacts.wrapping import FINITE
from vitruvian.hardware import PeakWatch, free_caches, open_meter, synchronize

LOOKS_S = 1.5
"""Time for repeated calls of one batch."""
MAX_LOOKS = 5

_open: dict[str, Artefact] = {}


@dataclass(frozen=True, kw_only=True, slots=True)
class Ran:
    """One batch through an artefact."""

    batch: int
    rows: Mapping[str, Tensor]
    """Outputs of the rows that were asked for, on the host; reduced floating types as float32."""
    whole: Mapping[str, Tensor]
    """Outputs without a row for each input."""
    non_finite: int
    """Values that are no numbers; pictures where the artefact itself says so."""
    seconds: float
    """Of the fastest call."""
    peak_bytes: int
    """Of the process, or of the device."""

    def row(self, index: int) -> dict[str, Tensor]:
        """All outputs of one of the rows."""
        return {**{name: value[index] for name, value in self.rows.items()}, **self.whole}


def open_fresh(folder: Path, device: str, threads: int, module: nn.Module | None = None) -> float:
    """Open an artefact; seconds it took. Trusted: it was made a moment ago by the process that asks."""
    torch.set_num_threads(threads)
    started = time.perf_counter()
    _open[str(folder)] = open_artefact(folder, device=device, trust=True, module=module)
    return time.perf_counter() - started


def close_fresh(folder: Path) -> None:
    """Let an artefact go."""
    _open.pop(str(folder), None)


@torch.inference_mode()
def run_fresh(folder: Path, inputs: Sequence[Tensor], rows: Sequence[int], looks_s: float = LOOKS_S) -> Ran:
    """Run one batch, again while there is time for it.

    Args:
        folder: Of an artefact that `open_fresh` opened.
        inputs: On the host, in call order.
        rows: Places in the batch whose outputs are wanted.
        looks_s: Seconds for further calls, to time them; 0: none.
    """
    artefact = _open[str(folder)]
    given = tuple(value.to(artefact.device) for value in inputs)
    batch = given[0].shape[0] if given[0].ndim else 1
    free_caches(artefact.device)
    with PeakWatch(open_meter(artefact.device)) as watch:
        outputs, seconds = _timed(artefact, given)
    deadline = time.perf_counter() + looks_s
    for _ in range(MAX_LOOKS):
        if time.perf_counter() + seconds > deadline:
            break
        seconds = min(seconds, _timed(artefact, given)[1])
    rowed = {contract.name for contract in artefact.manifest.outputs if contract.batch}
    return Ran(
        batch=batch,
        rows={name: _host(value)[list(rows)] for name, value in outputs.items() if name in rowed},
        whole={name: _host(value) for name, value in outputs.items() if name not in rowed},
        non_finite=_non_finite(outputs),
        seconds=seconds,
        peak_bytes=watch.peak_bytes,
    )


def _non_finite(outputs: Mapping[str, Tensor]) -> int:
    if FINITE in outputs:
        return int((~outputs[FINITE]).sum())
    return sum(int((~value.isfinite()).sum()) for value in outputs.values() if value.is_floating_point())


def time_fresh(folder: Path, inputs: Sequence[Tensor]) -> float:
    """Seconds of one call."""
    artefact = _open[str(folder)]
    return _timed(artefact, tuple(value.to(artefact.device) for value in inputs))[1]


def _timed(artefact: Artefact, inputs: tuple[Tensor, ...]) -> tuple[dict[str, Tensor], float]:
    started = time.perf_counter()
    outputs = artefact(*inputs)
    synchronize(artefact.device)
    return outputs, time.perf_counter() - started


def _host(value: Tensor) -> Tensor:
    value = value.detach().cpu()
    return value.float() if value.is_floating_point() else value
