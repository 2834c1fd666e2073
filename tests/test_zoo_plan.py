"""The table of what the published zoo takes on this machine."""

from __future__ import annotations

from dataclasses import replace

import pytest

from vitruvian import zoo_plan
from vitruvian.hardware import probe
from vitruvian.models.sapiens import SIZES
from vitruvian.zoo_plan import ZooRow, zoo_text

ROW = ZooRow(model="sapiens-seg-1b", fits=True, dtype="bfloat16", batch=11, peak_bytes=20 * 10**9, images_per_s=0.09)


def test_every_size_has_a_row_with_its_peak() -> None:
    rows = zoo_plan.zoo_plan("seg")
    assert [row.model for row in rows] == [f"sapiens-seg-{size}" for size in SIZES]
    for row in rows:
        assert row.peak_bytes > 10**9
        assert row.batch >= 1
        assert row.images_per_s is not None
        assert row.images_per_s > 0


def test_larger_networks_are_slower_and_take_no_larger_batches() -> None:
    fitting = [row for row in zoo_plan.zoo_plan("seg") if row.fits]
    rates = [row.images_per_s for row in fitting]
    assert rates == sorted(rates, reverse=True)  # type: ignore[type-var]
    assert [row.batch for row in fitting] == sorted((row.batch for row in fitting), reverse=True)


def test_the_table_for_people() -> None:
    text = zoo_text([ROW, replace(ROW, model="sapiens-seg-2b", fits=False, batch=1)])
    assert "free (predicted" in text.splitlines()[0]
    lines = [line.split() for line in text.splitlines()[2:]]
    assert lines == [
        ["sapiens-seg-1b", "bfloat16", "11", "20.0", "GB", "about", "0.09"],
        ["sapiens-seg-2b", "bfloat16", "none", "20.0", "GB"],
    ]


def test_a_planner_for_a_device_that_is_not_here_is_refused() -> None:
    from vitruvian import zoo
    from vitruvian.errors import UsageError

    with pytest.raises(UsageError, match="expected one of"):
        zoo_plan.planner_here(zoo.find("sapiens-seg-nano"), "abacus")


def test_small_networks_are_planned_for_several_calls_at_once() -> None:
    from vitruvian import zoo

    small, large = (zoo_plan.planner_here(zoo.find(f"sapiens-seg-{size}"), "cpu") for size in ("nano", "0.3b"))
    assert small.calls_at_once == probe().cpu.cores
    assert large.calls_at_once == 1
