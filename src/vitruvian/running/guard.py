"""Running out of memory is an event, not the end: it is caught, caches are freed, the work is tried again alone.

In: functions and their arguments. Out: their values, or the fact that memory ran out. Costs nothing until it happens.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

from vitruvian.errors import DoesNotFitError, VitruvianError
from vitruvian.running.gate import SharedGate

T = TypeVar("T")

_MAX_REASON = 200


@dataclass(frozen=True, kw_only=True, slots=True)
class OutOfMemory:
    """A function ran out of memory; its tensors are gone."""

    reason: str
    """What the allocator said, shortened to a line."""


class MemoryGuard:
    """Runs functions that may run out of memory. One guard for all that computes on one device; safe for threads."""

    def __init__(
        self,
        *,
        is_oom: Callable[[BaseException], bool],
        free: Callable[[], None],
        advice: Callable[[], str],
        patience_s: float = 5.0,
    ) -> None:
        """Put a device under guard.

        Args:
            is_oom: tells errors of full memory from others.
            free: gives back what is cached.
            advice: says what is missing and which command would fit; asked when nothing helped.
            patience_s: how long a call that does not fit alone waits for other work that may make room. Longer than
                the road's threads spend between two guarded calls; paid once, before a run ends for lack of memory.
        """
        self._is_oom = is_oom
        self._free = free
        self._advice = advice
        self._patience_s = patience_s
        self._gate = SharedGate()

    def attempt(self, function: Callable[..., T], *args: Any) -> T | OutOfMemory:
        """A function's value, or `OutOfMemory` with its tensors and the caches freed; side by side with others.

        Inside another guarded call the function is simply called: the outer one deals with memory.
        """
        if self._gate.held:
            return function(*args)
        with self._gate.shared():
            outcome = self._caught(function, args)
        if isinstance(outcome, OutOfMemory):
            self._free()
        return outcome

    def alone(self, what: str, function: Callable[..., T], *args: Any) -> T:
        """A function's value, computed while nothing else of this guard runs.

        Where that is not enough, other work goes first, because it gives back what it holds: outputs on their way to
        results. A road that keeps order runs dry behind a call that does not return, so this ends.

        Raises:
            DoesNotFitError: memory ran out with nothing else left to do.
        """
        while True:
            with self._gate.exclusive():
                self._free()  # what the others had cached by the time they left
                outcome = self._caught(function, args)
                passed = self._gate.passed
            if not isinstance(outcome, OutOfMemory):
                self._gate.passed_alone()
                return outcome
            self._free()
            if not self._gate.let_pass(passed, self._patience_s):
                raise DoesNotFitError(
                    f"got {what}, which ran out of memory even by itself ({outcome.reason}); {self._advice()}"
                )

    def _caught(self, function: Callable[..., T], args: tuple[Any, ...]) -> T | OutOfMemory:
        """The error dies before this returns: its traceback holds the frames, and these hold the tensors."""
        try:
            return function(*args)
        except VitruvianError:
            raise
        except Exception as error:  # allocators raise RuntimeError, MemoryError, cv2.error, ...: only `is_oom` can tell
            if not self._is_oom(error):
                raise
            return OutOfMemory(reason=_one_line(error))


def _one_line(error: Exception) -> str:
    text = " ".join(str(error).split()) or type(error).__name__
    return text if len(text) <= _MAX_REASON else text[: _MAX_REASON - 3] + "..."
