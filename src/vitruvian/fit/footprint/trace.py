"""`trace(workload, knobs) -> Footprint`: what a workload takes, without weights and without the device."""

from __future__ import annotations

from vitruvian.fit.footprint.derive import footprint_of
from vitruvian.fit.footprint.record import record
from vitruvian.fit.footprint.values import Footprint
from vitruvian.fit.knobs import Knobs
from vitruvian.fit.workload import Workload


def trace(workload: Workload, knobs: Knobs, backend: str = "cpu") -> Footprint:
    """Predict the memory of a workload in this process; `footprints_of` remembers and isolates.

    Args:
        workload: the network.
        knobs: how it is carried out; the micro-batch plays no part.
        backend: kind of device whose operators' workspace is counted: cpu, cuda, ...

    Raises:
        UsageError: the knobs ask for what the network does not have.
    """
    return footprint_of(record(workload, knobs, backend), knobs)
