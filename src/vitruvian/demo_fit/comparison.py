"""`run_demo_fit`: what the naive flow is predicted to take, and what ours takes, measured under a budget.

A budget -> the results of all bundled pictures, `fit.json` and the plot `fit.png` in a folder. The network's calls
dominate: some ten seconds a picture for 0.3 billion parameters on two cores.
"""

from __future__ import annotations

import json
import math
import subprocess
import sys
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from vitruvian import zoo
from vitruvian.bundled import bundled_pictures
from vitruvian.demo_fit.child import FitJob, Measured
from vitruvian.demo_fit.drawing import draw_fit
from vitruvian.errors import CheckFailedError, DoesNotFitError, UsageError, VitruvianError
from vitruvian.fit.calibration import load_calibration
from vitruvian.fit.footprint.values import Breakdown
from vitruvian.fit.knobs import Knobs
from vitruvian.fit.plan_values import Plan
from vitruvian.hardware import format_bytes, parse_size, probe
from vitruvian.inference_plan import InferencePlanner, planner_here
from vitruvian.media.atomic import write_atomic
from vitruvian.media.documents import write_json_atomic
from vitruvian.media.images import read_picture
from vitruvian.media.items import Entry, Failure
from vitruvian.media.listing import list_inputs
from vitruvian.media.png import encode_png
from vitruvian.planning import footprints_for

MODEL = "sapiens-seg-0.3b"
NAIVE_BATCH = 8
PLOT_FILE, DATA_FILE, RESULTS = "fit.png", "fit.json", "results"
STEP_BYTES, SMALL_STEP_BYTES = 500_000_000, 100_000_000
"""Budgets are round numbers; below 2 GB rounder ones would leave too much room."""


@dataclass(frozen=True, kw_only=True, slots=True)
class FitReport:
    """What was predicted and what happened."""

    model: str
    random_weights: bool
    device: str
    machine: str
    torch_version: str
    canvas_hw: tuple[int, int]
    budget_bytes: int
    naive: Breakdown
    """Predicted for the naive flow."""
    measured: Measured
    plot: Path
    """Its name below the folder is all that is stored."""

    @property
    def naive_fits(self) -> bool:
        """Whether the naive flow would fit, too."""
        return self.naive.total_bytes <= self.budget_bytes

    def to_json(self) -> dict[str, Any]:
        """Plain containers."""
        document = asdict(self) | {"plot": self.plot.name, "naive_fits": self.naive_fits}
        return document | {"naive": {"peak_bytes": self.naive.total_bytes, "breakdown_bytes": self.naive.to_json()}}


def run_demo_fit(
    out: Path,
    *,
    budget: int | str | None = None,
    model: str = MODEL,
    device: str | None = None,
    report: Callable[[str], None] = print,
) -> FitReport:
    """Run a model with random weights over the bundled pictures under a budget, in a process held to it.

    Args:
        out: folder for the plot, its data and the results.
        budget: bytes or text such as `3GB`; None: the smallest round one in which our way fits.
        model: catalogue name of a segmentation network; embedded ones keep their own weights.
        device: torch device string; None: the first accelerator, else the CPU.
        report: hears what was found, as it comes.

    Raises:
        UsageError: no such model or device, or a model of another task.
        DoesNotFitError: not even one picture at a time fits the budget.
        CheckFailedError: the process took more than the budget, or ended by itself.
    """
    planner = _planner(model, device, parse_size(budget) if isinstance(budget, str) else budget)
    spec, place = planner.spec, planner.device
    naive = naive_breakdown(spec, place.kind, place.name)
    _predict(planner, naive, report)
    measured = _in_a_child(_job(planner, out))
    found = FitReport(
        model=spec.name,
        random_weights=not spec.embedded,
        device=place.device,
        machine=f"{place.name}, {probe().cpu.cores} cores" if place.kind == "cpu" else place.name,
        torch_version=planner.hardware.torch_version,
        canvas_hw=spec.config.input_hw,
        budget_bytes=planner.budget_bytes or 0,
        naive=naive,
        measured=measured,
        plot=out / PLOT_FILE,
    )
    out.mkdir(parents=True, exist_ok=True)
    write_json_atomic(out / DATA_FILE, found.to_json())
    write_atomic(found.plot, encode_png(draw_fit(found)))
    _say_outcome(found, report)
    return found


def _planner(model: str, device: str | None, budget_bytes: int | None) -> InferencePlanner:
    """The planner of our way, with a budget in any case."""
    spec = zoo.find(model)
    if spec.task != "seg":
        raise UsageError(
            f"got the {spec.task} model {spec.name}; expected one of segmentation, whose outputs are large"
        )
    planner = planner_here(spec, device, budget_bytes)
    return planner if budget_bytes else replace(planner, budget_bytes=smallest_budget(planner))


def _predict(planner: InferencePlanner, naive: Breakdown, report: Callable[[str], None]) -> None:
    """Say what is to be expected before anything runs; `DoesNotFitError` where our way does not fit."""
    plan = planner.plan()
    budget, place = format_bytes(plan.budget_bytes), planner.device
    report(f"{planner.spec.name} on {place.device} ({place.name}), budget {budget}")
    report(
        f"the naive flow (batch {NAIVE_BATCH}, float32, whole head, all class maps enlarged) would take "
        f"{format_bytes(naive.total_bytes)}"
    )
    if not plan.fits:
        raise DoesNotFitError(f"got a budget of {budget}: {planner.advice()}")
    report(f"ours: {_ways(plan)}; predicted {format_bytes(plan.peak_bytes)}")


def _job(planner: InferencePlanner, out: Path) -> FitJob:
    return FitJob(
        model=planner.spec.name,
        random_weights=not planner.spec.embedded,
        device=planner.device.device,
        budget_bytes=planner.budget_bytes or 0,
        pictures=str(bundled_pictures()),
        out=str(out / RESULTS),
    )


def smallest_budget(planner: InferencePlanner) -> int:
    """The smallest round budget that our way fits."""
    plan = replace(planner, budget_bytes=1).plan()
    needed = plan.peak_bytes + plan.margin_bytes
    # Where nothing fits a plan need not name the thriftiest way: walk down from what would do for certain.
    step = STEP_BYTES if needed >= 4 * STEP_BYTES else SMALL_STEP_BYTES
    budget_bytes = math.ceil(needed / step) * step
    while budget_bytes > step and replace(planner, budget_bytes=budget_bytes - step).plan().fits:
        budget_bytes -= step
    return budget_bytes


def naive_breakdown(spec: zoo.ModelSpec, kind: str, device_name: str) -> Breakdown:
    """Predicted peak of the usual flow: a batch of 8 in float32, the head over all of it at once, and every class map
    of the batch enlarged to its picture's size."""
    knobs = Knobs(micro_batch=NAIVE_BATCH)
    network = footprints_for(spec.workload, kind)(knobs).at(NAIVE_BATCH)
    calibration = load_calibration(device_name)
    if calibration is not None:
        network = calibration.corrected(network, knobs)
    head = zoo.sapiens_config(spec).head
    assert head is not None
    pixels = _picture_pixels()
    per_picture = 4 * head.channels * sum(pixels) / len(pixels)
    return network + Breakdown(results_bytes=round(NAIVE_BATCH * per_picture))


def _picture_pixels() -> list[int]:
    """Of the bundled pictures."""
    entries = [entry for entry in list_inputs([bundled_pictures()], recursive=False) if not isinstance(entry, Failure)]
    return [_pixels(entry) for entry in entries]


def _pixels(entry: Entry) -> int:
    height, width = read_picture(entry).image_HW3.shape[:2]
    return height * width


def _ways(plan: Plan) -> str:
    chunked = ", head in strips" if plan.knobs.chunked_head else ""
    return f"{plan.knobs.dtype}, batch {plan.knobs.micro_batch} at most{chunked}"


def _in_a_child(job: FitJob) -> Measured:
    """The job in a process of its own, whose limit ends with it."""
    command = [sys.executable, "-c", "from vitruvian.demo_fit.child import main; main()"]
    done = subprocess.run(command, input=json.dumps(asdict(job)), stdout=subprocess.PIPE, text=True, check=False)
    lines = done.stdout.splitlines()
    if done.returncode or not lines:
        raise CheckFailedError(
            f"got a process that ended with {done.returncode} under a budget of {format_bytes(job.budget_bytes)}; "
            "expected it to finish; take a larger --budget, and report it with `vitruvian doctor`"
        )
    answer = json.loads(lines[-1])
    if "error" in answer:
        raise _with_exit_code(answer["error"]["message"], answer["error"]["exit_code"])
    return Measured.from_json(answer["measured"])


def _with_exit_code(message: str, exit_code: int) -> VitruvianError:
    kinds: list[type[VitruvianError]] = VitruvianError.__subclasses__()
    return next((kind for kind in kinds if kind.exit_code == exit_code), VitruvianError)(message)


def _say_outcome(found: FitReport, report: Callable[[str], None]) -> None:
    measured = found.measured
    report(measured.limit)
    seconds = measured.curve[-1][0] if measured.curve else 0.0
    of = measured.done + measured.failed
    report(f"{measured.done} of {of} pictures in {seconds:.0f} s, {format_bytes(measured.peak_bytes)} at most")
    if found.naive_fits:
        report(
            "note: the naive flow is predicted to fit this budget, too; take a smaller --budget to see the difference"
        )
    if found.random_weights:
        report("note: random weights: time and memory are real, the results mean nothing")
    if measured.peak_bytes > found.budget_bytes:
        raise CheckFailedError(
            f"got a peak of {format_bytes(measured.peak_bytes)}; expected at most {format_bytes(found.budget_bytes)}; "
            f"{DATA_FILE} and {PLOT_FILE} show when; please report them"
        )
