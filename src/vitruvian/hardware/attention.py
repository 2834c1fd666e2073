"""Which fused attention kernels really run on a device: each is tried on a tiny tensor."""

from __future__ import annotations

import warnings
from collections.abc import Callable

import torch
from torch.nn.attention import SDPBackend, sdpa_kernel

FUSED = {
    "flash": SDPBackend.FLASH_ATTENTION,
    "efficient": SDPBackend.EFFICIENT_ATTENTION,
    "cudnn": SDPBackend.CUDNN_ATTENTION,
}


def run_attention(device: str, dtype: torch.dtype, kernel: str) -> None:
    """Run one fused kernel, and no other, to its end.

    Raises:
        RuntimeError: it does not run here.
    """
    query_BHND = torch.zeros(1, 2, 64, 64, device=device, dtype=dtype)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch explains each refusal at length; the answer is all that is wanted
        with sdpa_kernel(FUSED[kernel]), torch.no_grad():
            attended_BHND = torch.nn.functional.scaled_dot_product_attention(query_BHND, query_BHND, query_BHND)
    attended_BHND.sum().item()  # kernels run asynchronously: only a value read back proves that this one did


def running_kernels(run: Callable[[str], None]) -> tuple[str, ...]:
    """Names of the fused kernels that a `run(kernel)` gets through."""
    found = []
    for kernel in FUSED:
        try:
            run(kernel)
        except RuntimeError:
            continue  # the refusal is the answer
        found.append(kernel)
    return tuple(found)
