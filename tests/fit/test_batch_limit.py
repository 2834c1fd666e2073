"""After a failure the limit halves, closes in on what fits, and tries what failed less and less often."""

from __future__ import annotations

import threading
from collections.abc import Callable

import numpy as np
import pytest

from vitruvian.fit.batch_limit import PATIENCE, BatchLimit

SHAPE = (64, 48)
OTHER = (32, 32)


def play(limit: BatchLimit, fits: Callable[[int], bool], batches: int) -> list[int]:
    """Full batches on a machine where some sizes fit; the limits met, repeats left out."""
    met = [limit.limit(SHAPE)]
    for _ in range(batches):
        batch = limit.limit(SHAPE)
        (limit.succeeded if fits(batch) else limit.failed)(SHAPE, batch)
        if limit.limit(SHAPE) != met[-1]:
            met.append(limit.limit(SHAPE))
    return met


@pytest.mark.parametrize(
    ("maximum", "room", "met"),
    [
        (8, 8, [8]),
        (8, 7, [8, 4, 6, 7, 8, 7, 8, 7]),
        (8, 4, [8, 4, 6, 4, 5, 4, 5, 4]),
        (8, 1, [8, 4, 2, 1, 2, 1, 2, 1]),
        (1, 1, [1]),
        (64, 30, [64, 32, 16, 24, 28, 30, 32, 30, 32, 30]),
    ],
)
def test_the_limit_closes_in_on_what_fits(maximum: int, room: int, met: list[int]) -> None:
    assert play(BatchLimit(maximum), lambda batch: batch <= room, 10 * PATIENCE)[: len(met)] == met


def test_memory_that_comes_back_is_used_again() -> None:
    limit = BatchLimit(8)
    play(limit, lambda batch: batch <= 2, 30)
    assert limit.limit(SHAPE) <= 3
    play(limit, lambda batch: True, 30 * PATIENCE)
    assert limit.limit(SHAPE) == 8


def test_memory_that_shrinks_below_what_was_good_halves_again() -> None:
    limit = BatchLimit(32)
    play(limit, lambda batch: batch <= 12, 20 * PATIENCE)
    assert 11 <= limit.limit(SHAPE) <= 13
    play(limit, lambda batch: batch <= 2, 4)
    assert limit.limit(SHAPE) <= 2


def test_a_size_that_fails_again_is_tried_less_often() -> None:
    limit, waits, since = BatchLimit(2), [], 0
    limit.failed(SHAPE, 2)
    while len(waits) < 4:
        if limit.limit(SHAPE) == 1:
            limit.succeeded(SHAPE, 1)
            since += 1
        else:
            limit.failed(SHAPE, 2)
            waits.append(since)
            since = 0
    assert waits == [PATIENCE, 2 * PATIENCE, 4 * PATIENCE, 8 * PATIENCE]


def test_each_shape_has_its_own_limit() -> None:
    limit = BatchLimit(16)
    limit.failed(SHAPE, 16)
    assert (limit.limit(SHAPE), limit.limit(OTHER)) == (8, 16)


def test_late_news_of_batches_above_the_limit_change_nothing() -> None:
    limit = BatchLimit(16)
    assert limit.failed(SHAPE, 16) is not None
    assert limit.failed(SHAPE, 16) is None, "another thread was inside with the same size"
    limit.succeeded(SHAPE, 16)
    assert limit.limit(SHAPE) == 8
    met = play(limit, lambda batch: True, PATIENCE)
    assert met == [8, 12], "the wait was not doubled"


def test_tails_neither_raise_the_limit_nor_lower_it() -> None:
    limit = BatchLimit(8)
    limit.failed(SHAPE, 8)
    for _ in range(10 * PATIENCE):
        limit.succeeded(SHAPE, 3)
    assert limit.limit(SHAPE) == 4


def test_what_changed_is_told() -> None:
    limit, told = BatchLimit(8), []
    for room in [6] * 40 + [8] * 200:
        batch = limit.limit(SHAPE)
        decision = (limit.succeeded if batch <= room else limit.failed)(SHAPE, batch)
        if decision:
            told.append(str(decision))
    assert told[:3] == [
        "micro_batch: 4 (8 ran out of memory)",
        "micro_batch: 6 (8 ran out of memory, 6 goes through)",
        "micro_batch: 6 (7 ran out of memory)",
    ]
    assert told[-1] == "micro_batch: 8 (8 had run out of memory and now goes through)"


def test_a_precision_that_takes_more_starts_from_the_same_failures() -> None:
    limit = BatchLimit(16)
    limit.failed(SHAPE, 16)
    limit.succeeded(SHAPE, 8)
    narrowed = limit.narrowed(6)
    assert (narrowed.limit(SHAPE), narrowed.limit(OTHER)) == (6, 6)
    assert play(narrowed, lambda batch: batch <= 3, 3 * PATIENCE)[:3] == [6, 3, 4]


@pytest.mark.parametrize("seed", range(20))
def test_any_history_keeps_the_limit_usable(seed: int) -> None:
    rng = np.random.default_rng(seed)
    maximum = int(rng.integers(1, 100))
    limit, room = BatchLimit(maximum), maximum
    for _ in range(2000):
        if rng.random() < 0.02:
            room = int(rng.integers(1, maximum + 1))
        batch = int(rng.integers(1, limit.limit(SHAPE) + 1)) if rng.random() < 0.3 else limit.limit(SHAPE)
        (limit.succeeded if batch <= room else limit.failed)(SHAPE, batch)
        assert 1 <= limit.limit(SHAPE) <= maximum
    play(limit, lambda batch: True, 20_000)
    assert limit.limit(SHAPE) == maximum, "nothing is given up for good"


def test_threads_may_tell_it_things() -> None:
    limit = BatchLimit(8)

    def work(seed: int) -> None:
        rng = np.random.default_rng(seed)
        for _ in range(300):
            (limit.succeeded if rng.random() < 0.9 else limit.failed)(SHAPE, limit.limit(SHAPE))

    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert 1 <= limit.limit(SHAPE) <= 8
