"""What this process takes of a device right now, and the highest it took since it was last asked.

Every reading has three figures. `device_bytes` is the one that budgets mean: what nvidia-smi shows for the process on a
GPU, what `top` shows as resident on a processor. A processor has no caching allocator: allocated and reserved are the
resident memory without mapped files there.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import torch

from vitruvian.hardware.process_memory import process_memory, restart_peak

ASSUMED_CONTEXT_BYTES = 600_000_000
"""Driver context and kernels of a process on a CUDA device, where other programs make it impossible to see."""
_LARGEST_CONTEXT_BYTES = 1_200_000_000
"""More than a context and a desktop's windows take: beyond this, other programs compute on the device."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Reading:
    """Bytes of one moment."""

    allocated_bytes: int
    """In tensors."""
    reserved_bytes: int
    """Held by torch's allocator, its cache included."""
    device_bytes: int
    """Of the whole process: reserved, context, libraries."""


class Meter(Protocol):
    """Reads one device's memory as this process holds it."""

    def reading(self) -> Reading:
        """Now."""

    def take_high(self) -> int | None:
        """Highest `device_bytes` since the last call, spikes between readings included; None where none keeps it."""


def open_meter(device: str) -> Meter:
    """A meter for a torch device string.

    On an accelerator the first reading counts as this process's share: open it before other programs are started there.
    Meters restart the peak counters of torch or of the system, so two of one device disturb each other's `take_high`.

    Raises:
        RuntimeError, AssertionError: torch has no such device.
    """
    kind = device.partition(":")[0]
    if kind == "cpu":
        return ProcessMeter()
    if kind == "mps":
        return MpsMeter()
    return AllocatorMeter(TorchAllocator(device))


class ProcessMeter:
    """Host memory of this process."""

    def __init__(self) -> None:
        self._restarts = restart_peak()

    def reading(self) -> Reading:
        memory = process_memory()
        return Reading(
            allocated_bytes=memory.private_bytes,
            reserved_bytes=memory.private_bytes,
            device_bytes=memory.resident_bytes,
        )

    def take_high(self) -> int | None:
        if not self._restarts:
            return None
        high = process_memory().peak_bytes
        restart_peak()
        return high


class AllocatorApi(Protocol):
    """What is asked of torch about one accelerator's memory."""

    def allocated_bytes(self) -> int:
        """In tensors of this process."""

    def reserved_bytes(self) -> int:
        """Held by this process's allocator."""

    def highest_reserved_bytes(self) -> int:
        """Since the counters were restarted."""

    def restart(self) -> None:
        """Restart the peak counters."""

    def used_bytes(self) -> int | None:
        """Of the device, by all processes; None where nothing tells."""


class TorchAllocator:
    """The torch that is installed, for `cuda` and `xpu` devices."""

    def __init__(self, device: str) -> None:
        self._device = torch.device(device)
        self._module = torch.xpu if self._device.type == "xpu" else torch.cuda

    def allocated_bytes(self) -> int:
        return self._module.memory_allocated(self._device)

    def reserved_bytes(self) -> int:
        return self._module.memory_reserved(self._device)

    def highest_reserved_bytes(self) -> int:
        return self._module.max_memory_reserved(self._device)

    def restart(self) -> None:
        self._module.reset_peak_memory_stats(self._device)

    def used_bytes(self) -> int | None:
        if not hasattr(self._module, "mem_get_info"):
            return None
        free_bytes, total_bytes = self._module.mem_get_info(self._device)
        return total_bytes - free_bytes


class AllocatorMeter:
    """An accelerator with a caching allocator of torch's.

    The process's share is what the device has in use less what others had in use when the meter was opened. Where that
    cannot be told apart (much was in use already), a usual context is taken to be ours and the rest to be others'.
    """

    def __init__(self, api: AllocatorApi) -> None:
        self._api = api
        beside = self._beside_allocator()
        ours = beside if beside <= _LARGEST_CONTEXT_BYTES else ASSUMED_CONTEXT_BYTES
        self._others_bytes = beside - ours
        api.restart()

    def reading(self) -> Reading:
        reserved = self._api.reserved_bytes()
        return Reading(
            allocated_bytes=self._api.allocated_bytes(),
            reserved_bytes=reserved,
            device_bytes=reserved + self.context_bytes(),
        )

    def take_high(self) -> int | None:
        high = self._api.highest_reserved_bytes() + self.context_bytes()
        self._api.restart()
        return high

    def context_bytes(self) -> int:
        """Of this process beside torch's allocator: driver context, kernels, libraries' own buffers."""
        return max(0, self._beside_allocator() - self._others_bytes)

    def _beside_allocator(self) -> int:
        used = self._api.used_bytes()
        return max(0, used - self._api.reserved_bytes()) if used is not None else 0


class MpsMeter:
    """Apple's devices; nothing keeps a peak there."""

    def reading(self) -> Reading:
        driver_bytes = torch.mps.driver_allocated_memory()
        return Reading(
            allocated_bytes=torch.mps.current_allocated_memory(),
            reserved_bytes=driver_bytes,
            device_bytes=driver_bytes,
        )

    def take_high(self) -> int | None:
        return None
