"""Apple's, Intel's and unknown devices through a made-up torch."""

from __future__ import annotations

import pytest

from vitruvian.hardware.other_accelerators import other_device

GB = 10**9


class MadeUpTorch:
    torch_version = "2.13.0"

    def name(self, kind: str, index: int) -> str:
        return {"mps": "Apple M2 Max", "xpu": "Intel(R) Arc(TM) A770 Graphics"}.get(kind, kind.upper())

    def memory(self, kind: str, index: int) -> tuple[int, int]:
        if kind == "npu":
            raise RuntimeError("torch 2.13.0 tells nothing about the memory of npu")
        return 20 * GB, 22 * GB


@pytest.mark.parametrize(
    ("kind", "fp16", "tf32", "shares"), [("mps", "native", "none", True), ("xpu", "native", "unknown", False)]
)
def test_known_kinds_are_described_as_far_as_they_tell(kind: str, fp16: str, tf32: str, shares: bool) -> None:
    one = other_device(kind, 0, MadeUpTorch())
    assert (one.device, one.kind, one.total_bytes, one.free_bytes) == (f"{kind}:0", kind, 22 * GB, 20 * GB)
    assert (one.bf16, one.fp16, one.tf32, one.fp8) == ("unknown", fp16, tf32, "unknown")
    assert one.shares_host_memory is shares
    assert not one.tested
    assert one.unusable == ""
    assert (one.rates is not None) == (kind == "mps")


def test_a_kind_whose_memory_cannot_be_read_is_not_used() -> None:
    one = other_device("npu", 1, MadeUpTorch())
    assert one.unusable.startswith("whose memory cannot be read")
    assert (one.total_bytes, one.fp16) == (0, "unknown")
