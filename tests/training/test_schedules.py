"""Learning rates against values on paper."""

from __future__ import annotations

from typing import Any

import pytest

from vitruvian.errors import UsageError
from vitruvian.training.schedules import Constant, Cosine, Linear, Poly, Schedule, Stepwise


@pytest.mark.parametrize(
    ("schedule", "factors"),
    [
        (Constant(), {0: 1.0, 10**6: 1.0}),
        (Constant(warmup=10), {0: 0.001, 5: 0.5005, 10: 1.0, 99: 1.0}),
        (Stepwise(steps=210), {0: 1.0, 169: 1.0, 170: 0.1, 199: 0.1, 200: 0.01, 209: 0.01}),
        (Stepwise(steps=2100, warmup=100), {50: 0.5005, 100: 1.0, 1699: 1.0, 1700: 0.1, 2000: 0.01}),
        (Stepwise(steps=4, marks=(0.5,), drop=0.5), {1: 1.0, 2: 0.5}),
        (Linear(steps=100), {0: 1.0, 25: 0.75, 99: 0.01, 100: 0.0, 500: 0.0}),
        (Linear(steps=110, warmup=10), {0: 0.001, 10: 1.0, 60: 0.5, 110: 0.0}),
        (Linear(steps=100, held=10), {0: 1.0, 9: 1.0, 10: 0.9, 99: 0.1}),
        (Poly(steps=110, warmup=10), {0: 0.001, 10: 1.0, 60: 0.5**0.9, 110: 0.0, 500: 0.0}),
        (Poly(steps=100, power=2.0), {0: 1.0, 50: 0.25}),
        (Cosine(steps=110, warmup=10), {0: 0.001, 10: 1.0, 35: 0.5 * (1 + 0.5**0.5), 60: 0.5, 110: 0.0, 500: 0.0}),
    ],
    ids=str,
)
def test_factors(schedule: Schedule, factors: dict[int, float]) -> None:
    assert {step: schedule(step) for step in factors} == pytest.approx(factors, abs=1e-12)


def test_schedules_are_values() -> None:
    assert Linear(steps=10, warmup=2) == Linear(steps=10, warmup=2)
    assert len({Cosine(steps=10), Cosine(steps=10), Cosine(steps=11)}) == 2


@pytest.mark.parametrize(
    ("kind", "fields", "message"),
    [
        (Constant, {"warmup": -1}, "got -1 steps of warm-up; expected"),
        (Linear, {"steps": 10, "warmup": 10}, "10 steps of warm-up in a training of 10 steps"),
        (Cosine, {"steps": 0}, "in a training of 0 steps"),
        (Stepwise, {"steps": 10, "marks": (0.9, 0.5)}, "ascending shares"),
        (Stepwise, {"steps": 10, "marks": (170, 200)}, "between 0 and 1"),
        (Linear, {"steps": 10, "held": 0}, "held for 0 steps"),
        (Poly, {"steps": 10, "power": 0.0}, "the power 0.0; expected one above 0"),
    ],
)
def test_impossible_schedules_are_refused(kind: Any, fields: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        kind(**fields)
