"""Apple's and Intel's devices, and whatever else torch calls an accelerator: probed with care, never run here."""

from __future__ import annotations

from typing import Protocol

import torch

from vitruvian.hardware.host import cpu_name, memory_bytes
from vitruvian.hardware.remembered import device_key, recall_rates
from vitruvian.hardware.spec_sheets import rates_by_name
from vitruvian.hardware.values import Accelerator


class OtherApi(Protocol):
    """What is asked of torch about devices other than `cuda`."""

    torch_version: str

    def name(self, kind: str, index: int) -> str:
        """As the driver calls it, or as the processor it is part of."""

    def memory(self, kind: str, index: int) -> tuple[int, int]:
        """(free, total) bytes; total is what the system would let this process use."""


class TorchOther:
    """The torch that is installed."""

    torch_version = str(torch.__version__)

    def name(self, kind: str, index: int) -> str:
        return torch.xpu.get_device_name(index) if kind == "xpu" else cpu_name() if kind == "mps" else kind.upper()

    def memory(self, kind: str, index: int) -> tuple[int, int]:
        if kind == "mps":
            total_bytes = torch.mps.recommended_max_memory()
            own_free = total_bytes - torch.mps.driver_allocated_memory()
            return max(0, min(own_free, memory_bytes()[1])), total_bytes
        if hasattr(torch.accelerator, "get_memory_info"):
            free_bytes, total_bytes = torch.accelerator.get_memory_info(torch.device(kind, index))
            return free_bytes, total_bytes
        if kind == "xpu":  # torch before 2.9 tells the total only; what torch itself holds is known at least
            total_bytes = int(torch.xpu.get_device_properties(index).total_memory)
            return total_bytes - torch.xpu.memory_reserved(index), total_bytes
        raise RuntimeError(f"torch {torch.__version__} tells nothing about the memory of {kind}")


def other_device(kind: str, index: int, api: OtherApi) -> Accelerator:
    """One device of another kind; how it carries out bfloat16 is left open for the numeric audit to find out."""
    name = api.name(kind, index)
    unusable = ""
    try:
        free_bytes, total_bytes = api.memory(kind, index)
    except RuntimeError as error:
        free_bytes = total_bytes = 0
        unusable = f"whose memory cannot be read ({error}); expected cuda, mps or xpu; use --device cpu"
    return Accelerator(
        device=f"{kind}:{index}",
        name=name,
        total_bytes=total_bytes,
        free_bytes=free_bytes,
        bf16="unknown",
        fp16="native" if kind in ("mps", "xpu") else "unknown",
        tf32="none" if kind == "mps" else "unknown",
        fp8="unknown",
        rates=recall_rates(device_key(name, 0, api.torch_version)) or rates_by_name(name),
        shares_host_memory=kind == "mps",
        unusable=unusable,
    )
