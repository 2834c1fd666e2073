"""Batches made ahead in threads. In: a function of the step. Out: what it gives, in the order that is asked for."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Generic, TypeVar

Batch = TypeVar("Batch")


class Ahead(Generic[Batch]):
    """Makes the next batches in threads while the current one is trained on; the same batches in the same order.

    A core makes some 300 pictures a second: one thread keeps a CPU busy, an accelerator wants all of them.
    """

    def __init__(self, make: Callable[[int], Batch], *, threads: int = 1) -> None:
        self._make = make
        self._threads = threads
        self._pool = ThreadPoolExecutor(threads)
        self._begun: dict[int, Future[Batch]] = {}

    def __call__(self, step: int) -> Batch:
        self._begun = {begun: batch for begun, batch in self._begun.items() if begun >= step}
        for wanted in range(step, step + 1 + self._threads):
            if wanted not in self._begun:
                self._begun[wanted] = self._pool.submit(self._make, wanted)
        return self._begun.pop(step).result()
