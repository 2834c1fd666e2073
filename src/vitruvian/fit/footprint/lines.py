"""From operators at two batch sizes to what can be the peak at any batch, as lines in the batch.

Every operator's memory is a line in the batch, so a phase's peak is the upper envelope of lines. Analytic knobs scale
single parts later, all of them upwards together; so what another operator exceeds in every part can be forgotten, and a
hundred lines stay of ten thousands.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from vitruvian.fit.footprint.tracker import COLUMNS, Timeline

SCALING = tuple(column in ("activations", "results", "workspace") for column in COLUMNS)
"""Weights, their casts, gradients and state are the same at any batch."""
MANY = 400
"""Lines that are kept of a phase at most; the ones dropped are the lowest."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Line:
    """One operator: bytes alive by `COLUMNS`, fixed + batch * per_item."""

    operator: str
    fixed: tuple[int, ...]
    per_item: tuple[int, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class RecordedPhase:
    """Operators of a phase that can be its peak."""

    name: str
    lines: tuple[Line, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class Held:
    """Sizes that analytic knobs work with."""

    parameters: int
    trained: int
    """Parameters that learn."""
    largest_trained: int
    """Elements of the largest of them."""
    weights_bytes: int
    gradients_bytes: int
    """Of all gradients together."""
    optimizer_bytes: int
    block_bytes: int
    """Weights of the largest repeated block; 0 without blocks."""
    block_gradients_bytes: int
    outside_bytes: int
    """Weights outside the blocks."""
    outside_gradients_bytes: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Recording:
    """One trace, for every knob that needs no trace of its own."""

    workload: str
    phases: tuple[RecordedPhase, ...]
    held: Held
    flops_per_item: float
    bytes_moved_per_item: float
    operators: int
    backend: str

    def to_json(self) -> dict[str, Any]:
        """Plain containers."""
        return asdict(self)

    @classmethod
    def from_json(cls, document: dict[str, Any]) -> Recording:
        """Inverse of `to_json`.

        Raises:
            KeyError, TypeError, ValueError: the document is not one.
        """
        phases = [
            RecordedPhase(
                name=phase["name"],
                lines=tuple(
                    Line(operator=line["operator"], fixed=_columns(line["fixed"]), per_item=_columns(line["per_item"]))
                    for line in phase["lines"]
                ),
            )
            for phase in document["phases"]
        ]
        if not phases or not all(phase.lines for phase in phases):
            raise ValueError("a recording without lines")
        return cls(**{**document, "phases": tuple(phases), "held": Held(**document["held"])})


def _columns(numbers: Any) -> tuple[int, ...]:
    found = tuple(int(number) for number in numbers)
    if len(found) != len(COLUMNS):
        raise ValueError(f"{len(found)} columns")
    return found


def lines_of(first: Timeline, second: Timeline, batches: tuple[int, int]) -> Iterator[tuple[str, tuple[Line, ...]]]:
    """(phase, lines that can be its peak) from one run at each of two batch sizes."""
    rows = [np.asarray(timeline.rows, dtype=np.int64) for timeline in (first, second)]
    spans: dict[str, list[tuple[slice, slice]]] = {}
    for (name, start, end), (_, other_start, other_end) in zip(first.spans, second.spans, strict=True):
        if start < end and other_start < other_end:
            spans.setdefault(name, []).append((slice(start, end), slice(other_start, other_end)))
    for name, pairs in spans.items():
        lows, highs, operators = list[np.ndarray](), list[np.ndarray](), list[str]()
        for one, other in pairs:
            low, high = rows[0][one], rows[1][other]
            names = second.operators[other]
            pairs_of_rows = _aligned(first.operators[one], names, low, high)
            lows.append(low[pairs_of_rows[:, 0]])
            highs.append(high[pairs_of_rows[:, 1]])
            operators += [names[at] for at in pairs_of_rows[:, 1]]
        yield name, tuple(_fit(np.concatenate(lows), np.concatenate(highs), operators, batches))


def _aligned(first: Sequence[str], second: Sequence[str], low: np.ndarray, high: np.ndarray) -> np.ndarray:
    """Pairs of rows (n,2) that belong together: all, where both batches took the same way.

    Where they did not (a head that works item by item), what they began with and what they ended with in common, and
    the two peaks.
    """
    shorter = min(len(first), len(second))
    same = np.fromiter((one == other for one, other in zip(first, second, strict=False)), dtype=bool, count=shorter)
    begin = shorter if same.all() else int(same.argmin())
    if begin == len(first) == len(second):
        return np.repeat(np.arange(begin)[:, None], 2, axis=1)
    back = np.fromiter((first[-at] == second[-at] for at in range(1, shorter - begin + 1)), dtype=bool)
    end = len(back) if back.all() else int(back.argmin())
    heads = [(at, at) for at in range(begin)]
    tails = [(len(first) - at, len(second) - at) for at in range(end, 0, -1)]
    peaks = tuple(int(rows.sum(axis=1).argmax()) for rows in (low, high))
    return np.asarray([*heads, peaks, *tails], dtype=np.int64)


def _fit(low: np.ndarray, high: np.ndarray, operators: Sequence[str], batches: tuple[int, int]) -> list[Line]:
    """Lines through two points each, without those that another one exceeds in every part."""
    scaling = np.asarray(SCALING)
    per_item = np.where(scaling, np.maximum(0, high - low) // (batches[1] - batches[0]), 0)
    fixed = high - batches[1] * per_item
    # More than proportional growth (a workspace that starts late) must not end in negative bytes at small batches.
    steep = fixed < 0
    per_item = np.where(steep, -(-high // batches[1]), per_item)
    fixed = np.where(steep, 0, fixed)
    both = np.concatenate([fixed, per_item], axis=1)
    return [
        Line(
            operator=operators[at],
            fixed=tuple(int(value) for value in fixed[at]),
            per_item=tuple(int(value) for value in per_item[at]),
        )
        for at in _undominated(both)
    ]


def _undominated(rows: np.ndarray) -> list[int]:
    """Indices of rows that no other row equals or exceeds in every column, the largest first."""
    left, kept = np.arange(len(rows)), list[int]()
    totals = rows.sum(axis=1)
    while len(left) and len(kept) < MANY:
        best = left[totals[left].argmax()]
        kept.append(int(best))
        left = left[(rows[left] > rows[best]).any(axis=1)]
    return kept


def upper_envelope(lines: Sequence[tuple[int, int]]) -> list[int]:
    """Indices of the lines (value at 0, slope) that are the largest somewhere from 1 on, in order of the batch."""
    order = sorted(range(len(lines)), key=lambda at: (lines[at][1], lines[at][0]))
    hull: list[int] = []
    for at in order:
        if hull and lines[hull[-1]][1] == lines[at][1]:
            hull.pop()
        while hull and _takes_over(lines[hull[-1]], lines[at]) <= 1:
            hull.pop()
        while len(hull) > 1 and _takes_over(lines[hull[-1]], lines[at]) <= _takes_over(
            lines[hull[-2]], lines[hull[-1]]
        ):
            hull.pop()
        hull.append(at)
    return hull


def _takes_over(low: tuple[int, int], steep: tuple[int, int]) -> float:
    """The batch from which the steeper line is the larger one."""
    return (low[0] - steep[0]) / (steep[1] - low[1])
