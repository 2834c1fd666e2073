"""Faults at random points of a whole road in threads: every input comes out exactly once, in order and right."""

from __future__ import annotations

import random
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest

from simulated import HANG_S, PRECISIONS, SHAPES, Memory, Network, canvas, engine_of, values
from vitruvian.errors import DoesNotFitError
from vitruvian.fit.knee import Aim
from vitruvian.running.engine import Engine, Row
from vitruvian.stages import ordered_map


@dataclass
class Picture:
    """One input with its canvases and what came out for each."""

    index: int
    canvases: list[np.ndarray]
    rows: list[Row | None]


@dataclass
class Travel:
    """source -> prepare -> groups -> engine -> finish -> deliver, with the stages and bounds of the real road."""

    engine: Engine
    memory: Memory
    workers: int
    side_by_side: bool
    persons: Sequence[int]
    mixed: bool = True
    """Whether canvases are of two shapes."""
    delivered: list[int] = field(default_factory=list)

    def run(self) -> list[tuple[int, list[Any]]]:
        ahead = self.workers * 3
        at_once = self.workers if self.side_by_side else 1
        line: list[Picture] = []
        with ThreadPoolExecutor(self.workers) as pool:
            prepared = ordered_map(self.prepare, iter(range(len(self.persons))), pool, ahead=ahead)
            groups = self.groups(prepared, line)
            ran = ordered_map(self.forward, groups, pool, ahead=at_once) if at_once > 1 else self.row_by_row(groups)
            finished = ordered_map(self.finish, self.complete(ran, line), pool, ahead=ahead)
            return list(ordered_map(self.deliver, finished, pool, ahead=ahead))

    def prepare(self, index: int) -> Picture:
        first, shape = 10 * index, SHAPES[self.mixed and index % 3 == 0]
        canvases = [canvas(first + person, shape) for person in range(self.persons[index])]
        return Picture(index=index, canvases=canvases, rows=[None] * len(canvases))

    def groups(self, pictures: Iterator[Picture], line: list[Picture]) -> Iterator[list[tuple[Picture, int]]]:
        waiting: dict[tuple[int, int], list[tuple[Picture, int]]] = {}
        for picture in pictures:
            line.append(picture)
            for place, one in enumerate(picture.canvases):
                shape = (one.shape[0], one.shape[1])
                waiting.setdefault(shape, []).append((picture, place))
                if len(waiting[shape]) >= self.engine.wanted_batch(shape):
                    yield waiting.pop(shape)
            if len(line) > 12:
                yield from waiting.values()
                waiting.clear()
        yield from waiting.values()

    def forward(self, group: list[tuple[Picture, int]]) -> None:
        rows = self.engine.run([picture.canvases[place] for picture, place in group])
        for (picture, place), row in zip(group, rows, strict=True):
            assert picture.rows[place] is None, "each canvas comes out once"
            picture.rows[place] = row

    def row_by_row(self, groups: Iterator[list[tuple[Picture, int]]]) -> Iterator[None]:
        for group in groups:
            rows = self.engine.rows([picture.canvases[place] for picture, place in group])
            yield None
            while group:
                picture, place = group[0]
                picture.rows[place] = next(rows)
                del group[0], picture
                yield None
            assert next(rows, None) is None

    def complete(self, ran: Iterator[None], line: list[Picture]) -> Iterator[Picture]:
        for _ in ran:
            while line and all(row is not None for row in line[0].rows):
                yield line.pop(0)
        while line:
            yield line.pop(0)

    def finish(self, picture: Picture) -> tuple[int, list[Any]]:
        def work() -> tuple[int, list[Any]]:
            held = self.memory.take(1, ("finish", picture.index))
            done = values([row for row in picture.rows if row is not None])
            del held
            return picture.index, done

        return self.engine.guarded("finishing", work)

    def deliver(self, finished: tuple[int, list[Any]]) -> tuple[int, list[Any]]:
        def work() -> tuple[int, list[Any]]:
            self.memory.take(1, ("deliver", finished[0]))
            self.delivered.append(finished[0])
            return finished

        return self.engine.guarded("writing", work)


def travel(seed: int) -> None:
    """One run with everything drawn from a seed: threads, memory over time, failures, bad numbers, persons."""
    rng = random.Random(seed)
    low, high, begin, end = rng.randint(1, 4), rng.randint(8, 80), rng.randint(0, 60), rng.randint(60, 300)
    memory = Memory(
        room_at=lambda tick: low if begin <= tick < end else high,
        seed=seed,
        share=rng.choice([0.0, 0.05, 0.3]),
        pause_s=rng.choice([0.0, 1e-4, 1e-3]),
    )
    persons = [rng.choice([1, 1, 1, 0, 2, 5]) for _ in range(rng.randint(1, 60))]
    all_numbers = [[10 * index + person for person in range(count)] for index, count in enumerate(persons)]
    flat = [number for numbers in all_numbers for number in numbers]
    hopeless = set(rng.sample(flat, len(flat) // 20)) if rng.random() < 0.3 else set()
    bad_in = {number: ("bfloat16",) for number in flat if rng.random() < 0.02}
    bad_in |= dict.fromkeys(hopeless, PRECISIONS)
    network = Network(memory=memory, precision=rng.choice(PRECISIONS), bad_in=bad_in)
    clock = iter(range(10**9)).__next__
    engine = engine_of(network, max_batch=rng.choice([1, 3, 8, 32]), aim=rng.choice([None, Aim()]), clock=clock)
    road = Travel(
        engine=engine, memory=memory, workers=rng.randint(1, 4), side_by_side=rng.random() < 0.5, persons=persons
    )
    came_out = road.run()
    assert [index for index, _ in came_out] == list(range(len(persons)))
    assert sorted(road.delivered) == list(range(len(persons))), "each input is delivered exactly once"
    for (_, found), numbers in zip(came_out, all_numbers, strict=True):
        for one, number in zip(found, numbers, strict=True):
            assert one == [number, 2.0 * number] or (number in hopeless and "no safer precision" in one)
    assert memory.used == 0, "nothing is held on to"


def in_time(work: Callable[[], None]) -> None:
    """Run in a thread of its own, so that a hang is a failure of this test and not of the whole suite."""
    errors: list[BaseException] = []

    def caught() -> None:
        try:
            work()
        except BaseException as error:
            errors.append(error)

    thread = threading.Thread(target=caught, daemon=True)
    thread.start()
    thread.join(HANG_S)
    assert not thread.is_alive(), "the road hangs"
    if errors:
        raise errors[0]


@pytest.mark.parametrize("seed", range(25))
def test_every_input_comes_out_exactly_once(seed: int) -> None:
    in_time(lambda: travel(seed))


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(100, 700))
def test_every_input_comes_out_exactly_once_hundreds_of_times(seed: int) -> None:
    in_time(lambda: travel(seed))


@pytest.mark.parametrize("workers", [1, 3])
def test_outputs_that_wait_to_be_finished_make_room_first(workers: int) -> None:
    memory = Memory(room_at=lambda tick: 3, pause_s=1e-4)
    engine = engine_of(Network(memory=memory, rows_hold=True), patience_s=HANG_S)
    road = Travel(engine=engine, memory=memory, workers=workers, side_by_side=False, persons=[1] * 40, mixed=False)
    in_time(lambda: road.run() and None)
    assert sorted(road.delivered) == list(range(40))
    assert memory.failures


def test_the_road_ends_with_the_error_where_nothing_fits() -> None:
    memory = Memory(room_at=lambda tick: 9 if tick < 20 else 0)
    engine = engine_of(Network(memory=memory))
    road = Travel(engine=engine, memory=memory, workers=3, side_by_side=True, persons=[1] * 60)
    with pytest.raises(DoesNotFitError, match="are missing"):
        in_time(lambda: road.run() and None)
