"""Streams and threads: apply a function in order (`ordered_map`), draw ahead (`prefetched`); a bounded number each.

Threads are enough: OpenCV, Pillow, NumPy and torch release the interpreter lock in their long calls.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, Future
from queue import Full, Queue
from threading import Event, Thread
from typing import Any, TypeVar

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


def prefetched(stream: Iterator[In], *, ahead: int) -> Iterator[In]:
    """The same elements, drawn by a thread of its own up to `ahead` of them before they are asked for.

    An error of the stream comes out in its place. When the consumer stops early the thread ends with the element that
    it is drawing, and closes the stream.
    """
    waiting: Queue[tuple[bool, Any]] = Queue(maxsize=ahead)
    stopped = Event()

    def hand_over(whole: bool, value: Any) -> bool:
        while not stopped.is_set():
            try:
                waiting.put((whole, value), timeout=0.1)
                return True
            except Full:
                continue
        return False

    def draw() -> None:
        try:
            for element in stream:
                if not hand_over(True, element):
                    return
            hand_over(False, None)
        except BaseException as error:  # it is raised again where the elements are used
            hand_over(False, error)
        finally:
            close = getattr(stream, "close", None)
            if close is not None:
                close()

    thread = Thread(target=draw, name="vitruvian-prefetch", daemon=True)
    thread.start()
    try:
        while True:
            whole, value = waiting.get()
            if whole:
                yield value
            elif value is None:
                return
            else:
                raise value
    finally:
        stopped.set()
        thread.join()
