"""Samples of every step, prepared ahead in threads; which ones is a pure function of the step.

In: samples, how they are prepared, a seed. Out: prepared samples of a step, in order, those of one process. A sample
that is no use is replaced by the next of the set, counted and named; the same one every time, so that a resumed run
sees what an uninterrupted one would. Threads do, because decoding and OpenCV release the interpreter's lock. Memory:
the samples of two steps, some 12 MB each at 1024x768, and one decoded picture a thread.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Generic, TypeVar

import numpy as np

from vitruvian.datasets.preparing import sample_rng
from vitruvian.errors import CheckFailedError, InputError
from vitruvian.hardware import out_of_memory
from vitruvian.stages import ordered_map
from vitruvian.training.ranks import Ranks

Sample = TypeVar("Sample")
Ready = TypeVar("Ready")
AHEAD = 1
"""Steps whose samples are made while another is trained on."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Place:
    """Which sample stands where."""

    epoch: int
    index: int


@dataclass(kw_only=True)
class Order:
    """An endless walk over `count` samples: each epoch is a permutation of its own."""

    count: int
    seed: int
    _known: dict[int, np.ndarray] = field(default_factory=dict)

    def place(self, position: int) -> Place:
        """The sample at this position of the whole training."""
        epoch, rest = divmod(position, self.count)
        if epoch not in self._known:
            latest = {at: order for at, order in self._known.items() if at >= epoch - 1}
            self._known = {**latest, epoch: np.random.default_rng([self.seed, epoch]).permutation(self.count)}
        return Place(epoch=epoch, index=int(self._known[epoch][rest]))


@dataclass(kw_only=True)
class Loader(Generic[Sample, Ready]):
    """The training samples of one process."""

    samples: Sequence[Sample]
    name_of: Callable[[Sample], str]
    prepare: Callable[[Sample, np.random.Generator], Ready]
    batch_size: int
    """Of a step, over all processes."""
    seed: int
    threads: int
    corrupt_limit: int
    """Samples that may be no use; one more ends the training."""
    ranks: Ranks = field(default_factory=Ranks)
    corrupt: dict[str, str] = field(default_factory=dict)
    """Samples that were no use: name and reason."""
    corrupt_elsewhere: dict[str, str] = field(default_factory=dict)
    """The same of samples to measure on, which end nothing."""
    waited_s: float = 0.0
    """How long the latest step waited for its samples."""

    def __post_init__(self) -> None:
        self._order = Order(count=len(self.samples), seed=self.seed)
        self._pool = ThreadPoolExecutor(self.threads, thread_name_prefix="samples")
        self._begun: dict[int, list[Future[Ready]]] = {}
        self._lock = threading.Lock()

    def __call__(self, step: int) -> list[Ready]:
        """This process's share of a step's samples; those of the next steps are begun.

        Raises:
            CheckFailedError: too many samples are no use.
        """
        began = time.perf_counter()
        self._begun = {at: futures for at, futures in self._begun.items() if at >= step}
        for wanted in range(step, step + 1 + AHEAD):
            if wanted not in self._begun:
                self._begun[wanted] = [self._pool.submit(self._ready, place) for place in self._places(wanted)]
        ready = [future.result() for future in self._begun.pop(step)]
        self.waited_s = time.perf_counter() - began
        return ready

    def close(self) -> None:
        """Let go of what was begun."""
        self._pool.shutdown(wait=True, cancel_futures=True)

    def _places(self, step: int) -> Iterator[Place]:
        for position in range(step * self.batch_size + self.ranks.rank, (step + 1) * self.batch_size, self.ranks.count):
            yield self._order.place(position)

    def _ready(self, place: Place) -> Ready:
        """The sample of a place, or the next one of the set that is of use."""
        for offset in range(len(self.samples)):
            index = (place.index + offset) % len(self.samples)
            sample = self.samples[index]
            try:
                return self.prepare(sample, sample_rng(self.seed, place.epoch, place.index))
            except InputError as error:
                _check_memory(error)
                self._note(self.name_of(sample), str(error))
        raise CheckFailedError(f"got {len(self.samples)} samples and none of use; {self._listed()}")

    def _note(self, name: str, reason: str) -> None:
        with self._lock:
            self.corrupt[name] = reason
            if len(self.corrupt) <= self.corrupt_limit:
                return
        raise CheckFailedError(
            f"got {len(self.corrupt)} samples that are no use; expected {self.corrupt_limit} at most; "
            f"{self._listed()}; correct or remove them (`vitruvian data check` lists all), or raise corrupt_limit"
        )

    def _listed(self) -> str:
        first = list(self.corrupt.items())[:3]
        return "; ".join(f"{name}: {reason}" for name, reason in first)


def _check_memory(error: InputError) -> None:
    """A sample that could not be read for want of memory is of use another time.

    Raises:
        MemoryError: that is what it was.
    """
    cause = error.__cause__ or error.__context__
    if cause is not None and out_of_memory(cause):
        raise MemoryError(str(error)) from error


def plain_samples(
    samples: Sequence[Sample],
    prepare: Callable[[Sample, None], Ready],
    name_of: Callable[[Sample], str],
    corrupt: dict[str, str],
    threads: int,
) -> Iterator[Ready]:
    """Samples to measure on, in order, prepared without chance; those that are no use are noted and left out."""

    def ready(sample: Sample) -> Ready | None:
        try:
            return prepare(sample, None)
        except InputError as error:
            _check_memory(error)
            corrupt[name_of(sample)] = str(error)
            return None

    with ThreadPoolExecutor(threads, thread_name_prefix="samples") as pool:
        for one in ordered_map(ready, iter(samples), pool, ahead=2 * threads):
            if one is not None:
                yield one
