"""The straight road: source -> persons -> prepare -> micro-batches -> network -> finish -> sink.

Each an iterator stage. A `Model` (made by `vitruvian.loading.load`) called with inputs yields results in input order.
Nothing is loaded whole: at most a few decoded pictures are alive at a time. Reading, cropping, finishing and writing
run in threads beside the network, which dominates time for every published size; small networks on a CPU run in those
threads, too, one core each. Batches are as large as the engine wants them, and what runs out of memory is tried again
in parts or alone. Where a model looks at persons, a detector goes before it: a network stage like the other.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import TypeVar

import numpy as np
import torch
from torch import Tensor

from vitruvian import zoo
from vitruvian.errors import InputError, UsageError
from vitruvian.fit.decisions import Decision
from vitruvian.fit.footprint.values import Breakdown
from vitruvian.fit.knee import Aim
from vitruvian.fit.plan_values import Plan
from vitruvian.fit.precision import Precision
from vitruvian.hardware import probe, spill_watch, synchronize
from vitruvian.inference_plan import one_core_each
from vitruvian.media.items import Entry, Failure, Item
from vitruvian.media.listing import list_inputs
from vitruvian.media.read_ahead import read_ahead
from vitruvian.metric_scaling import scaled
from vitruvian.network_stage import Asked, Finished, NetworkStage, Timings, past_failures
from vitruvian.picture_cameras import PictureCameras
from vitruvian.running.engine import Engine, values_not_finite
from vitruvian.running.runner import Runner, averaging
from vitruvian.stages import ordered_map
from vitruvian.tasks.base import Provenance, Region, Result, Task
from vitruvian.tasks.cameras import CameraWish
from vitruvian.tasks.detect import Detections

Inputs = str | Path | np.ndarray | Sequence[str | Path | np.ndarray]
RegionsOf = Callable[[Item], Sequence[Region | None]]
Follow = Callable[[Item, Detections], Sequence[Region]]
T = TypeVar("T")

AHEAD_PER_WORKER = 3
"""Pictures in flight per thread; two hide the network's time, the third evens out picture sizes."""

METRIC = "metric "
"""Before the names of the metric network's steps in timings."""

DETECTOR = "detector "
"""Before the names of the detector's steps in timings."""


def whole_picture(item: Item) -> Sequence[Region | None]:
    """The picture itself, as one region."""
    return (None,)


def camera_of(model: Model, cameras: CameraWish) -> PictureCameras | None:
    """How a run finds the camera behind each picture; None: the model measures nothing in metres.

    Raises:
        UsageError: something is said about cameras, and the model has no use for it.
    """
    if not model.measures:
        if cameras != CameraWish():
            raise UsageError(
                f"got a focal length, a field of view or intrinsics for {model.spec.name}, which measures nothing in "
                "metres; expected a metric3d model, as --model or --metric-from; name one, or leave them out"
            )
        return None

    return PictureCameras(cameras)


@dataclass(frozen=True, kw_only=True)
class Model:
    """A loaded network with its task and its plan, ready to run; make one with `vitruvian.loading.load`."""

    spec: zoo.ModelSpec
    task: Task
    runner: Runner
    provenance: Provenance
    max_batch: int
    """Largest number of crops per network call that the plan allows."""
    aim: Aim | None
    """What the batch is chosen for while running; None keeps it at `max_batch`."""
    plan: Plan | None = None
    predicted: Callable[[int], Breakdown] | None = None
    """Predicted memory of a batch before correction by earlier measurements, to hold the measured one against."""
    loading_decisions: tuple[Decision, ...] = ()
    """What was chosen before the first picture."""
    notes: tuple[str, ...] = ()
    own_range: tuple[int, int | None] = (1, None)
    """Smallest and largest batch that the network itself takes; None: any."""
    non_finite: Callable[[Mapping[str, Tensor]], dict[int, tuple[str, ...]]] = values_not_finite
    """What of the raw outputs is no number, by place in the batch."""
    finder: Model | None = None
    """Detector that says where persons are; None: the model looks at whole pictures."""
    whole_if_nobody: bool = False
    """Look at the whole picture where the detector finds nobody."""
    scaler: Model | None = None
    """Metric network that gives relative depth its metres; None: depth stays as the network gives it."""

    @property
    def device(self) -> str:
        """torch device string."""
        return self.runner.device

    @property
    def precision(self) -> Precision:
        """What the network computes in at the moment."""
        return self.runner.precision

    @property
    def one_core_each(self) -> bool:
        """Whether micro-batches run beside each other, each on one core, instead of one by one on all cores."""
        return one_core_each(self.spec, self.device)

    @property
    def measures(self) -> bool:
        """Whether its results are in metres, which need the cameras of the pictures."""
        return self.task.result.measures or self.scaler is not None

    def engine(self, *, flip_test: bool = False) -> Engine:
        """What runs the network safely, for one run."""
        if flip_test:
            averaging(self.task)
        return Engine(
            network=lambda canvases: self.runner.raw(canvases, flip_test=flip_test),
            finish_tensors=self.task.finish_tensors,
            guard=self.runner.guard,
            max_batch=self.max_batch,
            own_range=self.own_range,
            non_finite=self.non_finite,
            aim=self.aim,
            precision=str(self.precision),
            step_down=self.runner.step_down,
            observe=spill_watch(self.device),
            synchronize=lambda: synchronize(self.device),
        )

    def __call__(
        self,
        inputs: Inputs,
        *,
        recursive: bool = False,
        regions_of: RegionsOf | None = None,
        flip_test: bool = False,
        cameras: CameraWish | None = None,
        focal_px: float | None = None,
    ) -> Iterator[Result]:
        """Results for a path, folder, pattern, array (uint8 RGB HW3), or a sequence of these, in order.

        `regions_of` says where to look in a picture, instead of the model's detector; `cameras` what is known of the
        cameras behind the pictures, for models that measure in metres; `focal_px` is short for one that says that.

        Raises:
            UsageError: both `cameras` and `focal_px`, or a focal length that no camera has.
            InputError: after everything else came out, naming the inputs that could not be used.
        """
        several = [inputs] if isinstance(inputs, (str, Path, np.ndarray)) else list(inputs)
        failures = []
        if cameras is not None and focal_px is not None:
            raise UsageError("got cameras and focal_px; expected one of them; CameraWish(focal_px=...) holds both")
        of = camera_of(self, cameras or CameraWish(focal_px=focal_px))
        road = Road(model=self, regions_of=regions_of, flip_test=flip_test, camera_of=of)
        for outcome in road.run(list_inputs(several, recursive=recursive), deliver=lambda finished: finished):
            if isinstance(outcome, Failure):
                failures.append(outcome)
            else:
                yield from outcome.results
        if failures:
            listed = "; ".join(f"{failure.name}: {failure.reason}" for failure in failures[:5])
            raise InputError(
                f"got {len(failures)} input(s) that could not be used: {listed}; the others were done; "
                "mend or leave out these files"
            )


@dataclass(frozen=True, kw_only=True)
class Road:
    """One run of a model over a stream of inputs."""

    model: Model
    regions_of: RegionsOf | None = None
    """Where to look; None: where the model's detector finds persons, or else at whole pictures."""
    flip_test: bool = False
    follow: Follow | None = None
    """Sees what was found in every picture, in order, and says who is who; for trackers."""
    per_source: Callable[[Finished], Finished] | None = None
    """Sees every finished picture in order; for state that needs order, such as smoothing."""
    timings: Timings = field(default_factory=Timings)
    camera_of: PictureCameras | None = None
    """The camera behind each picture, for models that measure in metres."""
    ahead: int | None = None
    """Pictures that may be on their way through each step, for streams where an old picture is worth nothing; None: as
    many as keep everything busy."""

    @cached_property
    def engine(self) -> Engine:
        """Runs the network; knows afterwards which batch was chosen and what went wrong on the way.

        Made at the start of `run`, before threads ask for it.
        """
        return self.model.engine(flip_test=self.flip_test)

    @cached_property
    def finder_engine(self) -> Engine | None:
        """Runs the detector, where there is one and it is asked."""
        finder = None if self.regions_of else self.model.finder
        return finder.engine() if finder else None

    @cached_property
    def scaler_engine(self) -> Engine | None:
        """Runs the metric network, where there is one."""
        return self.model.scaler.engine() if self.model.scaler else None

    def decisions(self) -> tuple[Decision, ...]:
        """What was chosen and what happened while running."""
        renamed = [
            replace(decision, what=f"{prefix}{decision.what}")
            for prefix, engine in ((DETECTOR, self.finder_engine), (METRIC, self.scaler_engine))
            for decision in (engine.decisions() if engine else ())
        ]
        cameras = self.camera_of.decision() if self.camera_of else None
        return (*renamed, *self.engine.decisions(), *(() if cameras is None else (cameras,)))

    def run(self, entries: Iterable[Entry | Failure], deliver: Callable[[Finished], T]) -> Iterator[T | Failure]:
        """Yield `deliver(finished)` (called in a thread) or a `Failure` per input, in order."""
        workers = probe().cpu.cores
        ahead = workers * AHEAD_PER_WORKER
        yield from self.run_items(read_ahead(iter(entries), workers=workers, ahead=ahead), deliver)

    def run_items(self, items: Iterator[Item | Failure], deliver: Callable[[Finished], T]) -> Iterator[T | Failure]:
        """The same for pictures that are read already, such as the frames of a video."""
        cores = probe().cpu.cores
        ahead = self.ahead or cores * AHEAD_PER_WORKER
        workers = min(cores, ahead)
        with ThreadPoolExecutor(workers, initializer=_single_threaded) as pool:
            asked = self._asked(self._timed("read", items), pool, workers, ahead)
            finished = self._stage(self.model, self.engine, pool, workers, ahead).run(asked)
            if self.model.scaler is not None and self.scaler_engine is not None:
                metric = self._stage(self.model.scaler, self.scaler_engine, pool, workers, ahead, METRIC)
                finished = scaled(finished, metric.run)
            in_order = map(past_failures(self.per_source), finished) if self.per_source else finished
            guarded = past_failures(lambda done: self.engine.guarded("saving one picture", deliver, done))
            yield from ordered_map(guarded, in_order, pool, ahead=ahead)

    def _stage(
        self, model: Model, engine: Engine, pool: ThreadPoolExecutor, workers: int, ahead: int, name: str = ""
    ) -> NetworkStage:
        return NetworkStage(
            task=model.task,
            provenance=model.provenance,
            engine=engine,
            timings=self.timings,
            pool=pool,
            workers=workers,
            ahead=ahead,
            one_core_each=model.one_core_each,
            name=name,
            camera_of=self.camera_of if model.task.result.measures else None,
        )

    def _asked(
        self, items: Iterator[Item | Failure], pool: ThreadPoolExecutor, workers: int, ahead: int
    ) -> Iterator[Asked | Failure]:
        """Where to look in each picture, found or given."""
        finder, engine = self.model.finder, self.finder_engine
        if finder is None or engine is None:
            return map(past_failures(self._given), items)
        whole = map(past_failures(lambda item: Asked(item=item, regions=(None,))), items)
        found = self._stage(finder, engine, pool, workers, ahead, DETECTOR).run(whole)
        return map(past_failures(self._found), found)

    def _given(self, item: Item) -> Asked | Failure:
        try:
            return Asked(item=item, regions=(self.regions_of or whole_picture)(item))
        except InputError as error:
            return Failure(name=item.name, index=item.index, reason=str(error))

    def _found(self, finished: Finished) -> Asked:
        (detections,) = finished.results
        assert isinstance(detections, Detections)
        persons = self.follow(finished.item, detections) if self.follow else detections.regions
        whole = self.model.whole_if_nobody and not persons
        return Asked(item=finished.item, regions=(None,) if whole else persons)

    def _timed(self, stage: str, stream: Iterator[T]) -> Iterator[T]:
        """Time spent waiting for a stream."""
        while True:
            with self.timings.measure(stage):
                try:
                    element = next(stream)
                except StopIteration:
                    return
            yield element


def _single_threaded() -> None:
    """Worker threads compute on their own core; the network keeps all of torch's."""
    torch.set_num_threads(1)
