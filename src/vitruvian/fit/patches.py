"""The two things people call patch size, with numbers: the ViT patch and the crop."""

from __future__ import annotations

from dataclasses import replace

from vitruvian.fit.ladder import CROPS, Rung
from vitruvian.fit.measures import label_of
from vitruvian.fit.plan_values import PlanRow
from vitruvian.fit.search import Walk
from vitruvian.hardware.sizes import format_bytes

PATCHES = (8, 16, 32)


def patch_rows(walk: Walk, chosen: PlanRow) -> tuple[PlanRow, ...]:
    """The chosen way at other ViT patch sizes and, with the network's own patch, at a smaller crop."""
    native, native_hw = walk.job.patch_size, walk.job.input_hw
    if native is None or native_hw is None:
        return ()
    sizes = sorted({*PATCHES, native} - {chosen.knobs.patch_size})
    variants = [replace(chosen.knobs, patch_size=size) for size in sizes]
    crop = _smaller(native_hw, native)
    variants.append(replace(chosen.knobs, patch_size=native, input_hw=crop))
    rows = []
    for knobs in variants:
        label = label_of(knobs, native_hw, native)
        if knobs.patch_size == native and knobs.input_hw == chosen.knobs.input_hw:
            label = f"{label}, patch {native} as pretrained"
        price = chosen.price if knobs.patch_size == native else LEAVES
        rung = Rung(knobs=knobs, tier=0, label=label, price=price)
        rows.append(walk.row_at(rung, knobs.micro_batch))
    return tuple(rows)


LEAVES = "leaves the pretrained configuration: patch kernel and position table are resampled"


def patch_remark(walk: Walk, chosen: PlanRow, rows: tuple[PlanRow, ...]) -> str:
    """What the ViT patch asked for does to the peak, and which knob would do what was meant."""
    native, asked = walk.job.patch_size, chosen.knobs.patch_size
    if native is None or asked in (None, native) or not rows:
        return ""
    assert asked is not None
    before = next(row for row in rows if row.knobs.patch_size == native and row.knobs.input_hw == chosen.knobs.input_hw)
    cropped = rows[-1]
    assert cropped.knobs.input_hw is not None
    raised = chosen.breakdown.total_bytes > before.breakdown.total_bytes
    tokens = f"{(native / asked) ** 2:g} times the tokens"
    crop = "x".join(str(side) for side in cropped.knobs.input_hw)
    lowers = "what lowers it is" if raised else "what lowers it and keeps the network is"
    return (
        f"patch_size={asked} means {tokens}: it {'raises' if raised else 'lowers'} the peak from "
        f"{_peak(before)} to {_peak(chosen)} and {LEAVES}; {lowers} the crop: crop={crop} takes {_peak(cropped)}"
    )


def _smaller(native_hw: tuple[int, int], patch: int) -> tuple[int, int]:
    height, width = (max(patch, round(side * CROPS[1]) // patch * patch) for side in native_hw)
    return height, width


def _peak(row: PlanRow) -> str:
    return format_bytes(row.breakdown.total_bytes)
