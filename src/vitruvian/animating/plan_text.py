"""`vitruvian plan` for models that make videos: any machine, any clip, nothing loaded; and its words."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from vitruvian import zoo
from vitruvian.animating.needs import StageNeed
from vitruvian.animating.plan import ClipPlan, shortfall
from vitruvian.animating.planned import planner_on
from vitruvian.animating.way import way_kinds
from vitruvian.animating.wish import AnimateWish
from vitruvian.animation.reference import video_size
from vitruvian.fit.explain import breakdown_text
from vitruvian.hardware import format_bytes, parse_size
from vitruvian.planning import machine_of, with_rates

UPRIGHT_HW = (4, 3)
"""Pictures of persons are upright, if nobody says otherwise."""
DEFAULT_FRAMES = 72
HEADINGS = ("", "stage", "peak", "calls", "time", "what it holds")


def plan_kinds() -> dict[str, Any]:
    """What may be typed as `key=value`: the clip, and knobs of the way to generate it."""
    return {"frames": int, "resolution": int, "steps": int, **way_kinds()}


def plan_clip(
    model: str,
    settings: Mapping[str, Any],
    *,
    machine: str | None = None,
    budget: str | None = None,
    device: str | None = None,
    dtype: str | None = None,
) -> ClipPlan:
    """What a clip takes on a machine: an upright picture, guided as the model is where nobody says otherwise.

    Args:
        model: a catalogue name.
        settings: by `plan_kinds`.
        machine: a catalogue name; None: this machine.
        budget: text such as `12GB`; None: what is free.
        device: torch device string; None: the machine's first.
        dtype: the compute type to use; None: by the device's support.

    Raises:
        UsageError: no such model, machine, device or type.
    """
    spec = zoo.find_animation(model)
    knobs = dict(settings)
    frames = knobs.pop("frames", DEFAULT_FRAMES)
    resolution = knobs.pop("resolution", min(spec.config.input_hw))
    wish = AnimateWish(
        steps=knobs.pop("steps", None),
        knobs=knobs,
        dtype=dtype,
        budget_bytes=None if budget is None else parse_size(budget),
    ).of_model(spec)
    hardware = machine_of(machine)
    chosen = device or hardware.default_device
    if machine is None:
        hardware = with_rates(hardware, chosen)
    size_hw = video_size(resolution, UPRIGHT_HW)
    return planner_on(wish, spec, size_hw, frames + 1, hardware, hardware.device(chosen).device).plan()


def plan_words(model: str, plan: ClipPlan) -> str:
    """The plan for a terminal."""
    height, width = plan.size_hw
    lines = [HEADINGS, *(_cells(need) for need in plan.stages), _cells(plan.batched, fits=plan.batched_fits)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(HEADINGS))]
    table = "\n".join(
        "  ".join(cell.ljust(size) for cell, size in zip(line, widths, strict=True)).rstrip() for line in lines
    )
    whole = "" if plan.seconds is None else f", about {_time(plan.seconds)} in all"
    verdict = f"fits {format_bytes(plan.budget_bytes)}{whole}" if plan.fits else f"does not fit: {shortfall(plan)}"
    return "\n".join(
        [
            f"{model}: {plan.frames - 1} frames of {width}x{height}, {plan.steps} steps in {plan.way.dtype}, "
            f"{plan.tiles} tile{'s' if plan.tiles > 1 else ''} for {plan.way.tile} frames at once",
            table,
            verdict,
            *(f"  {decision}" for decision in plan.decisions),
            "note: times are estimates from arithmetic and memory speed; compare rows, do not quote them",
        ]
    )


def _cells(need: StageNeed, *, fits: bool = True) -> tuple[str, ...]:
    return (
        "" if fits else "no room",
        need.name,
        format_bytes(need.breakdown.total_bytes),
        str(need.calls),
        "" if need.seconds is None else _time(need.seconds),
        breakdown_text(need.breakdown),
    )


def _time(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.3g} s"
    return f"{seconds / 60:.3g} min" if seconds < 5400 else f"{seconds / 3600:.3g} h"
