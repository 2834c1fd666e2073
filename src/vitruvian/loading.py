"""From a name to a model that is ready to run: plan, fetch, check the precision, build; in this order.

In: a catalogue name or a weight file, and what the user insists on. Out: a `Model` with every choice explained. The
first time a network is met on a machine, tracing takes a second or two and the audit a few network calls; both are
remembered.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass, replace
from functools import cached_property, partial
from pathlib import Path

import torch
from torch import nn

from vitruvian import weights, zoo
from vitruvian.compiled_loading import (
    CompiledNetwork,
    Source,
    artefact_source,
    check_rebuild,
    rows_said_bad,
    with_task,
)
from vitruvian.errors import DoesNotFitError, UsageError
from vitruvian.fit.decisions import Decision
from vitruvian.fit.plan_values import Plan
from vitruvian.fit.precision import Precision, check_dtype, compute_types
from vitruvian.fit.quality import check_quality
from vitruvian.hardware import format_bytes, free_caches, large_blocks_apart, out_of_memory, parse_size
from vitruvian.inference_plan import InferencePlanner, planner_here
from vitruvian.load_wish import Wish, check_objective
from vitruvian.precision_choice import PrecisionChooser, apply_plan
from vitruvian.predict import DETECTOR, METRIC, Model
from vitruvian.running.engine import values_not_finite
from vitruvian.running.guard import MemoryGuard
from vitruvian.running.runner import Runner

AUTO, NONE = "auto", "none"
"""What `detector` may say beside a name."""

PERSON_WISE: tuple[zoo.TaskName, ...] = ("pose", "seg", "depth", "normal")
"""Tasks that can look at one person at a time; pose does unless told otherwise, the others when a detector is named."""


def load(
    name: str | Path,
    *,
    device: str | None = None,
    dtype: str | None = None,
    quality: str = "balanced",
    budget: int | str | None = None,
    micro_batch: int | None = None,
    objective: str = "throughput",
    max_latency_ms: float | None = None,
    random_weights: bool = False,
    detector: str | Path = AUTO,
    whole_if_nobody: bool = False,
    trust: bool = False,
    rebuild: str = "auto",
    canvas: zoo.CanvasWish | None = None,
    metric_from: str | Path | None = None,
    accept_licence: Collection[str] = (),
    ask: Callable[[str], bool] | None = None,
    report: Callable[[str], None] = lambda line: None,
) -> Model:
    """Find, plan, fetch, check and build a model by catalogue name, weight file or artefact.

    Args:
        name: a catalogue name, the path of a weight file, or the folder of an artefact.
        device: torch device string; None: the first accelerator, else the CPU.
        dtype: compute type to insist on (float32, bfloat16, float16); it is checked against float32 all the same.
        quality: how far results may be from float32: exact, balanced or fast.
        budget: bytes or text such as `12GB` for the whole process, planned with, not enforced; None: what is free.
        micro_batch: crops per network call; None: measured while running.
        objective, max_latency_ms: throughput or latency, and the longest network call.
        random_weights: noise instead of the published weights, for measurements.
        detector: what finds the persons that the model looks at one by one: a name or a file; `auto`: the embedded
            one for pose, nothing for other tasks, which then look at whole pictures; `none`: whole pictures.
        whole_if_nobody: look at the whole picture where the detector finds nobody.
        metric_from: metric network that gives the model's relative depth its metres; `canvas` is then its.
        trust: run the code of an artefact of another machine; `rebuild`: auto exports its weights again, never refuses.
        canvas: how pictures are laid out, where the network leaves a choice; None: as published.
        accept_licence, ask, report: licences accepted, who is asked about others, who hears what takes time.

    Raises:
        UsageError: an unknown name or option; RefusedError: licence not accepted, or weights of another network.
        DoesNotFitError: not even one picture fits the memory, or the download the disk.
    """
    wish = Wish(
        device=device,
        dtype=None if dtype is None else check_dtype(dtype),
        quality=check_quality(quality),
        budget_bytes=parse_size(budget) if isinstance(budget, str) else budget,
        micro_batch=micro_batch,
        objective=check_objective(objective),
        max_latency_ms=max_latency_ms,
        whole_if_nobody=whole_if_nobody,
        trust=trust,
        rebuild=check_rebuild(rebuild),
        canvas=canvas or zoo.CanvasWish(),
    )
    access = _Access(accept_licence=accept_licence, ask=ask, report=report)
    return _load_road(name, wish, access, detector, metric_from, random_weights=random_weights)


def _load_road(
    name: str | Path,
    wish: Wish,
    access: _Access,
    detector: str | Path,
    metric_from: str | Path | None,
    *,
    random_weights: bool,
) -> Model:
    """The model, and the others that it needs before and behind it."""
    source = _artefact(name, wish, access)
    spec = source.spec if source else weights.spec_of(name)
    finder = _finder(spec, detector, wish, access)
    scaler = None if metric_from is None else _scaler(spec, metric_from, wish, access)
    if scaler is not None:
        wish = replace(wish, canvas=zoo.CanvasWish())
    return _load(name, wish, access, random_weights=random_weights, finder=finder, scaler=scaler, source=source)


def _finder(spec: zoo.ModelSpec, detector: str | Path, wish: Wish, access: _Access) -> Model | None:
    """The detector that goes before a model; None: it looks at whole pictures."""
    name = _detector_of(spec, detector)
    if name is None:
        return None
    of_detector = wish.of_detector
    source = _artefact(name, of_detector, access)
    _check_detects(source.spec if source else weights.spec_of(name))
    return _load(name, of_detector, access, source=source)


def _scaler(spec: zoo.ModelSpec, metric_from: str | Path, wish: Wish, access: _Access) -> Model:
    """The metric network behind a model of relative depth."""
    wish = wish.of_scaler
    source = _artefact(metric_from, wish, access)
    metric = source.spec if source else weights.spec_of(metric_from)
    if spec.task != "depth" or spec.make_task().result.measures or not metric.make_task().result.measures:
        raise UsageError(
            f"got {metric.name} ({metric.task}) to give {spec.name} ({spec.task}) its metres; expected a metric3d "
            "model for a model of relative depth such as sapiens-depth-1b; leave --metric-from out, or name others"
        )
    return _load(metric_from, wish, access, source=source)


@dataclass(frozen=True, kw_only=True, slots=True)
class _Access:
    """How weights are fetched, and who hears about it."""

    accept_licence: Collection[str]
    ask: Callable[[str], bool] | None
    report: Callable[[str], None]


def _artefact(name: str | Path, wish: Wish, access: _Access) -> Source | None:
    """The artefact of this name; None: it names none."""
    if zoo.is_name(str(name)):
        return None
    return artefact_source(
        Path(name),
        device=wish.device,
        trust=wish.trust,
        rebuild=wish.rebuild,
        accept_licence=access.accept_licence,
        ask=access.ask,
        report=access.report,
    )


def _load(
    name: str | Path,
    wish: Wish,
    access: _Access,
    *,
    random_weights: bool = False,
    finder: Model | None = None,
    scaler: Model | None = None,
    source: Source | None = None,
) -> Model:
    """One model, beside the others of its road."""
    if random_weights and source is not None:
        raise UsageError(
            f"got random weights for the artefact {source.folder.name}; expected none: its weights are part of it; "
            "leave them out, or export the model with --random-weights"
        )
    if source is not None and wish.canvas != zoo.CanvasWish():
        raise UsageError(
            f"got a canvas for the artefact {source.folder.name}; expected none: it is part of it; leave it out, or "
            "export again with --size"
        )
    spec, report = source.spec if source else wish.canvas.applied(weights.spec_of(name)), access.report
    device = (source.device if source else None) or wish.device
    free_choice = "throughput" if wish.micro_batch else wish.objective
    beside = [other.plan for other in (finder, scaler) if other is not None and other.plan is not None]
    planner = planner_here(spec, device, wish.budget_bytes, free_choice, beside=beside)
    if source is not None and source.manifest.backend != "eager":
        return _with_scaler(_compiled(source, wish, planner, report, finder), scaler)
    _refuse_what_does_not_fit(planner, wish)
    if source is not None:
        found, wish = source.checked_weights(), _as_exported(source, wish, planner)
    elif random_weights:
        found = weights.random_weights(str(name))
    else:
        found = weights.find_weights(name, accept_licence=access.accept_licence, ask=access.ask, report=report)
    if source is None:
        found = replace(found, spec=wish.canvas.applied(found.spec))
    torch.set_num_threads(planner.hardware.cpu.cores)
    model = _Loader(wish=wish, planner=planner, found=found, report=report, finder=finder).model()
    decisions = (*(source.decisions if source else ()), *model.loading_decisions)
    return _with_scaler(replace(model, loading_decisions=decisions), scaler)


def _as_exported(source: Source, wish: Wish, planner: InferencePlanner) -> Wish:
    """The wish with the compute type of an artefact of weights, where nobody said another and the device has it."""
    dtype = source.manifest.precision.dtype
    return replace(wish, dtype=dtype) if wish.dtype is None and dtype in compute_types(planner.device) else wish


def _compiled(
    source: Source, wish: Wish, planner: InferencePlanner, report: Callable[[str], None], finder: Model | None
) -> Model:
    """A model whose network is an open artefact; in float32 from its weights where it gives no numbers."""
    manifest, planner = source.manifest, replace(planner, measures=False)
    if wish.dtype not in (None, manifest.precision.dtype):
        raise UsageError(
            f"got --dtype {wish.dtype} for the artefact {source.folder.name}, which computes in "
            f"{manifest.precision}; expected none; leave it out, or export again with that --dtype"
        )
    plan = planner.plan(manifest.precision)
    if not plan.fits:
        raise DoesNotFitError(f"got the artefact {source.folder.name} on {planner.device.name}: {planner.advice()}")
    torch.set_num_threads(planner.hardware.cpu.cores)
    device, found, task = planner.device.device, source.found, source.task
    artefact = source.open(device, planner.calls_at_once)
    report(f"{source.folder.name}: {manifest.backend}, {manifest.precision}")

    def rebuilt(precision: Precision) -> nn.Module:
        assert found is not None
        network = found.build(device=device, precision=precision).network
        apply_plan(network, planner, precision, plan)
        return with_task(network, task)

    max_batch, batch_decisions = _batch(plan, wish)
    return Model(
        spec=source.spec,
        task=task,
        runner=Runner(
            task=task,
            device=device,
            network=CompiledNetwork(artefact),
            precision=manifest.precision,
            build=rebuilt,
            guard=_guard(planner),
            max_batch_of=planner.max_batch if found is not None else lambda precision: 0,
        ),
        provenance=source.provenance,
        max_batch=max_batch,
        own_range=manifest.batch_range,
        non_finite=rows_said_bad if manifest.with_post else values_not_finite,
        aim=wish.aim,
        plan=plan,
        predicted=None,
        loading_decisions=(*source.decisions, *batch_decisions, *_finder_decisions(finder)),
        notes=finder.notes if finder else (),
        finder=finder,
        whole_if_nobody=wish.whole_if_nobody,
    )


@dataclass(frozen=True, kw_only=True)
class _Loader:
    """One model on its way in."""

    wish: Wish
    planner: InferencePlanner
    found: weights.FoundWeights
    report: Callable[[str], None]
    finder: Model | None = None

    @cached_property
    def chooser(self) -> PrecisionChooser:
        """What finds the compute type."""
        return PrecisionChooser(
            found=self.found,
            planner=self.planner,
            quality=self.wish.quality,
            dtype=self.wish.dtype,
            report=self.report,
        )

    def model(self) -> Model:
        choice = self.chooser.choose()
        plan = self.planner.plan(choice.precision)
        if not plan.fits:
            turned_down = "; ".join(decision.because for decision in choice.decisions[:-1])
            smaller = f"smaller types are not near enough to float32 ({turned_down}); " if turned_down else ""
            raise DoesNotFitError(
                f"got {choice.precision}, which takes {format_bytes(plan.peak_bytes)}; expected at most "
                f"{format_bytes(plan.budget_bytes)}; {smaller}take --quality fast, or insist with --dtype"
            )
        with large_blocks_apart():
            loaded = self.found.build(device=self.planner.device.device, precision=choice.precision)
        apply_plan(loaded.network, self.planner, choice.precision, plan)
        max_batch, batch_decisions = _batch(plan, self.wish)
        return Model(
            spec=self.found.spec,
            task=self.found.spec.make_task(),
            runner=Runner(
                task=self.found.spec.make_task(),
                device=self.planner.device.device,
                network=loaded.network,
                precision=choice.precision,
                build=partial(self.chooser.network, plan=plan),
                guard=_guard(self.planner),
                max_batch_of=self.planner.max_batch,
                ladder=choice.ladder,
                on_non_finite=self.chooser.remember_non_finite,
            ),
            provenance=self.found.provenance,
            max_batch=max_batch,
            aim=self.wish.aim,
            plan=plan,
            predicted=lambda batch: self.planner.predicted(choice.precision, batch),
            loading_decisions=(
                *self._device_decision(),
                *_of_memory(plan),
                *choice.decisions,
                *batch_decisions,
                *_finder_decisions(self.finder),
            ),
            notes=tuple(dict.fromkeys([*loaded.notes, *choice.notes, *(self.finder.notes if self.finder else ())])),
            finder=self.finder,
            whole_if_nobody=self.wish.whole_if_nobody,
        )

    def _device_decision(self) -> tuple[Decision, ...]:
        if self.wish.device is not None:
            return ()
        here = self.planner.hardware.accelerators
        because = "the first accelerator" if here else "no accelerator that this torch can use"
        return (Decision(what="device", value=self.planner.device.device, because=because),)


def _guard(planner: InferencePlanner) -> MemoryGuard:
    return MemoryGuard(is_oom=out_of_memory, free=lambda: free_caches(planner.device.device), advice=planner.advice)


def _finder_decisions(finder: Model | None) -> tuple[Decision, ...]:
    """Which detector, and in what it computes."""
    if finder is None:
        return ()
    name = Decision(what="detector", value=finder.spec.name, because="persons are looked at one by one")
    inner = finder.loading_decisions
    return (name, *(replace(one, what=f"{DETECTOR}{one.what}") for one in inner if one.what == "dtype"))


def _with_scaler(model: Model, scaler: Model | None) -> Model:
    """The model with its metric network behind it, and which that is and in what it computes."""
    if scaler is None:
        return model
    name = Decision(what="metric_from", value=scaler.spec.name, because="relative depth has no metres of its own")
    inner = [replace(one, what=f"{METRIC}{one.what}") for one in scaler.loading_decisions if one.what == "dtype"]
    return replace(model, scaler=scaler, loading_decisions=(*model.loading_decisions, name, *inner))


def _batch(plan: Plan, wish: Wish) -> tuple[int, tuple[Decision, ...]]:
    planned, asked = plan.knobs.micro_batch, wish.micro_batch
    if asked is None or asked <= planned:
        return asked or planned, ()
    because = f"{asked} were asked for; more than {planned} do not fit {format_bytes(plan.budget_bytes)}"
    return planned, (Decision(what="max_batch", value=planned, because=because),)


def _detector_of(spec: zoo.ModelSpec, detector: str | Path) -> str | Path | None:
    """The detector that goes before a model; None: the model looks at whole pictures.

    Raises:
        UsageError: the model cannot look at single persons.
    """
    if detector == NONE or (detector == AUTO and spec.task != "pose"):
        return None
    if spec.task not in PERSON_WISE or not spec.family.person_wise:
        raise UsageError(
            f"got a detector for {spec.name} ({spec.task}); expected a model of {', '.join(PERSON_WISE)} that looks at "
            "persons; leave it out, or name a sapiens model"
        )
    return zoo.DEFAULT_MODELS["detect"] if detector == AUTO else detector


def _check_detects(spec: zoo.ModelSpec) -> None:
    if spec.task != "detect":
        raise UsageError(
            f"got {spec.name} as a detector, which is a {spec.task} model; expected one of "
            f"{', '.join(spec.name for spec in zoo.MODELS.values() if spec.task == 'detect')}, auto or none"
        )


def _refuse_what_does_not_fit(planner: InferencePlanner, wish: Wish) -> None:
    """Before anything is fetched."""
    published = planner.spec.workload.islands
    plan = planner.plan(None if wish.dtype is None else Precision(dtype=wish.dtype, islands=published))
    if not plan.fits:
        raise DoesNotFitError(f"got {planner.spec.name} on {planner.device.name}: {planner.advice()}")


def _of_memory(plan: Plan) -> tuple[Decision, ...]:
    """What the plan decided beside device and type, which have decisions of their own; its batch is the largest."""
    renamed = {"micro_batch": "max_batch"}
    return tuple(
        replace(decision, what=renamed.get(decision.what, decision.what))
        for decision in plan.decisions
        if decision.what not in ("device", "dtype")
    )
