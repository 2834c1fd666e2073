"""Many inside or one alone; whoever waits to be alone gets in; nobody waits for himself."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager

import pytest

from vitruvian.running.gate import SharedGate

PATIENCE_S = 20.0
"""Far longer than anything here takes; what is still waiting then hangs."""


def test_many_are_inside_together() -> None:
    gate, together = SharedGate(), threading.Barrier(4)

    def enter() -> None:
        with gate.shared():
            together.wait(PATIENCE_S)  # passes only if all four are inside

    with ThreadPoolExecutor(4) as pool:
        for future in [pool.submit(enter) for _ in range(4)]:
            future.result(PATIENCE_S)


def test_one_is_alone() -> None:
    gate, inside, worst = SharedGate(), [0], [0]

    def many() -> None:
        for _ in range(200):
            with gate.shared():
                inside[0] += 1 if alone[0] else 0

    def one() -> None:
        for _ in range(200):
            with gate.exclusive():
                alone[0] = True
                worst[0] = max(worst[0], inside[0])
                alone[0] = False

    alone = [False]
    with ThreadPoolExecutor(4) as pool:
        for future in [pool.submit(work) for work in (many, one, many, one)]:
            future.result(PATIENCE_S)
    assert worst[0] == inside[0] == 0


def test_who_waits_to_be_alone_is_let_in_before_those_who_come_later() -> None:
    gate, order = SharedGate(), []
    first_is_in, first_may_go = threading.Event(), threading.Event()

    def first() -> None:
        with gate.shared():
            first_is_in.set()
            assert first_may_go.wait(PATIENCE_S)
            order.append("first")

    def alone() -> None:
        with gate.exclusive():
            order.append("alone")

    def later() -> None:
        with gate.shared():
            order.append("later")

    threads = [threading.Thread(target=work) for work in (first, alone, later)]
    threads[0].start()
    assert first_is_in.wait(PATIENCE_S)
    threads[1].start()
    while not gate._waiting_alone:
        pass
    threads[2].start()
    first_may_go.set()
    for thread in threads:
        thread.join(PATIENCE_S)
    assert order == ["first", "alone", "later"]


def test_those_who_wait_can_be_let_in_first() -> None:
    gate = SharedGate()
    order: list[str] = []

    def waiting() -> None:
        with gate.shared():
            order.append("waiting")

    assert not gate.let_pass(gate.passed, 0.0), "nobody comes"
    thread = threading.Thread(target=waiting)
    with gate.exclusive():
        thread.start()
        while not gate._waiting:
            pass
        passed = gate.passed
    assert gate.let_pass(passed, PATIENCE_S)
    order.append("I")
    thread.join(PATIENCE_S)
    assert order == ["waiting", "I"]
    assert gate.let_pass(passed, 0.0), "who has been through already counts, too"
    assert not gate.let_pass(gate.passed, 0.0)


@pytest.mark.parametrize("comes_to_its_end", [True, False])
def test_others_alone_count_where_they_came_to_their_end(comes_to_its_end: bool) -> None:
    gate = SharedGate()
    passed = gate.passed
    with gate.exclusive():
        pass
    if comes_to_its_end:
        gate.passed_alone()
    assert gate.let_pass(passed, 0.0) == comes_to_its_end


Way = Callable[[SharedGate], AbstractContextManager[None]]


@pytest.mark.parametrize("outer", [SharedGate.shared, SharedGate.exclusive])
@pytest.mark.parametrize("inner", [SharedGate.shared, SharedGate.exclusive])
def test_waiting_for_oneself_is_refused(outer: Way, inner: Way) -> None:
    gate = SharedGate()
    assert not gate.held
    with outer(gate):
        assert gate.held
        with pytest.raises(RuntimeError, match="would wait for itself"), inner(gate):
            pass
    with inner(gate):
        assert gate.held


@pytest.mark.parametrize("way", [SharedGate.shared, SharedGate.exclusive])
def test_errors_leave_the_gate_open(way: Way) -> None:
    gate = SharedGate()
    with pytest.raises(KeyError), way(gate):
        raise KeyError
    with gate.exclusive():
        pass
