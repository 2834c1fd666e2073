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
from typing import get_args

import torch
from torch import nn

from vitruvian import weights, zoo
from vitruvian.audit import NO_REFERENCE, Choice, Run, Subject, bundled_crops, choose_precision
from vitruvian.errors import DoesNotFitError, UsageError
from vitruvian.fit.apply import apply_knobs
from vitruvian.fit.decisions import Decision
from vitruvian.fit.knee import Aim
from vitruvian.fit.plan_values import Objective, Plan
from vitruvian.fit.precision import Precision, more_islands, precision_ladder
from vitruvian.fit.quality import AuditReport, Quality, check_quality
from vitruvian.fit.verdicts import VerdictStore
from vitruvian.hardware import DTYPES, Dtype, format_bytes, free_caches, large_blocks_apart, out_of_memory, parse_size
from vitruvian.inference_plan import SMALL_PARAMETERS, InferencePlanner, planner_here
from vitruvian.predict import DETECTOR, Model
from vitruvian.running.guard import MemoryGuard
from vitruvian.running.runner import Runner, raw_outputs

AUDIT_CROPS_SMALL, AUDIT_CROPS_LARGE = 5, 2
"""Two crops show what a compute type does; small networks can afford more."""

SHORT_NAMES: dict[str, Dtype] = {"fp32": "float32", "bf16": "bfloat16", "fp16": "float16"}
"""Names of compute types that people type."""

AUTO, NONE = "auto", "none"
"""What `detector` may say beside a name."""

PERSON_WISE: tuple[zoo.TaskName, ...] = ("pose", "seg", "depth", "normal")
"""Tasks that can look at one person at a time; pose does unless told otherwise, the others when a detector is named."""

DETECTOR_BATCH = 8
"""Pictures per call of a detector: it is fast beside what follows, and whole pictures wait for its batch to fill."""

RANDOM_REFERENCE = "the weights are random numbers, and so are the results"


@dataclass(frozen=True, kw_only=True, slots=True)
class Wish:
    """What a user insists on; None leaves it to the plan."""

    device: str | None = None
    dtype: Dtype | None = None
    quality: Quality = "balanced"
    budget_bytes: int | None = None
    micro_batch: int | None = None
    objective: Objective = "throughput"
    max_latency_ms: float | None = None
    whole_if_nobody: bool = False

    @property
    def of_detector(self) -> Wish:
        """What that means for a detector: its compute type is its own choice, its batch is known to do."""
        return replace(self, dtype=None, micro_batch=DETECTOR_BATCH, objective="throughput", max_latency_ms=None)

    @property
    def aim(self) -> Aim | None:
        """What the batch is chosen for while running; None: the user chose it."""
        return None if self.micro_batch else Aim(objective=self.objective, max_latency_ms=self.max_latency_ms)


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
    accept_licence: Collection[str] = (),
    ask: Callable[[str], bool] | None = None,
    report: Callable[[str], None] = lambda line: None,
) -> Model:
    """Find, plan, fetch, check and build a model by catalogue name or by the path of a weight file.

    Args:
        name: a catalogue name or the path of a weight file.
        device: torch device string; None: the first accelerator, else the CPU.
        dtype: compute type to insist on (float32, bfloat16, float16); it is checked against float32 all the same.
        quality: how far results may be from float32: exact, balanced or fast.
        budget: bytes or text such as `12GB` that the whole process may take; None: what is free. Planned with, not
            enforced: `vitruvian.hardware.limit_memory` does that.
        micro_batch: crops per network call; None: measured while running.
        objective: throughput, or latency.
        max_latency_ms: longest network call.
        random_weights: noise instead of the published weights, for measurements.
        detector: what finds the persons that the model looks at one by one: a catalogue name or a file; `auto`: the
            embedded detector for pose, nothing for the other tasks, which then look at whole pictures; `none`: whole
            pictures.
        whole_if_nobody: look at the whole picture where the detector finds nobody.
        accept_licence: licences that were read and accepted.
        ask: asks a person about a licence.
        report: hears what takes time.

    Raises:
        UsageError: unknown name, device, path or option.
        RefusedError: licence not accepted, or weights that do not belong to the network.
        DoesNotFitError: not even one picture fits the memory, or the download the disk.
    """
    wish = Wish(
        device=device,
        dtype=None if dtype is None else _check_dtype(dtype),
        quality=check_quality(quality),
        budget_bytes=parse_size(budget) if isinstance(budget, str) else budget,
        micro_batch=micro_batch,
        objective=_check_objective(objective),
        max_latency_ms=max_latency_ms,
        whole_if_nobody=whole_if_nobody,
    )
    access = _Access(accept_licence=accept_licence, ask=ask, report=report)
    detector_name = _detector_of(weights.spec_of(name), detector)
    finder = None
    if detector_name is not None:
        finder = _load(detector_name, wish.of_detector, access)
    return _load(name, wish, access, random_weights=random_weights, finder=finder)


@dataclass(frozen=True, kw_only=True, slots=True)
class _Access:
    """How weights are fetched, and who hears about it."""

    accept_licence: Collection[str]
    ask: Callable[[str], bool] | None
    report: Callable[[str], None]


def _load(
    name: str | Path, wish: Wish, access: _Access, *, random_weights: bool = False, finder: Model | None = None
) -> Model:
    """One model, beside the detector that goes before it."""
    spec, report = weights.spec_of(name), access.report
    free_choice = "throughput" if wish.micro_batch else wish.objective
    planner = planner_here(spec, wish.device, wish.budget_bytes, free_choice, beside=finder.plan if finder else None)
    _refuse_what_does_not_fit(planner, wish)
    if random_weights:
        found = weights.random_weights(str(name))
    else:
        found = weights.find_weights(name, accept_licence=access.accept_licence, ask=access.ask, report=report)
    torch.set_num_threads(planner.hardware.cpu.cores)
    return _Loader(wish=wish, planner=planner, found=found, report=report, finder=finder).model()


@dataclass(frozen=True, kw_only=True)
class _Loader:
    """One model on its way in."""

    wish: Wish
    planner: InferencePlanner
    found: weights.FoundWeights
    report: Callable[[str], None]
    finder: Model | None = None

    def model(self) -> Model:
        choice = self._choice()
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
        self._apply(loaded.network, choice.precision, plan)
        max_batch, batch_decisions = self._batch(plan)
        build = self._builder(plan)
        return Model(
            spec=self.found.spec,
            task=self.found.spec.make_task(),
            runner=Runner(
                task=self.found.spec.make_task(),
                device=self.planner.device.device,
                network=loaded.network,
                precision=choice.precision,
                build=build,
                guard=MemoryGuard(
                    is_oom=out_of_memory,
                    free=lambda: free_caches(self.planner.device.device),
                    advice=self.planner.advice,
                ),
                max_batch_of=self.planner.max_batch,
                ladder=choice.ladder,
                on_non_finite=self._remember_non_finite,
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
                *self._finder_decisions(),
            ),
            notes=tuple(dict.fromkeys([*loaded.notes, *choice.notes, *(self.finder.notes if self.finder else ())])),
            finder=self.finder,
            whole_if_nobody=self.wish.whole_if_nobody,
        )

    @cached_property
    def subject(self) -> Subject:
        """What is audited."""
        spec = self.found.spec
        small = spec.config.parameters < SMALL_PARAMETERS
        task = spec.make_task()
        return Subject(
            task=task,
            provenance=self.found.provenance,
            device=self.planner.device.name,
            torch_version=self.planner.hardware.torch_version,
            crops=bundled_crops(task, AUDIT_CROPS_SMALL if small else AUDIT_CROPS_LARGE),
            is_oom=out_of_memory,
        )

    def _remember_non_finite(self, precision: Precision) -> None:
        """A run saw values that are not finite: the next one begins with a safer precision."""
        store, key = VerdictStore.of_user(), self.subject.key(precision)
        report = store.get(key) or AuditReport(crops=len(self.subject.crops))
        note = store.put(key, replace(report, non_finite=max(1, report.non_finite)))
        if note:
            self.report(note)

    def _choice(self) -> Choice:
        """The precision, audited or remembered."""
        workload, planner = self.found.spec.workload, self.planner
        dtypes = None if self.wish.dtype is None else [self.wish.dtype]
        ladder = precision_ladder(
            planner.device,
            workload.islands,
            more_islands(workload.build(), workload.islands, workload.head),
            dtypes=dtypes,
        )
        reference, why_not = self._reference()
        return choose_precision(
            self.subject,
            ladder,
            fits=planner.fits,
            quality=self.wish.quality,
            build=lambda precision: self._run(precision, planner.device.device),
            build_reference=reference,
            no_reference=why_not,
            insisted=self.wish.dtype is not None,
            store=VerdictStore.of_user(),
            progress=self.report,
        )

    def _reference(self) -> tuple[Callable[[], Run] | None, str]:
        """Float32 on the device, else on the host, else nowhere and why."""
        if not self.found.paths:
            return None, RANDOM_REFERENCE
        planner = self.planner
        if planner.fits(Precision()):
            return lambda: self._run(Precision(), planner.device.device), ""
        on_host = replace(planner, device=planner.hardware.cpu, budget_bytes=None)
        if planner.device.kind != "cpu" and on_host.fits(Precision()):
            return lambda: self._run(Precision(), "cpu"), ""
        return None, NO_REFERENCE

    def _run(self, precision: Precision, device: str) -> Run:
        """A network that is let go with the function that runs it."""
        network = self.found.build(device=device, precision=precision).network
        self._apply(network, precision, self.planner.plan(precision, batch=1))
        return partial(raw_outputs, network, self.found.spec.make_task(), device)

    def _builder(self, plan: Plan) -> Callable[[Precision], nn.Module]:
        def build(precision: Precision) -> nn.Module:
            network = self.found.build(device=self.planner.device.device, precision=precision).network
            self._apply(network, precision, plan)
            return network

        return build

    def _apply(self, network: nn.Module, precision: Precision, plan: Plan) -> None:
        """Match the types and put the plan's memory measures into effect."""
        apply_knobs(network, self.planner.workload(precision), replace(plan.knobs, dtype=precision.dtype))

    def _device_decision(self) -> tuple[Decision, ...]:
        if self.wish.device is not None:
            return ()
        here = self.planner.hardware.accelerators
        because = "the first accelerator" if here else "no accelerator that this torch can use"
        return (Decision(what="device", value=self.planner.device.device, because=because),)

    def _finder_decisions(self) -> tuple[Decision, ...]:
        """Which detector, and in what it computes."""
        if self.finder is None:
            return ()
        name = Decision(what="detector", value=self.finder.spec.name, because="persons are looked at one by one")
        inner = self.finder.loading_decisions
        return (name, *(replace(one, what=f"{DETECTOR}{one.what}") for one in inner if one.what == "dtype"))

    def _batch(self, plan: Plan) -> tuple[int, tuple[Decision, ...]]:
        planned, asked = plan.knobs.micro_batch, self.wish.micro_batch
        if asked is None or asked <= planned:
            return asked or planned, ()
        because = f"{asked} were asked for; more than {planned} do not fit {format_bytes(plan.budget_bytes)}"
        return planned, (Decision(what="max_batch", value=planned, because=because),)


def _detector_of(spec: zoo.ModelSpec, detector: str | Path) -> str | Path | None:
    """The detector that goes before a model; None: the model looks at whole pictures.

    Raises:
        UsageError: the model cannot look at single persons, or the detector detects nothing.
    """
    if detector == NONE or (detector == AUTO and spec.task != "pose"):
        return None
    if spec.task not in PERSON_WISE:
        raise UsageError(
            f"got a detector for {spec.name} ({spec.task}); expected a model of {', '.join(PERSON_WISE)}; leave it out"
        )
    name = zoo.DEFAULT_MODELS["detect"] if detector == AUTO else detector
    found = weights.spec_of(name)
    if found.task != "detect":
        raise UsageError(
            f"got {found.name} as a detector, which is a {found.task} model; expected one of "
            f"{', '.join(spec.name for spec in zoo.MODELS.values() if spec.task == 'detect')}, auto or none"
        )
    return name


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


def _check_dtype(name: str) -> Dtype:
    full = SHORT_NAMES.get(name, name)
    for dtype in DTYPES:
        if dtype == full:
            return dtype
    raise UsageError(f"got --dtype {name}; expected one of {', '.join(DTYPES)}; leave it out to have one chosen")


def _check_objective(name: str) -> Objective:
    for objective in get_args(Objective):
        if objective == name:
            return objective
    raise UsageError(f"got --objective {name}; expected one of {', '.join(get_args(Objective))}")
