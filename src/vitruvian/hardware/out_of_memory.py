"""Recognises errors that mean "not enough memory", whichever library raised them, and gives caches back afterwards.

Texts for the host were read off torch 2.13, OpenCV 5 and NumPy 2 under a real limit; those for accelerators come from
their users' reports.
"""

from __future__ import annotations

import gc
import re

import torch

from vitruvian.hardware.process_memory import trim_heap

_TEXTS = re.compile(
    "|".join(
        (
            r"out of memory",  # CUDA, HIP, XPU, MPS; torch's own class has it too
            r"CUBLAS_STATUS_ALLOC_FAILED",
            r"CUDNN_STATUS_ALLOC_FAILED",
            r"CUDNN_STATUS_INTERNAL_ERROR_(?:DEVICE|HOST)_ALLOCATION_FAILED",
            r"unable to find an engine to execute this computation",  # cuDNN finds none whose workspace fits
            r"HIPBLAS_STATUS_ALLOC_FAILED|MIOPEN_STATUS_ALLOC_FAILED|miopenStatusAllocFailed",
            r"UR_RESULT_ERROR_OUT_OF_(?:DEVICE|HOST|RESOURCES)",  # XPU's runtime
            r"Invalid buffer size",  # MPS: one tensor beyond what Metal gives
            r"can't allocate memory|not enough memory: you tried",  # torch's CPU allocator on Linux, on Windows
            r"could not (?:create|execute) a (?:primitive|memory object)(?! descriptor)",  # oneDNN's scratch on a CPU
            r"std::bad_alloc",
            r"unable to mmap \d+ bytes|Cannot allocate memory",  # a weight file that may not be mapped any more
            r"Unable to allocate .* for an array",  # NumPy, where it is raised anew as another class
            r"Insufficient memory|Failed to allocate \d+ bytes",  # OpenCV
            r"can't start new thread",  # no room for its stack
        )
    ),
    re.IGNORECASE,
)


def out_of_memory(error: BaseException) -> bool:
    """Whether an error says that memory ran out, on an accelerator or on the host.

    Only classes that libraries use for it are read: a message of Vitruvian's own that speaks of memory is not meant.
    """
    if isinstance(error, (MemoryError, torch.OutOfMemoryError)):
        return True
    if isinstance(error, OSError):
        return error.errno == 12  # ENOMEM: a file mapped, a process started
    module = type(error).__module__
    return (isinstance(error, RuntimeError) or module.partition(".")[0] == "cv2") and bool(_TEXTS.search(str(error)))


def free_caches(device: str, *, cycles: bool = True) -> None:
    """Give back what nobody uses: unreachable objects, torch's cache on the device, freed pages of the C library.

    Call it outside the `except` block: until it ends, the traceback keeps the failed batch's tensors alive.

    Args:
        device: whose cache.
        cycles: look for objects that only hold each other, too: a fifth of a second in a process with many libraries.
    """
    if cycles:
        gc.collect()
    kind = device.partition(":")[0]
    if kind == "cuda":
        torch.cuda.empty_cache()
    elif kind == "mps":
        torch.mps.empty_cache()
    elif kind == "xpu":
        torch.xpu.empty_cache()
    trim_heap()
