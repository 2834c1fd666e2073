"""Trained weights as the plain network has them: low-rank adapters are added into the matrices they stand beside.

In: a network with adapters or without. Out: a state dict with the keys of the network before `fit.low_rank.adapt`, for
weight files. The network itself stays as it is, so that training goes on. Memory: merged matrices are made one by one
and kept in host memory, since the device may have no room for them.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from vitruvian.fit.low_rank import LowRank


@torch.no_grad()
def plain_state_dict(module: nn.Module) -> dict[str, Tensor]:
    """The state dict of the network without adapters, computing what it computes with them.

    Tensors without adapters are the network's own, on its device; merged ones are new, in host memory, in the weight's
    type, the product added in float32. In bfloat16 an update smaller than the rounding of a weight is lost.
    """
    state = dict(module.state_dict())
    for name, part in module.named_modules(remove_duplicate=False):
        if isinstance(part, LowRank):
            prefix = f"{name}." if name else ""
            del state[f"{prefix}down"], state[f"{prefix}up"]
            state[f"{prefix}weight"] = part.merged().weight.detach().cpu()
    return state
