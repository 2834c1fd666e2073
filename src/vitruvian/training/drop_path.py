"""Stochastic depth: in training a picture now and then passes by a residual branch. Huang et al. 2016.

In: a network, the names of its blocks, the rate of the last one. Out: hooks on the branches; names, keys and classes
stay as they are. One multiplication per branch.
"""

# Shape suffixes: B pictures, N tokens, C width.

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import Tensor, nn

from vitruvian.errors import UsageError

BRANCHES = ("attn", "ffn")
"""Parts of a block whose results are added to what passes by."""


def add_drop_path(module: nn.Module, blocks: Sequence[str], rate: float) -> None:
    """Let the residual branches of blocks drop out, per picture, at rates that rise evenly from 0 to `rate`; once.

    In training a branch's result is zero for a picture with the block's rate, else divided by the share that is kept.
    Draws from the global generator of the device, so a checkpointed block repeats its drops when it is recomputed.

    Args:
        module: the network; may be wrapped, adapted or moved afterwards.
        blocks: names of its repeated blocks from the input on (`fit.parts.blocks_of`); pictures are the first axis of
            what their branches return.
        rate: of the last block, from 0 (nothing is added) to below 1.

    Raises:
        UsageError: no such rate, no blocks, or blocks without the parts `attn` and `ffn`.
    """
    if not 0 <= rate < 1:
        raise UsageError(f"got a drop path rate of {rate}; expected 0 or more, below 1; 0 switches it off")
    if rate == 0:
        return
    if not blocks:
        raise UsageError(
            f"got a drop path rate of {rate} for a network without known repeated blocks; expected names of them; use "
            "rate 0"
        )
    branches = [_branches(name, module.get_submodule(name)) for name in blocks]
    for index, parts in enumerate(branches):
        dropped = rate * index / max(1, len(branches) - 1)
        if dropped:
            for part in parts:
                part.register_forward_hook(_Drop(1 - dropped))


class _Drop:
    """Forward hook of a branch; a value, so that networks with it can be copied and sent to other processes."""

    def __init__(self, kept: float) -> None:
        self.kept = kept

    def __call__(self, branch: nn.Module, given: Any, result_BNC: Tensor) -> Tensor:
        if not branch.training:
            return result_BNC
        shape = (result_BNC.shape[0], *(1,) * (result_BNC.ndim - 1))
        return result_BNC * result_BNC.new_empty(shape).bernoulli_(self.kept).div_(self.kept)


def _branches(name: str, block: nn.Module) -> list[nn.Module]:
    parts = dict(block.named_children())
    if any(branch not in parts for branch in BRANCHES):
        raise UsageError(
            f"got the block {name!r} with the parts {', '.join(parts) or 'none'}; expected {' and '.join(BRANCHES)} "
            "among them, whose results can be left out; use a drop path rate of 0"
        )
    return [parts[branch] for branch in BRANCHES]
