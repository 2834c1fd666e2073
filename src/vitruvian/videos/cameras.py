"""A camera as a stream: the newest frame each time the road is free, and how old the results are.

In: a `FrameSource`. Out: items, dropped frames counted, the time from a frame's capture to its results. Memory: two
frames beside those of the road.
"""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from types import FrameType
from typing import Any

import torch

from vitruvian.errors import InputError
from vitruvian.media.closing import Closing
from vitruvian.media.items import Failure, Item
from vitruvian.media.video.camera import FrameSource, LiveFrame, newest_frames
from vitruvian.media.video.timing import TICK_S
from vitruvian.media.video.values import VideoInfo
from vitruvian.predict import Model
from vitruvian.videos.latency import Latencies
from vitruvian.videos.streams import as_item
from vitruvian.videos.wish import FRAME_RATE


class CameraStream(Closing):
    """The newest frames of a camera, one at a time; use it in a `with`."""

    ahead: int | None = 1
    sound: Path | None = None
    frames_expected: int | None = None

    def __init__(
        self,
        name: str,
        source: FrameSource,
        *,
        end_s: float | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Wait for the first frame. `end_s`: seconds after which it ends by itself; `clock`: that of the source.

        Raises:
            InputError: it gives none.
        """
        self.name, self._clock = name, clock
        self.notes: tuple[str, ...] = ()
        self.ended_early: str | None = None
        self.latencies = Latencies()
        """From a frame's capture until its results were there."""
        self.dropped = 0
        """Frames that came while the road was busy and were never looked at."""
        self._taken = 0
        self._captured_s: dict[int, float] = {}
        self._first_s = self._last_s = 0.0
        self._frames = newest_frames(source, clock=clock, end_s=end_s)
        try:
            first = next(self._frames, None)
            if first is None:
                raise InputError("gives no frame; check that it is on")
        except BaseException:
            self._frames.close()
            raise
        self._first: LiveFrame | None = first
        self._first_s = self._last_s = first.captured_s
        height, width = first.image_HW3.shape[:2]
        self.info = VideoInfo(
            name=name,
            width=width,
            height=height,
            frame_rate=Fraction(FRAME_RATE),
            frames_estimate=None,
            duration_s=None,
            rotation_deg=0,
            pixel_format="rgb24",
            has_audio=False,
            has_alpha=False,
            notes=(),
        )

    @property
    def frame_rate(self) -> float:
        """Frames a second that went over the road; the usual ones before there are two."""
        return (self._taken - 1) / (self._last_s - self._first_s) if self._taken > 1 else FRAME_RATE

    def items(self, first: int, after_s: float | None) -> Iterator[Item | Failure]:
        """The newest frame each time one is asked for; ends with the camera, at its end, or after `stop`."""
        try:
            if self._first is not None:
                frame, self._first = self._first, None
                yield self._item(frame)
            for frame in self._frames:
                yield self._item(frame)
        except InputError as error:
            self.ended_early = str(error)

    def ready(self, number: int) -> None:
        """The results of a frame are there."""
        self.latencies.add(self._clock() - self._captured_s.pop(number))

    def live(self) -> dict[str, Any] | None:
        """For people and `run.json`."""
        if not self.latencies.count:
            return None
        median_s, p95_s = self.latencies.percentile_s(50), self.latencies.percentile_s(95)
        longest_s = self.latencies.longest_s
        return {
            "seconds": round(self._last_s - self._first_s, 3),
            "dropped_frames": self.dropped,
            "latency_ms": {
                "median": round(median_s * 1e3, 1),
                "p95": round(p95_s * 1e3, 1),
                "longest": round(longest_s * 1e3, 1),
            },
        }

    def stop(self) -> None:
        """Take no more frames; what is on its way is finished. May be called by a signal's handler."""
        self._first = None
        self._frames.stop()

    def close(self) -> None:
        """Let go of the camera."""
        self._frames.close()

    def _item(self, frame: LiveFrame) -> Item:
        number, self._taken = self._taken, self._taken + 1
        self.dropped += frame.dropped
        self._captured_s[number] = frame.captured_s
        # Two frames that a burst brought at one moment still come one after the other.
        least_s = self._first_s if number == 0 else self._last_s + float(TICK_S)
        self._last_s = max(frame.captured_s, least_s)
        return as_item(self.name, number, self._last_s - self._first_s, frame.image_HW3)


def one_at_a_time(model: Model) -> Model:
    """The model without waiting: a larger batch would hold a frame back until others have come."""
    finder = None if model.finder is None else one_at_a_time(model.finder)
    return replace(model, max_batch=1, aim=None, finder=finder)


@contextmanager
def on_one_core(model: Model) -> Iterator[None]:
    """Within the block this thread computes on one core, if the model is so small that it runs on one core each.

    Crop by crop there is no second batch for another core; threads that share operations of less than a millisecond
    wait for each other (nano pose beside other work on two cores: 160 ms a crop on both, 12 ms on one).
    """
    before = torch.get_num_threads()
    if model.one_core_each:
        torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


@contextmanager
def ended_by_interrupt(stop: Callable[[], None]) -> Iterator[None]:
    """Within the block the first Ctrl-C calls `stop`, and the next interrupts as ever.

    Python hands interrupts to its main thread only: elsewhere nothing changes, and neither where they are ignored.
    """
    before = signal.getsignal(signal.SIGINT)
    if threading.current_thread() is not threading.main_thread() or before in (None, signal.SIG_IGN):
        yield
        return

    def once(number: int, frame: FrameType | None) -> None:
        signal.signal(signal.SIGINT, before)
        stop()

    signal.signal(signal.SIGINT, once)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
