"""Predicted tables of `docs/animate.md`: one clip of the published networks on cards of several sizes.

python benchmarks/clip_plans.py

Nothing runs but predictions; cold they take a few minutes on two cores.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator

from plans import card
from side_by_side import print_table
from vitruvian import zoo
from vitruvian.animating.plan import ClipPlan
from vitruvian.animating.planned import planner_on
from vitruvian.animating.wish import AnimateWish
from vitruvian.generation.denoising import Strategy
from vitruvian.generation.strategy import BATCHED, SEQUENTIAL
from vitruvian.hardware import format_bytes

BUDGETS_GB = (6, 8, 12, 16, 24, 48, 80)
SIZE_HW = (1024, 576)


def rows(model: str, frames: int, dtype: str) -> Iterator[list[str]]:
    """A row for every card."""
    spec = zoo.find_animation(model)
    for budget_gb in BUDGETS_GB:
        hardware = card(budget_gb)
        planner = planner_on(AnimateWish(dtype=dtype), spec, SIZE_HW, frames + 1, hardware, "cuda:0")
        yield [f"{budget_gb} GB", *_cells(planner.plan())]


def _cells(plan: ClipPlan) -> list[str]:
    if not plan.fits:
        return ["does not fit", *[""] * 6]
    way, stages = plan.way, {stage.name: stage for stage in plan.stages}
    strategy: Strategy = BATCHED if plan.batched_fits else SEQUENTIAL
    denoising = plan.batched if plan.batched_fits else stages["denoising"]
    seconds = plan.seconds or 0.0
    return [
        str(way.tile),
        str(way.measures),
        strategy,
        format_bytes(denoising.breakdown.total_bytes),
        str(way.decode_chunk),
        format_bytes(stages["decoding"].breakdown.total_bytes),
        f"{seconds / 60:.1f} min",
    ]


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--frames", type=int, default=72)
    parser.add_argument("--dtype", default="float16")
    arguments = parser.parse_args()
    header = ["card", "tile", "measures", "guidance", "denoising", "decode chunk", "decoding", "time, estimated"]
    for model in ("mimicmotion-1.1", "mimicmotion-1.0"):
        print(f"\n{model}, {arguments.frames} frames of 576x1024, {arguments.dtype}\n")
        print_table(header, list(rows(model, arguments.frames, arguments.dtype)))


if __name__ == "__main__":
    main()
