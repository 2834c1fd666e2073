"""What a run over pictures takes on this machine, by precision."""

from __future__ import annotations

from dataclasses import replace

import pytest

from vitruvian import zoo
from vitruvian.fit.precision import Precision, more_islands
from vitruvian.hardware import probe
from vitruvian.inference_plan import InferencePlanner, planner_here

GB = 10**9


def planner(name: str = "sapiens-seg-0.3b", budget_gb: float = 8) -> InferencePlanner:
    """Of a machine with a processor that knows bfloat16, whatever is under this test."""
    made = planner_here(zoo.find(name), "cpu", round(budget_gb * GB))
    cpu = replace(made.device, bf16="native", total_bytes=64 * GB, free_bytes=64 * GB)
    return replace(made, device=cpu, hardware=replace(made.hardware, cpu=cpu), calibration=None)


def bf16(name: str, step: int | None = None) -> Precision:
    workload = zoo.find(name).workload
    islands = workload.islands
    if step is not None:
        islands = more_islands(workload.build(), islands, workload.head)[step]
    return Precision(dtype="bfloat16", islands=islands)


@pytest.mark.slow
def test_more_islands_are_predicted_to_take_more_memory() -> None:
    name = "sapiens-seg-0.3b"
    published, gentle, head = bf16(name), bf16(name, 0), bf16(name, 1)
    peaks = [planner(name).plan(precision, batch=1).peak_bytes for precision in (published, gentle, head, Precision())]
    assert peaks == sorted(peaks)
    assert peaks[2] > peaks[1] + 50_000_000  # the head's maps are float32
    assert planner(name).predicted(head, 1).total_bytes == peaks[2]


def test_the_default_is_the_native_type_with_the_published_islands() -> None:
    name = "sapiens-seg-0.3b"
    plan = planner(name).plan()
    assert plan.knobs.dtype == "bfloat16"
    assert plan.peak_bytes == planner(name).plan(bf16(name)).peak_bytes


def test_a_large_head_works_in_strips_on_a_cpu_and_a_small_one_does_not() -> None:
    assert planner("sapiens-seg-0.3b").plan().knobs.chunked_head
    assert not planner("sapiens-seg-nano").plan().knobs.chunked_head


def test_the_largest_batch_shrinks_with_the_budget_down_to_none() -> None:
    batches = [planner(budget_gb=size).max_batch(Precision()) for size in (24, 5, 3.9, 1)]
    assert batches == sorted(batches, reverse=True)
    assert batches[0] > batches[1] > 0 == batches[-1]
    assert [planner(budget_gb=size).fits(Precision()) for size in (24, 1)] == [True, False]


def test_advice_says_what_is_missing_and_names_a_model_that_fits() -> None:
    advice = planner(budget_gb=1.5).advice()
    assert "one picture takes" in advice
    assert "`--model sapiens-seg-nano` would fit" in advice
    assert "a larger --budget" in advice


@pytest.mark.parametrize("name", ["sapiens-seg-nano", "sapiens-pose-nano"])
def test_small_networks_are_planned_for_a_call_on_every_core(name: str) -> None:
    one = replace(planner(name), calls_at_once=1)
    assert planner_here(zoo.find(name), "cpu").calls_at_once == probe().cpu.cores
    several = replace(one, calls_at_once=8)
    assert several.plan(Precision(), batch=4).peak_bytes > one.plan(Precision(), batch=4).peak_bytes
