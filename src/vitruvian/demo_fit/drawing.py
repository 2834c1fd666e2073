"""The plot of `demo fit`: budget, both predictions and the measured memory over time, with what went on below it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from vitruvian.demo_fit.child import LOADING
from vitruvian.hardware import format_bytes
from vitruvian.plots import AMBER, BLUE, GREEN, INK, RED, VIOLET, Chart, Curve, Lane, Level, draw_chart

if TYPE_CHECKING:
    from vitruvian.demo_fit.comparison import FitReport

LANES = (
    (LOADING, "loading", AMBER),
    ("network", "network", BLUE),
    ("finish", "labels", GREEN),
    ("write", "files", VIOLET),
)
"""Stages that are drawn, their names for people and their colours; reading and cropping take next to nothing."""


def draw_fit(found: FitReport) -> np.ndarray:
    """uint8 RGB (900,1600,3)."""
    measured = found.measured
    weights = "random weights, " if found.random_weights else ""
    chunked = ", head in strips" if measured.chunked_head else ""
    height, width = found.canvas_hw
    precision = measured.precision.split(" ")[0]
    return draw_chart(
        Chart(
            title=f"{found.model} inside {format_bytes(found.budget_bytes)}",
            subtitle=f"{weights}{measured.done} pictures at {height}x{width}, {precision}, batch "
            f"{measured.micro_batch}{chunked}; {found.machine}; torch {found.torch_version}",
            time_label="seconds",
            value_label="memory of the process"
            if found.device == "cpu"
            else f"memory of the process on {found.device}",
            value_text=lambda value: format_bytes(value) if value else "0",
            curves=[Curve(label="measured, highest", colour=BLUE, points=measured.curve)],
            levels=[
                Level(label="budget, enforced" if measured.limited else "budget", colour=INK, value=found.budget_bytes),
                Level(label="predicted", colour=GREEN, value=measured.predicted_bytes, dashed=True),
                Level(label="naive flow, predicted", colour=RED, value=found.naive.total_bytes, dashed=True),
            ],
            lanes=[Lane(label=name, colour=colour, spans=_spans(found, stage)) for stage, name, colour in LANES],
        )
    )


def _spans(found: FitReport, stage: str) -> list[tuple[float, float]]:
    return [(begin, end) for name, begin, end in found.measured.stages if name == stage]
