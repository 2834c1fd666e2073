"""How a processor carries out half precision, from instruction lists."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from vitruvian.hardware.processor import BF16, FP16, instruction_names, processor, support
from vitruvian.hardware.values import Support

X86_FLAGS = "processor\t: 0\nflags\t\t: fpu sse avx512f avx512_bf16 amx_bf16 avx512_fp16\n"
ARM_FEATURES = "processor\t: 0\nFeatures\t: fp asimd asimdhp bf16 sve\n"


@pytest.mark.parametrize(
    ("instructions", "library", "bf16", "fp16"),
    [
        pytest.param({"avx2"}, True, "emulated", "emulated", id="AVX2"),
        pytest.param({"avx2", "avx512_f", "avx512_bw"}, True, "emulated", "emulated", id="plain AVX-512"),
        pytest.param({"avx512_bf16"}, True, "native", "emulated", id="Cooper Lake, Zen 4"),
        pytest.param({"amx_bf16", "avx512_fp16"}, True, "native", "native", id="Sapphire Rapids"),
        pytest.param({"amx_bf16", "avx512_fp16"}, False, "emulated", "emulated", id="a library that does not use them"),
        pytest.param({"neon", "bf16", "fp16_arith"}, True, "native", "native", id="ARM"),
        pytest.param(set(), True, "emulated", "emulated", id="nothing known"),
    ],
)
def test_native_takes_instructions_and_a_library(
    instructions: set[str], library: bool, bf16: Support, fp16: Support
) -> None:
    assert support(frozenset(instructions), BF16, library) == bf16
    assert support(frozenset(instructions), FP16, library) == fp16


@pytest.mark.parametrize(
    ("text", "native"), [(X86_FLAGS, True), (ARM_FEATURES, True), ("processor : 0\n", False), (None, False)]
)
def test_older_torch_falls_back_on_the_systems_list(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str | None, native: bool
) -> None:
    monkeypatch.delattr(torch.cpu, "get_capabilities", raising=False)
    cpuinfo = tmp_path / "cpuinfo"
    if text is not None:
        cpuinfo.write_text(text)
    names = instruction_names(cpuinfo)
    assert support(names, BF16, True) == support(names, FP16, True) == ("native" if native else "emulated")


def test_only_present_instructions_count(monkeypatch: pytest.MonkeyPatch) -> None:
    listed = {"avx2": True, "avx512_bf16": False, "l2_cache_size": 2097152, "architecture": "x86_64"}
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: listed, raising=False)
    assert instruction_names() == {"avx2"}


def test_this_processor_runs_fused_attention() -> None:
    cpu = processor()
    assert cpu.attention == ("flash",)
    assert {cpu.bf16, cpu.fp16} <= {"native", "emulated"}
    assert (cpu.tf32, cpu.fp8, cpu.unusable) == ("none", "none", "")
