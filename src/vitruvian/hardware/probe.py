"""`probe()` -> one immutable `Hardware` value. Costs the import of torch and, with a GPU, the start of its driver.

Nothing is measured here: rates come from an earlier measurement or, for known cards, from their spec sheet; whether a
compiler for generated kernels works is said only if it was tried before.
"""

from __future__ import annotations

import warnings
from dataclasses import replace
from functools import cache

import torch

from vitruvian.hardware.cuda import TorchCuda, cuda_device
from vitruvian.hardware.drivers import driver_signs, installation_notes
from vitruvian.hardware.host import memory_bytes
from vitruvian.hardware.other_accelerators import TorchOther, other_device
from vitruvian.hardware.processor import processor
from vitruvian.hardware.remembered import recall_compiler
from vitruvian.hardware.values import Accelerator, Hardware


@cache
def probe() -> Hardware:
    """Look at the machine once per process."""
    cpu = processor()
    accelerators = _accelerators()
    notes = (
        ()
        if accelerators
        else installation_notes(driver_signs(), torch.__version__, torch.version.cuda, torch.version.hip)
    )
    return Hardware(
        cpu=replace(cpu, compiler=recall_compiler("cpu", cpu.name)),
        accelerators=tuple(replace(one, compiler=recall_compiler(one.kind, one.name)) for one in accelerators),
        torch_version=str(torch.__version__),
        notes=notes,
    )


def make_current(device: str) -> None:
    """Let this process use an accelerator wherever a library takes "the current one"; a CPU is always current."""
    if device.startswith("cuda:"):
        torch.cuda.set_device(device)
    elif device.startswith("xpu:"):
        torch.xpu.set_device(device)


def free_memory_now(device: str) -> tuple[int, int]:
    """(total, free) bytes of a device at this moment, other processes counted; a torch device string.

    A device that shares the host's memory has no more free than the host has.

    Raises:
        RuntimeError: torch has no such device.
    """
    kind, _, index = device.partition(":")
    if kind == "cpu":
        return memory_bytes()
    number = int(index or 0)
    if kind != "cuda":
        free_bytes, total_bytes = TorchOther().memory(kind, number)
        return total_bytes, free_bytes
    api = TorchCuda()
    free_bytes, total_bytes = api.memory(number)
    return total_bytes, min(free_bytes, memory_bytes()[1]) if api.on_chip(number) else free_bytes


def synchronize(device: str) -> None:
    """Wait until the device has done what was queued; nothing to wait for on a CPU."""
    if device.partition(":")[0] != "cpu":
        torch.accelerator.synchronize(torch.device(device))


def _accelerators() -> tuple[Accelerator, ...]:
    if not torch.accelerator.is_available():
        return ()
    kind = torch.accelerator.current_accelerator()
    assert kind is not None
    count = torch.accelerator.device_count()
    if kind.type == "cuda":
        with warnings.catch_warnings():
            # torch warns in paragraphs about cards it has no kernels for; `unusable` says it in a sentence.
            warnings.simplefilter("ignore", UserWarning)
            return tuple(cuda_device(index, TorchCuda()) for index in range(count))
    return tuple(other_device(kind.type, index, TorchOther()) for index in range(count))
