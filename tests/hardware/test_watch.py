"""Peaks per stage and over time, on a meter that plays a script."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

import pytest
import torch

from vitruvian.hardware import PeakWatch, Reading, open_meter

MB = 10**6


class Script:
    """A meter that reads what it is told, with spikes that nobody samples."""

    def __init__(self, now: int = 100, *, keeps_high: bool = True) -> None:
        self.now = self.high = now
        self._keeps_high = keeps_high

    def to(self, now: int, spike: int = 0) -> None:
        self.high = max(self.high, spike, now, self.now)
        self.now = now

    def reading(self) -> Reading:
        return Reading(allocated_bytes=self.now // 2, reserved_bytes=self.now, device_bytes=self.now)

    def take_high(self) -> int | None:
        high, self.high = self.high, self.now
        return high if self._keeps_high else None


def ticks(step_s: float = 1.0) -> Callable[[], float]:
    time_s = -step_s

    def clock_s() -> float:
        nonlocal time_s
        time_s += step_s
        return time_s

    return clock_s


def test_stages_keep_their_peaks() -> None:
    meter = Script()
    meter.to(100, spike=900)  # before the watch: not its business
    with PeakWatch(meter, interval_s=None) as watch:
        with watch.stage("load"):
            meter.to(300)
        meter.to(350)
        for size in (500, 400):
            with watch.stage("network"):
                meter.to(size, spike=size + 50)
                meter.to(200)
        with watch.stage("finish"):
            pass
    assert watch.baseline_bytes == 100
    assert watch.peaks == {"load": 300, "network": 550, "finish": 200}
    assert list(watch.peaks) == ["load", "network", "finish"]
    assert watch.peak_bytes == 550
    assert watch.last.device_bytes == 200


def test_without_a_high_mark_samples_are_all_there_is() -> None:
    meter = Script(keeps_high=False)
    with PeakWatch(meter, interval_s=None) as watch, watch.stage("network"):
        meter.to(400, spike=900)
        assert watch.sample() == Reading(allocated_bytes=200, reserved_bytes=400, device_bytes=400)
        meter.to(150)
    assert watch.peaks == {"network": 400}


def test_overlapping_stages_share_a_spike() -> None:
    meter = Script()
    with PeakWatch(meter, interval_s=None) as watch:
        with watch.stage("read"):
            with watch.stage("network"):
                meter.to(300)
            meter.to(400)
            meter.to(100)
        meter.to(700)
    assert watch.peaks == {"read": 400, "network": 300}
    assert watch.peak_bytes == 700


def test_a_stage_that_fails_is_kept() -> None:
    meter = Script()
    watch = PeakWatch(meter, interval_s=None)
    with pytest.raises(MemoryError), watch, watch.stage("network"):
        meter.to(800)
        raise MemoryError
    assert watch.peaks == {"network": 800}


@pytest.mark.parametrize(("samples", "points"), [(3, 8), (8, 8), (9, 8), (100, 8), (1000, 16), (1001, 7)])
def test_the_curve_is_bounded_and_keeps_its_highest_point(samples: int, points: int) -> None:
    meter = Script()
    watch = PeakWatch(meter, interval_s=None, points=points, clock_s=ticks())
    for index in range(samples):
        meter.to(5000 if index == samples // 3 else 100 + index % 7)
        meter.high = meter.now
        watch.sample()
    curve = watch.curve
    assert min(samples, points // 2) <= len(curve) <= points
    assert max(value for _, value in curve) == 5000
    times = [time_s for time_s, _ in curve]
    assert times == sorted(times)
    assert times[-1] == samples
    [at] = [time_s for time_s, value in curve if value == 5000]
    assert abs(at - samples // 3) <= 4 * samples / points + 1


def test_a_thread_samples_meanwhile() -> None:
    meter = Script(keeps_high=False)
    with PeakWatch(meter, interval_s=0.001) as watch:
        deadline = time.monotonic() + 20
        meter.to(600)
        while watch.peak_bytes < 600 and time.monotonic() < deadline:
            time.sleep(0.002)
        meter.to(100)
    assert watch.peak_bytes == 600
    assert len(watch.curve) >= 2
    assert not [thread for thread in threading.enumerate() if thread.name == "memory watch"]


def test_a_meter_that_breaks_is_not_hushed_up() -> None:
    meter = Script()
    watch = PeakWatch(meter, interval_s=0.001)

    def broken() -> Reading:
        raise RuntimeError("the device is gone")

    with pytest.raises(RuntimeError, match="the device is gone"), watch:
        meter.reading = broken  # type: ignore[method-assign]
        assert watch._thread is not None
        watch._thread.join(20)
    with pytest.raises(ValueError, match="of the run itself"), PeakWatch(Script(), interval_s=0.001) as watch:
        raise ValueError("of the run itself")


def test_a_real_spike_of_this_process_is_caught() -> None:
    meter = open_meter("cpu")
    if meter.take_high() is None:
        pytest.skip("this system keeps no high mark that can be restarted")
    with PeakWatch(meter, interval_s=None) as watch:
        with watch.stage("quiet"):
            pass
        with watch.stage("spike"):
            del (block := {"tensor": torch.ones(50_000_000)})["tensor"]
            assert not block
        with watch.stage("after"):
            pass
    assert watch.peaks["spike"] - watch.baseline_bytes > 150 * MB
    assert watch.peaks["quiet"] - watch.baseline_bytes < 80 * MB
    assert watch.peaks["after"] - watch.baseline_bytes < 80 * MB
