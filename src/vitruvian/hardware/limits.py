"""Holds this process to a memory budget: on a Linux CPU by a limit of the system, on accelerators by torch's allocator.

On Linux RLIMIT_DATA counts private writable address space, touched or not: heaps, tensors, thread stacks, mapped weight
files (which torch maps writable, page by page without copying); it does not count shared libraries. A process with
torch, OpenCV and a dozen threads was measured at 105 MB of resident libraries, 157 MB of resident data and 473 MB
counted: the difference is room in stacks and arenas that stays untouched. The limit is therefore set relative to this
moment: what is counted now, plus budget, less what is resident now and less what the heap has free (counted, but used
again without asking). Threads started later cost their stacks (8 MB each) although they hardly touch them, so the limit
errs on the safe side.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from types import TracebackType
from typing import Protocol, Self

import torch

from vitruvian.errors import DoesNotFitError
from vitruvian.hardware.meter import AllocatorMeter, TorchAllocator
from vitruvian.hardware.process_memory import process_memory, trim_heap
from vitruvian.hardware.sizes import format_bytes

EASED_BYTES = 64_000_000
"""Room for generated code and its scratch each time memory gave out."""
_MPS_DEFAULT = 1.7
"""Of what Metal recommends."""


@dataclass(kw_only=True, slots=True)
class DeviceLimit:
    """A limit that was set, or the reason why none was. Leaving it, or `lift()`, restores what was before."""

    device: str
    budget_bytes: int
    limited: bool
    """Whether anything enforces the budget now."""
    sentence: str
    """What was set, for people."""
    _restore: Callable[[], None] | None = field(default=None, repr=False)
    _ease: Callable[[], None] | None = field(default=None, repr=False)

    def ease(self) -> None:
        """Allow a little more after memory gave out, where freed memory goes on counting.

        On a Linux CPU the heap keeps what was freed: tensors get it again, but code generators, which ask the system
        for a few pages, would get nothing any more. Resident memory stays within the budget by what was freed.
        """
        if self._ease is not None:
            self._ease()

    def lift(self) -> None:
        """Restore what was before; a second call does nothing."""
        restore, self._restore = self._restore, None
        if restore is not None:
            restore()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.lift()


class FractionApi(Protocol):
    """What is asked of torch about an accelerator whose allocator can be limited."""

    def total_bytes(self) -> int:
        """Of the device: what the fraction is of."""

    def context_bytes(self) -> int:
        """Of this process beside torch's allocator."""

    def fraction(self) -> float:
        """As set before; 1 without a limit."""

    def set_fraction(self, fraction: float) -> None:
        """Let the allocator reserve no more than this share of the device."""


def limit_memory(device: str, budget_bytes: int, api: FractionApi | None = None) -> DeviceLimit:
    """Hold the whole process to a budget on one device: allocations beyond it fail with an error that
    `out_of_memory` recognises, instead of a crash or a crawl.

    Set it when libraries are loaded, before weights are. Child processes started meanwhile inherit a CPU's limit.

    Args:
        device: torch device string.
        budget_bytes: Resident memory on a CPU, what nvidia-smi shows on a GPU.
        api: Accelerators: torch's functions; tests hand in their own.

    Raises:
        DoesNotFitError: the process takes more than the budget already.
    """
    kind = device.partition(":")[0]
    if kind == "cpu":
        return _limit_process(budget_bytes)
    if api is None and kind not in ("cuda", "xpu", "mps"):
        return _no_limit(device, budget_bytes, f"torch has no limit for {kind}")
    return _limit_allocator(device, budget_bytes, api or TorchFraction(device))


def _limit_process(budget_bytes: int) -> DeviceLimit:
    try:
        import resource
    except ImportError:
        return _no_limit("cpu", budget_bytes, "Windows has no such limit")
    _start_threads()
    heap_free_bytes = trim_heap()
    now = process_memory()
    if now.data_bytes == 0:
        return _no_limit("cpu", budget_bytes, "this system does not count a process's data")
    _check_room(budget_bytes, now.resident_bytes)
    before = soft, hard = resource.getrlimit(resource.RLIMIT_DATA)
    wanted = now.data_bytes + budget_bytes - now.resident_bytes - heap_free_bytes
    bounds = [bound for bound in (wanted, soft, hard) if bound != resource.RLIM_INFINITY]
    resource.setrlimit(resource.RLIMIT_DATA, (min(bounds), hard))
    return DeviceLimit(
        device="cpu",
        budget_bytes=budget_bytes,
        limited=True,
        sentence=f"this process is held to about {format_bytes(budget_bytes)} of memory, "
        f"{format_bytes(now.resident_bytes)} of it taken by libraries already",
        _restore=lambda: resource.setrlimit(resource.RLIMIT_DATA, before),
        _ease=_ease_process,
    )


def _ease_process() -> None:
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_DATA)
    if soft != resource.RLIM_INFINITY:
        raised = soft + EASED_BYTES
        resource.setrlimit(
            resource.RLIMIT_DATA, (raised if hard == resource.RLIM_INFINITY else min(raised, hard), hard)
        )


def _start_threads() -> None:
    """Start torch's worker threads, whose stacks count: a team that cannot start one ends the process."""
    torch.ones(1 << 20).add_(1.0)


def _limit_allocator(device: str, budget_bytes: int, api: FractionApi) -> DeviceLimit:
    context_bytes, total_bytes, before = api.context_bytes(), api.total_bytes(), api.fraction()
    _check_room(budget_bytes, context_bytes)
    api.set_fraction(min(before, 1.0, (budget_bytes - context_bytes) / total_bytes))
    return DeviceLimit(
        device=device,
        budget_bytes=budget_bytes,
        limited=True,
        sentence=f"torch may reserve {format_bytes(budget_bytes - context_bytes)} of {format_bytes(total_bytes)} on "
        f"{device}; {format_bytes(context_bytes)} of the budget are taken by the driver",
        _restore=lambda: api.set_fraction(before),
    )


def _check_room(budget_bytes: int, taken_bytes: int) -> None:
    if taken_bytes >= budget_bytes:
        raise DoesNotFitError(
            f"got a budget of {format_bytes(budget_bytes)}; expected more than the {format_bytes(taken_bytes)} that "
            "this process takes before any work; raise --budget"
        )


def _no_limit(device: str, budget_bytes: int, because: str) -> DeviceLimit:
    return DeviceLimit(
        device=device,
        budget_bytes=budget_bytes,
        limited=False,
        sentence=f"only the plan keeps to the budget of {format_bytes(budget_bytes)} on {device}: {because}",
    )


class TorchFraction:
    """The torch that is installed, for `cuda`, `xpu` and `mps` devices."""

    def __init__(self, device: str) -> None:
        self._device = torch.device(device)
        self._kind = self._device.type

    def total_bytes(self) -> int:
        if self._kind == "mps":
            return torch.mps.recommended_max_memory()
        module = torch.xpu if self._kind == "xpu" else torch.cuda
        return int(module.get_device_properties(self._device).total_memory)

    def context_bytes(self) -> int:
        return 0 if self._kind == "mps" else AllocatorMeter(TorchAllocator(str(self._device))).context_bytes()

    def fraction(self) -> float:
        module = {"mps": torch.mps, "xpu": torch.xpu, "cuda": torch.cuda}[self._kind]
        ask = getattr(module, "get_per_process_memory_fraction", None)
        # Where torch cannot tell: what it begins with.
        return float(ask(self._device)) if ask is not None else _MPS_DEFAULT if self._kind == "mps" else 1.0

    def set_fraction(self, fraction: float) -> None:
        if self._kind == "mps":
            torch.mps.set_per_process_memory_fraction(fraction)
        elif self._kind == "xpu":
            torch.xpu.set_per_process_memory_fraction(fraction, self._device)
        else:
            torch.cuda.set_per_process_memory_fraction(fraction, self._device)
