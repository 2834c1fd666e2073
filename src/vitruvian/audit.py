"""Precision is measured: real crops through float32 and through a candidate, compared in the units of the task.

Two functions from canvases to raw outputs -> an `AuditReport`; a ladder of precisions -> the first one that keeps the
limits of a quality, with every choice explained. Float32 runs once for a whole ladder, and not at all where verdicts
are remembered. The networks dominate: crops x (candidates + 1) passes at batch 1, two crops being enough for a network
that takes seconds for one.
"""

# Shape suffixes: H W canvas size, 3 = RGB.

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain, zip_longest

import numpy as np
import torch
from torch import Tensor

from vitruvian import __version__
from vitruvian.bundled import bundled_pictures
from vitruvian.errors import UsageError
from vitruvian.fit.decisions import Decision
from vitruvian.fit.precision import Precision
from vitruvian.fit.quality import AuditReport, Quality, margins, mean, worst
from vitruvian.fit.verdicts import VerdictKey, VerdictStore
from vitruvian.media.images import read_picture
from vitruvian.media.items import Entry
from vitruvian.tasks.base import Geometry, Provenance, Result, Task
from vitruvian.tasks.regions import read_boxes

Run = Callable[[Sequence[np.ndarray]], Mapping[str, Tensor]]
"""uint8 RGB canvases of one shape -> raw network outputs with a batch axis, on any device and in any type."""

PICTURES = ("astronaut.jpg", "three.jpg", "near.jpg", "one.jpg", "two.jpg")
"""Bundled pictures in the order they are used: a photograph, then a group, then the other rendered ones."""

NO_REFERENCE = "float32 fits neither the device nor the host"

_MAX_ERROR = 200


@dataclass(frozen=True, kw_only=True, slots=True)
class Crop:
    """One network input and how it was cut out."""

    canvas_HW3: np.ndarray
    """uint8 RGB."""
    geometry: Geometry


@dataclass(frozen=True, kw_only=True, slots=True)
class Subject:
    """What is audited, and where."""

    task: Task
    provenance: Provenance
    device: str
    """Name of the device, as `Device.name` has it."""
    torch_version: str
    crops: Sequence[Crop]
    is_oom: Callable[[BaseException], bool] = lambda error: isinstance(error, torch.OutOfMemoryError)
    """Tells full memory, which says nothing about a precision, from errors that do."""

    def key(self, precision: Precision) -> VerdictKey:
        """Under which the verdict on a candidate is remembered."""
        return VerdictKey(
            model=self.provenance.model,
            weights_sha256=self.provenance.weights_sha256,
            device=self.device,
            torch_version=self.torch_version,
            version=__version__,
            canvas_hw=self.task.input_hw,
            precision=precision,
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class Choice:
    """The precision to run in."""

    precision: Precision
    decisions: tuple[Decision, ...]
    """The choice last, before it what was turned down."""
    report: AuditReport | None = None
    """What the audit of the chosen one found; None where there was none."""
    ladder: tuple[Precision, ...] = ()
    """The candidates that were not turned down, for `after_non_finite`."""
    notes: tuple[str, ...] = ()
    """Warnings for the user."""


def bundled_crops(task: Task, count: int | None = None) -> tuple[Crop, ...]:
    """The first `count` network inputs (None: all) that a task cuts out of the bundled pictures.

    Whole pictures for dense tasks (5 at most); one person of each picture after the other for pose (8 at most).
    """
    folder = bundled_pictures()
    boxes = read_boxes(folder / "boxes.json")
    per_picture: list[list[Crop]] = []
    for index, name in enumerate(PICTURES[:count]):
        image_HW3 = read_picture(Entry(name=name, path=folder / name, payload=None, index=index)).image_HW3
        regions = boxes.lookup(name) if task.name == "pose" else None
        crops = [task.prepare(image_HW3, region) for region in regions or (None,)]
        per_picture.append([Crop(canvas_HW3=canvas, geometry=geometry) for canvas, geometry in crops])
    in_turn = [crop for crop in chain.from_iterable(zip_longest(*per_picture)) if crop is not None]
    return tuple(in_turn[:count])


def audit(reference: Run, candidate: Run, *, task: Task, crops: Sequence[Crop], provenance: Provenance) -> AuditReport:
    """Hold one way of computing against another, crop by crop; errors of either pass through."""
    return _compared(_seen(reference, task, crops, provenance), _seen(candidate, task, crops, provenance), task)


def choose_precision(
    subject: Subject,
    ladder: Sequence[Precision],
    *,
    fits: Callable[[Precision], bool] = lambda precision: True,
    quality: Quality,
    build: Callable[[Precision], Run],
    build_reference: Callable[[], Run] | None,
    no_reference: str = NO_REFERENCE,
    insisted: bool = False,
    store: VerdictStore | None = None,
    progress: Callable[[str], None] = lambda line: None,
) -> Choice:
    """The first candidate within the limits of `quality`; float32, which needs no audit, where none is.

    Args:
        subject: What is audited, and where.
        ladder: Candidates, best first (`precision_ladder`).
        fits: Whether a candidate fits the memory; asked when its turn comes, because it may cost a trace.
        quality: Which limits hold; exact takes float32 without looking further.
        build: Makes a candidate ready to run; not called where a verdict is remembered.
        build_reference: Makes float32 ready to run, on the device or the host; called once at most, and its network is
            let go before a candidate is built. None: it fits nowhere, or its outputs would mean nothing.
        no_reference: Why there is none.
        insisted: The user wants one of these types and no other: they are audited all the same, and where all of them
            miss, the cheapest one that gives numbers is taken with a warning.
        store: Remembered verdicts; None remembers nothing.
        progress: Hears what takes time.

    Raises:
        UsageError: an empty ladder.
    """
    if not ladder:
        raise UsageError("got no precision to choose from; expected one at least; look for what fits first")
    if quality == "exact" and not insisted:
        return Choice(precision=Precision(), decisions=(_taken(Precision(), "what --quality exact means"),))
    audits = _Audits(
        subject=subject,
        build=build,
        build_reference=build_reference,
        no_reference=no_reference,
        store=store or _Forgetful(),
        progress=progress,
    )
    return _Walk(ladder=tuple(ladder), fits=fits, quality=quality, insisted=insisted, audits=audits).choose()


@dataclass(frozen=True, kw_only=True, slots=True)
class _Seen:
    """What one way of computing made of the crops."""

    results: tuple[Result, ...]
    """Empty where any value was not finite."""
    non_finite: int
    crops: int
    seconds: float


def _seen(run: Run, task: Task, crops: Sequence[Crop], provenance: Provenance) -> _Seen:
    results: list[Result] = []
    seconds: list[float] = []
    non_finite = 0
    for crop in crops:
        started = time.perf_counter()
        with torch.inference_mode():
            raw = {name: value.cpu() for name, value in run([crop.canvas_HW3]).items()}  # waits for the device, too
            seconds.append(time.perf_counter() - started)
            non_finite += sum(int((~value.isfinite()).sum()) for value in raw.values() if value.is_floating_point())
            if not non_finite:
                row = {name: value[0] for name, value in task.finish_tensors(raw).items()}
                results.append(task.finish(row, crop.geometry, provenance)[0])
    kept = () if non_finite else tuple(results)
    return _Seen(results=kept, non_finite=non_finite, crops=len(seconds), seconds=min(seconds, default=0.0))


def _compared(reference: _Seen, candidate: _Seen, task: Task) -> AuditReport:
    pairs = zip(candidate.results, reference.results, strict=False)  # one of them is empty after non-finite values
    rows = [task.discrepancy(found, true) for found, true in pairs]
    return AuditReport(
        discrepancies=worst(rows),
        mean=mean(rows),
        non_finite=candidate.non_finite,
        crops=candidate.crops,
        reference_s=reference.seconds,
        candidate_s=candidate.seconds,
    )


class _Forgetful:
    """A store that remembers nothing."""

    def get(self, key: VerdictKey, *, crops: int = 1) -> AuditReport | None:
        return None

    def put(self, key: VerdictKey, report: AuditReport) -> str:
        return ""


class _NoReferenceError(Exception):
    """There is nothing to hold a candidate against; says why."""


class _NoNumbersError(_NoReferenceError):
    """Float32 itself gives no usable numbers."""


@dataclass(kw_only=True, slots=True)
class _Audits:
    """Audits of several candidates against one pass of float32, remembered ones first."""

    subject: Subject
    build: Callable[[Precision], Run]
    build_reference: Callable[[], Run] | None
    no_reference: str
    store: VerdictStore | _Forgetful
    progress: Callable[[str], None]
    notes: dict[str, None] = field(default_factory=dict)
    _reference: _Seen | None = None

    def report(self, precision: Precision) -> AuditReport:
        """What is known of a candidate, or is found out now; `_NoReferenceError` where neither can be."""
        subject = self.subject
        known = self.store.get(subject.key(precision), crops=len(subject.crops))
        if known is not None:
            return known
        reference = self._float32()
        self.progress(f"audit of {precision} against float32 on {len(subject.crops)} crops")
        try:
            report = _compared(reference, self._through(self.build(precision)), subject.task)
        except (RuntimeError, TypeError, ValueError) as error:  # what operators raise for types they do not take
            if subject.is_oom(error):
                raise
            return AuditReport(error=_first_line(error))
        note = self.store.put(subject.key(precision), report)
        if note:
            self.notes[note] = None
        return report

    def _float32(self) -> _Seen:
        if self.build_reference is None:
            raise _NoReferenceError(self.no_reference)
        if self._reference is None:
            self.progress(f"float32 on {len(self.subject.crops)} crops, to audit against")
            self._reference = self._through(self.build_reference())
        if self._reference.non_finite:
            raise _NoNumbersError(f"float32 itself gave {self._reference.non_finite} values that are not finite")
        return self._reference

    def _through(self, run: Run) -> _Seen:
        return _seen(run, self.subject.task, self.subject.crops, self.subject.provenance)


@dataclass(kw_only=True, slots=True)
class _Walk:
    """One walk down a ladder."""

    ladder: tuple[Precision, ...]
    fits: Callable[[Precision], bool]
    quality: Quality
    insisted: bool
    audits: _Audits
    turned_down: dict[Precision, AuditReport] = field(default_factory=dict)

    def choose(self) -> Choice:
        """The first candidate that will do."""
        for precision in filter(self.fits, self.ladder):
            if precision.dtype == "float32":
                return self._choice(precision, "asked for" if self.insisted else self._why_float32())
            try:
                report = self.audits.report(precision)
            except _NoNumbersError as error:
                return self._unaudited(precision if self.insisted else Precision(), str(error))
            except _NoReferenceError as error:
                return self._unaudited(precision, str(error))
            if not report.misses(self.quality):
                return self._choice(precision, f"{self._origin()}{self._numbers(report)}", report)
            self.turned_down[precision] = report
        return self._missed_but_wanted() if self.insisted else self._choice(Precision(), self._why_float32())

    def _unaudited(self, precision: Precision, why: str) -> Choice:
        because = f"{self._origin()}not audited: {why}"
        return self._choice(precision, because, notes=(f"{precision} was not audited: {why}",))

    def _missed_but_wanted(self) -> Choice:
        usable = [step for step, report in self.turned_down.items() if not (report.error or report.non_finite)]
        precision = (usable or list(self.turned_down))[0]
        report = self.turned_down.pop(precision)
        said = "; ".join(report.misses(self.quality))
        warning = (
            f"warning: {precision.dtype} was asked for, but it does not keep --quality {self.quality} beside float32: "
            f"{said}; leave out --dtype to have one chosen"
        )
        return self._choice(precision, f"asked for, although {said}", report, notes=(warning,))

    def _choice(
        self, precision: Precision, because: str, report: AuditReport | None = None, notes: tuple[str, ...] = ()
    ) -> Choice:
        down = [
            Decision(
                what="dtype_turned_down", value=str(step), because="; ".join(found.misses(self.quality)), measured=True
            )
            for step, found in self.turned_down.items()
        ]
        chosen = _taken(precision, because, measured=bool(down) or report is not None)
        return Choice(
            precision=precision,
            decisions=(*down, chosen),
            report=report,
            ladder=tuple(step for step in self.ladder if step not in self.turned_down),
            notes=(*notes, *self.audits.notes),
        )

    def _origin(self) -> str:
        return "asked for; " if self.insisted else ""

    def _numbers(self, report: AuditReport) -> str:
        return (
            f"within --quality {self.quality} of float32 on {report.crops} crops: "
            f"{margins(report.discrepancies, self.quality)}"
        )

    def _why_float32(self) -> str:
        if not self.turned_down:
            return "no smaller compute type has instructions of its own here"
        return f"no smaller compute type keeps --quality {self.quality}"


def _taken(precision: Precision, because: str, *, measured: bool = False) -> Decision:
    return Decision(what="dtype", value=str(precision), because=because, measured=measured)


def _first_line(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return (lines[0] if lines else type(error).__name__)[:_MAX_ERROR]
