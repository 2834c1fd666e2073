"""Runs traces in a child process, because some networks end theirs: an abort in C++ cannot be caught.

In: a function that can be pickled by name and its arguments. Out: its result, or an error that says how the child
ended. The child lives on for the next call (importing torch takes 1.5 s and 0.3 GB) and ends when nothing was asked of
it for a while, when the parent ends or when it is closed. It is started as a plain command, so neither scripts without
a main guard nor other operating systems mind.
"""

from __future__ import annotations

import atexit
import io
import os
import pickle
import queue
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable
from typing import IO, Any

from vitruvian.errors import VitruvianError

TIMEOUT_S = 300.0
IDLE_S = 20.0
Explain = Callable[[str, str], VitruvianError]
"""(what was done, how it ended) -> the error for the user."""
COMMAND = "from vitruvian.fit.footprint.worker import serve; serve()"


class TraceFailedError(VitruvianError):
    """A network could not be run on shapes alone."""


class UnreadableError(Exception):
    """The call cannot be carried over to another process; the message says why."""


class Child:
    """One worker process; started at the first call."""

    def __init__(self, *, timeout_s: float = TIMEOUT_S, idle_s: float = IDLE_S, explain: Explain | None = None) -> None:
        """`explain` makes the error for a call that did not come back; None: as for a trace."""
        self._timeout_s, self._idle_s = timeout_s, idle_s
        self._explain = explain or explained
        self._lock = threading.RLock()
        self._process: subprocess.Popen[bytes] | None = None
        self._errors: IO[bytes] = io.BytesIO()
        self._idle: threading.Timer | None = None

    def call(self, what: str, function: Callable[..., Any], *args: Any) -> Any:
        """The function's result.

        Args:
            what: names the work in errors.

        Raises:
            UnreadableError: function or arguments cannot be pickled, or not be imported in the child.
            TraceFailedError: the child ended or took too long, or the function raised something of its own.
            VitruvianError: as the function raised it.
        """
        try:
            message = pickle.dumps((function, args))
        except (pickle.PickleError, AttributeError, TypeError) as error:
            raise UnreadableError(str(error)) from error
        with self._lock:
            self._forget_idle()
            state, result = self._exchange(what, message)
            self._idle = threading.Timer(self._idle_s, self.close)
            self._idle.daemon = True
            self._idle.start()
        if state == "unreadable":
            raise UnreadableError(result)
        if state == "done":
            return result
        raise result if isinstance(result, VitruvianError) else self._explain(what, result)

    def close(self) -> None:
        """End the process; the next call starts another."""
        with self._lock:
            self._forget_idle()
            # Taken away together: the idle timer closes in its own thread, while the next call may open new ones.
            process, self._process = self._process, None
            errors = self._errors
        if process is None:
            return
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.close()
        try:
            process.wait(timeout=5)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        process.stdout.close()
        errors.close()

    def _exchange(self, what: str, message: bytes) -> tuple[str, Any]:
        process = self._running()
        assert process.stdin is not None
        answers: queue.Queue[bytes | None] = queue.Queue()
        threading.Thread(target=_read, args=(process.stdout, answers), daemon=True).start()
        try:
            pickle.dump(message, process.stdin)
            process.stdin.flush()
            answer = answers.get(timeout=self._timeout_s)
        except queue.Empty:
            process.kill()
            raise self._ended(what, f"no answer within {self._timeout_s:g} s") from None
        except BrokenPipeError:
            answer = None
        if answer is None:
            code = process.wait()
            raise self._ended(what, _signal_name(code) if code < 0 else f"exit code {code}")
        return pickle.loads(answer)

    def _running(self) -> subprocess.Popen[bytes]:
        if self._process is not None and self._process.poll() is None:
            return self._process
        self.close()
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115 - lives as long as the process
        # One thread: nothing is computed, and every further one costs memory.
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path)), "OMP_NUM_THREADS": "1"}
        self._process = subprocess.Popen(
            [sys.executable, "-c", COMMAND],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            env=environment,
        )
        return self._process

    def _ended(self, what: str, how: str) -> VitruvianError:
        self._errors.seek(0)
        said = self._errors.read()[-600:].decode("utf-8", errors="replace").strip()
        self.close()
        return self._explain(what, f"its process ended ({how}){': ' + said if said else ''}")

    def _forget_idle(self) -> None:
        if self._idle is not None:
            self._idle.cancel()
            self._idle = None


def explained(what: str, how: str) -> TraceFailedError:
    """The error for a network that did not run on shapes."""
    return TraceFailedError(
        f"got a failure while {what} ran on shapes alone; expected a network that runs without values (no branch on "
        f"tensor contents, no custom kernel without a shape rule) and takes any batch size; what happened: {how}"
    )


def _read(stream: Any, answers: queue.Queue[bytes | None]) -> None:
    try:
        answers.put(pickle.load(stream))
    except (EOFError, pickle.UnpicklingError, ValueError, OSError):  # the child ended in mid-answer, or was closed
        answers.put(None)


def _signal_name(code: int) -> str:
    try:
        return f"signal {signal.Signals(-code).name}"
    except ValueError:
        return f"signal {-code}"


CHILD = Child()
"""The one worker of this process."""
atexit.register(CHILD.close)
