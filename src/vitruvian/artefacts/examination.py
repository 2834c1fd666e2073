"""Whether an artefact gives what float32 gives: opened in a fresh process, run at several batches, compared, timed.

A `Subject` knows inputs and how outputs are compared (in task units for networks of the catalogue, by relative distance
for any other module); this file knows processes and batches. The reference is computed once for all rungs.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from vitruvian.artefacts.fresh import Ran, close_fresh, open_fresh, run_fresh, time_fresh
from vitruvian.errors import CheckFailedError, VitruvianError
from vitruvian.fit.footprint.isolate import Child, UnreadableError
from vitruvian.fit.quality import Quality, misses, worst

BATCHES = (1, 2, 7)
"""Verified beside the largest planned one: alone, the smallest that is not, and one that divides nothing."""
CHILD_SECONDS = 1800.0


class FreshProcessError(VitruvianError):
    """An artefact ended the process that opened it."""


class Subject(Protocol):
    """What artefacts of one network are tried on."""

    @property
    def count(self) -> int:
        """How many different inputs there are."""
        ...

    @property
    def reference(self) -> Any:
        """None where there is nothing to compare with."""
        ...

    def inputs(self, places: Sequence[int]) -> tuple[Tensor, ...]:
        """A batch of the inputs at these places, on the host."""
        ...

    def distances(self, places: Sequence[int], row: int, outputs: Mapping[str, Tensor]) -> dict[str, float]:
        """How far one row of the outputs of a batch is from float32, by unit."""
        ...


@dataclass(frozen=True, kw_only=True, slots=True)
class BatchSeen:
    """One batch."""

    batch: int
    seconds: float
    peak_bytes: int

    @property
    def images_per_s(self) -> float:
        """Of the fastest call."""
        return self.batch / max(self.seconds, 1e-9)


@dataclass(frozen=True, kw_only=True, slots=True)
class Examined:
    """How an artefact did."""

    open_s: float
    batches: tuple[BatchSeen, ...]
    distances: Mapping[str, float]
    """Worst over all rows; empty where there was nothing to compare with."""
    non_finite: int
    inputs: int
    """Different inputs that were compared."""
    worst_place: int = 0
    """Place of the input that was farthest off."""

    def misses(self, quality: Quality | None) -> list[str]:
        """Why it is not good enough, a sentence each; empty: it is. Without a quality only numbers are wanted."""
        if self.non_finite:
            return [f"got {self.non_finite} values that are not finite; expected none"]
        return [] if quality is None else misses(self.distances, quality)

    def to_json(self) -> dict[str, Any]:
        """Plain containers, for the manifest."""
        return {
            "inputs": self.inputs,
            "open_s": round(self.open_s, 3),
            "distances": dict(self.distances),
            "non_finite": self.non_finite,
            "batches": [
                {
                    "batch": seen.batch,
                    "images_per_s": round(seen.images_per_s, 3),
                    "seconds": round(seen.seconds, 5),
                    "peak_bytes": seen.peak_bytes,
                }
                for seen in self.batches
            ],
        }


@dataclass(kw_only=True)
class Candidate:
    """An artefact's folder, open in a process of its own."""

    folder: Path
    device: str
    threads: int
    module: nn.Module | None = None
    """For weights alone of a user's module."""
    open_s: float = 0.0
    _here: bool = False
    _child: Child = field(default_factory=lambda: Child(timeout_s=CHILD_SECONDS, idle_s=CHILD_SECONDS, explain=_ended))

    def __enter__(self) -> Candidate:
        try:
            self.open_s = self._call(open_fresh, self.folder, self.device, self.threads, self.module)
        except UnreadableError:  # a module that cannot travel to another process is opened in this one
            self._here = True
            self.open_s = self._call(open_fresh, self.folder, self.device, self.threads, self.module)
        return self

    def __exit__(self, *error: object) -> None:
        self._child.close()
        if self._here:
            close_fresh(self.folder)

    def run(self, inputs: tuple[Tensor, ...], rows: Sequence[int], looks_s: float) -> Ran:
        """One batch, in the other process."""
        return self._call(run_fresh, self.folder, inputs, tuple(rows), looks_s)

    def time(self, inputs: tuple[Tensor, ...]) -> float:
        """Seconds of one call, in the other process."""
        return self._call(time_fresh, self.folder, inputs)

    def _call(self, function: Callable[..., Any], *args: Any) -> Any:
        return function(*args) if self._here else self._child.call("an artefact", function, *args)


def examine(candidate: Candidate, subject: Subject, batches: Sequence[int], looks_s: float = 1.5) -> Examined:
    """Run every batch and compare."""
    seen: list[BatchSeen] = []
    found: dict[int, list[dict[str, float]]] = {}
    non_finite = 0
    for batch in batches:
        places = [index % subject.count for index in range(batch)]
        rows = _rows(batch)
        ran = candidate.run(subject.inputs(places), rows, looks_s)
        seen.append(BatchSeen(batch=batch, seconds=ran.seconds, peak_bytes=ran.peak_bytes))
        non_finite += ran.non_finite
        if ran.non_finite or subject.reference is None:
            continue
        for index, row in enumerate(rows):
            found.setdefault(places[row], []).append(subject.distances(places, row, ran.row(index)))
    everything = [one for rows_found in found.values() for one in rows_found]
    return Examined(
        open_s=candidate.open_s,
        batches=tuple(seen),
        distances=worst(everything),
        non_finite=non_finite,
        inputs=len(found),
        worst_place=max(found, key=lambda place: _badness(worst(found[place])), default=0),
    )


def examine_more(
    candidate: Candidate,
    subject: Subject,
    stages: Sequence[int],
    largest: int,
    judge: Callable[[Examined], Sequence[str]],
) -> Examined:
    """Compare the first inputs, in stages of growing number, until one stage is not good enough; untimed."""
    found: list[dict[str, float]] = []
    non_finite = 0
    examined = Examined(open_s=candidate.open_s, batches=(), distances={}, non_finite=0, inputs=0)
    for stage in stages:
        wanted = range(len(found), min(stage, subject.count))
        for start in range(wanted.start, wanted.stop, largest):
            places = list(range(start, min(start + largest, wanted.stop)))
            ran = candidate.run(subject.inputs(places), range(len(places)), 0.0)
            non_finite += ran.non_finite
            for index in range(len(places)):
                found.append({} if non_finite else subject.distances(places, index, ran.row(index)))
        examined = Examined(
            open_s=candidate.open_s,
            batches=(),
            distances={} if non_finite else worst(found),
            non_finite=non_finite,
            inputs=len(found),
            worst_place=max(range(len(found)), key=lambda place: _badness(found[place]), default=0),
        )
        if judge(examined) or len(found) >= subject.count:
            break
    return examined


def fastest(candidates: Sequence[Candidate], inputs: tuple[Tensor, ...], rounds: int) -> int:
    """Place of the candidate with the fastest call; calls are made in turn, so that a busy moment hits all alike."""
    best = [float("inf")] * len(candidates)
    for _ in range(rounds):
        for place, candidate in enumerate(candidates):
            best[place] = min(best[place], candidate.time(inputs))
    return min(range(len(candidates)), key=best.__getitem__)


def _rows(batch: int) -> list[int]:
    """All rows of small batches; of large ones the first, middle and last: outputs of all would fill the memory."""
    if batch <= max(BATCHES):
        return list(range(batch))
    return sorted({0, batch // 2, batch - 1})


def _badness(distances: Mapping[str, float]) -> float:
    """One number to find the worst by: shares count as what is missing from one."""
    return max(((1 - value if unit.endswith("_share") else value) for unit, value in distances.items()), default=0.0)


def _ended(what: str, how: str) -> FreshProcessError:
    return FreshProcessError(f"got {what} that failed in a process of its own: {how.partition(chr(10))[0]}")


@dataclass(kw_only=True)
class ModuleSubject:
    """Any module on noise like its example inputs."""

    samples: tuple[tuple[Tensor, ...], ...]
    """Inputs of batch 1, on the host."""
    reference: Callable[..., Mapping[str, Tensor]]
    """The module in float32; called with the same batches, because rows may depend on each other."""
    batched: tuple[bool, ...]
    """Which inputs have a batch axis."""
    rowed: frozenset[str] = frozenset()
    """Outputs with a row for each input."""
    _last: tuple[tuple[int, ...], Mapping[str, Tensor]] | None = None

    @property
    def count(self) -> int:
        """How many different inputs there are."""
        return len(self.samples)

    def inputs(self, places: Sequence[int]) -> tuple[Tensor, ...]:
        """A batch of the inputs at these places."""
        columns = zip(*(self.samples[place] for place in places), strict=True)
        return tuple(
            torch.cat(values) if batched else values[0] for values, batched in zip(columns, self.batched, strict=True)
        )

    def distances(self, places: Sequence[int], row: int, outputs: Mapping[str, Tensor]) -> dict[str, float]:
        """Relative distance (L2) of the output that is farthest off."""
        whole = self._reference_of(tuple(places))
        true = {name: value[row] if name in self.rowed else value for name, value in whole.items()}
        if outputs.keys() != true.keys():
            raise CheckFailedError(
                f"got the outputs {sorted(outputs)}; expected {sorted(true)}; this is a bug in the export"
            )
        return {"relative_l2": max(_relative_l2(outputs[name], true[name]) for name in true)}

    def _reference_of(self, places: tuple[int, ...]) -> Mapping[str, Tensor]:
        if self._last is None or self._last[0] != places:
            self._last = places, self.reference(*self.inputs(places))
        return self._last[1]


def _relative_l2(found: Tensor, true: Tensor) -> float:
    if found.shape != true.shape:
        return float("inf")
    difference = (found.double() - true.double()).norm().item()
    size = true.double().norm().item()
    return difference / size if size > 0 else (0.0 if difference == 0 else float("inf"))
