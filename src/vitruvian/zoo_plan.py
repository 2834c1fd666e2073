"""Plans for the machine at hand: one model's planner, and the table of what the published zoo takes here.

Names -> predictions; no weights. A network that was never traced on this machine takes a second or two, 0.4 s go into
measuring how fast the machine computes; both are remembered.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from vitruvian import zoo
from vitruvian.fit.plan_values import Plan
from vitruvian.hardware import Hardware, format_bytes, probe
from vitruvian.inference_plan import planner_here
from vitruvian.models.sapiens import SIZES
from vitruvian.planning import with_rates

HEADINGS = ("model", "precision", "largest batch", "peak", "images/s")


@dataclass(frozen=True, kw_only=True, slots=True)
class ZooRow:
    """What one published network takes."""

    model: str
    fits: bool
    dtype: str
    batch: int
    """Largest that fits; where nothing does, 1."""
    peak_bytes: int
    images_per_s: float | None
    """Estimated; None where the rates of the device are unknown."""


def zoo_plan(task: zoo.TaskName = "seg") -> tuple[ZooRow, ...]:
    """A row for every published size of a task."""
    hardware = with_rates(probe(), probe().default_device)
    rows = []
    for size in SIZES:
        name = f"sapiens-{task}-{size}"
        plan = _plan(zoo.find(name), hardware)
        rows.append(
            ZooRow(
                model=name,
                fits=plan.fits,
                dtype=plan.knobs.dtype,
                batch=plan.knobs.micro_batch,
                peak_bytes=plan.peak_bytes,
                images_per_s=plan.items_per_s,
            )
        )
    return tuple(rows)


def _plan(spec: zoo.ModelSpec, hardware: Hardware) -> Plan:
    planner = planner_here(spec)
    return replace(planner, hardware=hardware, device=hardware.device(planner.device.device)).plan()


def zoo_text(rows: Sequence[ZooRow]) -> str:
    """The table with its heading, for a terminal."""
    hardware = probe()
    device = hardware.device(hardware.default_device)
    title = (
        f"what the published networks would take on {device.device}, {format_bytes(device.free_bytes)} free "
        "(predicted; `vitruvian plan MODEL` tells more):"
    )
    lines = [HEADINGS, *map(_cells, rows)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(HEADINGS))]
    table = ["  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in lines]
    return "\n".join([title, *(f"  {line}" for line in table)])


def _cells(row: ZooRow) -> tuple[str, ...]:
    rate = "" if row.images_per_s is None else f"about {row.images_per_s:g}"
    peak = format_bytes(row.peak_bytes)
    return (row.model, row.dtype, str(row.batch), peak, rate) if row.fits else (row.model, row.dtype, "none", peak, "")
