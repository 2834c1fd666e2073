"""The straight road: source -> prepare -> micro-batches -> network -> finish -> sink, each an iterator stage.

`load(name)` gives a `Model`; calling it with inputs yields results in input order. Nothing is loaded whole: at most a
few decoded pictures are alive at a time. Reading, cropping, finishing and writing run in threads beside the network,
which dominates time for every published size; small networks on a CPU run in those threads, too, one core each.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from threading import Lock
from typing import Any, TypeVar

import numpy as np
import torch
from torch import Tensor, nn

from vitruvian import zoo
from vitruvian.errors import InputError, UsageError
from vitruvian.fit.decisions import Decision
from vitruvian.hardware import probe, synchronize
from vitruvian.media.items import Entry, Failure, Item
from vitruvian.media.listing import list_inputs
from vitruvian.media.read_ahead import read_ahead
from vitruvian.media.sinks import FolderSink
from vitruvian.stages import ordered_map
from vitruvian.tasks.base import Geometry, Origin, Provenance, Region, Result, Sink, Task
from vitruvian.weights import LoadedWeights, load_weights

Inputs = str | Path | np.ndarray | Sequence[str | Path | np.ndarray]
RegionsOf = Callable[[Item], Sequence[Region | None]]
Results = Sequence[Result]
T = TypeVar("T")

AHEAD_PER_WORKER = 3
"""Pictures in flight per thread; two hide the network's time, the third evens out picture sizes."""

SMALL_PARAMETERS = 50_000_000
"""Networks below this are small: their single operations take less than a millisecond."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Finished:
    """One input that went all the way."""

    item: Item
    results: Results


Outcome = Finished | Failure


@dataclass(frozen=True, kw_only=True, slots=True)
class _Crop:
    """One region on its way to the network."""

    canvas_HW3: np.ndarray
    geometry: Geometry


@dataclass(frozen=True, kw_only=True, slots=True)
class _Prepared:
    """One picture with all its crops."""

    item: Item
    crops: tuple[_Crop, ...]


@dataclass(kw_only=True, slots=True)
class _Pending:
    """A picture whose crops are partly through the network."""

    prepared: _Prepared
    rows: list[dict[str, Tensor] | None]

    @property
    def complete(self) -> bool:
        return all(row is not None for row in self.rows)


_Waiting = tuple[_Pending, int]
"""A crop in line for the network: its picture and its place in it."""


@dataclass(slots=True)
class Timings:
    """Seconds spent in each stage, summed over threads; `read` is the wait for pictures that are decoded ahead."""

    seconds: dict[str, float] = field(default_factory=dict)
    _lock: Lock = field(default_factory=Lock)

    @contextmanager
    def measure(self, stage: str) -> Iterator[None]:
        """Add the time of the block to a stage."""
        started = time.perf_counter()
        try:
            yield
        finally:
            with self._lock:
                self.seconds[stage] = self.seconds.get(stage, 0.0) + time.perf_counter() - started


def whole_picture(item: Item) -> Sequence[Region | None]:
    """The default regions: the picture itself."""
    return (None,)


@dataclass(frozen=True, kw_only=True)
class Model:
    """A loaded network with its task, ready to run; make one with `load`."""

    spec: zoo.ModelSpec
    network: nn.Module
    task: Task
    device: str
    provenance: Provenance
    micro_batch: int
    decisions: tuple[Decision, ...]
    notes: tuple[str, ...] = ()

    @property
    def one_core_each(self) -> bool:
        """Whether micro-batches run beside each other, each on one core, instead of one by one on all cores.

        Threads that share one small operation wait for each other longer than they compute.
        """
        return self.device == "cpu" and self.spec.config.parameters < SMALL_PARAMETERS

    def __call__(
        self, inputs: Inputs, *, recursive: bool = False, regions_of: RegionsOf = whole_picture, flip_test: bool = False
    ) -> Iterator[Result]:
        """Results for a path, folder, pattern, array (uint8 RGB HW3), or a sequence of these, in order.

        Raises:
            InputError: after everything else came out, naming the inputs that could not be used.
        """
        several = [inputs] if isinstance(inputs, (str, Path, np.ndarray)) else list(inputs)
        failures = []
        road = Road(model=self, regions_of=regions_of, flip_test=flip_test)
        for outcome in road.run(list_inputs(several, recursive=recursive), deliver=lambda finished: finished):
            if isinstance(outcome, Failure):
                failures.append(outcome)
            else:
                yield from outcome.results
        if failures:
            listed = "; ".join(f"{failure.name}: {failure.reason}" for failure in failures[:5])
            raise InputError(
                f"got {len(failures)} input(s) that could not be used: {listed}; the others were done; "
                "mend or leave out these files"
            )

    @torch.inference_mode()
    def forward(self, canvases: Sequence[np.ndarray], *, flip_test: bool = False) -> dict[str, Tensor]:
        """Canvases of one shape -> what can be decided at network resolution, batched, on the device."""
        canvas_BHW3 = torch.from_numpy(np.stack(canvases)).to(self.device)
        x_B3HW = self.task.network_input(canvas_BHW3)
        raw = self.network(x_B3HW)
        if flip_test:
            raw = _averaging(self.task)(raw, self.network(x_B3HW.flip(-1)))
        return self.task.finish_tensors(raw)


def load(
    name: str | Path,
    *,
    device: str | None = None,
    micro_batch: int | None = None,
    accept_licence: Collection[str] = (),
    ask: Callable[[str], bool] | None = None,
    report: Callable[[str], None] = lambda line: None,
) -> Model:
    """Find, fetch, check and build a model by catalogue name or by the path of a weight file.

    Raises:
        UsageError: unknown name, device or path.
        RefusedError: licence not accepted, or weights that do not belong to the network.
        DoesNotFitError: the download does not fit the disk.
    """
    hardware = probe()
    decisions = []
    if device is None:
        device = hardware.default_device
        because = "the first accelerator" if hardware.accelerators else "no accelerator that this torch can use"
        decisions.append(Decision(what="device", value=device, because=because))
    weights: LoadedWeights = load_weights(
        name, device=hardware.check_device(device), accept_licence=accept_licence, ask=ask, report=report
    )
    if micro_batch is None:
        micro_batch, because = _default_batch(weights.spec, device)
        decisions.append(Decision(what="micro_batch", value=micro_batch, because=because))
    decisions.append(Decision(what="dtype", value="float32", because="the only precision this version runs"))
    torch.set_num_threads(hardware.cpu.cores)
    return Model(
        spec=weights.spec,
        network=weights.network,
        task=weights.spec.make_task(),
        device=device,
        provenance=weights.provenance,
        micro_batch=micro_batch,
        decisions=tuple(decisions),
        notes=weights.notes,
    )


def _default_batch(spec: zoo.ModelSpec, device: str) -> tuple[int, str]:
    """A cautious size until batches are planned from memory and measured."""
    if spec.config.parameters < SMALL_PARAMETERS:
        if device == "cpu":
            return 4, "a small network: every core runs a batch of its own, which should stay in the core's cache"
        return 8, "a small network; a batch spreads its fixed costs"
    if device == "cpu":
        return 1, "a large network keeps all cores busy with one picture"
    return 4, "cautious: memory is not planned yet"


@dataclass(frozen=True, kw_only=True)
class Road:
    """One run of a model over a stream of inputs."""

    model: Model
    regions_of: RegionsOf = whole_picture
    flip_test: bool = False
    per_source: Callable[[Finished], Finished] | None = None
    """Sees every finished picture in order; for state that needs order, such as trackers and smoothing."""
    timings: Timings = field(default_factory=Timings)

    def run(self, entries: Iterable[Entry | Failure], deliver: Callable[[Finished], T]) -> Iterator[T | Failure]:
        """Yield `deliver(finished)` (called in a thread) or a `Failure` per input, in order."""
        if self.flip_test:
            _averaging(self.model.task)
        workers = probe().cpu.cores
        ahead = workers * AHEAD_PER_WORKER
        with ThreadPoolExecutor(workers, initializer=_single_threaded) as pool:
            items = self._timed("read", read_ahead(iter(entries), workers=workers, ahead=ahead))
            prepared = ordered_map(_past_failures(self._prepare), items, pool, ahead=ahead)
            rows = self._through_network(prepared, pool, workers)
            finished = ordered_map(_past_failures(self._finish), rows, pool, ahead=ahead)
            in_order = map(_past_failures(self.per_source), finished) if self.per_source else finished
            yield from ordered_map(_past_failures(deliver), in_order, pool, ahead=ahead)

    def _timed(self, stage: str, stream: Iterator[T]) -> Iterator[T]:
        """Time spent waiting for a stream."""
        while True:
            with self.timings.measure(stage):
                try:
                    element = next(stream)
                except StopIteration:
                    return
            yield element

    def _prepare(self, item: Item) -> _Prepared | Failure:
        with self.timings.measure("prepare"):
            try:
                crops = [self.model.task.prepare(item.image_HW3, region) for region in self.regions_of(item)]
            except InputError as error:
                return Failure(name=item.name, index=item.index, reason=str(error))
        return _Prepared(item=item, crops=tuple(_Crop(canvas_HW3=canvas, geometry=geo) for canvas, geo in crops))

    def _through_network(
        self, stream: Iterator[_Prepared | Failure], pool: ThreadPoolExecutor, workers: int
    ) -> Iterator[_Pending | Failure]:
        """Run micro-batches and let pictures out whole and in order."""
        line: list[_Pending | Failure] = []
        at_once = workers if self.model.one_core_each else 1
        batches = self._micro_batches(stream, line, limit=max(self.model.micro_batch * (at_once + 1), 8))
        ran = ordered_map(self._forward, batches, pool, ahead=at_once) if at_once > 1 else map(self._forward, batches)
        for _ in ran:
            yield from _take_complete(line)
        yield from _take_complete(line)

    def _micro_batches(
        self, stream: Iterator[_Prepared | Failure], line: list[_Pending | Failure], limit: int
    ) -> Iterator[Sequence[_Waiting]]:
        """Put pictures in line and fill batches across them, grouped by canvas shape."""
        groups: dict[tuple[int, int], list[_Waiting]] = {}
        for element in stream:
            if isinstance(element, Failure):
                line.append(element)
                yield ()  # nothing to run, but the line may move
                continue
            pending = _Pending(prepared=element, rows=[None] * len(element.crops))
            line.append(pending)
            for index, crop in enumerate(element.crops):
                group = groups.setdefault(crop.geometry.canvas_hw, [])
                group.append((pending, index))
                if len(group) == self.model.micro_batch:
                    yield groups.pop(crop.geometry.canvas_hw)
            if not element.crops:
                yield ()
            if len(line) > limit:  # a rare canvas shape must not hold up the pictures behind it
                yield from groups.values()
                groups.clear()
        yield from groups.values()

    def _forward(self, group: Sequence[_Waiting]) -> None:
        if not group:
            return
        with self.timings.measure("network"):
            canvases = [pending.prepared.crops[index].canvas_HW3 for pending, index in group]
            tensors = self.model.forward(canvases, flip_test=self.flip_test)
            synchronize(self.model.device)  # an accelerator's time would land in the next stage otherwise
            for row, (pending, index) in enumerate(group):
                pending.rows[index] = {name: value[row] for name, value in tensors.items()}

    @torch.inference_mode()
    def _finish(self, pending: _Pending) -> Finished:
        with self.timings.measure("finish"):
            task, provenance, item = self.model.task, self.model.provenance, pending.prepared.item
            parts: list[Result] = []
            for crop, row in zip(pending.prepared.crops, pending.rows, strict=True):
                assert row is not None
                parts += task.finish(row, crop.geometry, provenance)
            source_hw = (item.image_HW3.shape[0], item.image_HW3.shape[1])
            origin = Origin(
                name=item.name,
                index=item.index,
                time_s=item.time_s,
                image_HW3=item.image_HW3,
                open_sink=lambda folder: _folder_sink(folder, item.name, joined),
            )
            joined = [replace(result, origin=origin) for result in task.join(parts, source_hw, provenance)]
        return Finished(item=item, results=joined)


def _folder_sink(folder: Path, name: str, results: Results) -> Sink:
    formats = {name for result in results for name in result.default_formats}
    return FolderSink(folder, frozenset(formats)).item(name)


def _take_complete(line: list[_Pending | Failure]) -> Iterator[_Pending | Failure]:
    while line and (isinstance(line[0], Failure) or line[0].complete):
        yield line.pop(0)


def _past_failures(function: Callable[[Any], T]) -> Callable[[Any], T | Failure]:
    """The function for what is whole; failures pass by."""
    return lambda element: element if isinstance(element, Failure) else function(element)


def _averaging(task: Task) -> Callable[..., dict[str, Tensor]]:
    average = getattr(task, "average_mirrored", None)
    if average is None:
        raise UsageError(f"got a flip test for {task.name}; expected pose; leave out --flip-test")
    return average


def _single_threaded() -> None:
    """Worker threads compute on their own core; the network keeps all of torch's."""
    torch.set_num_threads(1)
