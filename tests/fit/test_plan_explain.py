"""Plans in words."""

from __future__ import annotations

from dataclasses import replace

from fit.imagined import GB, footprint, job, machine
from vitruvian.fit.explain import breakdown_text, plan_text, shortfall, verdict
from vitruvian.fit.footprint.values import Breakdown
from vitruvian.fit.plan import make_plan


def test_the_way_to_take_is_marked_once() -> None:
    text = plan_text(make_plan(footprint, job(), machine()))
    rows = [line for line in text.splitlines() if line.startswith("->")]
    assert len(rows) == 1
    assert "bfloat16" in rows[0]
    assert "fits:" in text


def test_every_decision_and_remark_is_printed() -> None:
    plan = make_plan(footprint, job(train=True, batch=16, budget_bytes=11 * GB), machine())
    text = plan_text(plan)
    for decision in plan.decisions:
        assert str(decision) in text
    for remark in plan.remarks:
        assert remark in text
    assert "of host memory" in verdict(plan)


def test_nothing_fits_points_nowhere_and_names_the_gap() -> None:
    plan = make_plan(footprint, job(budget_bytes=GB), machine(), machines={"big": machine(80)})
    text = plan_text(plan)
    assert "->" not in text
    assert "more than the budget of 1.0 GB" in text
    assert "that would do is big" in shortfall(plan)
    assert "no machine of the catalogue" in shortfall(replace(plan, smallest_machine=""))


def test_a_host_that_is_too_small_is_named_as_what_is_missing() -> None:
    wanted = job(train=True, batch=16, budget_bytes=9 * GB, fixed={"state": "host"}, offers=frozenset())
    plan = make_plan(footprint, wanted, machine(bf16="none", cpu_gb=1))
    assert not plan.fits
    assert plan.missing_bytes > 0
    roomy = make_plan(footprint, replace(wanted, budget_bytes=60 * GB), machine(80, bf16="none", cpu_gb=1))
    assert not roomy.fits
    assert "of host memory more than there is" in shortfall(roomy)


def test_untraced_rows_are_bounds() -> None:
    plan = make_plan(footprint, job(train=True, batch=16, budget_bytes=11 * GB, parameters=10**9), machine())
    assert any(row.at_least for row in plan.rows)
    assert "> 16.0 GB" in plan_text(plan)


def test_a_breakdown_lists_the_largest_part_first() -> None:
    parts = Breakdown(weights_bytes=2 * GB, activations_bytes=3 * GB, process_bytes=10**6)
    assert breakdown_text(parts) == "activations 3.0 GB, weights 2.0 GB"


def test_a_budget_beyond_the_device_is_remarked_on() -> None:
    plan = make_plan(footprint, job(budget_bytes=90 * GB), machine(24))
    assert any("more than paper card has: 24.0 GB" in remark for remark in plan.remarks)
