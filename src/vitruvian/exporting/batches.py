"""The range of batches an artefact is made for, and those it is verified at."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from typing import Literal

from torch import Tensor, nn

from vitruvian.artefacts.capture import capture
from vitruvian.artefacts.contract import Axis, TensorContract
from vitruvian.artefacts.examination import BATCHES
from vitruvian.artefacts.limits import largest_batch

UNCAPTURED_MAX = 64
"""Where there is no graph to find the largest batch by."""


def with_range(
    contracts: Sequence[TensorContract],
    module: nn.Module,
    sample: tuple[Tensor, ...],
    wanted: int | Literal["auto"] | None,
) -> tuple[TensorContract, ...]:
    """Contracts with the largest batch filled in: as asked, or the largest that keeps every tensor below 2^31."""
    if all(contract.batch is None for contract in contracts):
        return tuple(contracts)
    maximum = _largest(contracts, module, sample) if wanted == "auto" else wanted
    return tuple(_ranged(contract, maximum) for contract in contracts)


def _ranged(contract: TensorContract, maximum: int | None) -> TensorContract:
    if contract.batch is None:
        return contract
    return replace(contract, shape=(replace(contract.batch, maximum=maximum), *contract.shape[1:]))


def _largest(contracts: Sequence[TensorContract], module: nn.Module, sample: tuple[Tensor, ...]) -> int | None:
    try:
        program = capture(module, sample, contracts)
    except Exception:  # whatever it is, every backend that needs a graph will meet and explain it
        return UNCAPTURED_MAX
    place = next(index for index, contract in enumerate(contracts) if contract.batch)
    return largest_batch(program, str(program.graph_signature.user_inputs[place]))


def verified_batches(contracts: Sequence[TensorContract], planned: int) -> tuple[int, ...]:
    """1, 2, 7 and the largest planned one, as far as the plan and the range allow."""
    axis = next((contract.batch for contract in contracts if contract.batch), None)
    if axis is None:
        return (1,)
    most = planned if axis.maximum is None else min(planned, axis.maximum)
    return tuple(sorted({batch for batch in BATCHES if batch <= most} | {max(1, most)}))


def parse_size(text: str) -> tuple[int, int]:
    """`1024x768` -> (height, width).

    Raises:
        ValueError: it is no such text.
    """
    match = re.fullmatch(r"(\d{1,5})x(\d{1,5})", text)
    if match is None:
        raise ValueError(text)
    return int(match[1]), int(match[2])


def free_axes(multiple: int, sample_hw: tuple[int, int]) -> tuple[Axis, Axis]:
    """Height and width that may change: multiples of a patch, up to four times the network's own."""
    height, width = sample_hw
    return (
        Axis(name="height", minimum=2 * multiple, maximum=4 * height // multiple * multiple, multiple=multiple),
        Axis(name="width", minimum=2 * multiple, maximum=4 * width // multiple * multiple, multiple=multiple),
    )
