"""Fused attention kernels are tried one by one."""

from __future__ import annotations

import pytest
import torch

from vitruvian.hardware.attention import FUSED, run_attention, running_kernels


def test_kernels_that_refuse_are_left_out() -> None:
    tried = []

    def run(kernel: str) -> None:
        tried.append(kernel)
        if kernel != "efficient":
            raise RuntimeError("no")

    assert running_kernels(run) == ("efficient",)
    assert tried == list(FUSED)


def test_other_errors_are_not_hidden() -> None:
    def run(kernel: str) -> None:
        raise TypeError("a mistake in this program")

    with pytest.raises(TypeError):
        running_kernels(run)


def test_a_kernel_that_is_not_for_processors_does_not_run_here(recwarn: pytest.WarningsRecorder) -> None:
    run_attention("cpu", torch.float32, "flash")
    with pytest.raises(RuntimeError):
        run_attention("cpu", torch.float32, "cudnn")
    assert not recwarn.list
