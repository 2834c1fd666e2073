"""How much of a device a run may take, and how much of that a prediction leaves free."""

from __future__ import annotations

from dataclasses import dataclass

from vitruvian.fit.calibration import Calibration
from vitruvian.fit.footprint.values import Breakdown
from vitruvian.fit.knobs import Knobs
from vitruvian.fit.plan_values import PlanJob
from vitruvian.hardware import Accelerator, Device, Hardware

FIXED_MARGIN_BYTES = 256_000_000
"""Allocator slack that grows with nothing: fragments, rounding, a second library's handles."""
WHOLE_SHARE = 0.01
"""Of everything: blocks of an allocator are rounded up."""
ESTIMATED_SHARE, CALIBRATED_SHARE = 0.15, 0.05
"""Of what is predicted, not counted (activations, workspace, results): before measuring, and after. With these no row
of docs/footprints.md would have left its budget."""
HOST_SHARE = 0.85
"""Of free host memory that moved optimizer state may take; the loader and the interpreter need the rest."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Budget:
    """What a run must stay under."""

    device: Device
    total_bytes: int
    because: str
    host_bytes: int
    """Host memory for what leaves the device; 0 where device and host are one."""
    calibration: Calibration | None = None
    """What was measured on the device."""

    def corrected(self, breakdown: Breakdown, knobs: Knobs) -> Breakdown:
        """A prediction as it would be measured."""
        return breakdown if self.calibration is None else self.calibration.corrected(breakdown, knobs)

    def calibrated(self, knobs: Knobs) -> bool:
        """Whether something comparable was measured."""
        return self.calibration is not None and self.calibration.factor(knobs) is not None

    def margin_bytes(self, breakdown: Breakdown, knobs: Knobs) -> int:
        """What a prediction leaves free: little of what is counted, more of what is estimated."""
        share = self._share(knobs)
        estimated = breakdown.activations_bytes + breakdown.workspace_bytes + breakdown.results_bytes
        return FIXED_MARGIN_BYTES + round(WHOLE_SHARE * breakdown.total_bytes + share * estimated)

    def margin_text(self, knobs: Knobs) -> str:
        """The rule in a clause."""
        share = self._share(knobs)
        why = "corrected by measurements here" if self.calibrated(knobs) else "never measured on this machine"
        return (
            f"{FIXED_MARGIN_BYTES / 1e6:.0f} MB, {WHOLE_SHARE:.0%} of all and {share:.0%} of activations and "
            f"workspace, which are estimates ({why})"
        )

    def _share(self, knobs: Knobs) -> float:
        return CALIBRATED_SHARE if self.calibrated(knobs) else ESTIMATED_SHARE


def budget_of(job: PlanJob, hardware: Hardware, calibration: Calibration | None = None) -> Budget:
    """The budget of a job on a machine.

    Raises:
        UsageError: the machine has no such device, or more devices are wanted than it has.
    """
    device = hardware.device(job.device or hardware.default_device)
    apart = isinstance(device, Accelerator) and not device.shares_host_memory
    processes = job.gpus if device.kind == "cpu" else 1  # accelerators have memory of their own
    shared = f", shared by {processes} processes" if processes > 1 else ""
    return Budget(
        device=device,
        total_bytes=device.free_bytes // processes if job.budget_bytes is None else job.budget_bytes,
        because=f"free on {device.name}{shared}" if job.budget_bytes is None else "as asked for",
        host_bytes=round(HOST_SHARE * hardware.cpu.free_bytes) if apart else 0,
        calibration=calibration,
    )
