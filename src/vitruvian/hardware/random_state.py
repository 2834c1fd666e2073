"""State of torch's random generator on a device, beside the host's own. In: a device. Out: a tensor, or None."""

from __future__ import annotations

import torch
from torch import Tensor


def device_rng_state(device: str) -> Tensor | None:
    """The generator's state on an accelerator, in host memory; None on a CPU, whose generator is the host's."""
    kind = device.partition(":")[0]
    if kind == "cuda":
        return torch.cuda.get_rng_state(device)
    if kind == "xpu":
        return torch.xpu.get_rng_state(device)
    return torch.mps.get_rng_state() if kind == "mps" else None


def set_device_rng_state(device: str, state: Tensor) -> None:
    """Go on from a state that `device_rng_state` gave on a device of this kind."""
    kind = device.partition(":")[0]
    if kind == "cuda":
        torch.cuda.set_rng_state(state, device)
    elif kind == "xpu":
        torch.xpu.set_rng_state(state, device)
    elif kind == "mps":
        torch.mps.set_rng_state(state)
