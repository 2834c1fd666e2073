"""Order is kept, the window is bounded, and nothing is left running."""

from __future__ import annotations

import gc
import threading
import time
import weakref
from collections.abc import Iterator

import numpy as np
import pytest

from vitruvian.errors import InputError, UsageError
from vitruvian.media import read_ahead as module
from vitruvian.media.items import Entry, Failure, Item
from vitruvian.media.read_ahead import read_ahead


def entries(count: int) -> Iterator[Entry]:
    for index in range(count):
        yield Entry(name=f"{index}", path=None, payload=np.full((2, 2), index, np.uint8), index=index)


def readers() -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread.name.startswith("vitruvian-read")]


def test_order_is_kept_and_failures_stay_in_place(monkeypatch: pytest.MonkeyPatch) -> None:
    real = module.read_picture

    def slow_at_first(entry: Entry) -> Item:
        time.sleep(0.02 if entry.index % 3 == 0 else 0)
        if entry.index == 4:
            raise InputError("broken")
        return real(entry)

    monkeypatch.setattr(module, "read_picture", slow_at_first)
    source: list[Entry | Failure] = list(entries(12))
    source[7] = Failure(name="7", index=7, reason="absent")
    found = list(read_ahead(source, workers=3, ahead=5))
    assert [one.index for one in found] == list(range(12))
    assert [one for one in found if isinstance(one, Failure)] == [
        Failure(name="4", index=4, reason="broken"),
        Failure(name="7", index=7, reason="absent"),
    ]
    assert readers() == []


@pytest.mark.parametrize(("workers", "ahead"), [(1, 1), (4, 3), (2, 8)])
def test_the_window_is_bounded(monkeypatch: pytest.MonkeyPatch, workers: int, ahead: int) -> None:
    alive: set[int] = set()
    most = 0
    real = module.read_picture

    def watched(entry: Entry) -> Item:
        nonlocal most
        item = real(entry)
        alive.add(entry.index)
        weakref.finalize(item.image_HW3, alive.discard, entry.index)
        most = max(most, len(alive))
        return item

    monkeypatch.setattr(module, "read_picture", watched)
    for item in read_ahead(entries(30), workers=workers, ahead=ahead):
        time.sleep(0.002)
        del item
    gc.collect()
    assert most <= ahead
    assert alive == set()


def test_entries_are_taken_as_needed() -> None:
    taken: list[int] = []

    def watched() -> Iterator[Entry]:
        for entry in entries(100):
            taken.append(entry.index)
            yield entry

    stream = read_ahead(watched(), workers=2, ahead=4)
    assert taken == []
    next(stream)
    assert len(taken) == 4
    stream.close()  # type: ignore[attr-defined]
    assert readers() == []


def test_what_waits_is_not_read_after_closing(monkeypatch: pytest.MonkeyPatch) -> None:
    real, read = module.read_picture, []

    def slow(entry: Entry) -> Item:
        read.append(entry.index)
        time.sleep(0.02)
        return real(entry)

    monkeypatch.setattr(module, "read_picture", slow)
    stream = read_ahead(entries(50), workers=1, ahead=20)
    next(stream)
    stream.close()  # type: ignore[attr-defined]
    assert len(read) < 10


@pytest.mark.parametrize("error", [ValueError("bug"), KeyboardInterrupt(), MemoryError()])
def test_other_errors_pass_through(monkeypatch: pytest.MonkeyPatch, error: BaseException) -> None:
    def fail(entry: Entry) -> Item:
        raise error

    monkeypatch.setattr(module, "read_picture", fail)
    with pytest.raises(type(error)):
        list(read_ahead(entries(20), workers=2, ahead=4))
    assert readers() == []


def test_an_interrupted_source_ends_the_threads() -> None:
    def interrupted() -> Iterator[Entry]:
        yield from entries(3)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        list(read_ahead(interrupted(), workers=2, ahead=8))
    assert readers() == []


@pytest.mark.parametrize(("workers", "ahead"), [(0, 1), (1, 0)])
def test_sizes_are_checked_at_once(workers: int, ahead: int) -> None:
    with pytest.raises(UsageError, match="at least 1"):
        read_ahead(entries(1), workers=workers, ahead=ahead)
