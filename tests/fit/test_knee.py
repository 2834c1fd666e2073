"""The ramp stops at the knee, obeys what is asked for, and says in words what it measured."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from vitruvian.errors import UsageError
from vitruvian.fit.knee import Aim, Knee

LATENCY = Aim(objective="latency")


def overhead(fixed_ms: float, each_ms: float, wide: int = 1) -> Callable[[int], float]:
    """Seconds of a call on a device with a fixed cost a call that works on `wide` items at once."""
    return lambda batch: (fixed_ms + each_ms * -(-batch // wide)) / 1e3


def drive(knee: Knee, seconds_of: Callable[[int], float]) -> list[int]:
    """Feed a knee until it settles; the sizes it asked for, in order."""
    asked = []
    while not knee.settled:
        asked.append(knee.next_batch)
        knee.record(knee.next_batch, seconds_of(knee.next_batch))
        assert len(asked) < 100, "the ramp ends"
    return asked


@pytest.mark.parametrize(
    ("maximum", "sizes"),
    [(1, [1]), (2, [1, 2]), (3, [1, 2, 3]), (8, [1, 2, 4, 8]), (48, [1, 2, 4, 8, 16, 32, 48])],
)
def test_the_ramp_doubles_up_to_the_maximum(maximum: int, sizes: list[int]) -> None:
    asked = drive(Knee(maximum=maximum, aim=Aim()), overhead(1, 0))
    assert asked == [size for size in sizes for _ in range(3)], "a warm-up and two readings a size"


@pytest.mark.parametrize(
    ("maximum", "seconds_of", "batch", "because"),
    [
        (64, lambda n: n / 100, 1, "2 fits but is no faster for twice the latency"),
        (64, lambda n: {1: 0.01, 2: 0.022}[n], 1, "2 fits but is 9 % slower for 2.2 times the latency"),
        (48, lambda n: {48: 1.47}.get(n, 1.0), 32, "48 fits but is 2 % faster for 1.5 times the latency"),
        (48, lambda n: {32: 0.98, 16: 0.5}.get(n, 0.45), 16, "32 fits but is 2 % faster for twice the latency"),
        (8, overhead(10, 1), 8, "the largest of the plan, 56 % faster than 4"),
        (1, overhead(10, 1), 1, "the plan allows no more"),
        (64, overhead(0, 10, wide=4), 4, "8 fits but is no faster for twice the latency"),
    ],
)
def test_the_knee_is_found_and_told(maximum: int, seconds_of: Callable[[int], float], batch: int, because: str) -> None:
    knee = Knee(maximum=maximum, aim=Aim())
    drive(knee, seconds_of)
    decision = knee.decision()
    assert (decision.what, decision.value, decision.measured) == ("micro_batch", batch, True)
    assert because in decision.because
    assert knee.next_batch == batch


@pytest.mark.parametrize(
    ("aim", "seconds_of", "batch", "because"),
    [
        (Aim(max_latency_ms=30), overhead(10, 4), 4, "8 takes 42 ms a call, over the 30 ms asked for"),
        (Aim(max_latency_ms=3), overhead(10, 4), 1, "even 1 takes 14 ms a call, over the 3 ms asked for"),
        (Aim(max_latency_ms=1000), overhead(10, 4), 8, "the largest of the plan"),
        (LATENCY, overhead(10, 4), 1, "a call of 2 takes 1.3 times as long as one of 1"),
        (LATENCY, overhead(1, 10, wide=4), 4, "a call of 8 takes 1.9 times as long as one of 1"),
        (LATENCY, overhead(10, 0), 8, "the largest of the plan, and a call takes no longer than one of 1"),
        (LATENCY, lambda n: 0.01 * 1.02 ** n.bit_length(), 2, "a call of 4 takes 1.04 times as long as one of 1"),
        (Aim(objective="latency", max_latency_ms=5), overhead(10, 0), 1, "even 1 takes 10 ms"),
    ],
)
def test_latency_is_obeyed(aim: Aim, seconds_of: Callable[[int], float], batch: int, because: str) -> None:
    knee = Knee(maximum=8, aim=aim)
    drive(knee, seconds_of)
    assert (knee.decision().value, knee.next_batch) == (batch, batch)
    assert because in knee.decision().because


def test_warm_ups_and_slow_outliers_do_not_count() -> None:
    knee = Knee(maximum=2, aim=Aim())
    for batch, seconds in ((1, 9.0), (1, 0.010), (1, 9.0), (2, 9.0), (2, 9.0), (2, 0.012)):
        knee.record(batch, seconds)
    assert knee.settled
    assert "67 % faster than 1" in knee.decision().because


def test_batches_of_other_sizes_do_not_count() -> None:
    knee = Knee(maximum=8, aim=Aim())
    for seconds in (1.0, 1.0, 1.0):
        knee.record(1, seconds)
    for tail in (1, 3, 4, 8):
        knee.record(tail, 1e-6)
    assert (knee.next_batch, knee.settled) == (2, False)
    drive(knee, lambda n: 1.0)
    knee.record(8, 50.0)
    assert knee.next_batch == 8, "what was settled stays"


@pytest.mark.parametrize(
    ("maximum", "calls", "value", "because", "measured"),
    [
        (8, 0, 1, "the run was too short to measure any size", False),
        (8, 2, 1, "the run was too short to measure any size", False),
        (8, 3, 1, "the run was too short to measure 2 or more", True),
        (8, 8, 2, "the run was too short to measure 4 or more", True),
        (1, 0, 1, "the plan allows no more", False),
    ],
)
def test_short_runs_say_so(maximum: int, calls: int, value: int, because: str, measured: bool) -> None:
    knee = Knee(maximum=maximum, aim=Aim())
    for _ in range(calls):
        knee.record(knee.next_batch, 1.0)
    decision = knee.decision()
    assert (decision.value, decision.because, decision.measured) == (value, because, measured)


def test_memory_that_allows_less_is_told() -> None:
    knee = Knee(maximum=8, aim=Aim())
    drive(knee, lambda n: 1.0)
    assert str(knee.decision(limit=4)) == "micro_batch: 4 (8 does not go through at the moment: out of memory)"
    assert knee.decision(limit=8) == knee.decision()


@pytest.mark.parametrize("bound_ms", [0.0, -5.0])
def test_a_bound_that_nothing_meets_is_refused(bound_ms: float) -> None:
    with pytest.raises(UsageError, match="expected milliseconds above 0"):
        Aim(max_latency_ms=bound_ms)
