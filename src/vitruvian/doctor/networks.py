"""One embedded network on synthetic people or places, in one precision after another: accuracy, distances, time, peak.

A name, a device, pictures with truth -> a `NetworkCheck` per compute type. Float32 comes first and its results are kept
for comparison: some 100 MB for a hundred pictures. Times are read in turn.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Literal, TypeVar

import numpy as np
import torch
from torch import Tensor, nn

from vitruvian import weights
from vitruvian.audit import Crop
from vitruvian.doctor.expectations import deviations
from vitruvian.doctor.report import NetworkCheck
from vitruvian.evaluation import measures, metric_nano
from vitruvian.fit.precision import Precision, apply_precision
from vitruvian.fit.quality import QUALITY, AuditReport, mean, worst
from vitruvian.hardware import DTYPES, Device, Dtype, PeakWatch, free_caches, open_meter, synchronize
from vitruvian.people import View
from vitruvian.running.runner import raw_outputs
from vitruvian.tasks.base import Geometry, Region, Result, Task
from vitruvian.tasks.cameras import CameraWish
from vitruvian.tasks.depth import Depth
from vitruvian.tasks.metric_result import MetricDepth
from vitruvian.tasks.normal import Normals
from vitruvian.tasks.pose import Pose
from vitruvian.tasks.seg import Segmentation
from vitruvian.zoo import DEFAULT_MODELS, NANO_MODELS, SapiensTask

Kind = TypeVar("Kind", bound=Result)
Name = SapiensTask | Literal["metric depth"]
"""An embedded network: of persons by its task, or that of places."""
METRIC: Literal["metric depth"] = "metric depth"

WATCHED_PICTURES = 4
"""Whose memory is watched: the results of all are kept for comparison and would be counted."""
TIMED_CROPS = 12
"""Single pictures whose fastest is the time; read in turn over the precisions."""
STRAYS = 0.05
"""Share of the pictures whose distance from float32 may be larger than what is judged: among many hard pictures one is
always odd, and a verdict must not depend on how many were looked at."""
SLOW_TYPES: Mapping[tuple[str, Dtype], str] = {("cpu", "float16"): "emulated and some ten times slower than float32"}
"""By kind of device: types that are not even tried where they are emulated."""


@dataclass(frozen=True, kw_only=True)
class _Network:
    """A network in one precision."""

    dtype: Dtype
    task: Task
    device: str
    module: nn.Module

    @torch.inference_mode()
    def raw(self, canvases: Sequence[np.ndarray]) -> dict[str, Tensor]:
        """Raw outputs on the device, all of them there."""
        raw = raw_outputs(self.module, self.task, self.device, canvases)
        synchronize(self.device)
        return raw


@dataclass(frozen=True, kw_only=True)
class Subject:
    """A task's crops of all pictures."""

    found: weights.FoundWeights
    task: Task
    views: Sequence[View]
    crops: Sequence[Sequence[Crop]]
    """Of each picture: persons for pose, the picture itself else."""

    @classmethod
    def of(cls, name: Name, views: Sequence[View]) -> Subject:
        found = weights.find_weights(DEFAULT_MODELS["depth"] if name == METRIC else NANO_MODELS[name])
        task = found.spec.make_task()
        crops = []
        for view in views:
            regions: Sequence[Region | None] = measures.person_regions(view) if name == "pose" else [None]
            cut = [task.prepare(view.image_HW3, region) for region in regions]
            crops.append([Crop(canvas_HW3=canvas, geometry=_seen_by(view, geometry)) for canvas, geometry in cut])
        return cls(found=found, task=task, views=views, crops=crops)

    def network(self, dtype: Dtype, device: str) -> _Network:
        islands = () if dtype == "float32" else self.found.spec.workload.islands
        precision = Precision(dtype=dtype, islands=islands)
        module = apply_precision(self.found.build(device=device, precision=precision).network, precision)
        return _Network(dtype=dtype, task=self.task, device=device, module=module)

    @torch.inference_mode()
    def results(self, raw: Mapping[str, Tensor], picture: int) -> Result:
        """Of one picture from the raw outputs of its crops."""
        tensors = self.task.finish_tensors(raw)
        gathering = self.task.gather(self.crops[picture][0].geometry.source_hw, self.found.provenance)
        for place, crop in enumerate(self.crops[picture]):
            row = {name: value[place] for name, value in tensors.items()}
            gathering.add(place, crop.geometry, self.task.finish(row, crop.geometry, self.found.provenance))
        return gathering.results()[0]


def _seen_by(view: View, geometry: Geometry) -> Geometry:
    """With the picture's true camera, which metres need."""
    return replace(geometry, camera=CameraWish(focal_px=view.camera.focal_px).camera(geometry.source_hw))


@dataclass(kw_only=True)
class _Seen:
    """What one precision made of all pictures."""

    results: list[Result]
    non_finite: int = 0
    peak_bytes: int | None = None
    error: str = ""


def check_networks(
    name: Name, device: Device, views: Sequence[View], report: Callable[[str], None] = lambda line: None
) -> list[NetworkCheck]:
    """Run a task's embedded network over pictures in every compute type, float32 first."""
    subject = Subject.of(name, views)
    checks: list[NetworkCheck] = []
    networks: dict[Dtype, _Network] = {}
    reference: list[Result] = []
    for dtype in DTYPES:
        why = _not_tried(device, dtype)
        if why:
            checks.append(NetworkCheck(task=name, dtype=dtype, support=device.support(dtype), skipped=why))
            continue
        report(f"{name} in {dtype} on {device.device}")
        network = subject.network(dtype, device.device)
        seen = _through(subject, network)
        if dtype == "float32":
            reference = seen.results
        if not (seen.error or seen.non_finite):
            networks[dtype] = network
        checks.append(_judged(name, device, subject, network, seen, reference))
    sound = checks[0].safe
    times_ms = _times_ms(subject, networks)
    return [_timed(replace(check, sound_reference=sound), times_ms) for check in checks]


def _not_tried(device: Device, dtype: Dtype) -> str:
    support = device.support(dtype)
    if support == "none":
        return "not supported here"
    return SLOW_TYPES.get((device.kind, dtype), "") if support == "emulated" else ""


def _through(subject: Subject, network: _Network) -> _Seen:
    """All pictures through a network; what operators raise becomes text."""
    seen = _Seen(results=[])
    free_caches(network.device)
    try:
        with PeakWatch(open_meter(network.device)) as watch:
            _look_at(subject, network, range(WATCHED_PICTURES), seen)
        seen.peak_bytes = max(0, watch.peak_bytes - watch.baseline_bytes)
        _look_at(subject, network, range(WATCHED_PICTURES, len(subject.views)), seen)
    except (RuntimeError, TypeError, ValueError, MemoryError) as error:
        seen.error = (str(error).splitlines() or [type(error).__name__])[0][:160]
    if seen.error or seen.non_finite:
        seen.results = []
    return seen


def _look_at(subject: Subject, network: _Network, pictures: range, seen: _Seen) -> None:
    for picture in pictures:
        raw = network.raw([crop.canvas_HW3 for crop in subject.crops[picture]])
        seen.non_finite += sum(int((~value.isfinite()).sum()) for value in raw.values())
        if not seen.non_finite:
            seen.results.append(subject.results(raw, picture))


def _judged(
    name: Name, device: Device, subject: Subject, network: _Network, seen: _Seen, reference: Sequence[Result]
) -> NetworkCheck:
    dtype = network.dtype
    accuracy = accuracy_of(name, subject.views, seen.results) if seen.results else {}
    rows: list[dict[str, float]] = []
    if dtype != "float32":
        pairs = zip(seen.results, reference, strict=False)  # one of them is empty where there are no numbers
        rows = [subject.task.discrepancy(one, true) for one, true in pairs]
    return NetworkCheck(
        task=name,
        dtype=dtype,
        support=device.support(dtype),
        accuracy=accuracy,
        deviations=deviations(name, len(subject.views), accuracy) if dtype == "float32" and seen.results else (),
        audit=AuditReport(
            discrepancies=worst_but_strays(rows),
            mean=mean(rows),
            non_finite=seen.non_finite,
            crops=sum(map(len, subject.crops)),
            error=seen.error,
        ),
        worst=worst(rows),
        peak_bytes=seen.peak_bytes,
    )


def worst_but_strays(rows: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """Of each unit the worst value, one picture in twenty left out; a value that is no number is the worst of all."""
    last = len(rows) - int(STRAYS * len(rows)) - 1
    units = rows[0] if rows else ()
    return {unit: sorted((row[unit] for row in rows), key=partial(_badness, unit))[last] for unit in units}


def _badness(unit: str, value: float) -> float:
    sign = -1 if QUALITY["balanced"].get(unit, ("<=",))[0] == ">=" else 1
    return math.inf if math.isnan(value) else sign * value


def accuracy_of(name: Name, views: Sequence[View], results: Sequence[Result]) -> dict[str, float]:
    """One measure against the truth, of places two; none for features, which have no truth."""
    if name == "pose":
        return {"PCK@0.1": measures.pck(views, [_as(Pose, result).keypoints_PK2 for result in results])}
    if name == "seg":
        return {"mIoU": measures.miou(views, [_as(Segmentation, result).labels_HW for result in results])}
    if name == "depth":
        found = [_as(Depth, result).depth_HW for result in results]
        return {"RMSE m": measures.depth_errors(views, found)["rmse"]}
    if name == METRIC:
        tally = metric_nano.Tally()
        for view, result in zip(views, results, strict=True):
            measured = _as(MetricDepth, result)
            assert measured.normals_HW3 is not None
            tally.add(view, measured.depth_m_HW, measured.normals_HW3)
        numbers = tally.numbers()
        return {"AbsRel": numbers["AbsRel"], "degrees": numbers["mean angle in degrees"]}
    if name == "normal":
        return {"degrees": measures.normal_angles(views, [_as(Normals, one).normals_HW3 for one in results])["mean"]}
    return {}


def _as(kind: type[Kind], result: Result) -> Kind:
    assert isinstance(result, kind)
    return result


def _times_ms(subject: Subject, networks: Mapping[Dtype, _Network]) -> dict[str, float]:
    """Fastest single crop of each network in ms, on one core of a processor; the networks take turns."""
    crops = [crop for row in subject.crops for crop in row][:TIMED_CROPS]
    best: dict[str, float] = {}
    for crop in crops:
        for dtype, network in networks.items():
            started = time.perf_counter()
            network.raw([crop.canvas_HW3])
            taken_ms = 1e3 * (time.perf_counter() - started)
            best[dtype] = min(taken_ms, best.get(dtype, taken_ms))
    return best


def _timed(check: NetworkCheck, times_ms: Mapping[str, float]) -> NetworkCheck:
    own, reference = times_ms.get(check.dtype), times_ms.get("float32")
    speed = reference / own if own and reference and check.dtype != "float32" else None
    return replace(check, ms_per_picture=own, speed=speed)
