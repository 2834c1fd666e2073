"""What compiled code is made for: torch build, system, device architecture, processor instructions.

Read before any file of an artefact is opened, so it costs no more than a look at `/proc/cpuinfo`.
"""

from __future__ import annotations

import platform
import re
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import torch

from vitruvian.hardware.drivers import driver_signs
from vitruvian.hardware.probe import probe
from vitruvian.hardware.processor import instruction_names
from vitruvian.hardware.values import Accelerator

_EXTENSION = re.compile(
    r"avx|amx|fma|f16c|bmi|sse|ssse|pni|gfni|vaes|vpclmul|popcnt|lzcnt|abm|movbe"
    r"|neon|asimd|sve|sme|bf16|fp16|fphp|i8mm|dot|fhm|rdm|atomics|lrcpc"
)
"""How the extensions begin that a compiler told to use this processor's own may use (x86-64, then Arm), by the names of
torch and of Linux."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Target:
    """A kind of machine that compiled code runs on."""

    torch: str
    """Version with its build, e.g. `2.13.0+cpu`."""
    toolkit: str
    """`CUDA 12.8`, `ROCm 6.3`, or nothing."""
    driver: str
    """Version of the GPU's kernel driver; nothing where there is none or it cannot be read."""
    system: str
    machine: str
    """x86_64, aarch64, ..."""
    device: str
    """cpu, cuda, mps, xpu."""
    device_name: str
    architecture: str
    """`sm_90` for CUDA; nothing elsewhere."""
    instructions: tuple[str, ...]
    """Extensions of the processor; code for an accelerator, too, comes with a part that runs there."""


@cache
def target_here(device: str) -> Target:
    """The target of a torch device string on this machine.

    Raises:
        UsageError: there is no such device.
    """
    one = probe().device(device)
    capability = one.capability if isinstance(one, Accelerator) else None
    return Target(
        torch=str(torch.__version__),
        toolkit=_toolkit(),
        driver="" if one.kind == "cpu" else driver_signs(Path("/")).nvidia_driver,
        system=platform.system(),
        machine=platform.machine(),
        device=one.kind,
        device_name=one.name,
        architecture="sm_{}{}".format(*capability) if capability else "",
        instructions=_extensions(),
    )


def _extensions() -> tuple[str, ...]:
    return tuple(sorted(name for name in instruction_names() if _EXTENSION.match(name)))


def _toolkit() -> str:
    if torch.version.cuda:
        return f"CUDA {torch.version.cuda}"
    return f"ROCm {torch.version.hip}" if torch.version.hip else ""
