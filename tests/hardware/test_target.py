"""What compiled code is made for, on this machine and on imagined ones."""

from __future__ import annotations

import platform
from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from fit.imagined import machine
from vitruvian.errors import UsageError
from vitruvian.hardware import Hardware, Target, target, target_here

X86_OF_TORCH = ("avx", "avx2", "avx512_f", "avx512_bf16", "amx_tile", "avx10_1", "fma3", "f16c", "bmi2", "sse4_2")
X86_OF_LINUX = ("avx512f", "avx512_bf16", "fma", "f16c", "bmi1", "pni", "ssse3", "abm", "movbe", "gfni", "vaes")
ARM_OF_TORCH = ("neon", "sve", "sve2", "bf16", "i8mm", "dot", "fp16_arith", "fhm", "rdm", "atomics")
ARM_OF_LINUX = ("asimd", "asimdhp", "asimddp", "asimdfhm", "asimdrdm", "sve", "fphp", "atomics", "lrcpc")
NOT_GENERATED = ("fpu", "clflush", "clwb", "aes", "sha", "hypervisor", "crc32", "fp", "evtstrm", "lm", "nx")


def imagine(
    monkeypatch: pytest.MonkeyPatch,
    hardware: Hardware,
    *,
    instructions: Sequence[str] = ("avx2",),
    cuda: str | None = None,
    hip: str | None = None,
    driver: str = "",
) -> None:
    monkeypatch.setattr(target, "probe", lambda: hardware)
    monkeypatch.setattr(target, "instruction_names", lambda: frozenset(instructions))
    monkeypatch.setattr(target, "driver_signs", lambda root: SimpleNamespace(nvidia_driver=driver))
    monkeypatch.setattr(torch, "version", SimpleNamespace(cuda=cuda, hip=hip))
    target_here.cache_clear()


@pytest.fixture(autouse=True)
def forget() -> Any:
    yield
    target_here.cache_clear()


def test_this_machine_is_told_as_it_is() -> None:
    here = target_here("cpu")
    assert (here.torch, here.system, here.machine) == (torch.__version__, platform.system(), platform.machine())
    assert (here.device, here.architecture, here.driver) == ("cpu", "", "")
    assert list(here.instructions) == sorted(here.instructions)
    assert here.device_name
    assert target_here("cpu") is here


def test_a_card_is_told_with_its_toolkit_driver_and_the_processor_beside_it(monkeypatch: pytest.MonkeyPatch) -> None:
    hardware = machine(24, capability=(9, 0))
    imagine(monkeypatch, hardware, instructions=("avx2", "fpu"), cuda="13.0", driver="580.65.06")
    expected = Target(
        torch=torch.__version__,
        toolkit="CUDA 13.0",
        driver="580.65.06",
        system=platform.system(),
        machine=platform.machine(),
        device="cuda",
        device_name="paper card",
        architecture="sm_90",
        instructions=("avx2",),
    )
    assert target_here("cuda") == target_here("cuda:0") == expected


def test_a_processor_beside_a_card_has_neither_driver_nor_architecture(monkeypatch: pytest.MonkeyPatch) -> None:
    imagine(monkeypatch, machine(24), cuda="13.0", driver="580.65.06")
    here = target_here("cpu")
    assert (here.device, here.driver, here.architecture, here.toolkit) == ("cpu", "", "", "CUDA 13.0")


def test_a_card_without_a_capability_has_no_architecture(monkeypatch: pytest.MonkeyPatch) -> None:
    imagine(monkeypatch, machine(24, capability=None), hip="6.3")
    here = target_here("cuda")
    assert (here.architecture, here.toolkit) == ("", "ROCm 6.3")


@pytest.mark.parametrize("names", [X86_OF_TORCH, X86_OF_LINUX, ARM_OF_TORCH, ARM_OF_LINUX])
def test_what_a_compiler_may_use_is_listed_and_nothing_else(
    monkeypatch: pytest.MonkeyPatch, names: tuple[str, ...]
) -> None:
    imagine(monkeypatch, machine(None), instructions=(*names, *NOT_GENERATED))
    assert target_here("cpu").instructions == tuple(sorted(names))


@pytest.mark.parametrize("name", ["cuda", "cuda:1", "abacus", ""])
def test_a_device_that_is_not_here_is_refused(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    imagine(monkeypatch, machine(None))
    with pytest.raises(UsageError, match="expected one of cpu"):
        target_here(name)
