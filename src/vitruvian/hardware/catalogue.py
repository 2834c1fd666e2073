"""Known machines as `Hardware` values, so that a plan can be made for a machine that is not here.

What is assumed about all of them is said in `docs/hardware.md`, whose table this file writes.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping
from types import MappingProxyType

from vitruvian.errors import UsageError
from vitruvian.hardware.cuda import bf16_support, fp16_support
from vitruvian.hardware.sizes import format_bytes
from vitruvian.hardware.spec_sheets import EMULATED_RATE, SHEETS, Sheet, sheet_of
from vitruvian.hardware.values import Accelerator, Cpu, Hardware, Rates, Support

SYSTEM_BYTES = 1_500_000_000
"""Assumed to be held by the system and idle programs."""
_LEAST_HOST_BYTES = 32 * 10**9
_BOARD_CORES = {"jetson-nano-4gb": 4, "xavier-nx": 6, "orin-8gb": 6, "m2-max": 12}
"""Machines whose accelerator shares the host's memory, with their cores."""
_M2_MAX_HOST_BYTES = 32 * 2**30
"""The smallest M2 Max; Metal lets a process use two thirds of it."""
_PROCESSORS = {"cpu-8gb": (4, 0.3, 25), "cpu-32gb": (8, 0.6, 40)}
"""Cores, float32 TFLOP/s and GB/s of plain desktops with AVX2."""
_PROCESSOR_BYTES = {"cpu-8gb": 7_900 * 2**20, "cpu-32gb": 31_900 * 2**20}
"""What a system reports of 8 and 32 GiB: firmware and graphics keep a little."""
_CPU_FLOAT16_RATE = 1 / 14
"""Of the float32 rate: measured with torch 2.13 on a processor without float16 instructions."""
_ALIASES = {
    "a100": "a100-40gb",
    "v100": "v100-16gb",
    "cpu": "cpu-8gb",
    "nano": "jetson-nano-4gb",
    "orin-nano": "orin-8gb",
    "xavier": "xavier-nx",
}
"""Short names that could mean several machines mean the smallest."""


def find_machine(name: str) -> Hardware:
    """A known machine by its name; case, blanks, hyphens and the words NVIDIA, GeForce, Tesla, GTX and RTX may be left
    out, and so may a memory size: `4090`, `rtx4090`, `A100 80GB`, `v100` (the smaller one). A driver's name does too.

    Raises:
        UsageError: no such machine; the message names the nearest.
    """
    wanted = _squeezed(name)
    known = _names()
    by_driver = sheet_of(name)
    if wanted in known:
        return MACHINES[known[wanted]]
    if by_driver is not None:
        return MACHINES[by_driver.machine]
    near = difflib.get_close_matches(wanted, known, n=3, cutoff=0.5)
    nearest = ", ".join(dict.fromkeys(known[one] for one in near))
    hint = f"did you mean {nearest}? " if nearest else ""
    raise UsageError(f"got a machine named {name!r}; {hint}expected one of {', '.join(MACHINES)}, or --budget SIZE")


def aliases() -> dict[str, str]:
    """Short names -> machine names, for help texts."""
    return dict(_ALIASES)


def catalogue_table() -> str:
    """The catalogue as a Markdown table."""
    lines = [
        "| machine | device | memory | host memory | float32 | bfloat16 | float16 | GB/s | capability |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for name, machine in MACHINES.items():
        device = machine.device(machine.default_device)
        rates = device.rates
        assert rates is not None
        capability = device.capability if isinstance(device, Accelerator) else None
        shared = isinstance(device, Accelerator) and device.shares_host_memory
        cells = [
            name,
            device.name,
            format_bytes(device.total_bytes),
            "the same" if shared or device is machine.cpu else format_bytes(machine.cpu.total_bytes),
            f"{rates.float32_tflops:g}",
            _rate(rates.bfloat16_tflops, device.bf16),
            _rate(rates.float16_tflops, device.fp16),
            f"{rates.bandwidth_gb_s:g}",
            ".".join(map(str, capability)) if capability else "",
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def _rate(tflops: float, support: Support) -> str:
    return f"{tflops:.3g}" + ("" if support == "native" else f" ({support})")


def _squeezed(name: str) -> str:
    words = re.findall(r"[a-z0-9]+", name.lower())
    return re.sub("nvidia|geforce|tesla|apple|rtx|gtx", "", "".join(words))


def _names() -> dict[str, str]:
    """Squeezed spellings -> machine names; a spelling that several machines share is none, unless it is an alias."""
    spellings: dict[str, set[str]] = {}
    for name in MACHINES:
        for spelling in {name, re.sub(r"-\d+gb$", "", name), name.removeprefix("jetson-")}:
            spellings.setdefault(_squeezed(spelling), set()).add(name)
    known = {spelling: min(names) for spelling, names in spellings.items() if len(names) == 1}
    return known | {_squeezed(alias): name for alias, name in _ALIASES.items()}


def _accelerated(sheet: Sheet) -> Hardware:
    total_bytes = sheet.memory_mib * 2**20
    shares = sheet.machine in _BOARD_CORES
    host_bytes = _host_bytes(sheet.machine, total_bytes)
    free_bytes = min(total_bytes, host_bytes - SYSTEM_BYTES) if shares else total_bytes
    apple = sheet.capability is None
    capability = sheet.capability or (0, 0)
    gpu = Accelerator(
        device="mps:0" if apple else "cuda:0",
        name=_title(sheet.machine),
        total_bytes=total_bytes,
        free_bytes=free_bytes,
        bf16="unknown" if apple else bf16_support(capability),
        fp16="native" if apple else fp16_support(capability, sheet.driver_name),
        tf32="native" if capability >= (8, 0) else "none",
        fp8="native" if capability >= (8, 9) else "none",
        attention=() if apple else ("flash", "efficient") if capability >= (8, 0) else ("efficient",),
        rates=sheet.rates(),
        capability=sheet.capability,
        shares_host_memory=shares,
    )
    host = Cpu(
        name="assumed host",
        cores=_BOARD_CORES.get(sheet.machine, 8),
        total_bytes=host_bytes,
        free_bytes=host_bytes - SYSTEM_BYTES,
        bf16="emulated",
        fp16="emulated",
        tf32="none",
        fp8="none",
    )
    return Hardware(cpu=host, accelerators=(gpu,), torch_version="assumed")


def _host_bytes(machine: str, total_bytes: int) -> int:
    if machine == "m2-max":
        return _M2_MAX_HOST_BYTES
    return total_bytes if machine in _BOARD_CORES else max(_LEAST_HOST_BYTES, 2 * total_bytes)


def _processor(machine: str) -> Hardware:
    cores, float32_tflops, bandwidth_gb_s = _PROCESSORS[machine]
    total_bytes = _PROCESSOR_BYTES[machine]
    cpu = Cpu(
        name="desktop processor with AVX2",
        cores=cores,
        total_bytes=total_bytes,
        free_bytes=total_bytes - SYSTEM_BYTES,
        bf16="emulated",
        fp16="emulated",
        tf32="none",
        fp8="none",
        attention=("flash",),
        rates=Rates(
            float32_tflops=float32_tflops,
            bfloat16_tflops=float32_tflops * EMULATED_RATE,
            float16_tflops=float32_tflops * _CPU_FLOAT16_RATE,
            bandwidth_gb_s=bandwidth_gb_s,
            source="assumed",
        ),
    )
    return Hardware(cpu=cpu, accelerators=(), torch_version="assumed")


def _title(machine: str) -> str:
    """`rtx-3060-12gb` -> `RTX 3060 12 GB`."""
    words = re.sub(r"-(\d+)gb$", r"-\1-gb", machine).split("-")
    names = {
        "ti": "Ti",
        "titan": "Titan",
        "jetson": "Jetson",
        "nano": "Nano",
        "xavier": "Xavier",
        "orin": "Orin",
        "max": "Max",
    }
    return " ".join(names.get(word, word.upper()) for word in words)


MACHINES: Mapping[str, Hardware] = MappingProxyType(
    {sheet.machine: _accelerated(sheet) for sheet in SHEETS} | {name: _processor(name) for name in _PROCESSORS}
)
"""Known machines by short name; free memory is that of an idle machine."""
