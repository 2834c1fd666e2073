"""`run_doctor`: the machine, its rates, and the embedded networks in every precision against known truth.

Nothing -> a `DoctorReport`. Half a minute on two cores; `full` takes several minutes: it has more pictures, tries the
compiler for generated kernels, looks at every device and runs one network of real size.
"""

from __future__ import annotations

import platform
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace

import cv2
import numpy as np
import torch

from vitruvian import __version__
from vitruvian.artefacts.ladder import AUTO
from vitruvian.bench import BenchReport, run_bench
from vitruvian.doctor.networks import METRIC, Name, check_networks
from vitruvian.doctor.report import DeviceCheck, DoctorReport
from vitruvian.evaluation import measures, metric_nano
from vitruvian.fit.precision import usable_types
from vitruvian.hardware import Device, Hardware, Rates, compiler_works, free_memory_now, measured_rates, probe
from vitruvian.hardware.rates import cores_are_busy
from vitruvian.people import View
from vitruvian.zoo import DEFAULT_MODELS

PICTURES, FULL_PICTURES = 24, 96
NETWORKS: tuple[Name, ...] = ("pose", "seg", "depth", "normal", "features", METRIC)
FULL_SIZE_MODEL = "sapiens-seg-0.3b"
FULL_SIZE_TIME_S = 30.0
RUNG_BATCH = 8


def run_doctor(
    full: bool = False,
    *,
    device: str | None = None,
    pictures: int | None = None,
    report: Callable[[str], None] = lambda line: None,
) -> DoctorReport:
    """Examine this machine.

    Args:
        full: more pictures, every device, the compiler, a network of real size.
        device: torch device string; None: the default one, and with `full` all that torch can use.
        pictures: how many; only numbers that expectations are stored for.
        report: hears what takes time.

    Raises:
        UsageError: no such device, or nothing is stored for this number of pictures.
    """
    started = time.perf_counter()
    busy = cores_are_busy(probe().cpu.cores)
    rates = {}
    names = _devices(probe(), device, full)
    for name in names:
        report(f"how fast {name} computes")
        rates[name] = measured_rates(name)
        if full:
            report(f"compiler for generated kernels on {name}")
            compiler_works(name)
    count = pictures or (FULL_PICTURES if full else PICTURES)
    report(f"drawing {count} pictures of synthetic people, and as many of places")
    views = pictures_of(count)
    with _one_thread():
        checks = [_examined(_as_it_is_now(name, rates[name]), views, report) for name in names]
    return DoctorReport(
        versions=versions(),
        hardware=probe(),
        devices=tuple(checks),
        pictures=count,
        busy=busy,
        full_size=tuple(_full_size(name, report) for name in names) if full else (),
        rungs=tuple(_rungs(name, report) for name in names) if full else (),
        seconds=time.perf_counter() - started,
    )


def pictures_of(count: int) -> Mapping[Name, Sequence[View]]:
    """What each network looks at: places that of metric depth, people the others."""
    people, places = measures.held_out_views(count), list(metric_nano.held_out_views(count))
    return {name: places if name == METRIC else people for name in NETWORKS}


def versions() -> dict[str, str]:
    """What is installed, by name."""
    return {
        "vitruvian": __version__,
        "Python": platform.python_version(),
        "torch": str(torch.__version__),
        "OpenCV": cv2.__version__,
        "NumPy": np.__version__,
        "on": f"{platform.system()} {platform.machine()}",
    }


def _devices(hardware: Hardware, device: str | None, full: bool) -> list[str]:
    if device is not None or not full:
        return [hardware.device(device or hardware.default_device).device]
    return [one.device for one in (*hardware.accelerators, hardware.cpu) if not one.unusable]


def _as_it_is_now(name: str, rates: Rates) -> Device:
    """The device with what was measured and is free."""
    total_bytes, free_bytes = free_memory_now(name)
    return replace(probe().device(name), rates=rates, total_bytes=total_bytes, free_bytes=free_bytes)


def _examined(device: Device, views: Mapping[Name, Sequence[View]], report: Callable[[str], None]) -> DeviceCheck:
    networks = [check for name in NETWORKS for check in check_networks(name, device, views[name], report)]
    return DeviceCheck(device=device, networks=tuple(networks))


def _full_size(device: str, report: Callable[[str], None]) -> BenchReport:
    """One picture at a time through a network of real size; its numbers mean nothing, its time and memory are real."""
    return run_bench(
        FULL_SIZE_MODEL,
        device=device,
        dtypes=dict.fromkeys(["float32", usable_types(probe().device(device))[0]]),
        batches=[1],
        random_weights=True,
        time_s=FULL_SIZE_TIME_S,
        report=report,
    )


def _rungs(device: str, report: Callable[[str], None]) -> BenchReport:
    """Whether each backend of an export builds, opens and keeps its numbers here, and how fast it is."""
    return run_bench(
        DEFAULT_MODELS["seg"],
        device=device,
        dtypes=["float32"],
        backends=AUTO[::-1],
        batches=[1, RUNG_BATCH],
        time_s=FULL_SIZE_TIME_S,
        report=report,
    )


@contextmanager
def _one_thread() -> Iterator[None]:
    """Small networks are slower on two threads than on one, and on a busy machine many times so."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)
