"""Precision x backend x batch, measured: rows as values, the recommended one, and the table for people."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from vitruvian.fit.quality import Quality
from vitruvian.hardware import format_bytes

KNEE = 0.05
"""A row that gives less than this much more images/s is not worth its latency."""
HEADINGS = (
    "",
    "precision",
    "backend",
    "batch",
    "images/s",
    "p50 ms",
    "p95 ms",
    "peak",
    "predicted",
    "from float32",
    "",
)


@dataclass(frozen=True, kw_only=True, slots=True)
class BenchRow:
    """One precision, backend and batch."""

    precision: str
    """Compute type, with its float32 islands counted."""
    dtype: str
    backend: str = "eager"
    batch: int
    predicted_bytes: int
    """Peak of a run over files as planned: pictures in flight, which are no part of this measurement, included."""
    images_per_s: float | None = None
    """Of the best reading; None: not run."""
    p50_ms: float | None = None
    """Of one call with its batch, over all readings."""
    p95_ms: float | None = None
    readings: int = 0
    """Taken in turn with the other rows; 0: only the calls that the numbers come from were timed."""
    peak_bytes: int | None = None
    """Of the process, other networks of the measurement not counted."""
    discrepancies: Mapping[str, float] = field(default_factory=dict)
    """From float32 at batch 1, worst crop, in task units; empty without a reference."""
    raw_difference: float | None = None
    """Largest relative distance (L2) of a raw output from float32's; meaningful for random weights, too."""
    misses: tuple[str, ...] = ()
    """Why it is outside the quality, a sentence each."""
    not_run: str = ""
    """Why there are no numbers."""
    recommended: bool = False

    @property
    def eligible(self) -> bool:
        """Whether it may be recommended."""
        return self.images_per_s is not None and not self.misses


@dataclass(frozen=True, kw_only=True, slots=True)
class BenchReport:
    """All rows of one model on one device."""

    model: str
    task: str
    device: str
    device_name: str
    torch_version: str
    budget_bytes: int
    quality: Quality
    crops: int
    canvas_hw: tuple[int, int]
    calls_at_once: int
    random_weights: bool
    rows: tuple[BenchRow, ...]
    seconds: float
    remarks: tuple[str, ...] = ()

    @property
    def recommended(self) -> BenchRow | None:
        """The row to use; None where nothing ran within the quality."""
        return next((row for row in self.rows if row.recommended), None)

    def to_json(self) -> dict[str, Any]:
        """Plain containers."""
        return asdict(self)

    def text(self) -> str:
        """Title, table, the recommendation in a sentence, remarks."""
        at_once = f", {self.calls_at_once} calls side by side" if self.calls_at_once > 1 else ""
        title = (
            f"{self.model} on {self.device} ({self.device_name}), {self.canvas_hw[0]}x{self.canvas_hw[1]}{at_once}; "
            f"network calls only, {self.crops} crops, budget {format_bytes(self.budget_bytes)}"
        )
        table = aligned([HEADINGS, *(_cells(row, random=self.random_weights) for row in self.rows)])
        return "\n".join([title, table, self.sentence(), *(f"note: {remark}" for remark in self.remarks)])

    def sentence(self) -> str:
        """What to use and why."""
        row = self.recommended
        if row is None:
            return f"nothing to recommend: no row ran within --quality {self.quality}"
        within = "by speed alone" if self.random_weights else f"within --quality {self.quality}"
        best = max(other.images_per_s or 0.0 for other in self.rows if other.eligible)
        gain = best / (row.images_per_s or best) - 1
        why = f"; the fastest is {gain:.0%} faster, for a longer call" if gain >= 0.01 else ""
        return (
            f"recommended, {within}: {row.precision}, batch {row.batch}: {_short(row.images_per_s or 0.0)} images/s, "
            f"{_short(row.p50_ms or 0.0)} ms a call{why}"
        )


def recommend(rows: Sequence[BenchRow]) -> tuple[BenchRow, ...]:
    """The rows with one of them marked: the shortest call among those within 5 % of the most images/s."""
    eligible = [row for row in rows if row.eligible]
    if not eligible:
        return tuple(rows)
    best = max(row.images_per_s or 0.0 for row in eligible)
    near = [row for row in eligible if (row.images_per_s or 0.0) * (1 + KNEE) >= best]
    chosen = min(near, key=lambda row: row.p50_ms or 0.0)
    return tuple(replace(row, recommended=row is chosen) for row in rows)


def _cells(row: BenchRow, *, random: bool) -> tuple[str, ...]:
    head = ("->" if row.recommended else "", row.precision, row.backend, str(row.batch))
    predicted = format_bytes(row.predicted_bytes)
    if row.not_run:
        return (*head, "", "", "", "", predicted, "", row.not_run)
    return (
        *head,
        *(_short(value or 0.0) for value in (row.images_per_s, row.p50_ms, row.p95_ms)),
        "" if row.peak_bytes is None else format_bytes(row.peak_bytes),
        predicted,
        _apart(row, random=random),
        "; ".join(row.misses),
    )


def _short(value: float) -> str:
    """Three digits, without an exponent."""
    return f"{value:.0f}" if value >= 100 else f"{value:.3g}"


def _apart(row: BenchRow, *, random: bool) -> str:
    if random:
        return "" if row.raw_difference is None else f"raw {row.raw_difference:.1e}"
    return differences_text(row.discrepancies)


def differences_text(discrepancies: Mapping[str, float]) -> str:
    """Distances in task units for a table cell; those that are shown and not judged are left out."""
    texts = {
        "px_p90": "{:.2f} px (90 %)",
        "score_max": "score {:.3f}",
        "label_share": "{:.2%} equal labels",
        "relative": "{:.2%} of range",
        "deg_mean": "{:.2f} deg",
        "relative_l2": "{:.2%} of length",
    }
    return ", ".join(texts[unit].format(value) for unit, value in discrepancies.items() if unit in texts)


def aligned(lines: Sequence[Sequence[str]]) -> str:
    """Cells in columns of equal width, two spaces apart; the last column is as long as it likes."""
    widths = [max(len(line[column]) for line in lines) for column in range(len(lines[0]) - 1)]
    return "\n".join(
        "  ".join([*(cell.ljust(width) for cell, width in zip(line, widths, strict=False)), line[-1]]).rstrip()
        for line in lines
    )
