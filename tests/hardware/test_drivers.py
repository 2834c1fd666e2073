"""GPUs beside a torch that cannot use them."""

from __future__ import annotations

from pathlib import Path

import pytest

from vitruvian.hardware.drivers import DriverSigns, driver_signs, installation_notes

PROPRIETARY = "NVRM version: NVIDIA UNIX x86_64 Kernel Module  550.54.14  Thu Feb 22 01:44:30 UTC 2024\nGCC version: 12"
OPEN = "NVRM version: NVIDIA UNIX Open Kernel Module for x86_64  580.65.06  Release Build\nGCC version: 13.3.0"


@pytest.mark.parametrize(
    ("files", "tools", "environment", "signs"),
    [
        pytest.param({}, (), {}, DriverSigns(), id="nothing"),
        pytest.param(
            {"proc/driver/nvidia/version": PROPRIETARY, "dev/nvidia0": ""},
            (),
            {},
            DriverSigns(nvidia_device=True, nvidia_driver="550.54.14"),
            id="NVIDIA",
        ),
        pytest.param(
            {"proc/driver/nvidia/version": OPEN},
            (),
            {},
            DriverSigns(nvidia_driver="580.65.06"),
            id="the open module, no device file",
        ),
        pytest.param({}, ("nvidia-smi",), {}, DriverSigns(nvidia_device=True), id="the driver's tool"),
        pytest.param({"dev/kfd": ""}, (), {}, DriverSigns(amd_device=True), id="AMD"),
        pytest.param(
            {"dev/nvidia0": ""},
            (),
            {"CUDA_VISIBLE_DEVICES": ""},
            DriverSigns(nvidia_device=True, hidden=True),
            id="hidden on purpose",
        ),
        pytest.param(
            {"dev/nvidia0": ""}, (), {"CUDA_VISIBLE_DEVICES": "0"}, DriverSigns(nvidia_device=True), id="chosen"
        ),
    ],
)
def test_traces_of_drivers_are_found(
    tmp_path: Path, files: dict[str, str], tools: tuple[str, ...], environment: dict[str, str], signs: DriverSigns
) -> None:
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    assert driver_signs(tmp_path, lambda tool: tool if tool in tools else None, environment) == signs


@pytest.mark.parametrize(
    ("signs", "cuda", "hip", "wanted"),
    [
        pytest.param(DriverSigns(), None, None, (), id="no GPU"),
        pytest.param(DriverSigns(nvidia_device=True, hidden=True), None, None, (), id="hidden"),
        pytest.param(
            DriverSigns(nvidia_device=True, nvidia_driver="580.65.06"),
            None,
            None,
            ("NVIDIA's driver 580.65.06 is here", "built for CPUs only", "install a CUDA 13 build", "CUDA 12.6"),
            id="CPU build beside a new driver",
        ),
        pytest.param(
            DriverSigns(nvidia_device=True, nvidia_driver="550.54.14"),
            None,
            None,
            ("install a CUDA 12 build",),
            id="CPU build beside a driver of the CUDA 12 years",
        ),
        pytest.param(
            DriverSigns(nvidia_device=True, nvidia_driver="470.1.2"),
            None,
            None,
            ("update the driver to 525 or newer", "CUDA 12 build"),
            id="CPU build beside an old driver",
        ),
        pytest.param(
            DriverSigns(nvidia_device=True), None, None, ("install a CUDA 13 build",), id="a driver without number"
        ),
        pytest.param(
            DriverSigns(nvidia_device=True, nvidia_driver="550.54.14"),
            "13.0",
            None,
            ("finds no GPU", "update the driver to 580 or newer"),
            id="driver too old for the build",
        ),
        pytest.param(
            DriverSigns(nvidia_device=True, nvidia_driver="550.54.14"),
            "12.6",
            None,
            ("finds no GPU", "run nvidia-smi"),
            id="driver that should do",
        ),
        pytest.param(
            DriverSigns(nvidia_device=True), None, "6.4", ("built for ROCm", "CUDA 13 build"), id="the other maker's"
        ),
        pytest.param(
            DriverSigns(nvidia_driver="550.54.14"), None, None, ("container", "--gpus all"), id="container without GPU"
        ),
        pytest.param(DriverSigns(amd_device=True), None, None, ("ROCm build of torch",), id="AMD"),
        pytest.param(DriverSigns(amd_device=True), None, "6.4", (), id="AMD with its build, no supported card"),
    ],
)
def test_the_note_names_the_build(
    signs: DriverSigns, cuda: str | None, hip: str | None, wanted: tuple[str, ...]
) -> None:
    notes = installation_notes(signs, "2.13.0+x", cuda, hip)
    assert len(notes) == (1 if wanted else 0)
    for words in wanted:
        assert words in notes[0]
    assert all("http" not in note for note in notes)
