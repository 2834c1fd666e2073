"""Streams keep their order, stay bounded, and let errors through."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from vitruvian.stages import ordered_map, prefetched


def test_order_is_kept_whatever_finishes_first() -> None:
    last_done = threading.Event()

    def work(x: int) -> int:
        if x == 0:
            assert last_done.wait(10)  # the first call ends after the third
        if x == 2:
            last_done.set()
        return x

    with ThreadPoolExecutor(3) as pool:
        assert list(ordered_map(work, iter(range(6)), pool, ahead=4)) == list(range(6))


def test_no_more_than_ahead_elements_are_taken_from_the_stream() -> None:
    taken = []

    def source() -> Iterator[int]:
        for x in range(100):
            taken.append(x)
            yield x

    gate = threading.Event()

    def work(x: int) -> int:
        assert gate.wait(10)
        return x

    with ThreadPoolExecutor(1) as pool:
        results = ordered_map(work, source(), pool, ahead=5)
        threading.Timer(0.2, gate.set).start()
        next(results)
        assert len(taken) <= 5
        results.close()  # type: ignore[attr-defined]


def test_an_error_comes_out_where_it_happened() -> None:
    def work(x: int) -> int:
        if x == 3:
            raise ValueError("third")
        return x

    seen = []
    with ThreadPoolExecutor(2) as pool, pytest.raises(ValueError, match="third"):
        for x in ordered_map(work, iter(range(9)), pool, ahead=3):
            seen.append(x)
    assert seen == [0, 1, 2]


def test_what_is_drawn_ahead_comes_in_order_and_bounded() -> None:
    drawn: list[int] = []

    def stream() -> Iterator[int]:
        for number in range(50):
            drawn.append(number)
            yield number

    taken = prefetched(stream(), ahead=3)
    for number in range(20):
        assert next(taken) == number
        time.sleep(0.002)
        # Waiting, in the thread's hand, and the one that was taken just now.
        assert len(drawn) <= number + 1 + 3 + 1
    assert list(taken) == list(range(20, 50))


def test_an_error_of_the_stream_comes_out_in_its_place() -> None:
    def stream() -> Iterator[int]:
        yield 1
        raise ValueError("torn")

    taken = prefetched(stream(), ahead=2)
    assert next(taken) == 1
    with pytest.raises(ValueError, match="torn"):
        next(taken)


def test_a_consumer_that_stops_ends_the_thread_and_closes_the_stream() -> None:
    closed = threading.Event()

    def stream() -> Iterator[int]:
        try:
            yield from range(1000)
        finally:
            closed.set()

    taken = prefetched(stream(), ahead=2)
    assert next(taken) == 0
    taken.close()  # type: ignore[attr-defined]
    assert closed.is_set()
    assert not [thread for thread in threading.enumerate() if thread.name == "vitruvian-prefetch"]
