"""Times of frames: from the stream's own timestamps, repaired where these are missing or run backwards.

In: frames in the order shown. Out: seconds after the first frame, strictly increasing. Containers without times of
presentation (AVI, raw streams) get evenly spaced ones at their stated rate.
"""

from __future__ import annotations

from fractions import Fraction

TICK_S = Fraction(1, 90_000)
"""Shortest distance of two frames, and the time base of what is written."""

_JUMP_S = 1
"""A step back that is larger belongs to streams put one after the other: time runs on from there."""
_LONGEST_S = 86_400
"""A step forward that is larger is a damaged timestamp: time runs on as well."""


class FrameTimes:
    """Gives each frame its time; keeps what was repaired."""

    def __init__(self, *, time_base: Fraction, start_pts: int | None, step_s: Fraction) -> None:
        """`start_pts`: timestamp of the stream's first frame, None to count at `step_s` a frame instead."""
        self._time_base = time_base
        self._start_pts = start_pts
        self._step_s = step_s
        self._offset_s = Fraction(0)
        self._last_s: Fraction | None = None
        self.repaired = 0
        """Frames whose timestamp was missing or not later than the one before."""
        self.jumps = 0
        """Places where the timestamps began anew."""

    def of(self, pts: int | None) -> float:
        """Seconds of the next frame."""
        last_s = self._last_s
        if self._start_pts is None:
            time_s = Fraction(0) if last_s is None else last_s + self._step_s
        elif pts is None:
            self.repaired += 1
            time_s = Fraction(0) if last_s is None else last_s + self._step_s
        else:
            time_s = (pts - self._start_pts) * self._time_base + self._offset_s
            if last_s is not None and not last_s - _JUMP_S <= time_s <= last_s + _LONGEST_S:
                self.jumps += 1
                self._offset_s += last_s + self._step_s - time_s
                time_s = last_s + self._step_s
            elif last_s is not None and time_s < last_s + TICK_S:
                self.repaired += 1
                time_s = last_s + TICK_S
        self._last_s = time_s
        return float(time_s)

    def notes(self) -> tuple[str, ...]:
        """What was repaired, one line each."""
        found = []
        if self.repaired:
            found.append(f"{self.repaired} frames without a usable timestamp were placed after the frame before")
        if self.jumps:
            found.append(f"timestamps begin anew {self.jumps} times; time runs on")
        return tuple(found)
