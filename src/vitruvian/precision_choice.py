"""The compute type of one model on one device: the ladder of candidates, audited on real crops or remembered.

In: found weights and a planner. Out: a `Choice`, and networks built in any precision with the measures of a plan.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property, partial

from torch import nn

from vitruvian import weights
from vitruvian.audit import NO_REFERENCE, Choice, Run, Subject, bundled_crops, choose_precision
from vitruvian.fit.apply import apply_knobs
from vitruvian.fit.plan_values import Plan
from vitruvian.fit.precision import Precision, more_islands, precision_ladder
from vitruvian.fit.quality import AuditReport, Quality
from vitruvian.fit.verdicts import VerdictStore
from vitruvian.hardware import Dtype, out_of_memory
from vitruvian.inference_plan import SMALL_PARAMETERS, InferencePlanner
from vitruvian.running.runner import raw_outputs

CROPS_SMALL, CROPS_LARGE = 5, 2
"""Two crops show what a compute type does; small networks can afford more."""

RANDOM_REFERENCE = "the weights are random numbers, and so are the results"


@dataclass(frozen=True, kw_only=True)
class PrecisionChooser:
    """Finds the precision of one model, and builds the model in it."""

    found: weights.FoundWeights
    planner: InferencePlanner
    quality: Quality
    dtype: Dtype | None
    """The type to insist on; None: the best that keeps the quality."""
    report: Callable[[str], None]

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
            crops=bundled_crops(task, CROPS_SMALL if small else CROPS_LARGE),
            is_oom=out_of_memory,
        )

    def choose(self) -> Choice:
        """The precision, audited or remembered."""
        workload, planner = self.found.spec.workload, self.planner
        ladder = precision_ladder(
            planner.device,
            workload.islands,
            more_islands(workload.build(), workload.islands, workload.head),
            dtypes=None if self.dtype is None else [self.dtype],
        )
        reference, why_not = self._reference()
        return choose_precision(
            self.subject,
            ladder,
            fits=planner.fits,
            quality=self.quality,
            build=lambda precision: self._run(precision, planner.device.device),
            build_reference=reference,
            no_reference=why_not,
            insisted=self.dtype is not None,
            store=VerdictStore.of_user(),
            progress=self.report,
        )

    def remember_non_finite(self, precision: Precision) -> None:
        """A run saw values that are not finite: the next one begins with a safer precision."""
        store, key = VerdictStore.of_user(), self.subject.key(precision)
        report = store.get(key) or AuditReport(crops=len(self.subject.crops))
        note = store.put(key, replace(report, non_finite=max(1, report.non_finite)))
        if note:
            self.report(note)

    def network(self, precision: Precision, plan: Plan) -> nn.Module:
        """The network on the planner's device, with the plan's memory measures."""
        network = self.found.build(device=self.planner.device.device, precision=precision).network
        apply_plan(network, self.planner, precision, plan)
        return network

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
        apply_plan(network, self.planner, precision, self.planner.plan(precision, batch=1))
        return partial(raw_outputs, network, self.found.spec.make_task(), device)


def apply_plan(network: nn.Module, planner: InferencePlanner, precision: Precision, plan: Plan) -> None:
    """Match the types and put the plan's memory measures into effect."""
    apply_knobs(network, planner.workload(precision), replace(plan.knobs, dtype=precision.dtype))
