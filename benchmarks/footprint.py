"""Predicted against measured memory: every case in a fresh process, the resident peak of the whole process.

Weights are noise, made in place. Inference runs a batch once, training two steps (the first has no optimizer state
yet), both with the published loss. Cases predicted above --limit are named and not run.
Run: python benchmarks/footprint.py [--only nano,0.3b-infer] [--device cpu] [--limit 10GB] [--remember]
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import torch

from side_by_side import Watch, conditions_line, print_json, print_table
from vitruvian import zoo
from vitruvian.fit.apply import apply_knobs, loss_of
from vitruvian.fit.calibration import Calibration, CalibrationPoint, remember
from vitruvian.fit.footprint import footprints_of
from vitruvian.fit.footprint.record import materialise, resized
from vitruvian.fit.knobs import Knobs, TrainingKnobs
from vitruvian.fit.workload import Workload
from vitruvian.hardware import Dtype, open_meter, probe
from vitruvian.training.workload import training_workload


@dataclass(frozen=True, kw_only=True, slots=True)
class Case:
    """One row."""

    name: str
    model: str
    knobs: Knobs

    @property
    def workload(self) -> Workload:
        spec = zoo.find(self.model)
        return spec.workload if self.knobs.training is None else training_workload(spec, "normal")

    @property
    def id(self) -> str:
        return f"{self.name}-{self.knobs.dtype}-{self.knobs.micro_batch}"


def cases() -> Iterator[Case]:
    """All rows, small ones first."""
    for dtype in ("float32", "bfloat16"):
        for batch in (1, 8):
            yield _case("nano", "sapiens-seg-nano", dtype, batch)
        for batch in (1, 2, 4):
            yield _case("0.3b-infer", "sapiens-seg-0.3b", dtype, batch)
        yield _case("0.3b-whole-head", "sapiens-seg-0.3b", dtype, 1, chunked=False)
        for batch in (1, 2, 3):
            yield _case("0.3b-train", "sapiens-normal-0.3b", dtype, batch, hw=(512, 384), training=TrainingKnobs())
        checkpointed = TrainingKnobs(checkpointing="blocks")
        yield _case("0.3b-checkpointed", "sapiens-normal-0.3b", dtype, 1, training=checkpointed)


def _case(
    name: str,
    model: str,
    dtype: Dtype,
    batch: int,
    *,
    hw: tuple[int, int] | None = None,
    training: TrainingKnobs | None = None,
    chunked: bool = True,
) -> Case:
    chunked = chunked and training is None
    if training is not None and dtype != "float32":
        training = replace(training, precision="autocast")
    knobs = Knobs(dtype=dtype, micro_batch=batch, input_hw=hw, training=training, chunked_head=chunked)
    return Case(name=name, model=model, knobs=knobs)


def run_here(case: Case, device: str) -> dict[str, int]:
    """Carry out a case in this process; bytes at its peak."""
    torch.manual_seed(0)
    workload = resized(case.workload, case.knobs)
    module = workload.build()
    apply_knobs(module, workload, case.knobs)
    materialise(module).to(device)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.normal_(std=0.02)
    given = {
        name: torch.randn(spec.shape, dtype=spec.dtype, device=device)
        for name, spec in workload.inputs(case.knobs.micro_batch).items()
    }
    meter = open_meter(device)
    meter.take_high()
    (stage,) = workload.stages
    if case.knobs.training is None:
        with torch.inference_mode():
            stage.call(module, given)
    else:
        optimizer = torch.optim.AdamW([p for p in module.parameters() if p.requires_grad], fused=True)
        for _ in range(2):
            loss_of(workload, stage.call(module, given)).backward()
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
    high = meter.take_high()
    assert high is not None, "this system keeps no peak"
    return {"measured_bytes": high}


def main() -> None:
    """Predict, measure, print."""
    arguments = _arguments()
    if arguments.child:
        case = next(case for case in cases() if case.id == arguments.child)
        print_json(run_here(case, arguments.device))
        return
    watch, backend = Watch(), arguments.device.partition(":")[0]
    rows = []
    for case in cases():
        if arguments.only and case.name not in arguments.only.split(","):
            continue
        footprint = footprints_of(case.workload, backend)(case.knobs)
        breakdown = footprint.at(case.knobs.micro_batch)
        row: dict[str, Any] = {"case": case, "breakdown": breakdown, "operator": footprint.peak_phase(1).at_operator}
        if breakdown.total_bytes <= arguments.limit * 1e9:
            row |= _measure(case, arguments.device)
        rows.append(row)
        print(
            f"{case.id}: {breakdown.total_bytes / 1e9:.2f} GB predicted, {row.get('measured_bytes', 0) / 1e9:.2f}",
            flush=True,
        )
    _report(rows, arguments, watch)


def _measure(case: Case, device: str) -> dict[str, Any]:
    command = [sys.executable, __file__, "--child", case.id, "--device", device]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        print(done.stderr[-2000:], file=sys.stderr)
        return {"failed": done.returncode}
    return json.loads(done.stdout.splitlines()[-1])


def _report(rows: list[dict[str, Any]], arguments: argparse.Namespace, watch: Watch) -> None:
    device = probe().device(arguments.device)
    points = tuple(
        CalibrationPoint.of(row["breakdown"], row["measured_bytes"], row["case"].knobs, workload=row["case"].model)
        for row in rows
        if "measured_bytes" in row
    )
    calibration = Calibration(device=device.name, torch_version=torch.__version__, points=points)
    if arguments.remember:
        for point in points:
            remember(point, device.name)
    table = []
    for row in rows:
        case, breakdown = row["case"], row["breakdown"]
        measured = row.get("measured_bytes")
        # A row's own measurement must not correct it.
        others = tuple(point for point in points if point.measured_bytes != measured)
        corrected = replace(calibration, points=others).corrected(breakdown, case.knobs)
        table.append(
            (
                case.name,
                f"{case.knobs.dtype}{' autocast' if case.knobs.training and case.knobs.dtype != 'float32' else ''}",
                case.knobs.micro_batch,
                f"{breakdown.total_bytes / 1e9:.2f}",
                f"{measured / 1e9:.2f}" if measured else "not run",
                f"{breakdown.total_bytes / measured - 1:+.1%}" if measured else "",
                f"{corrected.total_bytes / measured - 1:+.1%}" if measured else "",
            )
        )
    print_table(("case", "type", "batch", "predicted GB", "measured GB", "error", "error after calibration"), table)
    conditions = watch.conditions()
    print(conditions_line(conditions))
    documents = [
        {
            "case": row["case"].id,
            "predicted_bytes": row["breakdown"].to_json(),
            "measured_bytes": row.get("measured_bytes"),
        }
        for row in rows
    ]
    print_json({"conditions": conditions, "factors": calibration.factors(), "rows": documents})


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", default="", help="case names, separated by commas")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--limit", type=float, default=10.0, help="GB; cases predicted above it are not run")
    parser.add_argument("--remember", action="store_true", help="keep what was measured as this machine's calibration")
    parser.add_argument("--child", default="", help=argparse.SUPPRESS)
    return parser.parse_args()


if __name__ == "__main__":
    main()
