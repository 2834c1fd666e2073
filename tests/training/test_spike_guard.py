"""Losses that jump: what is rejected, and what the next one is compared with."""

from __future__ import annotations

import math

import pytest

from vitruvian.training.spike_guard import SpikeGuard


@pytest.mark.parametrize(
    ("losses", "rejected"),
    [
        ([1.0, 25.0, 1.0], []),
        ([1.0, 25.1, 1.0], [1]),
        ([1.0, math.nan, 2.0], [1]),
        ([math.inf, 1.0], [0]),
        ([1.0, 100.0, 100.0, 1.0], [1]),
        ([1.0, math.nan, 26.0], [1, 2]),
        ([1.0, 0.0, 2.0], []),
        ([0.0, 1.0], []),
        ([1e9, 1.0], []),
    ],
)
def test_what_is_rejected(losses: list[float], rejected: list[int]) -> None:
    guard = SpikeGuard()
    assert [index for index, loss in enumerate(losses) if guard.rejects(loss)] == rejected


def test_another_factor() -> None:
    guard = SpikeGuard(factor=2, previous=1.0)
    assert guard.rejects(2.5)
    assert not guard.rejects(4.0), "compared with the one before, rejected or not"
