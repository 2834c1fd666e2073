"""CUDA and ROCm devices through a made-up torch: a T4, a GTX 1080, an H200, a full card, an AMD card."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import pytest
import torch

from vitruvian.hardware import Rates
from vitruvian.hardware.cuda import cuda_device
from vitruvian.hardware.remembered import device_key, remember_rates
from vitruvian.hardware.values import Support

CUDA_130 = ("sm_75", "sm_80", "sm_86", "sm_90", "sm_100", "sm_120")
GB = 10**9


@dataclass(frozen=True, kw_only=True)
class MadeUpTorch:
    """Answers as torch would for one card."""

    card: str = "Tesla T4"
    card_capability: tuple[int, int] = (7, 5)
    torch_version: str = "2.13.0+cu130"
    cuda_version: str | None = "13.0"
    hip_version: str | None = None
    kernels: tuple[str, ...] = CUDA_130
    attention: tuple[str, ...] = ("efficient",)
    failure: str = ""
    memory_failure: str = ""
    chip: str = ""
    board: bool = False
    tried: list[torch.dtype] = field(default_factory=list)

    def name(self, index: int) -> str:
        return self.card

    def capability(self, index: int) -> tuple[int, int]:
        return self.card_capability

    def total_bytes(self, index: int) -> int:
        return 16 * GB

    def memory(self, index: int) -> tuple[int, int]:
        if self.memory_failure:
            raise RuntimeError(self.memory_failure)
        return 15 * GB, 16 * GB

    def arch_list(self) -> list[str]:
        return list(self.kernels)

    def on_chip(self, index: int) -> bool:
        return self.board

    def gcn_arch(self, index: int) -> str:
        return self.chip

    def run_kernel(self, index: int) -> None:
        if self.failure:
            raise RuntimeError(self.failure)

    def run_attention(self, index: int, dtype: torch.dtype, kernel: str) -> None:
        self.tried.append(dtype)
        if kernel not in self.attention:
            raise RuntimeError("No available kernel. Aborting execution.")


@pytest.mark.parametrize(
    ("card", "capability", "bf16", "fp16", "tf32", "fp8"),
    [
        ("NVIDIA GeForce GTX 980", (5, 2), "emulated", "emulated", "none", "none"),
        ("NVIDIA Tegra X1", (5, 3), "emulated", "native", "none", "none"),
        ("Tesla P100-SXM2-16GB", (6, 0), "emulated", "native", "none", "none"),
        ("NVIDIA GeForce GTX 1080", (6, 1), "emulated", "emulated", "none", "none"),
        ("NVIDIA TITAN V", (7, 0), "emulated", "native", "none", "none"),
        ("Tesla T4", (7, 5), "emulated", "native", "none", "none"),
        ("NVIDIA GeForce GTX 1650", (7, 5), "emulated", "emulated", "none", "none"),
        ("NVIDIA A100-SXM4-40GB", (8, 0), "native", "native", "native", "none"),
        ("NVIDIA GeForce RTX 3090", (8, 6), "native", "native", "native", "none"),
        ("NVIDIA L40S", (8, 9), "native", "native", "native", "native"),
        ("NVIDIA H200", (9, 0), "native", "native", "native", "native"),
        ("NVIDIA GeForce RTX 5090", (12, 0), "native", "native", "native", "native"),
    ],
)
def test_types_go_by_the_cards_generation(
    card: str, capability: tuple[int, int], bf16: Support, fp16: Support, tf32: Support, fp8: Support
) -> None:
    one = cuda_device(0, MadeUpTorch(card=card, card_capability=capability))
    assert (one.bf16, one.fp16, one.tf32, one.fp8) == (bf16, fp16, tf32, fp8)
    assert (one.device, one.name, one.capability) == ("cuda:0", card, capability)


def test_a_t4_is_described() -> None:
    api = MadeUpTorch()
    one = cuda_device(1, api)
    assert (one.device, one.total_bytes, one.free_bytes) == ("cuda:1", 16 * GB, 15 * GB)
    assert one.attention == ("efficient",)
    assert set(api.tried) == {torch.float16}, "fused kernels are tried in the type that the card is good at"
    assert one.unusable == ""
    assert one.rates is not None
    assert (one.rates.source, one.rates.float16_tflops) == ("spec sheet", 65.0)
    assert not one.tested
    assert not one.shares_host_memory


def test_an_ampere_card_tries_attention_in_bfloat16() -> None:
    api = MadeUpTorch(card="NVIDIA A10", card_capability=(8, 6), attention=("flash", "efficient", "cudnn"))
    assert cuda_device(0, api).attention == ("flash", "efficient", "cudnn")
    assert set(api.tried) == {torch.bfloat16}


def test_a_card_without_kernels_is_told_what_to_install() -> None:
    pascal = MadeUpTorch(
        card="NVIDIA GeForce GTX 1080", card_capability=(6, 1), failure="CUDA error: no kernel image is available"
    )
    one = cuda_device(0, pascal)
    assert "whose compute capability is 6.1" in one.unusable
    assert "CUDA 12.6" in one.unusable
    assert one.attention == ()
    assert one.total_bytes == 16 * GB, "it is still described"


def test_what_runs_is_usable_whatever_the_list_says() -> None:
    own_build = MadeUpTorch(card_capability=(6, 1), kernels=("sm_90",))
    assert cuda_device(0, own_build).unusable == ""


@pytest.mark.parametrize(
    ("api", "words"),
    [
        (
            MadeUpTorch(failure="CUDA error: uncorrectable ECC error encountered\nCompile with ..."),
            "where a small trial failed (CUDA error: uncorrectable ECC error encountered); expected it to run;",
        ),
        (MadeUpTorch(failure=""), ""),
        (MadeUpTorch(memory_failure="CUDA error: out of memory"), "which does not answer (CUDA error: out of memory)"),
        (MadeUpTorch(failure="\n"), "where a small trial failed (RuntimeError)"),
    ],
)
def test_a_device_that_fails_says_how(api: MadeUpTorch, words: str) -> None:
    one = cuda_device(0, api)
    assert one.unusable.startswith(words)
    assert bool(one.unusable) == bool(words)
    assert one.free_bytes == (0 if api.memory_failure else 15 * GB)


def test_an_amd_card_is_left_open() -> None:
    amd = MadeUpTorch(
        card="AMD Instinct MI210",
        card_capability=(9, 0),
        cuda_version=None,
        hip_version="6.4",
        chip="gfx90a:sramecc+:xnack-",
        kernels=("gfx90a", "gfx942"),
    )
    one = cuda_device(0, amd)
    assert (one.bf16, one.fp16, one.tf32, one.fp8) == ("unknown", "native", "unknown", "unknown")
    assert one.capability is None, "an AMD generation is no CUDA capability"
    assert one.unusable == ""
    assert not one.tested
    lost = cuda_device(0, replace(amd, chip="gfx803", failure="HIP error: invalid device function"))
    assert "which is a gfx803" in lost.unusable


def test_a_board_shares_the_hosts_memory() -> None:
    assert cuda_device(0, MadeUpTorch(card="Orin", card_capability=(8, 7), board=True)).shares_host_memory


def test_measured_rates_come_before_the_sheets() -> None:
    api = MadeUpTorch()
    measured = Rates(
        float32_tflops=4.0, bfloat16_tflops=2.0, float16_tflops=30.0, bandwidth_gb_s=240.0, source="measured"
    )
    remember_rates(device_key("Tesla T4", 0, api.torch_version), measured)
    assert cuda_device(0, api).rates == measured
    assert cuda_device(0, replace(api, card="NVIDIA A10G")).rates is None, "a card that no sheet describes"
