"""The processor as a device: how it carries out bfloat16 and float16, by its instructions and by torch's library."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path

import torch

from vitruvian.hardware.attention import run_attention, running_kernels
from vitruvian.hardware.host import cpu_name, memory_bytes, usable_cores
from vitruvian.hardware.remembered import device_key, recall_rates
from vitruvian.hardware.values import Cpu, Support

# Names of instructions as torch lists them (x86, then ARM), then as Linux does.
BF16 = ("avx512_bf16", "amx_bf16", "avx10_2", "bf16", "sve_bf16", "svebf16")
FP16 = ("avx512_fp16", "amx_fp16", "avx10_2", "fp16_arith", "asimdhp")


def processor() -> Cpu:
    """This machine's processor; a few milliseconds."""
    total_bytes, free_bytes = memory_bytes()
    name, cores = cpu_name(), usable_cores()
    instructions = instruction_names()
    return Cpu(
        name=name,
        cores=cores,
        total_bytes=total_bytes,
        free_bytes=free_bytes,
        bf16=support(instructions, BF16, _library_supports("bf16")),
        fp16=support(instructions, FP16, _library_supports("fp16")),
        tf32="none",
        fp8="none",
        attention=running_kernels(lambda kernel: run_attention("cpu", torch.float32, kernel)),
        rates=recall_rates(device_key(name, cores, torch.__version__)),
        tested=sys.platform == "linux",
    )


def support(instructions: frozenset[str], wanted: tuple[str, ...], library: bool) -> Support:
    """Native where the processor has instructions of its own and torch's library uses them.

    The library alone says yes to bfloat16 from plain AVX-512 on, where it is computed by way of float32; and float16
    without its instructions was measured 14 times slower than float32.
    """
    return "native" if library and instructions.intersection(wanted) else "emulated"


def instruction_names(cpuinfo: Path = Path("/proc/cpuinfo")) -> frozenset[str]:
    """Instruction sets by torch's names, or by Linux's where this torch lists none; empty where neither does."""
    listed: Mapping[str, object] = getattr(torch.cpu, "get_capabilities", dict)()
    if listed:
        return frozenset(name for name, present in listed.items() if present is True)
    try:
        lines = cpuinfo.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return frozenset()  # not Linux
    flags = next((line for line in lines if line.lower().startswith(("flags", "features"))), "")
    return frozenset(flags.partition(":")[2].split())


def _library_supports(kind: str) -> bool:
    ask = getattr(torch.ops.mkldnn, f"_is_mkldnn_{kind}_supported", None)
    # Where the library is not built in, torch has loops of its own, none of them fast.
    return bool(ask()) if ask is not None else False
