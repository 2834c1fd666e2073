"""NVIDIA and AMD devices, which torch serves through one interface.

The interface is a value handed in, so that tests describe cards nobody here owns. Nothing in this file was run on a
real card yet.
"""

from __future__ import annotations

from typing import Protocol

import torch

from vitruvian.hardware.attention import run_attention, running_kernels
from vitruvian.hardware.kernels import hip_kernels_missing, kernels_missing
from vitruvian.hardware.remembered import device_key, recall_rates
from vitruvian.hardware.spec_sheets import rates_by_name
from vitruvian.hardware.values import Accelerator, Support

_TENSOR_CORES, _AMPERE, _ADA = (7, 0), (8, 0), (8, 9)
_FULL_RATE_FP16 = ((5, 3), (6, 0), (6, 2))
"""Twice the float32 rate in plain arithmetic, without tensor cores. 6.1 (GTX 10) has a 64th of it instead."""


class CudaApi(Protocol):
    """What is asked of torch about its `cuda` devices."""

    torch_version: str
    cuda_version: str | None
    hip_version: str | None

    def name(self, index: int) -> str:
        """As the driver calls it."""

    def capability(self, index: int) -> tuple[int, int]:
        """CUDA compute capability; an AMD chip's generation on ROCm."""

    def total_bytes(self, index: int) -> int:
        """Memory of the device; needs no context on it."""

    def memory(self, index: int) -> tuple[int, int]:
        """(free, total) bytes, every process counted. Raises RuntimeError where no context can be had."""

    def arch_list(self) -> list[str]:
        """What kernels were built for."""

    def on_chip(self, index: int) -> bool:
        """Whether it shares the host's memory."""

    def gcn_arch(self, index: int) -> str:
        """AMD's name of the chip; empty on CUDA."""

    def run_kernel(self, index: int) -> None:
        """Compute something small to its end. Raises RuntimeError where that fails."""

    def run_attention(self, index: int, dtype: torch.dtype, kernel: str) -> None:
        """Run one fused attention kernel. Raises RuntimeError where it does not run."""


class TorchCuda:
    """The torch that is installed."""

    torch_version = str(torch.__version__)
    cuda_version = torch.version.cuda
    hip_version = torch.version.hip

    def name(self, index: int) -> str:
        return torch.cuda.get_device_name(index)

    def capability(self, index: int) -> tuple[int, int]:
        return torch.cuda.get_device_capability(index)

    def total_bytes(self, index: int) -> int:
        return int(torch.cuda.get_device_properties(index).total_memory)

    def memory(self, index: int) -> tuple[int, int]:
        return torch.cuda.mem_get_info(index)

    def arch_list(self) -> list[str]:
        return torch.cuda.get_arch_list()

    def on_chip(self, index: int) -> bool:
        return bool(getattr(torch.cuda.get_device_properties(index), "is_integrated", False))

    def gcn_arch(self, index: int) -> str:
        return str(getattr(torch.cuda.get_device_properties(index), "gcnArchName", "")) if self.hip_version else ""

    def run_kernel(self, index: int) -> None:
        torch.ones(8, device=f"cuda:{index}").sum().item()

    def run_attention(self, index: int, dtype: torch.dtype, kernel: str) -> None:
        run_attention(f"cuda:{index}", dtype, kernel)


def cuda_device(index: int, api: CudaApi) -> Accelerator:
    """One device; a torch that cannot compute on it is said in `unusable`."""
    unusable = _failure(index, api)
    try:
        free_bytes, total_bytes = api.memory(index)
    except RuntimeError as error:
        unusable = (
            unusable or f"which does not answer ({_first_line(error)}); expected some free memory; see nvidia-smi"
        )
        free_bytes, total_bytes = 0, api.total_bytes(index)
    name, amd = api.name(index), api.hip_version is not None
    capability = None if amd else api.capability(index)
    bf16: Support = "unknown" if capability is None else bf16_support(capability)
    fp16: Support = "native" if capability is None else fp16_support(capability, name)
    trial_dtype = torch.bfloat16 if bf16 == "native" else torch.float16
    return Accelerator(
        device=f"cuda:{index}",
        name=name,
        total_bytes=total_bytes,
        free_bytes=free_bytes,
        bf16=bf16,
        fp16=fp16,
        tf32="unknown" if capability is None else "native" if capability >= _AMPERE else "none",
        fp8="unknown" if capability is None else "native" if capability >= _ADA else "none",
        attention=() if unusable else running_kernels(lambda kernel: api.run_attention(index, trial_dtype, kernel)),
        rates=recall_rates(device_key(name, 0, api.torch_version)) or rates_by_name(name),
        capability=capability,
        shares_host_memory=api.on_chip(index),
        unusable=unusable,
    )


def bf16_support(capability: tuple[int, int]) -> Support:
    """Native from Ampere on. torch says "supported" for older cards too, where it is computed by way of float32."""
    return "native" if capability >= _AMPERE else "emulated"


def fp16_support(capability: tuple[int, int], name: str) -> Support:
    """Native with tensor cores, or with plain arithmetic at full rate."""
    if "GTX 16" in name:
        # Turing by its number but without tensor cores: torch's issue 195716 measured float16 products 23 times slower.
        return "emulated"
    return "native" if capability >= _TENSOR_CORES or capability in _FULL_RATE_FP16 else "emulated"


def _failure(index: int, api: CudaApi) -> str:
    """Why nothing can be computed; the trial decides, the table of kernels explains."""
    try:
        api.run_kernel(index)
    except RuntimeError as error:
        if api.hip_version is not None:
            known = hip_kernels_missing(api.gcn_arch(index), api.arch_list(), api.torch_version)
        else:
            known = kernels_missing(api.capability(index), api.arch_list(), api.torch_version, api.cuda_version)
        return known or (
            f"where a small trial failed ({_first_line(error)}); expected it to run; "
            "look at nvidia-smi (or rocm-smi) for a full or broken device, or use --device cpu"
        )
    return ""


def _first_line(error: BaseException) -> str:
    return str(error).strip().splitlines()[0][:160] if str(error).strip() else type(error).__name__
