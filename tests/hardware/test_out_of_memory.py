"""Errors that mean memory, by the texts that libraries really print."""

from __future__ import annotations

import errno

import cv2
import numpy as np
import pytest
import torch

from vitruvian.errors import DoesNotFitError, InputError
from vitruvian.hardware import free_caches, out_of_memory

CUDA = (
    "CUDA out of memory. Tried to allocate 20.00 MiB. GPU 0 has a total capacity of 23.68 GiB of which 8.75 MiB is "
    "free. Including non-PyTorch memory, this process has 23.66 GiB memory in use."
)


@pytest.mark.parametrize(
    "error",
    [
        pytest.param(torch.OutOfMemoryError(CUDA), id="torch's class"),
        pytest.param(RuntimeError(CUDA), id="older torch"),
        pytest.param(
            torch.OutOfMemoryError("HIP out of memory. Tried to allocate 2.00 MiB. GPU 7 has a total capacity"),
            id="HIP",
        ),
        pytest.param(RuntimeError("CUDA error: out of memory\nCUDA kernel errors might be ..."), id="the driver"),
        pytest.param(
            RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"), id="cuBLAS"
        ),
        pytest.param(RuntimeError("cuDNN error: CUDNN_STATUS_ALLOC_FAILED"), id="cuDNN"),
        pytest.param(
            RuntimeError("cuDNN error: CUDNN_STATUS_INTERNAL_ERROR_DEVICE_ALLOCATION_FAILED"), id="cuDNN 9 on the card"
        ),
        pytest.param(RuntimeError("GET was unable to find an engine to execute this computation"), id="cuDNN engines"),
        pytest.param(
            RuntimeError(
                "MPS backend out of memory (MPS allocated: 9.57 GiB, other allocations: 17.35 GiB, max allowed: 27.20 "
                "GiB). Tried to allocate 292.50 MiB on private pool."
            ),
            id="MPS",
        ),
        pytest.param(RuntimeError("Invalid buffer size: 19.38 GiB"), id="one tensor too large for Metal"),
        pytest.param(torch.OutOfMemoryError("XPU out of memory. Tried to allocate 8.00 GiB."), id="XPU"),
        pytest.param(
            RuntimeError("level_zero backend failed with error: UR_RESULT_ERROR_OUT_OF_DEVICE_MEMORY"), id="UR"
        ),
        pytest.param(
            RuntimeError(
                "[enforce fail at alloc_cpu.cpp:127] err == 0. DefaultCPUAllocator: can't allocate memory: you tried "
                "to allocate 67108864 bytes. Error code 12 (Cannot allocate memory)"
            ),
            id="torch's CPU allocator",
        ),
        pytest.param(
            RuntimeError(
                "[enforce fail at alloc_cpu.cpp:116] data. DefaultCPUAllocator: not enough memory: you tried to "
                "allocate 2147483648 bytes."
            ),
            id="the same on Windows",
        ),
        pytest.param(RuntimeError("could not create a primitive"), id="oneDNN before its scratch"),
        pytest.param(RuntimeError("could not execute a primitive"), id="oneDNN in its scratch"),
        pytest.param(RuntimeError("std::bad_alloc"), id="C++"),
        pytest.param(
            RuntimeError("unable to mmap 200000080 bytes from file <a.safetensors>: Cannot allocate memory (12)"),
            id="mapping weights",
        ),
        pytest.param(RuntimeError("can't start new thread"), id="a thread's stack"),
        pytest.param(MemoryError(), id="Python"),
        pytest.param(OSError(errno.ENOMEM, "Cannot allocate memory"), id="the system"),
    ],
)
def test_memory_errors_are_recognised(error: BaseException) -> None:
    assert out_of_memory(error)


@pytest.mark.parametrize(
    "error",
    [
        RuntimeError("CUDA error: no kernel image is available for execution on the device"),
        RuntimeError("CUDA error: device-side assert triggered"),
        RuntimeError("CUDA error: an illegal memory access was encountered"),
        RuntimeError("cuDNN error: CUDNN_STATUS_NOT_SUPPORTED"),
        RuntimeError("CUDA error: CUBLAS_STATUS_EXECUTION_FAILED when calling `cublasSgemm`"),
        RuntimeError("mat1 and mat2 shapes cannot be multiplied (2x3 and 4x5)"),
        RuntimeError("could not create a primitive descriptor for a convolution forward propagation primitive"),
        RuntimeError("Input type (float) and bias type (c10::BFloat16) should be the same"),
        ValueError("out of memory"),
        OSError(errno.ENOSPC, "No space left on device"),
        FileNotFoundError("out of memory.jpg"),
        DoesNotFitError("got a budget of 1.0 GB; out of memory"),
        InputError("a picture named out of memory"),
        KeyboardInterrupt(),
    ],
)
def test_other_errors_are_not(error: BaseException) -> None:
    assert not out_of_memory(error)


def test_real_errors_of_this_machine() -> None:
    """More than any address space holds: refused at once, nothing is touched."""
    with pytest.raises(RuntimeError) as torch_error:
        torch.empty(1 << 50)
    with pytest.raises(MemoryError) as numpy_error:
        np.empty(1 << 50)
    assert out_of_memory(torch_error.value)
    assert out_of_memory(numpy_error.value)


def test_opencvs_errors_go_by_their_text() -> None:
    with pytest.raises(cv2.error) as wrong:
        cv2.resize(np.zeros((4, 4, 3), np.uint8), (0, 0))
    assert not out_of_memory(wrong.value)
    told = cv2.error("OpenCV(5.0.0) alloc.cpp:73: error: (-4:Insufficient memory) Failed to allocate 243000000 bytes")
    assert out_of_memory(told)


def test_caches_can_be_freed_at_any_time() -> None:
    free_caches("cpu")
