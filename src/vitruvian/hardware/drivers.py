"""A GPU beside a torch that cannot use it: found by its driver's traces, told in a sentence naming the build it needs.

Nothing of CUDA or ROCm is called: the case of interest is a torch that has neither.
"""

from __future__ import annotations

import os
import re
import shutil
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from vitruvian.hardware.kernels import FOR_OLD_CARDS

_CUDA_12_DRIVER, _CUDA_13_DRIVER = 525, 580
"""Oldest NVIDIA driver of the releases that run any CUDA 12 and any CUDA 13 build."""


@dataclass(frozen=True, kw_only=True, slots=True)
class DriverSigns:
    """Traces of GPU drivers on this machine."""

    nvidia_device: bool = False
    """A device file, the driver's own tool, or Windows' driver library is here: a GPU within reach."""
    nvidia_driver: str = ""
    """Version of the loaded kernel module; may be visible in a container that was given no GPU."""
    amd_device: bool = False
    hidden: bool = False
    """The user has hidden every GPU on purpose (CUDA_VISIBLE_DEVICES set to nothing or -1)."""


def driver_signs(
    root: Path = Path("/"),
    which: Callable[[str], str | None] = shutil.which,
    environment: Mapping[str, str] = os.environ,
) -> DriverSigns:
    """Look for drivers below a file system's root and on the path."""
    try:
        text = (root / "proc/driver/nvidia/version").read_text(encoding="utf-8", errors="replace")
    except OSError:
        text = ""  # not loaded, or not Linux
    version = re.search(r"NVRM version:.*?\s(\d{3,}\.\d+(?:\.\d+)?)\s", text)
    return DriverSigns(
        nvidia_device=(root / "dev/nvidia0").exists() or which("nvidia-smi") is not None or _windows_library(),
        nvidia_driver=version[1] if version else "",
        amd_device=(root / "dev/kfd").exists(),
        hidden=environment.get("CUDA_VISIBLE_DEVICES", "0").strip() in ("", "-1"),
    )


def installation_notes(
    signs: DriverSigns, torch_version: str, cuda_version: str | None, hip_version: str | None
) -> tuple[str, ...]:
    """Sentences on GPUs that are here while torch sees no accelerator; call it only then."""
    if signs.hidden:
        return ()
    notes = []
    if signs.nvidia_device:
        notes.append(_nvidia_note(signs, torch_version, cuda_version, hip_version))
    elif signs.nvidia_driver:
        notes.append(
            f"NVIDIA's driver {signs.nvidia_driver} is loaded, but none of its devices is visible here; "
            "if this is a container, start it with its GPUs (docker run --gpus all)"
        )
    if signs.amd_device and hip_version is None:
        notes.append(
            f"an AMD compute driver is here, but torch {torch_version} is not built for ROCm; "
            "install a ROCm build of torch to use a supported AMD GPU"
        )
    return tuple(notes)


def _nvidia_note(signs: DriverSigns, torch_version: str, cuda_version: str | None, hip_version: str | None) -> str:
    driver = f"NVIDIA's driver{' ' + signs.nvidia_driver if signs.nvidia_driver else ''}"
    release = int(signs.nvidia_driver.partition(".")[0]) if signs.nvidia_driver else None
    if cuda_version is not None:
        least = _CUDA_13_DRIVER if int(cuda_version.partition(".")[0]) >= 13 else _CUDA_12_DRIVER
        advice = (
            f"update the driver to {least} or newer"
            if release is not None and release < least
            else "run nvidia-smi: if it fails too, the driver needs repair or a restart"
        )
        return f"{driver} is here, but torch {torch_version} for CUDA {cuda_version} finds no GPU; {advice}"
    built = "for ROCm" if hip_version else "for CPUs only"
    if release is not None and release < _CUDA_12_DRIVER:
        advice = f"update the driver to {_CUDA_12_DRIVER} or newer, then install a CUDA 12 build of torch"
    else:
        newest = "CUDA 12" if release is not None and release < _CUDA_13_DRIVER else "CUDA 13"
        advice = (
            f"install a {newest} build of torch to use the GPU; "
            f"for cards older than Turing (GTX 10, Titan V, V100), {FOR_OLD_CARDS}"
        )
    return f"{driver} is here, but torch {torch_version} is built {built}; {advice}"


def _windows_library() -> bool:
    if sys.platform != "win32":
        return False
    return Path(os.environ.get("SYSTEMROOT", r"C:\Windows"), "System32", "nvcuda.dll").exists()
