"""Everything that can be turned to make a workload fit, as one value. Same knobs, same footprint, same numbers."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from vitruvian.hardware import Dtype


@dataclass(frozen=True, kw_only=True, slots=True)
class TrainingKnobs:
    """How a training step is carried out."""

    precision: Literal["float32", "autocast", "pure"] = "float32"
    """autocast: float32 weights, computing in `Knobs.dtype`. pure: weights, gradients and optimiser state in it."""
    checkpointing: Literal["none", "blocks", "selective"] = "none"
    """blocks: activations inside repeated blocks are computed again in the backward pass. selective: all but results of
    products with weights and of fused attention, which take most of the time."""
    attention: Literal["fused", "materialised"] = "fused"
    optimizer: Literal["adamw", "adamw-foreach", "adamw-8bit"] = "adamw"
    """adamw is the fused one; foreach holds one more copy of what is trained during the step."""
    state: Literal["device", "host"] = "device"
    """Where the optimiser state lives."""
    trainable: Literal["all", "lora", "half", "head"] = "all"
    """lora: low-rank adapters on the linear layers of the blocks, and the head. half: the later half of the blocks and
    the head."""
    gradients: Literal["kept", "released"] = "kept"
    """released: each is applied as it is made, then dropped; without clipping, accumulation, float16's loss scaling or
    other processes, which need all gradients at once."""
    accumulation: int = 1
    """Micro-batches per optimiser step."""
    gpus: int = 1
    parallel: Literal["none", "ddp", "fsdp"] = "none"
    """ddp: a copy on each device and a bucket copy of the gradients. fsdp: weights, gradients and state are split."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Knobs:
    """One way to carry out a workload."""

    dtype: Dtype = "float32"
    """Compute type; in inference the weights', too, float32 islands excepted."""
    micro_batch: int = 1
    """Items per network call on each device."""
    chunked_head: bool = False
    """The head works item by item and strip by strip (inference, where the network offers it)."""
    input_hw: tuple[int, int] | None = None
    """Crop height and width; None: the network's own."""
    patch_size: int | None = None
    """Side of a ViT patch; None: the network's own."""
    training: TrainingKnobs | None = field(default=None)
    """None: inference."""

    def to_json(self) -> dict[str, Any]:
        """Plain containers, the training knobs flattened in."""
        document = asdict(self)
        training = document.pop("training") or {}
        return document | training
