"""`ordered_map`: apply a function to a stream in threads, keep its order, hold a bounded number of results.

Threads are enough: OpenCV, Pillow, NumPy and torch release the interpreter lock in their long calls.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, Future
from typing import TypeVar

In = TypeVar("In")
Out = TypeVar("Out")


def ordered_map(function: Callable[[In], Out], stream: Iterator[In], pool: Executor, *, ahead: int) -> Iterator[Out]:
    """Yield function(x) for x in the stream, in order; at most `ahead` calls are under way or waiting to be taken.

    When the consumer stops early, calls that were begun are finished and their errors are dropped with them.
    """
    waiting: deque[Future[Out]] = deque()
    try:
        for element in stream:
            waiting.append(pool.submit(function, element))
            while waiting and (len(waiting) >= ahead or waiting[0].done()):
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        for future in waiting:
            if not future.cancel():
                future.exception()
