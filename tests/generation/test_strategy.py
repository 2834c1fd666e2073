"""Which strategy of guidance runs, over imaginary memory and times."""

from __future__ import annotations

import pytest

from vitruvian.errors import DoesNotFitError, UsageError
from vitruvian.generation.denoising import Strategy
from vitruvian.generation.strategy import Pilot

GB = 10**9
NEEDED: dict[Strategy, int] = {"sequential": 8 * GB, "batched": 14 * GB}


class Machine:
    """Free memory and times that tests set."""

    def __init__(self, free: float, seconds: dict[Strategy, float] | None = None) -> None:
        self.free_gb = free
        self.seconds: dict[Strategy, float] = seconds or {"sequential": 2.0, "batched": 1.5}

    def pilot(self, wish: str = "auto") -> Pilot:
        return Pilot(wish=wish, needed_bytes=NEEDED, free_bytes=lambda: int(self.free_gb * GB))  # type: ignore[arg-type]

    def steps(self, pilot: Pilot, first: int, count: int) -> list[Strategy]:
        chosen = []
        for step in range(first, first + count):
            strategy = pilot.next(step)
            pilot.took(strategy, self.seconds[strategy])
            chosen.append(strategy)
        return chosen


def test_with_room_for_both_each_is_timed_and_the_faster_stays() -> None:
    machine = Machine(20)
    pilot = machine.pilot()
    assert machine.steps(pilot, 1, 7) == ["batched"] * 2 + ["sequential"] * 2 + ["batched"] * 3
    assert "1.33 times as fast" in pilot.decisions[-1].because
    assert pilot.decisions[-1].measured


def test_batching_that_brings_nothing_is_left() -> None:
    machine = Machine(20, {"sequential": 2.0, "batched": 1.99})
    assert machine.steps(machine.pilot(), 1, 6)[-2:] == ["sequential"] * 2


def test_memory_that_shrinks_or_comes_back_changes_it() -> None:
    machine = Machine(20)
    pilot = machine.pilot()
    assert machine.steps(pilot, 1, 6)[-1] == "batched"
    machine.free_gb = 10
    assert machine.steps(pilot, 7, 2) == ["sequential"] * 2
    assert "batched takes 14.0 GB, 10.0 GB are free" in pilot.decisions[-1].because
    machine.free_gb = 20
    assert machine.steps(pilot, 9, 1) == ["batched"]
    assert [decision.value for decision in pilot.decisions][-2:] == ["sequential from step 7", "batched from step 9"]


def test_what_ran_out_waits_for_clearly_more_memory() -> None:
    machine = Machine(15)
    pilot = machine.pilot()
    assert pilot.next(1) == "batched"
    pilot.ran_out("batched")
    assert pilot.next(1) == "sequential"
    assert "batched ran out of memory with 15.0 GB free" in pilot.decisions[-1].because
    machine.free_gb = 18
    assert pilot.next(2) == "sequential"
    machine.free_gb = 19
    assert pilot.next(3) == "batched"


def test_too_little_for_one_branch_is_an_error_with_numbers() -> None:
    with pytest.raises(DoesNotFitError, match=r"got 7\.0 GB free in step 3; expected 8\.0 GB"):
        Machine(7).pilot().next(3)
    machine = Machine(9)
    pilot = machine.pilot()
    pilot.ran_out("sequential")
    with pytest.raises(DoesNotFitError, match="in step 1"):
        pilot.next(1)


@pytest.mark.parametrize("wish", ["sequential", "batched"])
def test_who_insists_gets_it_until_memory_gives_out(wish: Strategy) -> None:
    pilot = Machine(9).pilot(wish)
    assert [pilot.next(step) for step in (1, 2)] == [wish] * 2
    assert len(pilot.decisions) == 1
    pilot.ran_out(wish)
    with pytest.raises(DoesNotFitError, match=f"memory gave out in step 3 of --guidance {wish}"):
        pilot.next(3)


def test_another_wish_is_refused() -> None:
    with pytest.raises(UsageError, match="got --guidance both"):
        Machine(9).pilot("both")
