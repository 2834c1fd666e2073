"""A clip's planner on the machine at hand: which types, which budget, what the user and an earlier run insist on."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from vitruvian import zoo
from vitruvian.animating.needs import Clipping
from vitruvian.animating.plan import ClipPlanner
from vitruvian.animating.poses import PosedClip
from vitruvian.animating.type_audit import ClipTypes, candidates_of
from vitruvian.animating.type_calls import CODEC, DENOISER
from vitruvian.animating.way import Way
from vitruvian.animating.wish import AnimateWish
from vitruvian.fit.budget import budget_of
from vitruvian.fit.calibration import load_calibration
from vitruvian.fit.plan_values import PlanJob
from vitruvian.hardware import Dtype, Hardware, probe
from vitruvian.planning import with_rates


def planner_of(
    wish: AnimateWish,
    spec: zoo.AnimationSpec,
    posed: PosedClip,
    device: str,
    types: ClipTypes | None,
    earlier: Mapping[str, Any],
) -> ClipPlanner:
    """The planner of a clip here.

    `earlier`: what the numbers of an earlier run depend on, by knob; kept, for that run is gone on with.
    """
    hardware = with_rates(probe(), device)
    return planner_on(wish, spec, posed.size_hw, len(posed.clip), hardware, device, types=types, earlier=earlier)


def planner_on(
    wish: AnimateWish,
    spec: zoo.AnimationSpec,
    size_hw: tuple[int, int],
    frames: int,
    hardware: Hardware,
    device: str,
    *,
    types: ClipTypes | None = None,
    earlier: Mapping[str, Any] | None = None,
) -> ClipPlanner:
    """The planner of a clip on any machine.

    Args:
        wish: what the user wants.
        spec: of the model.
        size_hw: of the video.
        frames: the reference among them.
        hardware: the machine.
        device: of it.
        types: to compute in; None: the first that would be tried.
        earlier: see `planner_of`.
    """
    place = hardware.device(device)
    kept = dict(earlier or {})
    types = types or ClipTypes(
        dtype=candidates_of(wish, place, DENOISER)[0], codec=candidates_of(wish, place, CODEC)[0]
    )
    dtype: Dtype = kept.pop("dtype", types.dtype)
    preset = wish.chosen
    tile = spec.config.tile_frames
    first = Way(
        dtype=dtype,
        codec=types.codec,
        encoder=dtype if place.kind != "cpu" else "float32",
        tile=tile,
        overlap=min(preset.overlap, max(1, tile // 3)),
        features="host",
        decode_overlap=preset.decode_overlap,
    )
    clip = Clipping(
        config=spec.config,
        size_hw=size_hw,
        frames=frames,
        steps=wish.steps_taken,
        guided_steps=wish.guided_steps(),
        device=place,
    )
    job = PlanJob(device=device, budget_bytes=wish.budget_bytes)
    budget = budget_of(job, hardware, load_calibration(place.name))
    return ClipPlanner(clip=clip, budget=budget, first=first, fixed={**wish.knobs, **kept})
