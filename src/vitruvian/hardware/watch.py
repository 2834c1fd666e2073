"""Peaks of memory per named stage and over time, sampled from a background thread while a run goes on.

A sample costs some 50 microseconds every 20 ms on a processor. Where the system keeps a high mark, each sample takes
it, so that a spike between two samples counts for the stages that were under way.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import Self

from vitruvian.hardware.meter import Meter, Reading

INTERVAL_S = 0.02
POINTS = 2000
"""Of the curve; when full, neighbours are merged into the higher of the two."""


class PeakWatch:
    """Watches a meter between entering and leaving; may be entered once.

    Stages may overlap, also across threads: a sample counts for all that are under way.

    Args:
        meter: What to read.
        interval_s: Between samples; None: no thread, samples only at the borders of stages and where asked.
        points: Most points of the curve that are kept.
        clock_s: Tells the time; tests hand in their own.
    """

    def __init__(
        self,
        meter: Meter,
        *,
        interval_s: float | None = INTERVAL_S,
        points: int = POINTS,
        clock_s: Callable[[], float] = time.monotonic,
    ) -> None:
        self._meter, self._clock_s, self._interval_s = meter, clock_s, interval_s
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None
        self._failure: Exception | None = None
        self._under_way: list[str] = []
        self._curve = _Curve(points)
        self._began_s = clock_s()
        self._reading = meter.reading()
        self._baseline_bytes = self._reading.device_bytes
        self._peak_bytes = self._baseline_bytes
        self._peaks: dict[str, int] = {}

    @property
    def baseline_bytes(self) -> int:
        """What the process took before."""
        return self._baseline_bytes

    @property
    def peak_bytes(self) -> int:
        """Highest device figure so far."""
        return self._peak_bytes

    @property
    def peaks(self) -> dict[str, int]:
        """Highest device figure of each stage so far, in the order of their first appearance."""
        with self._lock:
            return dict(self._peaks)

    @property
    def curve(self) -> tuple[tuple[float, int], ...]:
        """(seconds since the beginning, highest device bytes since the point before)."""
        with self._lock:
            return self._curve.all()

    @property
    def last(self) -> Reading:
        """The latest reading."""
        return self._reading

    def __enter__(self) -> Self:
        self._meter.take_high()  # what came before is not ours
        self.sample()
        if self._interval_s is not None:
            self._thread = threading.Thread(target=self._keep_sampling, name="memory watch", daemon=True)
            self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        if self._thread is not None:
            self._thread.join()
        if self._failure is not None and error is None:
            raise self._failure
        if self._failure is None:
            self.sample()

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """A named part of the run; entered again, it keeps the higher peak."""
        self.sample()  # what happened before counts for what was under way before
        with self._lock:
            self._under_way.append(name)
            self._peaks[name] = max(self._peaks.get(name, 0), self._reading.device_bytes)
        try:
            yield
        finally:
            self.sample()
            with self._lock:
                self._under_way.remove(name)

    def sample(self) -> Reading:
        """Read now."""
        with self._lock:
            self._reading = self._meter.reading()
            high = max(self._reading.device_bytes, self._meter.take_high() or 0)
            self._peak_bytes = max(self._peak_bytes, high)
            for name in self._under_way:
                self._peaks[name] = max(self._peaks[name], high)
            self._curve.add(self._clock_s() - self._began_s, high)
            return self._reading

    def _keep_sampling(self) -> None:
        assert self._interval_s is not None
        while not self._stop.wait(self._interval_s):
            try:
                self.sample()
            except Exception as error:  # handed to whoever leaves the watch: a thread has nobody to raise to
                self._failure = error
                return


class _Curve:
    """A bounded series of (time, highest value since the point before)."""

    def __init__(self, points: int) -> None:
        self._most = max(2, points - points % 2)
        self._points: list[tuple[float, int]] = []
        self._samples, self._stride = 0, 1  # in the last point; in a whole one

    def add(self, time_s: float, value: int) -> None:
        if 0 < self._samples < self._stride:
            self._points[-1] = (time_s, max(value, self._points[-1][1]))
            self._samples += 1
            return
        if len(self._points) == self._most:
            pairs = zip(self._points[::2], self._points[1::2], strict=True)
            self._points = [(late_s, max(early, late)) for (_, early), (late_s, late) in pairs]
            self._stride *= 2
        self._points.append((time_s, value))
        self._samples = 1

    def all(self) -> tuple[tuple[float, int], ...]:
        return tuple(self._points)
