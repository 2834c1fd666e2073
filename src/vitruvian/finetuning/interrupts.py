"""Ctrl-C between steps: the first one waits until what is under way is whole, the second one does not."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable
from types import FrameType, TracebackType
from typing import Any, Self


class Interrupts:
    """Takes note of interrupts while entered; does nothing outside the main thread, where none arrive."""

    def __init__(self, report: Callable[[str], None]) -> None:
        self._report = report
        self._before: Any = None
        self.asked = False
        """Whether the user wants to stop."""

    def __enter__(self) -> Self:
        if threading.current_thread() is threading.main_thread():
            self._before = signal.signal(signal.SIGINT, self._note)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._before is not None:
            signal.signal(signal.SIGINT, self._before)

    def _note(self, number: int, frame: FrameType | None) -> None:
        if self.asked:
            raise KeyboardInterrupt
        self.asked = True
        self._report("stopping after this step, to keep everything; once more to stop at once")
