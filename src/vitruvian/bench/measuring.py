"""`run_bench`: what a model does in each precision and batch on this machine, numbers beside float32 included.

In: a model, crops of bundled or own pictures. Out: a `BenchReport`. Network calls from uint8 canvases to finished
tensors are timed, reading and writing files is not. The rows are read in turn, so that a busy moment of the machine
hits all alike, and the fastest reading of each counts. Slow rows get few readings, very slow ones only the calls that
their numbers were looked at with; rows that do not fit stay.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from vitruvian import weights
from vitruvian.artefacts.ladder import check_backend
from vitruvian.artefacts.manifest import Backend
from vitruvian.audit import Crop, bundled_crops
from vitruvian.bench.report import BenchReport, BenchRow, recommend
from vitruvian.bench.rig import EAGER, Rig, Seen, Way, differences, weights_bytes
from vitruvian.errors import CheckFailedError, UsageError
from vitruvian.fit.precision import Precision, check_dtype
from vitruvian.fit.quality import Quality, check_quality, misses
from vitruvian.hardware import DTYPES, Dtype, format_bytes, free_caches, out_of_memory, parse_size
from vitruvian.inference_plan import MAX_BATCH, SMALL_PARAMETERS, InferencePlanner, planner_here
from vitruvian.media.items import Failure
from vitruvian.media.listing import list_inputs
from vitruvian.media.read_ahead import read_ahead

TIME_S = 60.0
"""For all rows together, unless the first call of each takes longer."""
MAX_READINGS = 30
SMALL_CROPS, LARGE_CROPS = 8, 2
"""Crops for networks that take milliseconds, and seconds, for one."""
MIN_GAIN = 0.05
"""Batches grow while each gives this much more images/s, or the one after it does."""
RANDOM_REMARK = (
    "random weights: times and memory are real, results mean nothing; the distance is that of raw outputs, relative"
)
PREDICTED_REMARK = (
    "predicted is for a run over files, with pictures and results in flight, which this measurement has not"
)


def run_bench(
    name: str | Path,
    *,
    on: str | Path | None = None,
    device: str | None = None,
    dtypes: Iterable[str] = (),
    backends: Sequence[str] = (EAGER,),
    batches: Sequence[int] = (),
    quality: str = "balanced",
    budget: int | str | None = None,
    random_weights: bool = False,
    time_s: float = TIME_S,
    accept_licence: Collection[str] = (),
    ask: Callable[[str], bool] | None = None,
    report: Callable[[str], None] = lambda line: None,
) -> BenchReport:
    """Measure a model in each precision and batch.

    Args:
        name: catalogue name or weight file.
        on: picture, folder or pattern to take the crops from, whole pictures; None: bundled ones.
        device: torch device string; None: the first accelerator, else the CPU.
        dtypes: compute types by their full or short names; empty: all that are not emulated.
        backends: eager, and rungs of `vitruvian export` by name, which are built for it.
        batches: sizes of a call; empty: 1, 2, 4, ... while they pay.
        quality: how far a recommended row may be from float32.
        budget: bytes or text such as `12GB`; None: what is free.
        random_weights: noise instead of the published weights.
        time_s: seconds for the readings of all rows together.
        accept_licence: licences that were read and accepted.
        ask: asks a person about a licence.
        report: hears what takes time.

    Raises:
        UsageError: no such model, device, type or picture, or a batch below 1.
        RefusedError: licence not accepted, or weights that do not belong to the network.
    """
    if any(batch < 1 for batch in batches):
        raise UsageError(f"got --batch {','.join(map(str, batches))}; expected sizes from 1; leave it out for 1, 2, 4")
    spec = weights.spec_of(name)
    if random_weights:
        found = weights.random_weights(str(name))
    else:
        found = weights.find_weights(name, accept_licence=accept_licence, ask=ask, report=report)
    planner = planner_here(spec, device, parse_size(budget) if isinstance(budget, str) else budget)
    count = SMALL_CROPS if spec.config.parameters < SMALL_PARAMETERS else LARGE_CROPS
    crops = bundled_crops(spec.make_task(), count) if on is None else _crops_of(spec, on, count)
    return _Bench(
        found=found,
        planner=planner,
        crops=crops,
        name=name,
        dtypes=tuple(map(check_dtype, dtypes)),
        backends=tuple(map(check_backend, backends)) or (EAGER,),
        batches=tuple(sorted(set(batches))),
        quality=check_quality(quality),
        time_s=time_s,
        report=report,
    ).run()


def _crops_of(spec: weights.zoo.ModelSpec, on: str | Path, count: int) -> tuple[Crop, ...]:
    """Whole pictures from a place, as many as are wanted."""
    task = spec.make_task()
    crops: list[Crop] = []
    for item in read_ahead(list_inputs([on], recursive=False), workers=1, ahead=2):
        if not isinstance(item, Failure):
            canvas_HW3, geometry = task.prepare(item.image_HW3, None)
            crops.append(Crop(canvas_HW3=canvas_HW3, geometry=geometry))
        if len(crops) == count:
            break
    if not crops:
        raise UsageError(f"got --on {Path(on).name} without a readable picture; expected pictures; name a folder")
    return tuple(crops)


@dataclass(kw_only=True, slots=True)
class _Live:
    """A row that is being read."""

    row: BenchRow
    rig: Rig
    first_s: Sequence[float]
    """Seconds of the calls that were looked at; they count only where no others follow."""
    reading_s: float
    """Seconds of a reading: as the fastest call took, later the least."""
    rate: float = 0.0
    calls_s: list[float] = field(default_factory=list)
    readings: int = 0

    @classmethod
    def of(cls, row: BenchRow, rig: Rig, seen: Seen) -> _Live:
        # The first call warms up; where it is the only one it has to do.
        first_s = seen.calls_s[1:] or seen.calls_s
        return cls(row=row, rig=rig, first_s=first_s, reading_s=min(first_s))

    def read(self) -> None:
        """One more reading."""
        wall_s, calls_s = self.rig.read(self.row.batch)
        self.rate = max(self.rate, len(calls_s) * self.row.batch / wall_s)
        self.calls_s += calls_s
        self.readings += 1
        self.reading_s = min(self.reading_s, wall_s)

    def finished(self) -> BenchRow:
        """The row with its numbers."""
        ascending = sorted(self.calls_s or self.first_s)
        return replace(
            self.row,
            images_per_s=self.rate or self.rig.at_once * self.row.batch / self.reading_s,
            p50_ms=1e3 * ascending[(len(ascending) - 1) // 2],
            p95_ms=1e3 * ascending[round(0.95 * (len(ascending) - 1))],
            readings=self.readings,
        )


@dataclass(kw_only=True)
class _Bench:
    """One measurement of one model."""

    name: str | Path
    found: weights.FoundWeights
    planner: InferencePlanner
    crops: Sequence[Crop]
    dtypes: tuple[Dtype, ...]
    backends: tuple[Backend, ...]
    batches: tuple[int, ...]
    quality: Quality
    time_s: float
    report: Callable[[str], None]
    reference: Seen | None = None
    held_bytes: int = 0
    """Weights of the networks that are there beside the one that is looked at."""

    def run(self) -> BenchReport:
        """All rows."""
        started = time.perf_counter()
        rows: list[BenchRow] = []
        groups, left_out = self._groups()
        for group in groups:
            rows += self._measured(group, self.time_s / len(groups))
        rows += left_out
        device, remarks = self.planner.device, [PREDICTED_REMARK]
        if not self.found.paths:
            remarks.append(RANDOM_REMARK)
        return BenchReport(
            model=self.found.spec.name,
            task=self.found.spec.task,
            device=device.device,
            device_name=device.name,
            torch_version=self.planner.hardware.torch_version,
            budget_bytes=self.planner.plan().budget_bytes,
            quality=self.quality,
            crops=len(self.crops),
            canvas_hw=self.crops[0].geometry.canvas_hw,
            calls_at_once=self.planner.calls_at_once,
            random_weights=not self.found.paths,
            rows=recommend(rows),
            seconds=time.perf_counter() - started,
            remarks=tuple(remarks),
        )

    def _groups(self) -> tuple[list[list[Way]], list[BenchRow]]:
        """Ways that are read in turn, because their weights fit beside each other; and those that are not run."""
        wanted: list[Way] = []
        left_out: list[BenchRow] = []
        # Float32 first: the others are held against it.
        for dtype in DTYPES:
            precision = Precision(dtype=dtype, islands=() if dtype == "float32" else self.found.spec.workload.islands)
            if self.dtypes and dtype not in self.dtypes:
                continue
            row = self._planned(Way(precision=precision), (self.batches or (1,))[0])
            if not self.dtypes and self.planner.device.support(dtype) in ("emulated", "none"):
                why = f"{self.planner.device.support(dtype)} here; --dtype {dtype} insists"
                row = replace(row, not_run=why)
            if row.not_run:
                left_out.append(row)
            else:
                wanted += [Way(precision=precision, backend=backend) for backend in self.backends]
        held = sum(weights_bytes(self.found.spec, way.precision) for way in wanted)
        largest = max((self._planned(way, 1).predicted_bytes for way in wanted), default=0)
        together = held + largest <= self.planner.plan().budget_bytes
        return ([wanted] if together and wanted else [[way] for way in wanted]), left_out

    def _planned(self, way: Way, batch: int, beside_bytes: int = 0) -> BenchRow:
        """The row before it is run."""
        precision = way.precision
        plan = way.planner(self.planner).plan(precision, batch=batch)
        row = BenchRow(
            precision=str(precision),
            dtype=precision.dtype,
            backend=way.backend,
            batch=batch,
            predicted_bytes=plan.peak_bytes,
        )
        if not plan.fits:
            short = f"does not fit: predicted {format_bytes(plan.peak_bytes)} of {format_bytes(plan.budget_bytes)}"
            return replace(row, not_run=short)
        if plan.peak_bytes + plan.margin_bytes + beside_bytes > plan.budget_bytes:
            why = f"does not fit beside the other precisions; --dtype {precision.dtype} measures it alone"
            return replace(row, not_run=why)
        return row

    def _measured(self, group: Sequence[Way], time_s: float) -> list[BenchRow]:
        """The rows of ways that are read in turn."""
        everything = sum(weights_bytes(self.found.spec, way.precision) for way in group)
        rows: list[BenchRow | _Live] = []
        for way in group:
            self.report(f"{self.found.spec.name} in {way}")
            try:
                rig = Rig.build(self.found, way, self.planner, self.name)
            except CheckFailedError as error:  # a rung that is not to be had here keeps its row
                rows.append(replace(self._planned(way, 1), not_run=(str(error).splitlines() or [""])[0][:300]))
                continue
            beside_bytes = everything - weights_bytes(self.found.spec, way.precision)
            rows += self._first_looks(rig, beside_bytes, time_s)
            self.held_bytes += rig.own_bytes
        live = [row for row in rows if isinstance(row, _Live)]
        deadline = time.perf_counter() + time_s
        for _ in range(MAX_READINGS):
            for one in live:
                if time.perf_counter() + one.reading_s < deadline:
                    one.read()
        finished = [row.finished() if isinstance(row, _Live) else row for row in rows]
        for one in live:
            one.rig.close()
        self.held_bytes = 0
        free_caches(self.planner.device.device)
        return finished

    def _first_looks(self, rig: Rig, beside_bytes: int, time_s: float) -> Iterator[BenchRow | _Live]:
        """Every batch once: numbers, peak, whether it is worth reading; larger ones only while they pay."""
        per_image_s, poor, best = 0.0, 0, 0.0
        for batch in self.batches or _powers(MAX_BATCH):
            row = self._planned(rig.way, batch, beside_bytes)
            expected_s = per_image_s * max(batch, len(self.crops))
            if not row.not_run and expected_s > time_s / 4:
                row = replace(
                    row, not_run=f"would take some {expected_s:.0f} s; --seconds gives it more than {time_s:.0f}"
                )
            if row.not_run:
                yield row
                if not self.batches:
                    return
                continue
            looked = self._look(rig, row)
            yield looked
            if not isinstance(looked, _Live):
                if not self.batches:
                    return
                continue
            per_image_s = looked.reading_s / (batch * rig.at_once)
            poor = poor + 1 if 1 / per_image_s < best * (1 + MIN_GAIN) else 0
            best = max(best, 1 / per_image_s)
            if poor == 2 and not self.batches:
                return

    def _look(self, rig: Rig, row: BenchRow) -> BenchRow | _Live:
        """One pass over the crops; errors become the row's."""
        try:
            seen = rig.look(self.crops, row.batch, beside_bytes=self._beside_bytes())
        except (RuntimeError, TypeError, ValueError, MemoryError) as error:  # what operators raise
            failure = error
        else:
            return _Live.of(self._judged(row, seen, rig), rig, seen)
        if out_of_memory(failure):
            why = f"ran out of memory, although {format_bytes(row.predicted_bytes)} were predicted"
        else:
            why = f"got an error: {(str(failure).splitlines() or [type(failure).__name__])[0][:160]}"
        free_caches(self.planner.device.device)
        return replace(row, not_run=why)

    def _judged(self, row: BenchRow, seen: Seen, rig: Rig) -> BenchRow:
        """The row with what its numbers are worth."""
        row = replace(row, peak_bytes=seen.peak_bytes)
        if seen.non_finite:
            return replace(row, misses=(f"got {seen.non_finite} values that are not finite; expected none",))
        if self.reference is None:
            if row.dtype != "float32" and not self._find_reference():
                return row
            self.reference = self.reference or seen
        discrepancies, raw = differences(rig.task, seen, self.reference)
        if not self.found.paths:
            return replace(row, raw_difference=raw)
        missed = tuple(misses(discrepancies, self.quality))
        return replace(row, discrepancies=discrepancies, raw_difference=raw, misses=missed)

    def _beside_bytes(self) -> int:
        """What the process holds on the device for the sake of this measurement."""
        kept = self.reference.held_bytes if self.reference and self.planner.device.kind == "cpu" else 0
        return self.held_bytes + kept

    def _find_reference(self) -> bool:
        """Run float32 where it is not measured itself; False where it does not fit."""
        plain = Way(precision=Precision())
        if self._planned(plain, 1).not_run:
            return False
        self.report("float32, to compare with")
        rig = Rig.build(self.found, plain, self.planner, self.name)
        self.reference = rig.look(self.crops, 1)
        rig.close()
        return True


def _powers(maximum: int) -> Iterator[int]:
    batch = 1
    while batch <= maximum:
        yield batch
        batch *= 2
