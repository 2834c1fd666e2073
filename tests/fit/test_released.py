"""Plans with gradients that are applied as they are made: only when asked for, and where nothing needs all at once."""

from __future__ import annotations

from typing import Any

import pytest

from fit.imagined import GB, PARAMETERS, footprint, job, machine
from vitruvian.errors import UsageError
from vitruvian.fit.knobs import Knobs, TrainingKnobs
from vitruvian.fit.ladder import least_bytes, needs_no_more
from vitruvian.fit.plan import make_plan
from vitruvian.fit.plan_values import Offer, Plan

RELEASED = {"gradients": "released"}


def released(budget_gb: float | None, batch: int | None, fixed: dict[str, Any] | None = None, **fields: Any) -> Plan:
    budget_bytes = None if budget_gb is None else round(budget_gb * GB)
    wanted = job(train=True, batch=batch, budget_bytes=budget_bytes, fixed=RELEASED | (fixed or {}), **fields)
    return make_plan(footprint, wanted, machine())


def remark(plan: Plan) -> str:
    return next((one for one in plan.remarks if one.startswith("gradients=released")), "")


@pytest.mark.parametrize("budget_gb", [3, 6, 9, 12, 20, 200])
def test_gradients_are_never_released_unasked(budget_gb: float) -> None:
    plan = make_plan(footprint, job(train=True, batch=1, budget_bytes=round(budget_gb * GB)), machine())
    assert all(row.knobs.training is not None and row.knobs.training.gradients == "kept" for row in plan.rows)


@pytest.mark.parametrize(("budget_gb", "batch"), [(300, 16), (40, 4), (20, 1), (12, 1)])
def test_the_whole_batch_goes_through_at_once(budget_gb: float, batch: int) -> None:
    plan = released(budget_gb, batch)
    assert plan.fits
    assert plan.knobs.micro_batch == batch
    training = plan.knobs.training
    assert training is not None
    assert (training.accumulation, training.gradients, training.trainable) == (1, "released", "all")
    assert plan.breakdown.gradients_bytes == 0
    assert not remark(plan)
    because = {decision.what: decision.because for decision in plan.decisions}
    assert because["gradients"] == "as asked for; price: no clipping, no accumulation"
    assert because["micro_batch"] == "the whole batch: released gradients do not accumulate"


def test_what_kept_gradients_do_not_leave_room_for() -> None:
    kept = make_plan(footprint, job(train=True, batch=1, budget_bytes=8 * GB), machine())
    assert kept.knobs.training is not None
    assert kept.knobs.training.precision == "pure"
    plan = released(8, 1)
    assert plan.fits
    assert plan.knobs.training is not None
    assert plan.knobs.training.precision == "autocast"


def test_a_batch_that_does_not_fit_names_the_one_that_would() -> None:
    plan = released(12, 64, offers=frozenset({"blocks"}))
    assert not plan.fits
    told = remark(plan)
    label = "bfloat16 autocast, checkpointed, state on the host, gradients released"
    assert told.startswith("gradients=released takes the batch of 64 through the network in one piece; batch_size=")
    assert told.endswith(f" would fit with {label}")
    would = int(told.partition("batch_size=")[2].partition(" ")[0])
    assert released(12, would, offers=frozenset({"blocks"})).fits
    assert label not in {row.label for row in released(12, would + 1, offers=frozenset({"blocks"})).rows if row.fits}


@pytest.mark.parametrize(
    ("budget_gb", "batch", "offers", "altered"),
    [
        (12.2, 8, {"blocks"}, {"precision": "pure"}),
        (12, 8, {"blocks", "head"}, {"trainable": "head"}),
        (12, 2, {"crop"}, {"input_hw": [768, 576], "precision": "autocast"}),
    ],
)
def test_a_batch_that_makes_the_planner_alter_more_is_named_too(
    budget_gb: float, batch: int, offers: set[Offer], altered: dict[str, Any]
) -> None:
    plan = released(budget_gb, batch, offers=frozenset(offers))
    assert plan.fits
    knobs = plan.knobs.to_json() | {"input_hw": list(plan.knobs.input_hw or ())}
    assert {name: knobs[name] for name in altered} == altered
    smaller = 1 if batch == 2 else 6
    assert f"batch_size={smaller} would fit with bfloat16 autocast" in remark(plan)


def test_where_no_batch_fits_none_is_named() -> None:
    plan = released(1, 4)
    assert not plan.fits
    assert not remark(plan)


def test_a_batch_of_no_wanted_size_is_the_largest_that_fits() -> None:
    plan = released(20, None)
    assert plan.fits
    assert plan.knobs.micro_batch > 1
    assert plan.knobs.training is not None
    assert plan.knobs.training.accumulation == 1


@pytest.mark.parametrize(
    ("fixed", "fields", "got"),
    [
        ({}, {"gpus": 2}, "2 devices"),
        ({"parallel": "fsdp"}, {}, "parallel=fsdp"),
        ({"accumulation": 2}, {}, "accumulation=2"),
        ({"micro_batch": 2}, {}, "micro_batch=2 of a batch of 16"),
        ({}, {"dtypes": ("float16",)}, "dtype=float16"),
        ({"accumulation": 2}, {"gpus": 4}, "4 devices and accumulation=2"),
    ],
)
def test_what_needs_all_gradients_at_once_is_refused(fixed: dict[str, Any], fields: dict[str, Any], got: str) -> None:
    with pytest.raises(UsageError, match=f"got gradients=released with {got}, which .*; expected .*; use batch_size="):
        released(None, 16, fixed, **fields)


@pytest.mark.parametrize(
    ("fixed", "fields"),
    [
        ({"accumulation": 1, "micro_batch": 16, "parallel": "none"}, {}),
        ({"precision": "float32"}, {"dtypes": ("float16",)}),
    ],
)
def test_what_goes_together_is_accepted(fixed: dict[str, Any], fields: dict[str, Any]) -> None:
    plan = released(300, 16, fixed, **fields)
    assert plan.fits
    assert plan.knobs.micro_batch == 16


def test_a_card_with_float16_alone_computes_in_float32() -> None:
    wanted = job(train=True, batch=1, budget_bytes=40 * GB, fixed=RELEASED)
    plan = make_plan(footprint, wanted, machine(40, bf16="none"))
    assert plan.fits
    assert plan.knobs.dtype == "float32"
    because = next(decision.because for decision in plan.decisions if decision.what == "dtype")
    assert because.endswith("float16's loss scaling needs all gradients at once")


def test_published_rows_keep_their_gradients() -> None:
    rows = [row for row in released(24, 1).rows if row.label.startswith("as published")]
    assert rows
    assert all(row.knobs.training is not None and row.knobs.training.gradients == "kept" for row in rows)


def test_what_is_known_without_a_trace() -> None:
    kept, dropped = (
        Knobs(dtype="bfloat16", training=TrainingKnobs(precision="autocast", gradients=gradients))
        for gradients in ("kept", "released")
    )
    assert least_bytes(PARAMETERS, kept) == (4 * PARAMETERS, 4 * PARAMETERS, 8 * PARAMETERS)
    assert least_bytes(PARAMETERS, dropped) == (4 * PARAMETERS, 0, 8 * PARAMETERS)
    assert needs_no_more(dropped, kept)
    assert not needs_no_more(kept, dropped)
