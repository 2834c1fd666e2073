"""Puts knobs into effect on a network: the same code prepares a real run and the trace that predicts its memory.

In: a module (on any device, meta too), its workload and knobs. Out: the module, changed in place, and an `Applied` that
says what is trained. Batch, crop, patch size, accumulation, optimizer and sharding belong to whoever runs the module.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils._pytree import tree_leaves
from torch.utils.checkpoint import CheckpointPolicy, checkpoint, create_selective_checkpoint_contexts

from vitruvian.errors import UsageError
from vitruvian.fit.knobs import Knobs, TrainingKnobs
from vitruvian.fit.low_rank import adapt
from vitruvian.fit.parts import blocks_of, outermost
from vitruvian.fit.precision import Precision, apply_precision
from vitruvian.fit.workload import Workload

Forward = Callable[..., Any]
aten = torch.ops.aten
_PRODUCTS = frozenset(
    {
        aten.mm,
        aten.addmm,
        aten.convolution,
        aten._scaled_dot_product_flash_attention,
        aten._scaled_dot_product_flash_attention_for_cpu,
        aten._scaled_dot_product_efficient_attention,
        aten._scaled_dot_product_cudnn_attention,
    }
)
"""Operators whose results selective checkpointing keeps: products with weights, and fused attention."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Applied:
    """What the knobs made of a module."""

    blocks: tuple[str, ...]
    """Names of the repeated blocks."""
    trained: tuple[nn.Parameter, ...]
    """Parameters that learn; empty in inference."""


def apply_knobs(module: nn.Module, workload: Workload, knobs: Knobs) -> Applied:
    """Put knobs into effect, in place, once per module.

    Inference: evaluation mode, weights in the compute type with the workload's float32 islands, no gradients, the head
    in strips. Training: training mode, weights in float32 or ("pure") the compute type, what does not learn is frozen,
    blocks are checkpointed, the forward pass runs under autocast or with materialised attention where asked for.

    Raises:
        UsageError: the knobs ask for a part that the network does not have or a measure that it does not offer.
    """
    _set_chunked(module, workload, chunked=knobs.chunked_head)
    blocks = blocks_of(module, workload)
    training = knobs.training
    if training is None:
        apply_precision(module.eval().requires_grad_(False), Precision(dtype=knobs.dtype, islands=workload.islands))
        return Applied(blocks=blocks, trained=())
    module.train()
    if training.precision == "pure":
        apply_precision(module, Precision(dtype=knobs.dtype, islands=workload.islands))
    _choose_trained(module, workload, training, blocks)
    _wrap_all(module, knobs, training, blocks)
    return Applied(blocks=blocks, trained=tuple(p for p in module.parameters() if p.requires_grad))


def rewrap(module: nn.Module, workload: Workload, knobs: Knobs) -> None:
    """Bring a module that training knobs were put into effect on under others that differ in how it computes alone.

    Weights stay as they are, and so does what learns: checkpointing, attention and the compute type of autocast change.

    Raises:
        UsageError: checkpointing of a network without repeated blocks.
    """
    assert knobs.training is not None
    for part in module.modules():
        vars(part).pop("forward", None)
    _wrap_all(module, knobs, knobs.training, blocks_of(module, workload))


def _wrap_all(module: nn.Module, knobs: Knobs, training: TrainingKnobs, blocks: tuple[str, ...]) -> None:
    """What changes how a module computes."""
    for name in blocks:
        block = module.get_submodule(name)
        if training.attention == "materialised":
            _wrap(block, _with_materialised_attention)
        if training.checkpointing != "none":
            _wrap(block, _recomputed if training.checkpointing == "blocks" else _recomputed_but_products)
    if training.checkpointing != "none" and not blocks:
        raise _missing(f"checkpointing={training.checkpointing}", "repeated blocks", "blocks")
    if training.attention == "materialised":
        _wrap(module, _with_materialised_attention)
    if training.precision == "autocast":
        _wrap(module, partial(_under_autocast, dtype=Precision(dtype=knobs.dtype).torch_dtype))


def loss_of(workload: Workload, outputs: Any) -> Tensor:
    """The workload's loss, or else the sum of all outputs that have a gradient, in float32."""
    if workload.loss is not None:
        return workload.loss(outputs)
    leaves = [leaf for leaf in tree_leaves(outputs) if isinstance(leaf, Tensor) and leaf.requires_grad]
    return torch.stack([leaf.float().sum() for leaf in leaves]).sum()


def _set_chunked(module: nn.Module, workload: Workload, *, chunked: bool) -> None:
    if "chunked_head" not in workload.knobs:
        if chunked:
            raise UsageError(
                f"got chunked_head for {workload.name}, whose head cannot work in strips; expected a network that "
                "offers it; leave chunked_head out"
            )
        return
    for part in module.modules():
        if hasattr(part, "chunked_head"):
            part.chunked_head = chunked  # type: ignore[assignment]


def _choose_trained(module: nn.Module, workload: Workload, training: TrainingKnobs, blocks: tuple[str, ...]) -> None:
    """Freeze everything, then thaw what learns; what the user froze stays frozen where all is trained."""
    if training.trainable == "all":
        return
    head = outermost(module, workload.head)
    module.requires_grad_(False)
    if training.trainable in ("lora", "half") and not blocks:
        raise _missing(f"trainable={training.trainable}", "repeated blocks", "blocks")
    if training.trainable == "head" and not head:
        raise _missing("trainable=head", "head", "head")
    thawed = [*blocks[len(blocks) // 2 :], *head] if training.trainable == "half" else head
    if training.trainable == "lora":
        adapt(module, blocks)
    for name in thawed:
        module.get_submodule(name).requires_grad_(True)


def _missing(asked: str, part: str, field: str) -> UsageError:
    return UsageError(
        f"got {asked} for a network without known {part}; expected names of them; give the workload "
        f"{field}=(patterns of module names,), or choose another measure"
    )


def _wrap(module: nn.Module, how: Callable[[Forward], Forward]) -> None:
    """Replace the forward of one instance: names, keys and class stay as they are."""
    module.forward = how(module.forward)


def _recomputed(forward: Forward) -> Forward:
    return partial(checkpoint, forward, use_reentrant=False)


def _recomputed_but_products(forward: Forward) -> Forward:
    contexts = partial(create_selective_checkpoint_contexts, _kept)
    return partial(checkpoint, forward, use_reentrant=False, context_fn=contexts)


def _kept(context: Any, operator: Any, *args: Any, **kwargs: Any) -> CheckpointPolicy:
    """What takes long is kept; scores of materialised attention are not: they take more than everything else."""
    kept = getattr(operator, "overloadpacket", operator) in _PRODUCTS
    return CheckpointPolicy.MUST_SAVE if kept else CheckpointPolicy.PREFER_RECOMPUTE


def _with_materialised_attention(forward: Forward) -> Forward:
    """Inside what is recomputed, or the second computation would choose its attention anew."""
    return partial(_call_with_math, forward)


def _call_with_math(forward: Forward, *args: Any, **kwargs: Any) -> Any:
    with sdpa_kernel(SDPBackend.MATH):
        return forward(*args, **kwargs)


def _under_autocast(forward: Forward, dtype: torch.dtype) -> Forward:
    return partial(_call_under_autocast, forward, dtype)


def _call_under_autocast(forward: Forward, dtype: torch.dtype, /, *args: Any, **kwargs: Any) -> Any:
    device = next(leaf.device.type for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, Tensor))
    with torch.autocast(device, dtype=dtype):
        return forward(*args, **kwargs)
