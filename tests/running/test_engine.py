"""The engine cuts groups to what fits, leaves unsafe precisions, finds the knee, and tells what it did."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
from torch import Tensor

from simulated import HANG_S, SHAPES, Memory, Network, canvas, doubled, engine_of, expected, values
from tolerances import NETWORK_CPU_ABS
from vitruvian.errors import DoesNotFitError, UsageError
from vitruvian.fit.knee import Aim
from vitruvian.running.engine import MAX_DECISIONS, NonFinite, Safer, values_not_finite
from vitruvian.weights import load_weights


@pytest.mark.parametrize(
    ("count", "room", "sizes"),
    [
        (0, 99, []),
        (1, 99, [1]),
        (8, 99, [8]),
        (11, 99, [6, 5]),
        (8, 4, [4, 4]),
        (8, 3, [2, 2, 2, 2]),
        (5, 1, [1, 1, 1, 1, 1]),
        (16, 2, [2] * 8),
    ],
)
def test_groups_are_cut_to_what_fits(count: int, room: int, sizes: list[int]) -> None:
    network = Network(memory=Memory(room_at=lambda tick: room))
    assert values(engine_of(network).run([canvas(n) for n in range(count)])) == expected(range(count))
    assert network.sizes == sizes


def test_the_range_of_the_network_is_kept() -> None:
    network = Network()
    engine = engine_of(network, own_range=(1, 3), max_batch=8)
    assert engine.wanted_batch(SHAPES[0]) == 3
    assert values(engine.run([canvas(n) for n in range(7)])) == expected(range(7))
    assert network.sizes == [3, 2, 2]
    assert "exported for" in engine.decisions()[0].because
    with pytest.raises(UsageError, match="takes at least 2 pictures"):
        engine_of(network, own_range=(2, 8))


def test_one_canvas_that_does_not_fit_beside_others_waits_for_them() -> None:
    memory = Memory(room_at=lambda tick: 2)
    engine = engine_of(Network(memory=memory))
    inside, may_go = threading.Event(), threading.Event()

    def hog() -> int:
        held = memory.take(2, "hog")
        inside.set()
        assert may_go.wait(HANG_S)
        return held.units

    with ThreadPoolExecutor(2) as pool:
        other = pool.submit(engine.guarded, "the other work", hog)
        assert inside.wait(HANG_S)
        rows = pool.submit(engine.run, [canvas(5)])
        while not memory.failures:  # the canvas was refused once and waits now
            pass
        may_go.set()
        assert values(rows.result(HANG_S)) == expected([5])
        assert other.result(HANG_S) == 2
    told = [str(decision) for decision in engine.decisions()]
    assert "went through by itself" in told[-1]


def test_one_canvas_that_never_fits_ends_with_what_to_do() -> None:
    network = Network(memory=Memory(room_at=lambda tick: 0))
    with pytest.raises(DoesNotFitError, match=r"one picture of 8x6 in the network.*simulated.*--dtype bfloat16"):
        engine_of(network).run([canvas(1), canvas(2)])
    assert network.memory.ticks == 3, "two together, one, and that one alone"


@pytest.mark.parametrize(("fails", "fine"), [(0, True), (1, True), (2, False)])
def test_post_processing_is_tried_again_alone(fails: int, fine: bool) -> None:
    memory = Memory(room_at=lambda tick: 0 if tick <= fails else 9)
    engine = engine_of(Network())

    def finish(number: int) -> int:
        held = memory.take(1, number)
        return number * held.units

    if fine:
        assert engine.guarded("finishing a.jpg", finish, 7) == 7
        assert len(engine.decisions()) == fails
    else:
        with pytest.raises(DoesNotFitError, match=r"finishing a\.jpg"):
            engine.guarded("finishing a.jpg", finish, 7)


def test_other_errors_of_the_network_come_out() -> None:
    def broken(canvases: Sequence[np.ndarray]) -> dict[str, Tensor]:
        raise RuntimeError("no kernel image is available")

    with pytest.raises(RuntimeError, match="no kernel image"):
        engine_of(broken).run([canvas(1)])


def test_rows_are_counted() -> None:
    with pytest.raises(ValueError, match="expected one row each"):
        engine_of(lambda canvases: {"value_B2": torch.zeros(3, 2)}).run([canvas(1)])


@pytest.mark.parametrize(
    ("bad_in", "steps"),
    [
        ({}, []),
        ({3: ("bfloat16",)}, ["bfloat16 with 3 float32 islands"]),
        (
            {3: ("bfloat16",), 5: ("bfloat16 with 3 float32 islands",)},
            ["bfloat16 with 3 float32 islands", "float32"],
        ),
    ],
)
def test_non_finite_outputs_run_again_in_a_safer_precision(
    bad_in: Mapping[int, tuple[str, ...]], steps: list[str]
) -> None:
    network = Network(precision="bfloat16", bad_in=bad_in)
    engine = engine_of(network, max_batch=16)
    rows = [row for start in range(0, 12, 4) for row in engine.run([canvas(n) for n in range(start, start + 4)])]
    assert values(rows) == expected(range(12))
    assert network.steps == steps
    told = [decision for decision in engine.decisions() if decision.what == "dtype"]
    assert [decision.value for decision in told] == steps
    assert all("gave non-finite values in value_B2" in decision.because for decision in told)
    assert engine.wanted_batch(SHAPES[0]) == (16, 8, 4)[len(steps)]


def test_a_canvas_that_is_bad_in_float32_fails_alone() -> None:
    network = Network(bad_in={2: ("float32",)})
    rows = engine_of(network).run([canvas(n) for n in range(4)])
    assert [isinstance(row, NonFinite) for row in rows] == [False, False, True, False]
    assert "value_B2 in float32, with no safer precision" in values(rows)[2]
    assert [one for n, one in enumerate(values(rows)) if n != 2] == expected([0, 1, 3])


def test_threads_that_see_one_bad_precision_leave_it_once() -> None:
    together = threading.Barrier(2)
    network = Network(precision="bfloat16", bad_in={1: ("bfloat16",), 2: ("bfloat16",)})

    def side_by_side(canvases: Sequence[np.ndarray]) -> dict[str, Tensor]:
        raw = network(canvases)
        if network.precision == "bfloat16":
            together.wait(HANG_S)
        return raw

    engine = engine_of(side_by_side, step_down=network.step_down, precision="bfloat16")
    with ThreadPoolExecutor(2) as pool:
        rows = [pool.submit(engine.run, [canvas(n)]) for n in (1, 2)]
        assert [values(row.result(HANG_S)) for row in rows] == [expected([1]), expected([2])]
    assert network.steps == ["bfloat16 with 3 float32 islands"]


def test_memory_that_is_too_small_for_a_safer_precision_is_told() -> None:
    def step_down() -> Safer:
        raise torch.OutOfMemoryError("simulated")

    network = Network(precision="bfloat16", bad_in={1: ("bfloat16",)})
    engine = engine_of(network.__call__, step_down=step_down, precision="bfloat16")
    with pytest.raises(DoesNotFitError, match="the change to a safer precision"):
        engine.run([canvas(1)])


@pytest.mark.parametrize(
    ("raw", "bad"),
    [
        ({"a": torch.zeros(3, 2)}, {}),
        ({"a": torch.tensor([[0.0], [float("nan")], [float("-inf")]])}, {1: ("a",), 2: ("a",)}),
        ({"a": torch.zeros(2, 1), "b": torch.tensor([[float("inf")], [1.0]])}, {0: ("b",)}),
        ({"a": torch.tensor([[float("inf"), -float("inf")]]), "b": torch.tensor([[float("nan")]])}, {0: ("a", "b")}),
        ({"a": torch.full((1, 3), 3e38)}, {}),
        ({"a": torch.full((2, 9), 6e4, dtype=torch.float16)}, {}),
        ({"a": torch.full((1, 9), float("nan"), dtype=torch.bfloat16)}, {0: ("a",)}),
        ({"labels": torch.zeros(2, 3, dtype=torch.int64)}, {}),
        ({}, {}),
    ],
)
def test_non_finite_values_are_found_by_row(raw: dict[str, Tensor], bad: dict[int, tuple[str, ...]]) -> None:
    assert values_not_finite(raw) == bad


class Clock:
    """Time that passes only in the network: `seconds_of` the batch that is inside."""

    def __init__(self, seconds_of: Callable[[int], float]) -> None:
        self.now, self.seconds_of = 0.0, seconds_of

    def __call__(self) -> float:
        return self.now

    def network(self, canvases: Sequence[np.ndarray]) -> dict[str, Tensor]:
        self.now += self.seconds_of(len(canvases))
        return doubled(canvases)


@pytest.mark.parametrize(
    ("aim", "seconds_of", "batch", "because"),
    [
        (Aim(), lambda n: 1.0, 64, "the largest of the plan"),
        (Aim(), lambda n: max(1.0, n / 16), 16, "32 fits but is no faster for twice the latency"),
        (Aim(objective="latency"), lambda n: 0.1 + n, 1, "a call of 2 takes"),
        (Aim(max_latency_ms=1500), lambda n: 1 + n / 16, 8, "16 takes 2e+03 ms a call, over the 1500 ms asked for"),
    ],
)
def test_the_batch_is_the_knee_of_what_was_measured(
    aim: Aim, seconds_of: Callable[[int], float], batch: int, because: str
) -> None:
    clock = Clock(seconds_of)
    engine = engine_of(clock.network, max_batch=64, aim=aim, clock=clock)
    assert engine.wanted_batch(SHAPES[0]) == 1, "the ramp begins small"
    for _ in range(30):
        engine.run([canvas(n) for n in range(engine.wanted_batch(SHAPES[0]))])
    assert engine.wanted_batch(SHAPES[0]) == batch
    (decision,) = engine.decisions()
    assert (decision.value, decision.measured) == (batch, True)
    assert because in decision.because


def test_each_shape_has_its_own_knee_and_memory_cuts_the_ramp() -> None:
    engine = engine_of(Network(memory=Memory(room_at=lambda tick: 5)), aim=Aim(), clock=iter(range(10**6)).__next__)
    for shape in SHAPES:
        for _ in range(20):
            engine.run([canvas(n, shape) for n in range(engine.wanted_batch(shape))])
    assert [engine.wanted_batch(shape) <= 6 for shape in SHAPES] == [True, True]
    told = [str(decision) for decision in engine.decisions()]
    assert "micro_batch: 4 (8 ran out of memory)" in told
    assert [line.rpartition("; ")[2] for line in told[-2:]] == ["4x4)", "8x6)"]
    assert all("8 does not go through at the moment" in line for line in told[-2:])


def test_the_list_of_decisions_stays_short() -> None:
    memory = Memory(room_at=lambda tick: tick % 2)
    engine = engine_of(Network())
    for name in ("a.jpg", *(f"{n}.jpg" for n in range(MAX_DECISIONS + 9)), "a.jpg"):
        memory.ticks = 1
        engine.guarded(f"finishing {name}", lambda: memory.take(1, None).units)
    told = engine.decisions()
    assert len(told) == MAX_DECISIONS + 1
    assert len(set(told)) == len(told), "what happens twice is told once"
    assert (told[-1].what, told[-1].value) == ("further_changes", 10)


def test_a_real_network_gives_the_same_whatever_the_batch() -> None:
    weights = load_weights("sapiens-seg-nano")
    task = weights.spec.make_task()
    rng = np.random.default_rng(0)
    canvases = [rng.integers(0, 255, (*task.input_hw, 3), dtype=np.uint8) for _ in range(3)]
    memory = Memory()

    def network(group: Sequence[np.ndarray]) -> Mapping[str, Tensor]:
        held = memory.take(len(group), None)
        raw = weights.network(task.network_input(torch.from_numpy(np.stack(group))))
        del held
        return raw

    found = []
    for room in (1, 3):
        memory.room_at = lambda tick, room=room: room  # type: ignore[misc]
        rows = engine_of(network).run(canvases)
        found.append([{name: value.clone() for name, value in row.items()} for row in rows])  # type: ignore[union-attr]
    for others in found[1:]:
        for first, second in zip(found[0], others, strict=True):
            for name in first:
                assert (first[name] - second[name]).abs().max() <= NETWORK_CPU_ABS


def test_what_is_wrong_with_the_device_is_noted_once() -> None:
    rates: list[float] = []

    def observe(items_per_s: float) -> str:
        rates.append(items_per_s)
        return "the device is full" if len(rates) == 2 else ""

    engine = engine_of(doubled, observe=observe)
    for number in range(4):
        engine.run([canvas(number)])
    assert len(rates) == 4
    assert [one.because for one in engine.decisions() if one.value == "spilled"] == ["the device is full"]
