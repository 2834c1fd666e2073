"""What was measured on a machine, as a value that corrects later predictions there.

In: predicted breakdowns and measured peaks. Out: one factor per mode (training, inference) and compute type, on what is
estimated: activations and workspace. Weights, gradients and state are counted exactly and stay. Everything lies in one
readable JSON file in the cache folder; deleting it, or `clear_calibration`, forgets.
"""

from __future__ import annotations

import json
import os
import statistics
from collections.abc import Iterable
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

import torch

from vitruvian.cache import cache_dir
from vitruvian.fit.footprint.values import Breakdown
from vitruvian.fit.knobs import Knobs
from vitruvian.hardware import Dtype, probe

FILE = "calibration.json"
TELLING_BYTES = 100_000_000
"""Points whose estimated part is smaller say nothing: the process's own size varies by more than that share."""
SMALLEST, LARGEST = 0.5, 2.0
"""Bounds of a factor: beyond them something else was measured than what was predicted."""
KEPT = 9
"""Latest points of a mode and type that count."""

Mode = Literal["train", "infer"]


@dataclass(frozen=True, kw_only=True, slots=True)
class CalibrationPoint:
    """One run: what was predicted and what was measured."""

    mode: Mode
    dtype: Dtype
    workload: str
    batch: int
    estimated_bytes: int
    """Predicted activations and workspace."""
    counted_bytes: int
    """All other predicted parts."""
    measured_bytes: int
    """Peak of the whole process."""
    date: str
    """Day of the measurement, ISO 8601."""

    @classmethod
    def of(cls, predicted: Breakdown, measured_bytes: int, knobs: Knobs, workload: str) -> CalibrationPoint:
        """The point of a run that was carried out with these knobs, uncorrected prediction beside measurement."""
        estimated = predicted.activations_bytes + predicted.workspace_bytes
        return cls(
            mode=_mode(knobs),
            dtype=knobs.dtype,
            workload=workload,
            batch=knobs.micro_batch,
            estimated_bytes=estimated,
            counted_bytes=predicted.total_bytes - estimated,
            measured_bytes=measured_bytes,
            date=datetime.now(UTC).date().isoformat(),
        )

    @property
    def factor(self) -> float | None:
        """What the estimated part has to be multiplied with; None where it is too small to tell."""
        if self.estimated_bytes < TELLING_BYTES:
            return None
        return min(LARGEST, max(SMALLEST, (self.measured_bytes - self.counted_bytes) / self.estimated_bytes))


@dataclass(frozen=True, kw_only=True, slots=True)
class Calibration:
    """All points of one device under one torch version."""

    device: str
    """The device's name as `probe()` has it."""
    torch_version: str
    points: tuple[CalibrationPoint, ...] = ()

    def factor(self, knobs: Knobs) -> float | None:
        """Median over the latest telling points of the same mode and compute type; None where there is none."""
        factors = [
            point.factor
            for point in self.points
            if (point.mode, point.dtype) == (_mode(knobs), knobs.dtype) and point.factor is not None
        ]
        return statistics.median(factors[-KEPT:]) if factors else None

    def factors(self) -> dict[str, float]:
        """Every factor there is, by `mode dtype`, for people."""
        found = {}
        for mode, dtype in sorted({(point.mode, point.dtype) for point in self.points}):
            factors = [p.factor for p in self.points if (p.mode, p.dtype) == (mode, dtype) and p.factor is not None]
            if factors:
                found[f"{mode} {dtype}"] = round(statistics.median(factors[-KEPT:]), 3)
        return found

    def corrected(self, breakdown: Breakdown, knobs: Knobs) -> Breakdown:
        """The breakdown as it would be measured here; unchanged where nothing comparable was."""
        factor = self.factor(knobs)
        if factor is None:
            return breakdown
        return replace(
            breakdown,
            activations_bytes=round(breakdown.activations_bytes * factor),
            workspace_bytes=round(breakdown.workspace_bytes * factor),
        )

    def updated(self, point: CalibrationPoint) -> Calibration:
        """With one point more; an earlier one of the same workload, batch, mode and type gives way."""
        same = (point.mode, point.dtype, point.workload, point.batch)
        kept = [one for one in self.points if (one.mode, one.dtype, one.workload, one.batch) != same]
        return replace(self, points=(*kept, point))

    def save(self) -> None:
        """Keep it for later runs; what the file says about other devices and torch versions stays."""
        others = [one for one in calibrations() if (one.device, one.torch_version) != (self.device, self.torch_version)]
        _write([*others, self])


def load_calibration(device: str | None = None) -> Calibration | None:
    """What was measured on a device (by its name; None: this machine's default one) under this torch; None: nothing."""
    if device is None:
        hardware = probe()
        device = hardware.device(hardware.default_device).name
    return next(
        (
            one
            for one in calibrations()
            if (one.device, one.torch_version) == (device, torch.__version__) and one.points
        ),
        None,
    )


def remember(point: CalibrationPoint, device: str) -> Calibration:
    """Add a point to what is kept of a device and return it all."""
    before = load_calibration(device) or Calibration(device=device, torch_version=torch.__version__)
    after = before.updated(point)
    after.save()
    return after


def calibrations() -> tuple[Calibration, ...]:
    """Everything that is kept; a file that cannot be read counts as none and is replaced by the next one."""
    try:
        document = json.loads(_path().read_text(encoding="utf-8"))
        return tuple(_from_json(one) for one in document["calibrations"])
    except (OSError, ValueError, KeyError, TypeError):
        return ()


def clear_calibration() -> bool:
    """Forget everything; whether there was anything."""
    existed = _path().exists()
    _path().unlink(missing_ok=True)
    return existed


def _from_json(document: dict[str, Any]) -> Calibration:
    points = tuple(CalibrationPoint(**point) for point in document["points"])
    for point in points:
        # A file edited by hand must fail here and not in the middle of a plan.
        if not all(
            isinstance(value, int) for value in (point.estimated_bytes, point.counted_bytes, point.measured_bytes)
        ):
            raise TypeError("bytes that are no whole numbers")
    return Calibration(device=document["device"], torch_version=document["torch_version"], points=points)


def _write(found: Iterable[Calibration]) -> None:
    path = _path()
    path.parent.mkdir(parents=True, exist_ok=True)
    document = {"calibrations": [asdict(one) for one in found]}
    temporary = path.with_suffix(f".{os.getpid()}.partial")
    temporary.write_text(json.dumps(document, indent=1), encoding="utf-8")
    os.replace(temporary, path)


def _path() -> Path:
    return cache_dir() / FILE


def _mode(knobs: Knobs) -> Mode:
    return "infer" if knobs.training is None else "train"
