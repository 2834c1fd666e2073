"""One network over a stream of pictures: prepare -> micro-batches -> engine -> finish, each an iterator stage.

In: pictures with the regions to look at. Out: pictures with their results, in the same order; a `Failure` passes by. At
most a few pictures are held. Batches fill across pictures, grouped by canvas shape, never padded with blanks; many
regions of one picture spread over several. The network dominates time; canvases and rows in line dominate memory.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field, replace
from pathlib import Path
from threading import Lock
from typing import Any, TypeVar

import numpy as np
import torch

from vitruvian.errors import InputError
from vitruvian.hardware import PeakWatch
from vitruvian.media.items import Failure, Item
from vitruvian.media.sinks import FolderSink
from vitruvian.running.engine import Engine, NonFinite, Row
from vitruvian.stages import ordered_map
from vitruvian.tasks.base import Geometry, Origin, Provenance, Region, Result, Sink, Task

Results = Sequence[Result]
T = TypeVar("T")

MIN_LINE = 8
"""Pictures that may wait for a batch of a rare canvas shape to fill."""

PART = 4
"""Regions that are cut out of a picture at a time: a crowd's canvases are not all there at once."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Asked:
    """A picture and where to look in it."""

    item: Item
    regions: Sequence[Region | None]
    """None means the whole picture; empty: nowhere, which gives an empty result."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Finished:
    """One input that went all the way."""

    item: Item
    results: Results


Outcome = Finished | Failure


@dataclass(kw_only=True, slots=True)
class _Pending:
    """A picture on its way; its regions may be in different batches."""

    item: Item
    rows: list[Row | None]
    geometries: list[Geometry | None]
    failure: Failure | None = None
    """Why a region of it cannot be looked at."""
    in_line: bool = False
    """Whether it has its place among the pictures; it may have left again already, with a failure."""

    @property
    def complete(self) -> bool:
        return self.failure is not None or all(row is not None for row in self.rows)


@dataclass(frozen=True, kw_only=True, slots=True)
class _Part:
    """Some regions of a picture, to be cut out together."""

    pending: _Pending
    first: int
    """Place of the first of them in the picture."""
    regions: Sequence[Region | None]


@dataclass(frozen=True, kw_only=True, slots=True)
class _Canvas:
    """One region in line for the network."""

    pending: _Pending
    place: int
    pixels_HW3: np.ndarray


_Cut = tuple[_Pending, Sequence[_Canvas]]


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


@dataclass(frozen=True, kw_only=True)
class NetworkStage:
    """One network's part of a road."""

    task: Task
    provenance: Provenance
    engine: Engine
    timings: Timings
    pool: ThreadPoolExecutor
    workers: int
    ahead: int
    """Pictures that may be in flight in each threaded step."""
    one_core_each: bool
    """Whether micro-batches run beside each other in the pool."""
    name: str = ""
    """Put before the names of steps in timings, where a road has several networks."""

    def run(self, stream: Iterator[Asked | Failure]) -> Iterator[Finished | Failure]:
        """Results of every picture, in order."""
        cut = past_failures(self._guarded("preparing", self._cut))
        canvases = ordered_map(cut, _parts(stream), self.pool, ahead=self.ahead)
        rows = self._through_network(canvases)
        finish = past_failures(self._guarded("finishing", self._finish))
        return ordered_map(finish, rows, self.pool, ahead=self.ahead)

    def _guarded(self, what: str, function: Callable[[Any], T]) -> Callable[[Any], T]:
        """The function, tried again alone where memory runs out."""
        return lambda element: self.engine.guarded(f"{what} one picture", function, element)

    def _cut(self, part: _Part) -> _Cut:
        """Canvases of some regions; a region that cannot be cut out fails the picture."""
        pending, canvases = part.pending, []
        if pending.failure is not None:
            return pending, ()
        with self.timings.measure(f"{self.name}prepare"):
            for place, region in enumerate(part.regions, part.first):
                try:
                    pixels_HW3, pending.geometries[place] = self.task.prepare(pending.item.image_HW3, region)
                except InputError as error:
                    item = pending.item
                    pending.failure = Failure(name=item.name, index=item.index, reason=str(error))
                    return pending, ()
                canvases.append(_Canvas(pending=pending, place=place, pixels_HW3=pixels_HW3))
        return pending, canvases

    def _through_network(self, stream: Iterator[_Cut | Failure]) -> Iterator[_Pending | Failure]:
        """Run micro-batches and let pictures out whole and in order."""
        line: list[_Pending | Failure] = []
        at_once = self.workers if self.one_core_each else 1
        batches = self._micro_batches(stream, line, at_once)
        beside = ordered_map(self._forward, batches, self.pool, ahead=at_once) if at_once > 1 else None
        for _ in beside or self._row_by_row(batches):
            yield from _take_complete(line)
        yield from _take_complete(line)

    def _micro_batches(
        self, stream: Iterator[_Cut | Failure], line: list[_Pending | Failure], at_once: int
    ) -> Iterator[list[_Canvas]]:
        """Put pictures in line and fill batches across them, grouped by canvas shape, as large as the engine wants."""
        groups: dict[tuple[int, ...], list[_Canvas]] = {}
        longest = MIN_LINE
        for element in stream:
            if isinstance(element, Failure):
                line.append(element)
                yield []  # nothing to run, but the line may move
                continue
            pending, canvases = element
            if not pending.in_line:
                pending.in_line = True
                line.append(pending)
            for canvas in canvases:
                shape = canvas.pixels_HW3.shape[:2]
                group = groups.setdefault(shape, [])
                group.append(canvas)
                wanted = self.engine.wanted_batch((shape[0], shape[1]))
                longest = max(MIN_LINE, wanted * (at_once + 1))
                if len(group) >= wanted:
                    yield groups.pop(shape)
            if not canvases:
                yield []
            if len(line) > longest:  # a rare canvas shape must not hold up the pictures behind it
                yield from groups.values()
                groups.clear()
        yield from groups.values()

    def _forward(self, group: list[_Canvas]) -> None:
        """A whole group, beside others."""
        with self.timings.measure(f"{self.name}network"):
            rows = self.engine.run([canvas.pixels_HW3 for canvas in group])
        for row, canvas in zip(rows, group, strict=True):
            canvas.pending.rows[canvas.place] = row

    def _row_by_row(self, groups: Iterator[list[_Canvas]]) -> Iterator[None]:
        """Where one group runs at a time: finished pictures leave while the rest of a split group still runs."""
        for group in groups:
            waiting = list(group)
            rows = self.engine.rows([canvas.pixels_HW3 for canvas in waiting])
            yield None  # nothing to run, perhaps, but the line may move
            while waiting:
                with self.timings.measure(f"{self.name}network"):
                    waiting[0].pending.rows[waiting[0].place] = next(rows)
                del waiting[0]  # its tensors go with the picture
                yield None

    @torch.inference_mode()
    def _finish(self, pending: _Pending) -> Finished | Failure:
        if pending.failure is not None:
            return pending.failure
        with self.timings.measure(f"{self.name}finish"):
            task, provenance, item = self.task, self.provenance, pending.item
            parts: list[Result] = []
            for geometry, row in zip(pending.geometries, pending.rows, strict=True):
                assert row is not None
                assert geometry is not None
                if isinstance(row, NonFinite):
                    return Failure(name=item.name, index=item.index, reason=row.reason)
                parts += task.finish(row, geometry, provenance)
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


def _parts(stream: Iterator[Asked | Failure]) -> Iterator[_Part | Failure]:
    """Pictures as a few regions at a time; one without regions still passes, as one part."""
    for asked in stream:
        if isinstance(asked, Failure):
            yield asked
            continue
        count = len(asked.regions)
        pending = _Pending(item=asked.item, rows=[None] * count, geometries=[None] * count)
        for first in range(0, max(1, count), PART):
            yield _Part(pending=pending, first=first, regions=asked.regions[first : first + PART])


def past_failures(function: Callable[[Any], T]) -> Callable[[Any], T | Failure]:
    """The function for what is whole; failures pass by."""
    return lambda element: element if isinstance(element, Failure) else function(element)
