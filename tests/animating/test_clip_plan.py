"""Which way a clip is made on imaginary machines: what is altered first, what is never exceeded, what is said."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from tiny_animation import TINY
from vitruvian.animating.plan import ClipPlan, ClipPlanner
from vitruvian.animating.plan_text import plan_clip, plan_words
from vitruvian.animating.planned import planner_on
from vitruvian.animating.wish import AnimateWish
from vitruvian.errors import UsageError
from vitruvian.fit import budget as budgets
from vitruvian.generation.measures import PARTS, Measures
from vitruvian.hardware import MACHINES, Hardware
from vitruvian.zoo import find_animation

SPEC = replace(find_animation("mimicmotion-1.1"), config=replace(TINY, tile_frames=24))
SIZE_HW = (768, 512)
"""So large that the tiny networks' activations outweigh everything else."""


@pytest.fixture(autouse=True)
def _no_margin(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tiny networks are small beside what predictions leave free."""
    monkeypatch.setattr(budgets.Budget, "margin_bytes", lambda *_: 0)


def card(free_bytes: int) -> Hardware:
    machine = MACHINES["a100-80gb"]
    gpu = replace(machine.accelerators[0], total_bytes=free_bytes, free_bytes=free_bytes)
    return replace(machine, accelerators=(gpu,))


def planner(free_bytes: int, frames: int = 41, **wishes: Any) -> ClipPlanner:
    wish = AnimateWish(dtype="float16", **wishes)
    return planner_on(wish, SPEC, SIZE_HW, frames, card(free_bytes), "cuda:0")


def peak(plan: ClipPlan) -> int:
    return max(stage.breakdown.total_bytes for stage in plan.stages)


def machine_of(plan: ClipPlan, share: float) -> int:
    """Memory of a machine that has a share of what denoising takes beside its process."""
    (need,) = [stage.breakdown for stage in plan.stages if stage.name == "denoising"]
    return need.process_bytes + round(share * (need.total_bytes - need.process_bytes))


def test_with_room_nothing_is_altered() -> None:
    plan = planner(80_000_000_000).plan()
    assert plan.fits
    assert plan.batched_fits
    assert plan.way.measures == Measures()
    assert (plan.way.tile, plan.way.decode_chunk, plan.tiles) == (24, 8, 2)
    assert plan.seconds is not None
    assert plan.seconds > 0
    assert {stage.name for stage in plan.stages} == {"embedding", "encoding", "denoising", "decoding"}
    by_name = {stage.name: stage for stage in plan.stages}
    assert by_name["denoising"].calls == 25 * 2 * 2
    assert plan.batched.calls == 25 * 2


def test_what_keeps_the_numbers_is_altered_before_tiles_are_shorter() -> None:
    whole = planner(80_000_000_000).plan()
    seen: list[tuple[int, Measures]] = []
    previous = whole
    for share in (0.95, 0.85, 0.75, 0.6):
        plan = planner(machine_of(whole, share)).plan()
        assert plan.fits
        assert peak(plan) <= machine_of(whole, share)
        assert plan.way.tile <= previous.way.tile
        assert plan.way.decode_chunk <= previous.way.decode_chunk
        seen.append((plan.way.tile, plan.way.measures))
        previous = plan
    shorter = next((measures for tile, measures in seen if tile < 24), None)
    assert shorter is not None, "the last of these machines is too small for whole tiles"
    assert shorter == Measures(feed_forward_parts=PARTS, streamed=True) or shorter.feed_forward_parts == PARTS


def test_a_shorter_tile_is_said_with_its_reason() -> None:
    whole = planner(80_000_000_000).plan()
    plan = next(
        made for share in (0.6, 0.5, 0.4, 0.3) if (made := planner(machine_of(whole, share)).plan()).way.tile < 24
    )
    (tile,) = [decision for decision in plan.decisions if decision.what == "tile"]
    assert "24 frames, which the network was trained for, do not fit" in tile.because


def test_what_the_user_set_is_never_altered() -> None:
    free_bytes = machine_of(planner(80_000_000_000).plan(), 0.7)
    knobs = {"tile": 24, "feed_forward_parts": 1, "streamed": False, "decode_chunk": 8}
    plan = planner(free_bytes, knobs=knobs).plan()
    assert not plan.fits
    assert (plan.way.tile, plan.way.measures, plan.way.decode_chunk) == (24, Measures(), 8)
    assert planner(free_bytes).plan().fits


def test_after_memory_gave_out_the_next_way_takes_less() -> None:
    roomy = planner(80_000_000_000)
    plan: ClipPlan | None = roomy.plan()
    ways = []
    while plan is not None:
        ways.append(plan)
        plan = roomy.after(plan.way)
    denoising = [stage.breakdown.total_bytes for made in ways for stage in made.stages if stage.name == "denoising"]
    assert len(ways) > 6
    assert denoising[1] <= denoising[0]
    assert denoising[-1] == min(denoising)


def test_features_lie_where_there_is_room_for_them() -> None:
    roomy = planner(80_000_000_000)
    assert roomy.plan().way.features == "device"
    one_branch = planner(machine_of(roomy.plan(), 1.0))
    plan = one_branch.plan()
    assert (plan.fits, plan.batched_fits, plan.way.features) == (True, False, "host")
    small = replace(one_branch, budget=replace(one_branch.budget, host_bytes=1_000_000))
    plan = small.plan()
    assert plan.fits
    assert plan.way.features == "recomputed"
    assert any(decision.what == "features" for decision in plan.decisions)
    assert small.after(plan.way) is not None


def test_on_a_processor_nothing_is_streamed() -> None:
    wish = AnimateWish(budget_bytes=2_000_000_000)
    made = planner_on(wish, SPEC, SIZE_HW, 41, MACHINES["cpu-32gb"], "cpu").plan()
    assert not made.way.measures.streamed
    assert made.way.dtype == "float32"


def test_on_a_processor_freed_memory_is_kept_where_its_holes_fit() -> None:
    def made(budget_bytes: int, **knobs: Any) -> ClipPlan:
        wish = AnimateWish(budget_bytes=budget_bytes, knobs=knobs)
        return planner_on(wish, SPEC, SIZE_HW, 41, MACHINES["cpu-32gb"], "cpu").plan()

    roomy = made(20_000_000_000)
    assert roomy.way.freed == "kept"
    assert any(decision.what == "freed" for decision in roomy.decisions)
    assert made(20_000_000_000, freed="returned").way.freed == "returned"
    worst = max(stage.breakdown.total_bytes for stage in (*roomy.stages, roomy.batched))
    tight = made(2 * worst)
    assert tight.fits
    assert tight.way.freed == "returned"
    assert planner(80_000_000_000).plan().way.freed == "returned"


def test_what_ran_out_of_memory_returns_what_it_frees() -> None:
    wish = AnimateWish(budget_bytes=20_000_000_000)
    made = planner_on(wish, SPEC, SIZE_HW, 41, MACHINES["cpu-32gb"], "cpu")
    following = made.after(made.plan().way)
    assert following is not None
    assert following.way.freed == "returned"
    insisted = replace(made, fixed={"freed": "kept"})
    following = insisted.after(insisted.plan().way)
    assert following is not None
    assert following.way.freed == "kept"


def test_interval_and_scale_are_counted() -> None:
    from vitruvian.generation.denoised import Interval

    def calls(**wishes: Any) -> int:
        return next(stage.calls for stage in planner(80_000_000_000, **wishes).plan().stages if "denois" in stage.name)

    assert calls(guidance_scale=(1.0, 1.0)) == calls() // 2
    assert calls(interval=Interval(begin=0.0, end=0.2)) == 2 * (25 + 5)


def test_a_plan_is_plain_values() -> None:
    document = json.loads(json.dumps(planner(80_000_000_000).plan().to_json()))
    assert document["way"]["tile"] == 24
    assert document["stages"][2]["peak_bytes"] > 0


def test_words_of_a_plan(monkeypatch: pytest.MonkeyPatch) -> None:
    from vitruvian.animating import plan_text

    monkeypatch.setattr(plan_text.zoo, "find_animation", lambda name: SPEC)
    made = plan_clip("mimicmotion-1.1", {"frames": 12, "resolution": 96, "steps": 3}, machine="t4")
    words = plan_words("mimicmotion-1.1", made)
    assert "12 frames of 96x128, 3 steps" in words.splitlines()[0]
    assert "fits 16.1 GB" in words
    tight = replace(made, fits=False, missing_bytes=1_000_000)
    assert "does not fit: got 16.1 GB to work in; expected 1 MB more" in plan_words("mimicmotion-1.1", tight)


def test_only_models_that_make_videos_are_planned_so() -> None:
    with pytest.raises(UsageError, match="makes videos"):
        plan_clip("sapiens-seg-1b", {}, machine="t4")
