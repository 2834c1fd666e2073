"""The straight road: source -> prepare -> micro-batches -> network -> finish -> sink, each an iterator stage.

A `Model` (made by `vitruvian.loading.load`) called with inputs yields results in input order. Nothing is loaded whole:
at most a few decoded pictures are alive at a time. Reading, cropping, finishing and writing run in threads beside the
network, which dominates time for every published size; small networks on a CPU run in those threads, too, one core
each. Batches are as large as the engine wants them, and what runs out of memory is tried again in parts or alone.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from threading import Lock
from typing import Any, TypeVar

import numpy as np
import torch

from vitruvian import zoo
from vitruvian.errors import InputError
from vitruvian.fit.decisions import Decision
from vitruvian.fit.footprint.values import Breakdown
from vitruvian.fit.knee import Aim
from vitruvian.fit.plan_values import Plan
from vitruvian.fit.precision import Precision
from vitruvian.hardware import PeakWatch, probe, spill_watch, synchronize
from vitruvian.inference_plan import one_core_each
from vitruvian.media.items import Entry, Failure, Item
from vitruvian.media.listing import list_inputs
from vitruvian.media.read_ahead import read_ahead
from vitruvian.media.sinks import FolderSink
from vitruvian.running.engine import Engine, NonFinite, Row
from vitruvian.running.runner import Runner, averaging
from vitruvian.stages import ordered_map
from vitruvian.tasks.base import Geometry, Origin, Provenance, Region, Result, Sink, Task

Inputs = str | Path | np.ndarray | Sequence[str | Path | np.ndarray]
RegionsOf = Callable[[Item], Sequence[Region | None]]
Results = Sequence[Result]
T = TypeVar("T")

AHEAD_PER_WORKER = 3
"""Pictures in flight per thread; two hide the network's time, the third evens out picture sizes."""

MIN_LINE = 8
"""Pictures that may wait for a batch of a rare canvas shape to fill."""


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
    rows: list[Row | None]

    @property
    def complete(self) -> bool:
        return all(row is not None for row in self.rows)


_Waiting = tuple[_Pending, int]
"""A crop in line for the network: its picture and its place in it."""


@dataclass(slots=True)
class Timings:
    """Seconds spent in each stage, summed over threads; `read` is the wait for pictures that are decoded ahead."""

    seconds: dict[str, float] = field(default_factory=dict)
    watch: PeakWatch | None = None
    """Keeps the stages' memory peaks."""
    _lock: Lock = field(default_factory=Lock)

    @contextmanager
    def measure(self, stage: str) -> Iterator[None]:
        """Add the time of the block to a stage."""
        started = time.perf_counter()
        try:
            with self.watch.stage(stage) if self.watch else nullcontext():
                yield
        finally:
            with self._lock:
                self.seconds[stage] = self.seconds.get(stage, 0.0) + time.perf_counter() - started


def whole_picture(item: Item) -> Sequence[Region | None]:
    """The default regions: the picture itself."""
    return (None,)


@dataclass(frozen=True, kw_only=True)
class Model:
    """A loaded network with its task and its plan, ready to run; make one with `vitruvian.loading.load`."""

    spec: zoo.ModelSpec
    task: Task
    runner: Runner
    provenance: Provenance
    max_batch: int
    """Largest number of crops per network call that the plan allows."""
    aim: Aim | None
    """What the batch is chosen for while running; None keeps it at `max_batch`."""
    plan: Plan | None = None
    predicted: Callable[[int], Breakdown] | None = None
    """Predicted memory of a batch before correction by earlier measurements, to hold the measured one against."""
    loading_decisions: tuple[Decision, ...] = ()
    """What was chosen before the first picture."""
    notes: tuple[str, ...] = ()

    @property
    def device(self) -> str:
        """torch device string."""
        return self.runner.device

    @property
    def precision(self) -> Precision:
        """What the network computes in at the moment."""
        return self.runner.precision

    @property
    def one_core_each(self) -> bool:
        """Whether micro-batches run beside each other, each on one core, instead of one by one on all cores."""
        return one_core_each(self.spec, self.device)

    def engine(self, *, flip_test: bool = False) -> Engine:
        """What runs the network safely, for one run."""
        if flip_test:
            averaging(self.task)
        return Engine(
            network=lambda canvases: self.runner.raw(canvases, flip_test=flip_test),
            finish_tensors=self.task.finish_tensors,
            guard=self.runner.guard,
            max_batch=self.max_batch,
            aim=self.aim,
            precision=str(self.precision),
            step_down=self.runner.step_down,
            observe=spill_watch(self.device),
            synchronize=lambda: synchronize(self.device),
        )

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


@dataclass(frozen=True, kw_only=True)
class Road:
    """One run of a model over a stream of inputs."""

    model: Model
    regions_of: RegionsOf = whole_picture
    flip_test: bool = False
    per_source: Callable[[Finished], Finished] | None = None
    """Sees every finished picture in order; for state that needs order, such as trackers and smoothing."""
    timings: Timings = field(default_factory=Timings)

    @cached_property
    def engine(self) -> Engine:
        """Runs the network; knows afterwards which batch was chosen and what went wrong on the way.

        Made at the start of `run`, before threads ask for it.
        """
        return self.model.engine(flip_test=self.flip_test)

    def run(self, entries: Iterable[Entry | Failure], deliver: Callable[[Finished], T]) -> Iterator[T | Failure]:
        """Yield `deliver(finished)` (called in a thread) or a `Failure` per input, in order."""
        assert self.engine
        workers = probe().cpu.cores
        ahead = workers * AHEAD_PER_WORKER
        with ThreadPoolExecutor(workers, initializer=_single_threaded) as pool:
            items = self._timed("read", read_ahead(iter(entries), workers=workers, ahead=ahead))
            prepare = self._guarded("preparing", self._prepare)
            prepared = ordered_map(_past_failures(prepare), items, pool, ahead=ahead)
            rows = self._through_network(prepared, pool, workers)
            finished = ordered_map(_past_failures(self._guarded("finishing", self._finish)), rows, pool, ahead=ahead)
            in_order = map(_past_failures(self.per_source), finished) if self.per_source else finished
            yield from ordered_map(_past_failures(self._guarded("saving", deliver)), in_order, pool, ahead=ahead)

    def _guarded(self, what: str, function: Callable[[Any], T]) -> Callable[[Any], T]:
        """The function, tried again alone where memory runs out."""
        return lambda element: self.engine.guarded(f"{what} one picture", function, element)

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
        batches = self._micro_batches(stream, line, at_once)
        ran = ordered_map(self._forward, batches, pool, ahead=at_once) if at_once > 1 else self._row_by_row(batches)
        for _ in ran:
            yield from _take_complete(line)
        yield from _take_complete(line)

    def _micro_batches(
        self, stream: Iterator[_Prepared | Failure], line: list[_Pending | Failure], at_once: int
    ) -> Iterator[Sequence[_Waiting]]:
        """Put pictures in line and fill batches across them, grouped by canvas shape, as large as the engine wants."""
        groups: dict[tuple[int, int], list[_Waiting]] = {}
        longest = MIN_LINE
        for element in stream:
            if isinstance(element, Failure):
                line.append(element)
                yield ()  # nothing to run, but the line may move
                continue
            pending = _Pending(prepared=element, rows=[None] * len(element.crops))
            line.append(pending)
            for index, crop in enumerate(element.crops):
                shape = crop.geometry.canvas_hw
                group = groups.setdefault(shape, [])
                group.append((pending, index))
                wanted = self.engine.wanted_batch(shape)
                longest = max(MIN_LINE, wanted * (at_once + 1))
                if len(group) >= wanted:
                    yield groups.pop(shape)
            if not element.crops:
                yield ()
            if len(line) > longest:  # a rare canvas shape must not hold up the pictures behind it
                yield from groups.values()
                groups.clear()
        yield from groups.values()

    def _forward(self, group: Sequence[_Waiting]) -> None:
        """A whole group, beside others."""
        with self.timings.measure("network"):
            rows = self.engine.run([pending.prepared.crops[index].canvas_HW3 for pending, index in group])
        for row, (pending, index) in zip(rows, group, strict=True):
            pending.rows[index] = row

    def _row_by_row(self, groups: Iterator[Sequence[_Waiting]]) -> Iterator[None]:
        """Where one group runs at a time: finished pictures leave while the rest of a split group still runs."""
        for group in groups:
            waiting = list(group)
            rows = self.engine.rows([pending.prepared.crops[index].canvas_HW3 for pending, index in waiting])
            yield None  # nothing to run, perhaps, but the line may move
            while waiting:
                with self.timings.measure("network"):
                    waiting[0][0].rows[waiting[0][1]] = next(rows)
                del waiting[0]  # its tensors go with the picture
                yield None

    @torch.inference_mode()
    def _finish(self, pending: _Pending) -> Finished | Failure:
        with self.timings.measure("finish"):
            task, provenance, item = self.model.task, self.model.provenance, pending.prepared.item
            parts: list[Result] = []
            for crop, row in zip(pending.prepared.crops, pending.rows, strict=True):
                assert row is not None
                if isinstance(row, NonFinite):
                    return Failure(name=item.name, index=item.index, reason=row.reason)
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


def _single_threaded() -> None:
    """Worker threads compute on their own core; the network keeps all of torch's."""
    torch.set_num_threads(1)
