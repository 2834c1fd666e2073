"""One network in one precision under measurement: its numbers, its peak, the time of its calls.

Crops -> `Seen` (raw outputs, results, peak); batch size -> seconds of calls, several side by side where the road would
run them so. Outputs of a pass are kept on the host, float32: some 20 to 60 MB a crop at full size.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from vitruvian import weights, zoo
from vitruvian.artefacts.artefact import open_artefact
from vitruvian.artefacts.manifest import Backend
from vitruvian.audit import Crop
from vitruvian.compiled_loading import CompiledNetwork
from vitruvian.exporting import export
from vitruvian.fit.apply import apply_knobs
from vitruvian.fit.precision import Precision
from vitruvian.fit.quality import worst
from vitruvian.hardware import PeakWatch, free_caches, open_meter, synchronize
from vitruvian.inference_plan import InferencePlanner
from vitruvian.running.runner import raw_outputs
from vitruvian.tasks.base import Provenance, Result, Task
from vitruvian.tasks.metrics import relative_l2

_BYTES = {"float32": 4, "bfloat16": 2, "float16": 2}


@dataclass(frozen=True, kw_only=True, slots=True)
class Seen:
    """One pass over the crops."""

    results: tuple[Result, ...]
    """Empty where a raw value was not finite."""
    raws: tuple[Mapping[str, np.ndarray], ...]
    """Raw outputs of each crop, float32."""
    non_finite: int
    peak_bytes: int
    """Of the process, other networks not counted."""
    calls_s: tuple[float, ...]
    """Seconds of the pass's calls, outputs on the host; the first one warms up."""

    @property
    def held_bytes(self) -> int:
        """What keeping it takes of the host."""
        return sum(value.nbytes for raw in self.raws for value in raw.values())


EAGER: Backend = "eager"


@dataclass(frozen=True, kw_only=True, slots=True)
class Way:
    """How a network is computed."""

    precision: Precision
    backend: Backend = EAGER

    def __str__(self) -> str:
        return str(self.precision) if self.backend == EAGER else f"{self.precision} by {self.backend}"

    def planner(self, planner: InferencePlanner) -> InferencePlanner:
        """Compiled code takes no memory measures of its own."""
        return planner if self.backend == EAGER else replace(planner, measures=False)


@dataclass(kw_only=True)
class Rig:
    """A network on its device, ready to be measured."""

    network: nn.Module
    way: Way
    device: str
    task: Task
    provenance: Provenance
    at_once: int
    """Calls side by side, each on one core."""
    own_bytes: int
    """Weights."""
    pool: ThreadPoolExecutor
    canvases: Sequence[np.ndarray] = ()

    @classmethod
    def build(cls, found: weights.FoundWeights, way: Way, planner: InferencePlanner, name: str | Path) -> Rig:
        """Make the network, with the memory measures its plan takes; or export and open it.

        Raises:
            CheckFailedError: the backend cannot be had here, or does not keep its numbers; says why.
        """
        device, precision = planner.device.device, way.precision
        if way.backend == EAGER:
            network = found.build(device=device, precision=precision).network
            apply_knobs(network, planner.workload(precision), planner.plan(precision).knobs)
        else:
            network = _compiled(found, way, planner, name)
        at_once = planner.calls_at_once
        threads = 1 if at_once > 1 else planner.hardware.cpu.cores
        return cls(
            network=network,
            way=way,
            device=device,
            task=found.spec.make_task(),
            provenance=found.provenance,
            at_once=at_once,
            own_bytes=sum(tensor.nbytes for tensor in network.state_dict().values()),
            pool=ThreadPoolExecutor(at_once, initializer=torch.set_num_threads, initargs=(threads,)),
        )

    def close(self) -> None:
        """Let the network go."""
        self.pool.shutdown()
        self.network.to("meta")

    def look(self, crops: Sequence[Crop], batch: int, *, beside_bytes: int = 0) -> Seen:
        """Run all crops once in calls of this batch.

        `beside_bytes`: what the process holds for other networks; not counted in the peak.
        """
        self.canvases = [crop.canvas_HW3 for crop in crops]
        starts = range(0, max(len(crops), batch * self.at_once), batch)
        free_caches(self.device)
        with PeakWatch(open_meter(self.device)) as watch:
            called = list(self.pool.map(lambda start: self._outputs(self._group(start, batch)), starts))
        raws = [{name: value[place] for name, value in raw.items()} for raw, _ in called for place in range(batch)]
        kept = raws[: len(crops)]
        non_finite = sum(int((~value.isfinite()).sum()) for raw in kept for value in raw.values())
        return Seen(
            results=() if non_finite else tuple(map(self._result, kept, crops)),
            raws=tuple({name: value.numpy() for name, value in raw.items()} for raw in kept),
            non_finite=non_finite,
            peak_bytes=watch.peak_bytes - beside_bytes,
            calls_s=tuple(seconds for _, seconds in called),
        )

    def read(self, batch: int) -> tuple[float, list[float]]:
        """(wall seconds, seconds of each call) of as many calls as run side by side."""
        started = time.perf_counter()
        calls_s = list(self.pool.map(lambda start: self._timed(self._group(start, batch)), range(self.at_once)))
        return time.perf_counter() - started, calls_s

    def _group(self, start: int, batch: int) -> list[np.ndarray]:
        """Canvases from a place on, from the beginning again where they end."""
        return [self.canvases[(start + offset) % len(self.canvases)] for offset in range(batch)]

    @torch.inference_mode()
    def _timed(self, canvases: Sequence[np.ndarray]) -> float:
        started = time.perf_counter()
        self.task.finish_tensors(raw_outputs(self.network, self.task, self.device, canvases))
        synchronize(self.device)
        return time.perf_counter() - started

    @torch.inference_mode()
    def _outputs(self, canvases: Sequence[np.ndarray]) -> tuple[dict[str, Tensor], float]:
        """Raw outputs on the host in float32, and seconds until they were there."""
        started = time.perf_counter()
        raw = {
            name: value.float().cpu()
            for name, value in raw_outputs(self.network, self.task, self.device, canvases).items()
        }
        return raw, time.perf_counter() - started

    @torch.inference_mode()
    def _result(self, raw: Mapping[str, Tensor], crop: Crop) -> Result:
        tensors = self.task.finish_tensors({name: value[None] for name, value in raw.items()})
        return self.task.finish({name: value[0] for name, value in tensors.items()}, crop.geometry, self.provenance)[0]


def _compiled(found: weights.FoundWeights, way: Way, planner: InferencePlanner, name: str | Path) -> nn.Module:
    """An artefact made for the measurement; its files go when it is open."""
    with tempfile.TemporaryDirectory(prefix="vitruvian-bench-") as folder:
        out = Path(folder) / way.backend
        export(
            name,
            out=out,
            backend=way.backend,
            dtype=way.precision.dtype,
            quality="fast",
            device=planner.device.device,
            budget=planner.budget_bytes,
            random_weights=not found.paths,
        )
        return CompiledNetwork(open_artefact(out, device=planner.device.device, calls_at_once=planner.calls_at_once))


def differences(task: Task, seen: Seen, reference: Seen) -> tuple[dict[str, float], float]:
    """Worst discrepancies in task units, and the largest relative distance of a raw output; both must be finite."""
    rows = [task.discrepancy(one, true) for one, true in zip(seen.results, reference.results, strict=True)]
    raw = max(
        relative_l2(one[name], true[name]) for one, true in zip(seen.raws, reference.raws, strict=True) for name in true
    )
    return worst(rows), raw


def weights_bytes(spec: zoo.ModelSpec, precision: Precision) -> int:
    """Of the network's weights in a precision, float32 islands not counted."""
    return spec.config.parameters * _BYTES[precision.dtype]
