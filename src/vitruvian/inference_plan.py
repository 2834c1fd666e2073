"""What a run over pictures takes: the network's footprint, several calls at once, pictures and results in flight.

In: a spec, a machine, a budget. Out: plans for the precisions that are asked about, and advice where nothing fits.
A precision that was never traced on this machine takes a second or two, one that was takes none.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from vitruvian import zoo
from vitruvian.fit.calibration import Calibration, load_calibration
from vitruvian.fit.footprint.values import Breakdown, Footprint, Footprints
from vitruvian.fit.knobs import Knobs
from vitruvian.fit.ladder import SMALL_PARAMETERS
from vitruvian.fit.plan import make_plan
from vitruvian.fit.plan_values import Objective, Plan, PlanJob
from vitruvian.fit.precision import Precision
from vitruvian.fit.workload import Workload
from vitruvian.hardware import Device, Hardware, format_bytes, probe
from vitruvian.planning import footprints_for, offers_of

MAX_BATCH = 64
"""Larger ones were never seen to be faster for networks of this kind; the ramp stops long before."""

ASSUMED_PIXELS = 1920 * 1080
"""Pictures are planned for at this size; their real ones are known only when they are read."""

PICTURES_PER_WORKER = 12
"""Decoded pictures that may be alive per worker thread, over all stages of the road."""


@dataclass(frozen=True, kw_only=True)
class InferencePlanner:
    """Plans for one model on one device."""

    spec: zoo.ModelSpec
    hardware: Hardware
    device: Device
    budget_bytes: int | None
    objective: Objective
    calibration: Calibration | None
    calls_at_once: int = 1
    """Network calls that run side by side."""
    beside_bytes: int = 0
    """What another network of the same road takes on the device."""
    measures: bool = True
    """Whether the network may take memory measures of its own; compiled code has none."""

    def plan(self, precision: Precision | None = None, *, batch: int | None = None) -> Plan:
        """The plan in a precision (None: the first type that fits, by the device's support, published islands)."""
        workload = self.workload(precision)
        job = PlanJob(
            device=self.device.device,
            budget_bytes=self.budget_bytes,
            batch=batch,
            dtypes=None if precision is None else (precision.dtype,),
            max_batch=MAX_BATCH,
            objective=self.objective,
            offers=offers_of(workload),
            input_hw=workload.input_hw,
            patch_size=workload.patch_size,
            parameters=self.spec.config.parameters,
            published=False,
        )
        return make_plan(self._footprints(workload), job, self.hardware, self.calibration)

    def fits(self, precision: Precision) -> bool:
        """Whether one picture at a time fits in a precision."""
        return self.plan(precision, batch=1).fits

    def predicted(self, precision: Precision, batch: int) -> Breakdown:
        """What a batch takes by the footprint alone, no measurement applied."""
        knobs = self.plan(precision, batch=batch).knobs
        return self._footprints(self.workload(precision))(knobs).at(batch)

    def max_batch(self, precision: Precision) -> int:
        """Largest batch in a precision; 0 where not even one picture fits."""
        plan = self.plan(precision)
        return plan.knobs.micro_batch if plan.fits else 0

    def advice(self) -> str:
        """What is missing and which command would fit, for people."""
        plan = self.plan()
        short = (
            f"one picture takes {format_bytes(plan.peak_bytes)} and a margin of {format_bytes(plan.margin_bytes)}, "
            f"{format_bytes(plan.budget_bytes)} are there"
        )
        return f"{short}; {self._next_step()}"

    def _next_step(self) -> str:
        smaller = self._smaller_model()
        steps = [f"`--model {smaller.name}` would fit"] if smaller else []
        if self.device.kind != "cpu" and replace(self, device=self.hardware.cpu, budget_bytes=None).plan().fits:
            steps.append("`--device cpu` would fit")
        if self.budget_bytes is not None and self.budget_bytes < self.device.free_bytes:
            steps.append("a larger --budget")
        steps.append(f"`vitruvian plan {self.spec.name} --machine NAME` tells what another machine could do")
        return " or ".join(steps)

    def _smaller_model(self) -> zoo.ModelSpec | None:
        """The largest catalogue model of this task that is smaller and fits."""
        own, task = self.spec.config, replace(self.spec, canvas_hw=None).make_task()
        candidates = [
            spec
            for spec in zoo.MODELS.values()
            if spec.task == self.spec.task
            and spec.config.parameters < own.parameters
            and (spec.embedded or spec.make_task() == task)
        ]
        for spec in sorted(candidates, key=lambda one: one.config.parameters, reverse=True):
            if replace(self, spec=spec).plan().fits:
                return spec
        return None

    def workload(self, precision: Precision | None) -> Workload:
        """The network with the float32 islands of a precision; those of float32 itself change nothing."""
        workload = self.spec.workload if self.measures else replace(self.spec.workload, knobs=frozenset())
        if precision is None or precision.dtype == "float32":
            return workload
        return replace(workload, islands=precision.islands)

    def _footprints(self, workload: Workload) -> Footprints:
        plain = footprints_for(workload, self.device.kind)

        def footprints(knobs: Knobs) -> Footprint:
            beside_bytes = self._results_bytes + self.beside_bytes
            return _on_the_road(plain(knobs), calls=self.calls_at_once, beside_bytes=beside_bytes)

        return footprints

    @property
    def _results_bytes(self) -> int:
        """On the host; a device of its own holds next to nothing beside the network."""
        result = self.spec.make_task().result.bytes_per_pixel
        if self.device.kind != "cpu":
            return result * ASSUMED_PIXELS
        per_worker = PICTURES_PER_WORKER * 3 + result
        return self.hardware.cpu.cores * per_worker * ASSUMED_PIXELS


def one_core_each(spec: zoo.ModelSpec, device: str) -> bool:
    """Whether a network is so small that a core runs a micro-batch of its own.

    Threads that share one small operation wait for each other longer than they compute.
    """
    return device == "cpu" and spec.config.parameters < SMALL_PARAMETERS


def planner_here(
    spec: zoo.ModelSpec,
    device: str | None = None,
    budget_bytes: int | None = None,
    objective: Objective = "throughput",
    *,
    beside: Sequence[Plan] = (),
) -> InferencePlanner:
    """The planner of one model on this machine.

    Args:
        spec: of the model.
        device: torch device string; None: the first accelerator, else the CPU.
        budget_bytes: for the whole process; None: what is free.
        objective: what batches are planned for.
        beside: plans of networks that are on the same device at the same time.

    Raises:
        UsageError: there is no such device.
    """
    hardware = probe()
    place = hardware.device(device or hardware.default_device)
    return InferencePlanner(
        spec=spec,
        hardware=hardware,
        device=place,
        budget_bytes=budget_bytes,
        objective=objective,
        calibration=load_calibration(place.name),
        calls_at_once=hardware.cpu.cores if one_core_each(spec, place.device) else 1,
        beside_bytes=sum(_of_network(plan.breakdown) for plan in beside),
    )


def _of_network(breakdown: Breakdown) -> int:
    """What a network takes without the process round it and without pictures in flight."""
    return breakdown.weights_bytes + breakdown.activations_bytes + breakdown.workspace_bytes


def _on_the_road(footprint: Footprint, *, calls: int, beside_bytes: int) -> Footprint:
    """A footprint of several calls at once, with what lies beside the network."""
    phases = tuple(
        replace(phase, fixed=_active_times(phase.fixed, calls), per_item=_active_times(phase.per_item, calls))
        for phase in footprint.phases
    )
    return replace(footprint, phases=phases).with_beside(beside_bytes)


def _active_times(breakdown: Breakdown, calls: int) -> Breakdown:
    """Every call has its own activations and scratch; weights are shared."""
    return replace(
        breakdown,
        activations_bytes=breakdown.activations_bytes * calls,
        workspace_bytes=breakdown.workspace_bytes * calls,
    )
