"""A plan in words: the table of what was looked at, what was changed and what each change costs."""

from __future__ import annotations

from collections.abc import Sequence

from vitruvian.fit.footprint.values import Breakdown
from vitruvian.fit.plan_values import Plan, PlanRow
from vitruvian.hardware.sizes import format_bytes

HEADINGS = ("", "way to run", "batch", "peak", "fits", "items/s", "price")
STARVES = "starves the device"
LABELS = {
    "weights_bytes": "weights",
    "gradients_bytes": "gradients",
    "optimizer_bytes": "optimizer",
    "activations_bytes": "activations",
    "workspace_bytes": "workspace",
    "results_bytes": "results",
    "process_bytes": "process",
}


def plan_text(plan: Plan) -> str:
    """The whole plan for a terminal."""
    parts = [
        f"{plan.workload} on {plan.device}, budget {format_bytes(plan.budget_bytes)}",
        rows_text(plan.rows, plan),
        verdict(plan),
        *(f"  {decision}" for decision in plan.decisions),
        *(f"note: {remark}" for remark in plan.remarks),
    ]
    return "\n".join(parts)


def rows_text(rows: Sequence[PlanRow], plan: Plan) -> str:
    """Aligned columns; the way to take is marked with an arrow."""
    lines = [HEADINGS, *(_cells(row, chosen=plan.fits and row.knobs == plan.knobs) for row in rows)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(HEADINGS))]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in lines
    )


def verdict(plan: Plan) -> str:
    """One sentence: it fits and how, or what is missing and where it would fit."""
    parts = breakdown_text(plan.breakdown)
    if plan.fits:
        speed = f", about {plan.items_per_s:g} items/s" if plan.items_per_s is not None else ""
        host = f" and {format_bytes(plan.host_bytes)} of host memory" if plan.host_bytes else ""
        return f"fits: {format_bytes(plan.peak_bytes)} of {format_bytes(plan.budget_bytes)}{host}{speed} ({parts})"
    return f"does not fit: {shortfall(plan)} ({parts})"


def shortfall(plan: Plan) -> str:
    """What is missing and the smallest machine that would do."""
    need = f"the smallest way takes {format_bytes(plan.peak_bytes)} and a margin of {format_bytes(plan.margin_bytes)}"
    missing = f"{format_bytes(plan.missing_bytes)} more than the budget of {format_bytes(plan.budget_bytes)}"
    if plan.peak_bytes + plan.margin_bytes <= plan.budget_bytes:
        missing = f"and {format_bytes(plan.missing_bytes)} of host memory more than there is"
    machine = (
        f"the smallest machine of the catalogue that would do is {plan.smallest_machine}"
        if plan.smallest_machine
        else "no machine of the catalogue would do"
    )
    return f"{need}, {missing}; {machine}"


def breakdown_text(breakdown: Breakdown) -> str:
    """Its parts, largest first, what rounds to nothing left out."""
    parts = sorted(((LABELS[name], size) for name, size in breakdown.to_json().items()), key=lambda part: -part[1])
    return ", ".join(f"{name} {format_bytes(size)}" for name, size in parts if size >= 50_000_000) or format_bytes(
        breakdown.total_bytes
    )


def _cells(row: PlanRow, *, chosen: bool) -> tuple[str, ...]:
    rate = "" if row.items_per_s is None else f"{row.items_per_s:g}"
    notes = [STARVES] if row.starves else []
    return (
        "->" if chosen else "",
        row.label,
        str(row.knobs.micro_batch),
        f"{'> ' if row.at_least else ''}{format_bytes(row.breakdown.total_bytes)}",
        "yes" if row.fits else "no",
        rate,
        "; ".join([*notes, row.price] if row.price else notes),
    )
