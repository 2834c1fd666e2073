"""How fast a device multiplies and copies, measured in a fraction of a second when asked for, then remembered.

Matrix products grow until the next one would overrun its share of the time: tiny ones measure overhead, and a type that
is emulated 14 times slower must not take 14 times longer to be found out. The best of the runs counts, because other
programs only ever make a run slower. On a processor one thread multiplies and its rate counts once per core: threads
that wait for each other on cores that other programs use were seen to lose nine tenths of their speed.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping
from typing import Any

import torch

from vitruvian.hardware.probe import probe, synchronize
from vitruvian.hardware.remembered import device_key, recall_rates, remember_rates
from vitruvian.hardware.values import DTYPES, Dtype, Rates

SHARE_S = 0.1
"""Time for the products of each type."""
COPIES = 4
_SIDES = (256, 512, 1024, 2048, 4096, 8192)
_GROWTH = 8.0
"""Work of a product against that of one of half its side."""
_COPY_VALUES = 32_000_000
"""128 MB of float32: beyond the caches of most devices, within the memory of all."""


def measured_rates(device: str) -> Rates:
    """Rates of a device: those remembered for its name, cores and torch version, else measured now (about 0.4 s).

    The next `probe()` carries them. On a processor whose cores are all busy the numbers are too low: they are returned,
    but not remembered.

    Raises:
        UsageError: there is no such device, or this torch cannot compute on it.
    """
    one = probe().device(device)
    on_cpu, cores = one.kind == "cpu", probe().cpu.cores
    key = device_key(one.name, cores if on_cpu else 0, probe().torch_version)
    known = recall_rates(key)
    if known is not None:
        return known
    busy = on_cpu and cores_are_busy(cores)
    rates = _measure(one.device, cores)
    if not busy:
        remember_rates(key, rates)
        probe.cache_clear()
    return rates


def cores_are_busy(cores: int) -> bool:
    """Whether as many programs as there are cores wanted to compute during the last minute; False where none tells."""
    return hasattr(os, "getloadavg") and os.getloadavg()[0] >= cores


def _measure(device: str, cores: int) -> Rates:
    times = _independent_cores(cores) if device == "cpu" else 1
    threads = torch.get_num_threads()
    try:
        torch.set_num_threads(1)
        tflops: dict[Dtype, float] = {dtype: times * _matrix_tflops(device, dtype) for dtype in DTYPES}
        torch.set_num_threads(cores)  # one thread rarely fills the memory's bandwidth
        bandwidth_gb_s = _copy_gb_s(device)
    finally:
        torch.set_num_threads(threads)
    return Rates(
        float32_tflops=tflops["float32"],
        bfloat16_tflops=tflops["bfloat16"],
        float16_tflops=tflops["float16"],
        bandwidth_gb_s=bandwidth_gb_s,
        source="measured",
    )


def _independent_cores(cores: int) -> float:
    """Cores with arithmetic units of their own among those usable: two hardware threads of one core share them."""
    listed: Mapping[str, Any] = getattr(torch.cpu, "get_capabilities", dict)()
    logical, physical = listed.get("num_logical_cores", 0), listed.get("num_physical_cores", 0)
    return cores * physical / logical if logical >= physical > 0 else cores


def _matrix_tflops(device: str, dtype: Dtype) -> float:
    best, left_s = 0.0, SHARE_S
    _product(device, dtype, _SIDES[0])()  # builds kernels and starts threads, which is not what is asked
    for side in _SIDES:
        product = _product(device, dtype, side)
        seconds = _seconds(device, product)
        left_s -= seconds
        if seconds < left_s:
            again = _seconds(device, product)
            left_s, seconds = left_s - again, min(seconds, again)
        best = max(best, 2.0 * side**3 / seconds / 1e12)
        if seconds * _GROWTH > left_s:
            break
    return best


def _product(device: str, dtype: Dtype, side: int) -> Callable[[], torch.Tensor]:
    # Varied values: graphics cards draw less power and run faster on equal ones.
    values = torch.rand(side, 1, device=device) * torch.rand(1, side, device=device)
    matrix = values.to(getattr(torch, dtype))
    return lambda: matrix @ matrix


def _copy_gb_s(device: str) -> float:
    source = torch.ones(_COPY_VALUES, device=device)
    target = torch.zeros_like(source)
    seconds = min(_seconds(device, lambda: target.copy_(source)) for _ in range(COPIES))
    return 2 * source.nbytes / seconds / 1e9  # read once, written once


def _seconds(device: str, run: Callable[[], object]) -> float:
    synchronize(device)
    began = time.perf_counter()
    run()
    synchronize(device)
    return max(time.perf_counter() - began, 1e-9)
