"""A gate that many pass side by side, or one alone: what needs all the memory waits until nothing else computes."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager


class SharedGate:
    """A lock of readers and writers. Whoever waits to be alone is let in before those who come later.

    Nobody may wait inside for something that another thread makes behind the gate: that would never end.
    """

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._inside = 0
        self._waiting = 0
        self._waiting_alone = 0
        self._passed = 0
        self._alone = False
        self._here = threading.local()

    @property
    def held(self) -> bool:
        """Whether the calling thread is inside."""
        return getattr(self._here, "held", False)

    @contextmanager
    def shared(self) -> Iterator[None]:
        """Inside together with others; `RuntimeError` where this thread is inside already."""
        self._refuse_twice()
        self._enter_shared()
        self._here.held = True
        try:
            yield
        finally:
            self._here.held = False
            with self._changed:
                self._inside -= 1
                self._passed += 1
                self._changed.notify_all()

    @contextmanager
    def exclusive(self) -> Iterator[None]:
        """Inside alone; `RuntimeError` where this thread is inside already."""
        self._refuse_twice()
        with self._changed:
            self._waiting_alone += 1
            try:
                self._changed.wait_for(lambda: not self._alone and not self._inside)
                self._alone = True
            finally:
                self._waiting_alone -= 1
                self._changed.notify_all()  # also where the wait was interrupted: the others may go on
        self._here.held = True
        try:
            yield
        finally:
            self._here.held = False
            with self._changed:
                self._alone = False
                self._changed.notify_all()

    @property
    def passed(self) -> int:
        """How many have been through so far: all who went side by side, and those alone who said so."""
        return self._passed

    def passed_alone(self) -> None:
        """Count a call that was made alone and came to its end."""
        with self._changed:
            self._passed += 1
            self._changed.notify_all()

    def let_pass(self, since: int, patience_s: float) -> bool:
        """Wait, outside, for others: all who are at the gate now, or whoever comes within some time.

        `since`: `passed` as it was when the caller was inside alone. False: nobody has been through since.
        """
        with self._changed:
            self._changed.wait_for(lambda: self._waiting or self._inside or self._passed > since, patience_s)
            last = self._passed + self._inside + self._waiting
            self._changed.wait_for(lambda: self._passed >= last)
            return self._passed > since

    def _enter_shared(self) -> None:
        with self._changed:
            self._waiting += 1
            self._changed.notify_all()
            try:
                self._changed.wait_for(lambda: not self._alone and not self._waiting_alone)
            except BaseException:
                self._passed += 1  # interrupted; whoever lets others pass must not wait for this one
                self._changed.notify_all()
                raise
            finally:
                self._waiting -= 1
            self._inside += 1

    def _refuse_twice(self) -> None:
        if self.held:
            raise RuntimeError("this thread is inside the gate already and would wait for itself")
