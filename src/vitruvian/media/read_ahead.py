"""Decode pictures ahead of their use, in order, in a bounded window.

In: entries and failures, taken one by one. Out: items and failures in the same order. Memory: at most `ahead` decoded
pictures, the one the consumer works on included. Threads are enough: decoders work outside Python's lock.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice

from vitruvian.errors import InputError, UsageError
from vitruvian.media.images import read_picture
from vitruvian.media.items import Entry, Failure, Item


def read_ahead(entries: Iterable[Entry | Failure], *, workers: int, ahead: int) -> Iterator[Item | Failure]:
    """Items of `entries` in order; what cannot be read becomes a `Failure`, any other exception passes through.

    Starts with the first `next`. Closing the iterator, or an exception at any point, cancels what waits and ends the
    threads before control returns.
    """
    if workers < 1 or ahead < 1:
        raise UsageError(f"got workers={workers} and ahead={ahead}; expected at least 1 each")
    return _read_ahead(iter(entries), workers, ahead)


def _read_ahead(entries: Iterator[Entry | Failure], workers: int, ahead: int) -> Iterator[Item | Failure]:
    window: deque[Future[Item | Failure] | Failure] = deque()
    pool = ThreadPoolExecutor(max_workers=workers, thread_name_prefix="vitruvian-read")
    try:
        while True:
            for entry in islice(entries, ahead - len(window)):
                window.append(entry if isinstance(entry, Failure) else pool.submit(_read, entry))
            if not window:
                return
            # Nothing here may keep a name on the picture: the consumer decides when it dies.
            yield _settled(window.popleft())
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _settled(waiting: Future[Item | Failure] | Failure) -> Item | Failure:
    return waiting if isinstance(waiting, Failure) else waiting.result()


def _read(entry: Entry) -> Item | Failure:
    try:
        return read_picture(entry)
    except InputError as error:
        return Failure(name=entry.name, index=entry.index, reason=str(error))
