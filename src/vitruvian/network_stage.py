"""One network over a stream of pictures: prepare -> micro-batches -> engine -> finish, each an iterator stage.

In: pictures with the regions to look at. Out: pictures with their results, in the same order; a `Failure` passes by. At
most a few pictures are held. Batches fill across pictures, grouped by canvas shape, never padded with blanks; many
regions of one picture spread over several, and each is finished and let go as soon as the network has seen it. The
network dominates time; canvases and rows in line dominate memory.
"""

from __future__ import annotations

import time
from collections import deque
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
from vitruvian.tasks.base import Gathering, Geometry, Origin, Provenance, Region, Result, Sink, Task
from vitruvian.tasks.cameras import Camera

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
class _Picture:
    """A picture on its way; its regions may be in different batches."""

    item: Item
    pieces: int
    """Number of its regions; 1 where there is none, for the piece that stands for it."""
    gathering: Gathering
    finished: int = 0
    failure: Failure | None = None
    """Why a region of it cannot be looked at."""
    gone: bool = False
    """Whether it left with a failure; what is left of it is dropped."""
    turn: Lock = field(default_factory=Lock)
    """Held while a region's results are added."""


@dataclass(frozen=True, kw_only=True, slots=True)
class _Part:
    """Some regions of a picture, to be cut out together."""

    picture: _Picture
    first: int
    """Place of the first of them in the picture."""
    regions: Sequence[Region | None]


@dataclass(kw_only=True, slots=True)
class _Piece:
    """One region in line for the network, or what stands for a picture without any and for one that failed."""

    picture: _Picture
    place: int = 0
    geometry: Geometry | None = None
    pixels_HW3: np.ndarray | None = None
    """The canvas, until the network has seen it."""
    row: Row | None = None
    """What the network said, until it is finished."""

    @property
    def ready(self) -> bool:
        return self.geometry is None or self.row is not None


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
    camera_of: Callable[[Item], Camera] | None = None
    """The camera behind a picture; None: the task needs none."""

    def run(self, stream: Iterator[Asked | Failure]) -> Iterator[Finished | Failure]:
        """Results of every picture, in order."""
        cut = past_failures(self._guarded("preparing", self._cut))
        pieces = ordered_map(cut, self._parts(stream), self.pool, ahead=self.ahead)
        rows = self._through_network(pieces)
        finish = past_failures(self._guarded("finishing", self._finish))
        return self._pictures(ordered_map(finish, rows, self.pool, ahead=self.ahead))

    def _guarded(self, what: str, function: Callable[[Any], T]) -> Callable[[Any], T]:
        """The function, tried again alone where memory runs out."""
        return lambda element: self.engine.guarded(f"{what} one picture", function, element)

    def _parts(self, stream: Iterator[Asked | Failure]) -> Iterator[_Part | Failure]:
        """Pictures as a few regions at a time; one without regions still passes, as one part."""
        for asked in stream:
            if isinstance(asked, Failure):
                yield asked
                continue
            pieces = max(1, len(asked.regions))
            source_hw = (asked.item.image_HW3.shape[0], asked.item.image_HW3.shape[1])
            gathering = self.task.gather(source_hw, self.provenance)
            picture = _Picture(item=asked.item, pieces=pieces, gathering=gathering)
            for first in range(0, pieces, PART):
                yield _Part(picture=picture, first=first, regions=asked.regions[first : first + PART])

    def _cut(self, part: _Part) -> Sequence[_Piece]:
        """Canvases of some regions; a region that cannot be cut out fails the picture."""
        picture, pieces = part.picture, []
        if picture.failure is not None:
            return (_Piece(picture=picture),)
        with self.timings.measure(f"{self.name}prepare"):
            for place, region in enumerate(part.regions, part.first):
                try:
                    pixels_HW3, geometry = self.task.prepare(picture.item.image_HW3, region)
                    if self.camera_of is not None:
                        geometry = replace(geometry, camera=self.camera_of(picture.item))
                except InputError as error:
                    picture.failure = _failure(picture.item, str(error))
                    break
                pieces.append(_Piece(picture=picture, place=place, geometry=geometry, pixels_HW3=pixels_HW3))
        if picture.failure is not None or not pieces:
            return (_Piece(picture=picture),)
        return pieces

    def _through_network(self, stream: Iterator[Sequence[_Piece] | Failure]) -> Iterator[_Piece | Failure]:
        """Run micro-batches and let regions out in order."""
        line: deque[_Piece | Failure] = deque()
        at_once = self.workers if self.one_core_each else 1
        batches = self._micro_batches(stream, line, at_once)
        beside = ordered_map(self._forward, batches, self.pool, ahead=at_once) if at_once > 1 else None
        for _ in beside or self._row_by_row(batches):
            yield from _take_ready(line)
        yield from _take_ready(line)

    def _micro_batches(
        self, stream: Iterator[Sequence[_Piece] | Failure], line: deque[_Piece | Failure], at_once: int
    ) -> Iterator[list[_Piece]]:
        """Put regions in line and fill batches across pictures, grouped by canvas shape, as the engine wants them."""
        groups: dict[tuple[int, ...], list[_Piece]] = {}
        longest = MIN_LINE
        for element in stream:
            pieces: Sequence[_Piece] = ()
            if isinstance(element, Failure):
                line.append(element)
            else:
                pieces = [piece for piece in element if piece.pixels_HW3 is not None]
                line.extend(element)
            for piece in pieces:
                assert piece.pixels_HW3 is not None
                shape = piece.pixels_HW3.shape[:2]
                group = groups.setdefault(shape, [])
                group.append(piece)
                wanted = self.engine.wanted_batch((shape[0], shape[1]))
                longest = max(MIN_LINE, wanted * (at_once + 1))
                if len(group) >= wanted:
                    yield groups.pop(shape)
            if not pieces:
                yield []  # nothing to run, but the line may move
            if len(line) > longest:  # a rare canvas shape must not hold up the pictures behind it
                yield from groups.values()
                groups.clear()
        yield from groups.values()

    def _forward(self, group: list[_Piece]) -> None:
        """A whole group, beside others."""
        with self.timings.measure(f"{self.name}network"):
            rows = self.engine.run(_canvases(group))
        for row, piece in zip(rows, group, strict=True):
            piece.row, piece.pixels_HW3 = row, None

    def _row_by_row(self, groups: Iterator[list[_Piece]]) -> Iterator[None]:
        """Where one group runs at a time: finished regions leave while the rest of a split group still runs."""
        for group in groups:
            rows = self.engine.rows(_canvases(group))
            yield None  # nothing to run, perhaps, but the line may move
            for piece in group:
                with self.timings.measure(f"{self.name}network"):
                    piece.row, piece.pixels_HW3 = next(rows), None
                yield None

    @torch.inference_mode()
    def _finish(self, piece: _Piece) -> _Picture:
        """What a region shows, added to its picture."""
        picture, geometry, row = piece.picture, piece.geometry, piece.row
        if picture.failure is not None or geometry is None:
            return picture
        assert row is not None
        if isinstance(row, NonFinite):
            picture.failure = _failure(picture.item, row.reason)
            return picture
        with self.timings.measure(f"{self.name}finish"):
            results = self.task.finish(row, geometry, self.provenance)
            with picture.turn:
                picture.gathering.add(piece.place, geometry, results)
        piece.row = None  # its tensors are not needed while the others of a crowd come
        return picture

    def _pictures(self, stream: Iterator[_Picture | Failure]) -> Iterator[Finished | Failure]:
        """Pictures whose regions are all finished, each once."""
        for picture in stream:
            if isinstance(picture, Failure):
                yield picture
                continue
            picture.finished += 1
            if picture.failure is not None:
                if not picture.gone:
                    yield picture.failure
                picture.gone = True
            elif picture.finished == picture.pieces:
                yield self._joined(picture)

    def _joined(self, picture: _Picture) -> Finished:
        item = picture.item
        origin = Origin(
            name=item.name,
            index=item.index,
            time_s=item.time_s,
            image_HW3=item.image_HW3,
            open_sink=lambda folder: _folder_sink(folder, item.name, joined),
        )
        joined = [replace(result, origin=origin) for result in picture.gathering.results()]
        return Finished(item=item, results=joined)


def _failure(item: Item, reason: str) -> Failure:
    return Failure(name=item.name, index=item.index, reason=reason)


def _canvases(group: Sequence[_Piece]) -> list[np.ndarray]:
    return [piece.pixels_HW3 for piece in group if piece.pixels_HW3 is not None]


def _folder_sink(folder: Path, name: str, results: Results) -> Sink:
    formats = {name for result in results for name in result.default_formats}
    return FolderSink(folder, frozenset(formats)).item(name)


def _take_ready(line: deque[_Piece | Failure]) -> Iterator[_Piece | Failure]:
    while line:
        first = line[0]
        if isinstance(first, _Piece) and not first.ready:
            return
        yield line.popleft()


def past_failures(function: Callable[[Any], T]) -> Callable[[Any], T | Failure]:
    """The function for what is whole; failures pass by."""
    return lambda element: element if isinstance(element, Failure) else function(element)
