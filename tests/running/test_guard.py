"""Out of memory is caught with nothing held on to; everything else passes through."""

from __future__ import annotations

import weakref
from collections.abc import Callable
from typing import NoReturn

import pytest
import torch

from vitruvian.errors import DoesNotFitError, InputError
from vitruvian.running.guard import MemoryGuard, OutOfMemory


def is_oom(error: BaseException) -> bool:
    return isinstance(error, MemoryError) or "out of memory" in str(error)


def make(free: Callable[[], None] = lambda: None) -> MemoryGuard:
    advice = "0.5 GB are missing; run with --dtype bfloat16"
    return MemoryGuard(is_oom=is_oom, free=free, advice=lambda: advice, patience_s=0.0)


def test_values_pass() -> None:
    assert make().attempt(max, 3, 4) == 4
    assert make().alone("a call", max, 3, 4) == 4


def test_tensors_of_the_failed_call_are_gone_before_caches_are_freed() -> None:
    alive: list[weakref.ref[torch.Tensor]] = []
    at_free: list[bool] = []

    def fail() -> NoReturn:
        def deeper(tensor: torch.Tensor) -> NoReturn:
            raise torch.OutOfMemoryError("CUDA out of memory.\n Tried to allocate 20 MiB")

        tensor = torch.zeros(8)
        alive.append(weakref.ref(tensor))
        deeper(tensor)

    guard = make(lambda: at_free.append(any(ref() is not None for ref in alive)))
    outcome = guard.attempt(fail)
    assert outcome == OutOfMemory(reason="CUDA out of memory. Tried to allocate 20 MiB")
    assert at_free == [False]


@pytest.mark.parametrize("error", [ValueError("no"), InputError("a cat ran out of memory"), KeyboardInterrupt()])
def test_other_errors_pass(error: BaseException) -> None:
    def fail() -> NoReturn:
        raise error

    freed: list[None] = []
    guard = make(lambda: freed.append(None))
    for run in (lambda: guard.attempt(fail), lambda: guard.alone("a call", fail)):
        freed.clear()
        with pytest.raises(type(error)) as caught:
            run()
        assert caught.value is error
    assert guard.attempt(max, 1, 2) == 2, "the gate is open again"


def test_alone_and_still_too_large_tells_what_to_do() -> None:
    def fail() -> NoReturn:
        raise MemoryError("x" * 1000)

    with pytest.raises(DoesNotFitError, match=r"got a big picture, .* \(x{197}\.\.\.\); 0\.5 GB are missing; run with"):
        make().alone("a big picture", fail)


def test_inside_a_guarded_call_the_outer_one_deals_with_memory() -> None:
    guard = make()

    def fail() -> NoReturn:
        raise MemoryError

    def outer() -> object:
        return guard.attempt(fail)

    assert guard.attempt(outer) == OutOfMemory(reason="MemoryError")
