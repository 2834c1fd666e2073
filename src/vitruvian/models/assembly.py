"""Tensors of a file -> a network on meta: strict, one tensor at a time, for every family.

In: a network without memory and {its own key: tensor}. Out: the network whose parameters ARE those tensors, so loading
holds little more than the larger of file and network.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from vitruvian.errors import RefusedError

DtypeOf = Callable[[str], torch.dtype]
"""Type of the weight with this key."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Loaded:
    """A network with its weights, and what was adapted on the way."""

    network: nn.Module
    notes: tuple[str, ...]


def all_float32(key: str) -> torch.dtype:
    """The type that nothing is lost in."""
    return torch.float32


def plain_advice(missing: Sequence[str], misshapen: Sequence[str]) -> str:
    """What to do about weights that do not belong, where nothing is known about the family."""
    return "Name the model the file was made for, or fetch it again."


def assemble(
    network: nn.Module,
    tensors: dict[str, Tensor],
    *,
    device: str | torch.device,
    dtype_of: DtypeOf = all_float32,
    advice: Callable[[Sequence[str], Sequence[str]], str] = plain_advice,
) -> None:
    """Assign tensors to a network on meta, strictly, and empty their dict.

    Each is let go as soon as it is converted, so no second copy of all exists. Buffers stay buffers; those that hold
    no fractions keep their type. `advice` is asked what to do about missing and misshapen keys.

    Raises:
        RefusedError: a key is missing, unexpected or misshapen; the message lists them.
    """
    wanted = {key: tuple(value.shape) for key, value in network.state_dict().items()}
    _check_keys(wanted, {key: tuple(value.shape) for key, value in tensors.items()}, advice)
    buffers = {key for key, _ in network.named_buffers()}
    for key in wanted:
        owner, _, name = key.rpartition(".")
        value = tensors.pop(key)
        value = value.to(device=device, dtype=dtype_of(key) if value.is_floating_point() else value.dtype)
        place = network.get_submodule(owner)
        if key in buffers:
            place.register_buffer(name, value)
        else:
            setattr(place, name, nn.Parameter(value, requires_grad=False))


def _check_keys(
    wanted: Mapping[str, tuple[int, ...]],
    found: Mapping[str, tuple[int, ...]],
    advice: Callable[[Sequence[str], Sequence[str]], str],
) -> None:
    missing = sorted(wanted.keys() - found.keys())
    unexpected = sorted(found.keys() - wanted.keys())
    misshapen = [
        f"{key} {found[key]} instead of {wanted[key]}"
        for key in sorted(wanted.keys() & found.keys())
        if wanted[key] != found[key]
    ]
    if not (missing or unexpected or misshapen):
        return
    lines = [
        f"{len(names)} {what}: {', '.join(names[:6])}{', ...' if len(names) > 6 else ''}"
        for what, names in (("missing", missing), ("unexpected", unexpected), ("misshapen", misshapen))
        if names
    ]
    raise RefusedError(f"weights do not belong to this network; {'; '.join(lines)}. {advice(missing, misshapen)}")
