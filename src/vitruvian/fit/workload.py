"""What `fit/` and `export/` see of a model: how to build it, what it eats, which stages run how often.

Nothing here knows a model family; a user's own module comes in through `Workload.from_module`.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from vitruvian.errors import UsageError

Inputs = Mapping[str, Tensor]


@dataclass(frozen=True, kw_only=True, slots=True)
class TensorSpec:
    """Shape and type of one input."""

    shape: tuple[int, ...]
    dtype: torch.dtype = torch.float32

    def empty(self, device: str | torch.device = "meta") -> Tensor:
        """A tensor of this kind without defined values."""
        return torch.empty(self.shape, dtype=self.dtype, device=device)


@dataclass(frozen=True, kw_only=True, slots=True)
class Stage:
    """One part of a run. The footprint of a workload is the largest of resident + active bytes over its stages."""

    name: str
    call: Callable[[nn.Module, Inputs], Any]
    repeats: int = 1


def forward_once(module: nn.Module, inputs: Inputs) -> Any:
    """The only stage of networks that map one batch to one output."""
    return module(*inputs.values())


@dataclass(frozen=True, kw_only=True, slots=True)
class Workload:
    """A network as a planner or an exporter needs it."""

    name: str
    build: Callable[[], nn.Module]
    """Makes the module on the meta device."""
    inputs: Callable[[int], dict[str, TensorSpec]]
    """Inputs by argument name for a batch size, in call order."""
    stages: tuple[Stage, ...] = (Stage(name="forward", call=forward_once),)
    islands: tuple[str, ...] = ()
    """Name patterns of modules that stay in float32 whatever the compute type; published by the family."""
    knobs: frozenset[str] = frozenset()
    """Memory measures the network offers: `chunked_head`, switched by an attribute of that name on the module."""
    blocks: tuple[str, ...] = ()
    """Name patterns of the repeated blocks: what checkpointing, sharding, adapters and freezing work on."""
    head: tuple[str, ...] = ()
    """Name patterns of the part that a new task starts anew."""
    loss: Callable[[Any], Tensor] | None = None
    """Outputs -> scalar, as a training step has it; None: the sum of all outputs in float32."""
    input_hw: tuple[int, int] | None = None
    """Height and width of the pictures that `inputs` describes, for networks that take pictures."""
    patch_size: int | None = None
    """Side of a ViT patch."""
    stride: int | None = None
    """What the sides of other pictures are multiples of, where there is no patch size to choose."""
    resized: Callable[[tuple[int, int], int], Workload] | None = None
    """The same network for another picture size and patch size, or its stride; None: it has one size only."""
    key: str = ""
    """Names network and inputs completely, for files that remember predictions; empty: never remembered."""

    @classmethod
    def from_module(cls, module: nn.Module, example_inputs: tuple[Tensor, ...]) -> Workload:
        """Any module with tensors as positional arguments; their first axis is the batch, scalars have none.

        Raises:
            UsageError: no example input, or example inputs of different batch sizes.
        """
        batches = {tensor.shape[0] for tensor in example_inputs if tensor.ndim}
        if not example_inputs or len(batches) != 1:
            raise UsageError(
                f"got example inputs with batch sizes {sorted(batches)}; expected one or more tensors that share their "
                "first axis; pass them as a tuple in call order"
            )

        def inputs(batch: int) -> dict[str, TensorSpec]:
            return {
                f"input_{index}": TensorSpec(shape=(batch, *tensor.shape[1:])[: tensor.ndim], dtype=tensor.dtype)
                for index, tensor in enumerate(example_inputs)
            }

        return cls(name=type(module).__name__, build=lambda: meta_copy(module), inputs=inputs)


def meta_copy(module: nn.Module) -> nn.Module:
    """A copy of a module on meta, plain tensor attributes too; the original and its memory stay untouched."""
    memo: dict[int, Any] = {
        id(parameter): nn.Parameter(torch.empty_like(parameter, device="meta"), requires_grad=parameter.requires_grad)
        for parameter in module.parameters()
    }
    plain = [value for part in module.modules() for value in vars(part).values() if isinstance(value, Tensor)]
    memo |= {id(tensor): torch.empty_like(tensor, device="meta") for tensor in (*module.buffers(), *plain)}
    return copy.deepcopy(module, memo)
