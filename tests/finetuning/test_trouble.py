"""When a training is said to go wrong, and when not."""

from __future__ import annotations

import math
from collections.abc import Iterable

import pytest

from vitruvian.finetuning.trouble import IN_A_ROW, IN_A_ROW_SCALED, WINDOW, Trouble
from vitruvian.training.step import StepResult


def result(loss: float, skipped: str | None = None) -> StepResult:
    return StepResult(loss=loss, grad_norm=1.0, skipped=skipped, items=1, seconds=0.1)


def verdicts(trouble: Trouble, losses: Iterable[float]) -> list[str]:
    return [said for loss in losses if (said := trouble.seen(result(loss)))]


@pytest.mark.parametrize(("scaled", "allowed"), [(False, IN_A_ROW), (True, IN_A_ROW_SCALED)])
def test_skipped_steps_are_borne_for_a_while(scaled: bool, allowed: int) -> None:
    trouble = Trouble(scaled=scaled)
    bad = result(math.nan, "a loss of nan")
    assert [trouble.seen(bad) for _ in range(allowed)] == [None] * allowed
    said = trouble.seen(bad)
    assert said is not None
    assert "a loss of nan" in said


def test_a_good_step_in_between_forgives() -> None:
    trouble = Trouble()
    for _ in range(20):
        assert trouble.seen(result(math.nan, "a loss of nan")) is None
        assert trouble.seen(result(1.0)) is None
    assert trouble.skipped_in_all == 20


def test_single_bad_batches_say_nothing() -> None:
    losses = [1.0] * WINDOW + [1.0, 90.0, 1.0] * 30
    assert verdicts(Trouble(), losses) == []


def test_a_loss_that_runs_away_is_seen() -> None:
    losses = [2.0] * WINDOW + [1.0] * WINDOW + [40.0] * WINDOW
    said = verdicts(Trouble(), losses)
    assert said
    assert "40" in said[0]
    assert "1 at its best" in said[0]


def test_a_resumed_watch_says_the_same() -> None:
    first, resumed = Trouble(), Trouble()
    verdicts(first, [1.0] * WINDOW + [30.0] * 10)
    resumed.load_state_dict(first.state_dict())
    assert [first.seen(result(30.0)) for _ in range(5)] == [resumed.seen(result(30.0)) for _ in range(5)]
    assert first.state_dict() == resumed.state_dict()


def test_losses_on_their_way_through_zero_are_learning() -> None:
    falling = [1.5] * WINDOW + [0.005] * WINDOW + [0.05] * WINDOW + [-0.04] * WINDOW + [-0.03] * WINDOW
    assert verdicts(Trouble(), falling[: 3 * WINDOW])
    assert verdicts(Trouble(from_zero=False), falling) == []


@pytest.mark.parametrize("lowest", [1.4, 0.005, -2.0])
def test_negative_losses_run_away_where_all_that_was_won_is_lost(lowest: float) -> None:
    trouble = Trouble(from_zero=False)
    assert verdicts(trouble, [1.5] * WINDOW + [lowest] * WINDOW) == []
    assert verdicts(trouble, [7.5] * WINDOW)
