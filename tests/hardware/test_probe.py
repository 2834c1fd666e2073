"""The probe of this machine, and machines written by hand."""

from __future__ import annotations

import importlib
import json
from dataclasses import FrozenInstanceError

import pytest
import torch

from vitruvian.errors import UsageError
from vitruvian.hardware import Accelerator, Cpu, Hardware, Rates, free_memory_now, probe, synchronize
from vitruvian.hardware.drivers import DriverSigns
from vitruvian.hardware.remembered import device_key, remember_compiler, remember_rates

PROBE = importlib.import_module("vitruvian.hardware.probe")  # the function hides the module of its name
CPU = Cpu(
    name="Imaginary 9000",
    cores=12,
    total_bytes=64 * 10**9,
    free_bytes=48 * 10**9,
    bf16="emulated",
    fp16="emulated",
    tf32="none",
    fp8="none",
)


def machine(*devices: str, unusable: str = "") -> Hardware:
    gpus = [
        Accelerator(
            device=device,
            name="Imaginary GPU",
            total_bytes=24 * 10**9,
            free_bytes=20 * 10**9,
            bf16="native",
            fp16="native",
            tf32="native",
            fp8="none",
            capability=(8, 9),
            unusable=unusable,
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
    assert here.cpu.rates is None, "nothing is measured by looking"
    assert here.cpu.compiler is None
    assert here.torch_version == torch.__version__
    assert here.device(here.default_device).device == here.default_device
    assert bool(here.accelerators) == torch.accelerator.is_available()
    for accelerator in here.accelerators:
        assert 0 < accelerator.free_bytes <= accelerator.total_bytes
        assert accelerator.name
        assert torch.empty(1, device=accelerator.device).device.type == accelerator.kind
    for device in ("cpu", here.default_device):
        synchronize(device)
    with pytest.raises(FrozenInstanceError):
        here.torch_version = "0"  # type: ignore[misc]
    json.dumps(here.to_json())


def test_what_was_measured_before_is_carried() -> None:
    cpu = probe().cpu
    rates = Rates(float32_tflops=1.0, bfloat16_tflops=2.0, float16_tflops=0.1, bandwidth_gb_s=20.0, source="measured")
    remember_rates(device_key(cpu.name, cpu.cores, torch.__version__), rates)
    remember_compiler("cpu", cpu.name, True)
    probe.cache_clear()
    assert probe().cpu.rates == rates
    assert probe().cpu.compiler is True


def test_a_gpu_that_torch_cannot_use_becomes_a_note(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(PROBE, "_accelerators", tuple)
    monkeypatch.setattr(PROBE, "driver_signs", lambda: DriverSigns(nvidia_device=True, nvidia_driver="580.1.2"))
    monkeypatch.setattr(torch.version, "cuda", None)
    [note] = probe().notes
    assert "NVIDIA's driver 580.1.2 is here" in note
    monkeypatch.setattr(PROBE, "_accelerators", lambda: machine("cuda:0").accelerators)
    probe.cache_clear()
    assert probe().notes == ()


def test_free_memory_is_read_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    total_bytes, free_bytes = free_memory_now("cpu")
    assert total_bytes == probe().cpu.total_bytes
    assert 0 < free_bytes <= total_bytes
    readings = iter([(9, 5), (9, 4)])
    monkeypatch.setattr(PROBE, "memory_bytes", lambda: next(readings))
    assert [free_memory_now("cpu"), free_memory_now("cpu")] == [(9, 5), (9, 4)]


@pytest.mark.parametrize(("board", "free_bytes"), [(False, 15), (True, 4)])
def test_a_board_has_no_more_free_than_its_host(monkeypatch: pytest.MonkeyPatch, board: bool, free_bytes: int) -> None:
    class MadeUpTorch:
        def memory(self, index: int) -> tuple[int, int]:
            assert index == 1
            return 15, 16

        def on_chip(self, index: int) -> bool:
            return board

    monkeypatch.setattr(PROBE, "TorchCuda", MadeUpTorch)
    monkeypatch.setattr(PROBE, "memory_bytes", lambda: (9, 4))
    assert free_memory_now("cuda:1") == (16, free_bytes)


@pytest.mark.parametrize(
    ("devices", "default"),
    [((), "cpu"), (("cuda:0", "cuda:1"), "cuda:0"), (("mps:0",), "mps:0"), (("xpu:0",), "xpu:0")],
)
def test_the_first_accelerator_is_the_default(devices: tuple[str, ...], default: str) -> None:
    assert machine(*devices).default_device == default


def test_an_unusable_accelerator_is_no_default_and_says_why() -> None:
    pascal = machine("cuda:0", unusable="whose compute capability is 6.1; expected another; install another torch")
    assert pascal.default_device == "cpu"
    with pytest.raises(UsageError, match=r"got --device cuda, whose compute capability is 6\.1; expected another"):
        pascal.device("cuda")


@pytest.mark.parametrize(
    ("asked", "found"), [("cpu", "cpu"), ("cuda", "cuda:0"), ("cuda:0", "cuda:0"), ("cuda:1", "cuda:1")]
)
def test_devices_that_are_here_are_found(asked: str, found: str) -> None:
    assert machine("cuda:0", "cuda:1").device(asked).device == found


@pytest.mark.parametrize(
    ("devices", "asked", "listed"),
    [
        ((), "cuda", "expected one of cpu;"),
        ((), "cuda:0", "expected one of cpu;"),
        (("cuda:0", "cuda:1"), "cuda:2", "expected one of cuda:0, cuda:1, cpu;"),
        (("cuda:0",), "mps", "expected one of cuda:0, cpu;"),
        (("cuda:0",), "", "expected one of cuda:0, cpu;"),
        (("cuda:0",), "gpu", "expected one of cuda:0, cpu;"),
    ],
)
def test_other_devices_are_refused_with_a_list(devices: tuple[str, ...], asked: str, listed: str) -> None:
    with pytest.raises(UsageError, match=f"got --device {asked}; {listed} leave it out"):
        machine(*devices).device(asked)


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


def test_types_have_a_support() -> None:
    gpu = machine("cuda:0").device("cuda")
    assert [gpu.support(dtype) for dtype in ("float32", "bfloat16", "float16")] == ["native"] * 3
    assert [CPU.support(dtype) for dtype in ("float32", "bfloat16", "float16")] == ["native", "emulated", "emulated"]
