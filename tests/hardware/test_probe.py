"""The probe of this machine, and machines written by hand."""

from __future__ import annotations

from dataclasses import FrozenInstanceError

import pytest
import torch

from vitruvian.errors import UsageError
from vitruvian.hardware import Accelerator, Cpu, Hardware, probe, synchronize
from vitruvian.hardware.probe import _either

CPU = Cpu(
    name="Imaginary 9000",
    cores=12,
    total_bytes=64 * 10**9,
    free_bytes=48 * 10**9,
    native_bf16=False,
    native_fp16=False,
)


def machine(*devices: str) -> Hardware:
    gpus = [
        Accelerator(
            device=device, name="Imaginary GPU", total_bytes=24 * 10**9, free_bytes=20 * 10**9, capability=(8, 9)
        )
        for device in devices
    ]
    return Hardware(cpu=CPU, accelerators=tuple(gpus), torch_version="2.99.0")


def test_this_machine_is_sane() -> None:
    here = probe()
    assert here is probe(), "looking is done once"
    assert here.cpu.name
    assert here.cpu.cores >= 1
    assert 0 < here.cpu.free_bytes <= here.cpu.total_bytes
    assert here.torch_version == torch.__version__
    assert here.check_device(here.default_device) == here.default_device
    assert bool(here.accelerators) == torch.accelerator.is_available()
    for accelerator in here.accelerators:
        assert 0 < accelerator.free_bytes <= accelerator.total_bytes
        assert accelerator.name
        assert torch.empty(1, device=accelerator.device).device.type == accelerator.device.partition(":")[0]
    for device in ("cpu", here.default_device):
        synchronize(device)
    with pytest.raises(FrozenInstanceError):
        here.torch_version = "0"  # type: ignore[misc]


@pytest.mark.parametrize(
    ("devices", "default"),
    [((), "cpu"), (("cuda:0", "cuda:1"), "cuda:0"), (("mps:0",), "mps:0"), (("xpu:0",), "xpu:0")],
)
def test_the_first_accelerator_is_the_default(devices: tuple[str, ...], default: str) -> None:
    assert machine(*devices).default_device == default


@pytest.mark.parametrize("device", ["cpu", "cuda", "cuda:0", "cuda:1"])
def test_devices_that_are_here_are_accepted(device: str) -> None:
    assert machine("cuda:0", "cuda:1").check_device(device) == device


@pytest.mark.parametrize(
    ("devices", "asked", "listed"),
    [
        ((), "cuda", "expected one of cpu;"),
        ((), "cuda:0", "expected one of cpu;"),
        (("cuda:0", "cuda:1"), "cuda:2", "expected one of cpu, cuda:0, cuda:1;"),
        (("cuda:0",), "mps", "expected one of cpu, cuda:0;"),
        (("cuda:0",), "", "expected one of cpu, cuda:0;"),
        (("cuda:0",), "gpu", "expected one of cpu, cuda:0;"),
    ],
)
def test_other_devices_are_refused_with_a_list(devices: tuple[str, ...], asked: str, listed: str) -> None:
    with pytest.raises(UsageError, match=f"got --device {asked}; {listed} leave it out"):
        machine(*devices).check_device(asked)


@pytest.mark.parametrize(
    ("devices", "line"),
    [
        ((), "Imaginary 9000, 12 cores, 64 GB; torch 2.99.0"),
        (("cuda:0",), "Imaginary GPU 24 GB + Imaginary 9000, 12 cores, 64 GB; torch 2.99.0"),
        (
            ("cuda:0", "cuda:1"),
            "Imaginary GPU 24 GB + Imaginary GPU 24 GB + Imaginary 9000, 12 cores, 64 GB; torch 2.99.0",
        ),
    ],
)
def test_a_machine_is_one_line(devices: tuple[str, ...], line: str) -> None:
    assert machine(*devices).line() == line


@pytest.mark.parametrize(
    ("capabilities", "expected"),
    [
        ({"avx512_bf16": True, "amx_bf16": False}, True),
        ({"avx512_bf16": False, "amx_bf16": True}, True),
        ({"avx2": True, "avx512_bf16": False}, False),
        ({"avx2": True}, False),
    ],
)
def test_instructions_count_when_torch_lists_them(capabilities: dict[str, object], expected: bool) -> None:
    assert _either(capabilities, "avx512_bf16", "amx_bf16") is expected


def test_older_torch_is_asked_by_its_private_probes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: False, raising=False)
    monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: True, raising=False)
    assert _either({}, "avx512_bf16", "amx_bf16") is True
    assert _either({}, "avx512_bf16") is False
    assert _either({}, "avx512_fp16", "amx_fp16") is False
