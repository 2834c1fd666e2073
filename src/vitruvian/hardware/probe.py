"""`probe()` -> one immutable `Hardware` value. Costs the import of torch and, with a GPU, the start of its driver."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache

import torch

from vitruvian.errors import UsageError
from vitruvian.hardware.host import cpu_name, memory_bytes, usable_cores


@dataclass(frozen=True, kw_only=True, slots=True)
class Cpu:
    """The processor and its memory."""

    name: str
    cores: int
    total_bytes: int
    free_bytes: int
    native_bf16: bool
    """Has bfloat16 dot-product instructions; torch alone reports emulated support too."""
    native_fp16: bool


@dataclass(frozen=True, kw_only=True, slots=True)
class Accelerator:
    """One device of the torch accelerator backend."""

    device: str
    """torch device string, e.g. `cuda:0`."""
    name: str
    total_bytes: int
    free_bytes: int
    capability: tuple[int, int] | None
    """CUDA compute capability."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Hardware:
    """What is here; can be written by hand in tests."""

    cpu: Cpu
    accelerators: tuple[Accelerator, ...]
    torch_version: str

    @property
    def default_device(self) -> str:
        """First accelerator, else the CPU."""
        return self.accelerators[0].device if self.accelerators else "cpu"

    def check_device(self, device: str) -> str:
        """The device, if it is here.

        Raises:
            UsageError: it is not.
        """
        here = ["cpu", *(accelerator.device for accelerator in self.accelerators)]
        kinds = {name.partition(":")[0] for name in here}
        if device in here or device in kinds:
            return device
        raise UsageError(f"got --device {device}; expected one of {', '.join(here)}; leave it out to choose by itself")

    def line(self) -> str:
        """The machine in one line."""
        cpu = f"{self.cpu.name}, {self.cpu.cores} cores, {self.cpu.total_bytes / 1e9:.0f} GB"
        gpus = [f"{gpu.name} {gpu.total_bytes / 1e9:.0f} GB" for gpu in self.accelerators]
        return f"{' + '.join([*gpus, cpu])}; torch {self.torch_version}"


@cache
def probe() -> Hardware:
    """Look at the machine once per process."""
    total_bytes, free_bytes = memory_bytes()
    capabilities = torch.cpu.get_capabilities() if hasattr(torch.cpu, "get_capabilities") else {}
    cpu = Cpu(
        name=cpu_name(),
        cores=usable_cores(),
        total_bytes=total_bytes,
        free_bytes=free_bytes,
        native_bf16=_either(capabilities, "avx512_bf16", "amx_bf16"),
        native_fp16=_either(capabilities, "avx512_fp16", "amx_fp16"),
    )
    return Hardware(cpu=cpu, accelerators=_accelerators(), torch_version=torch.__version__)


def synchronize(device: str) -> None:
    """Wait until the device has done what was queued; nothing to wait for on a CPU."""
    if device.partition(":")[0] != "cpu":
        torch.accelerator.synchronize(torch.device(device))


def _either(capabilities: Mapping[str, object], *names: str) -> bool:
    if capabilities:
        return any(bool(capabilities.get(name)) for name in names)
    probes = {"avx512_bf16": "_is_avx512_bf16_supported", "amx_bf16": "_is_amx_tile_supported"}
    return any(
        name in probes and hasattr(torch.cpu, probes[name]) and getattr(torch.cpu, probes[name])() for name in names
    )


def _accelerators() -> tuple[Accelerator, ...]:
    if not torch.accelerator.is_available():
        return ()
    found = []
    kind = torch.accelerator.current_accelerator()
    assert kind is not None
    for index in range(torch.accelerator.device_count()):
        found.append(_cuda(index) if kind.type == "cuda" else _other(kind.type, index))
    return tuple(found)


def _cuda(index: int) -> Accelerator:
    free_bytes, total_bytes = torch.cuda.mem_get_info(index)
    return Accelerator(
        device=f"cuda:{index}",
        name=torch.cuda.get_device_name(index),
        total_bytes=total_bytes,
        free_bytes=free_bytes,
        capability=torch.cuda.get_device_capability(index),
    )


def _other(kind: str, index: int) -> Accelerator:
    # Apple's devices share the host's memory; others tell theirs through a backend nobody has run here yet.
    total_bytes, free_bytes = memory_bytes()
    return Accelerator(
        device=f"{kind}:{index}", name=kind.upper(), total_bytes=total_bytes, free_bytes=free_bytes, capability=None
    )
