"""A network shared out over processes: each holds a part of every weight, gradient and moment (FSDP2).

In: a network to which knobs have been applied, the names of its blocks. Out: the same network, sharded by block in
place. A block's weights are gathered before it computes, in the compute type, and dropped after it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import nn

from vitruvian.errors import UsageError
from vitruvian.fit.knobs import Knobs
from vitruvian.fit.precision import Precision
from vitruvian.training.ranks import Ranks


def shard(network: nn.Module, blocks: Sequence[str], knobs: Knobs, device: str, ranks: Ranks) -> None:
    """Shard every block and what is left.

    Raises:
        UsageError: there is one process alone.
    """
    if ranks.count == 1:
        raise UsageError(
            "got parallel=fsdp for one process; expected several; start them with torchrun --nproc-per-node N -m "
            "vitruvian finetune ..., or leave parallel out"
        )
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import CPUOffloadPolicy, MixedPrecisionPolicy, fully_shard

    assert knobs.training is not None
    kind = torch.device(device).type
    options: dict[str, Any] = {"mesh": init_device_mesh(kind, (ranks.count,))}
    if knobs.training.precision == "autocast":
        compute = Precision(dtype=knobs.dtype).torch_dtype
        options["mp_policy"] = MixedPrecisionPolicy(param_dtype=compute, reduce_dtype=torch.float32)
    if knobs.training.state == "host" and kind != "cpu":
        options["offload_policy"] = CPUOffloadPolicy()
    for part in [*(network.get_submodule(name) for name in blocks), *_of_mixed_types(network, blocks), network]:
        fully_shard(part, **options)


def reshard(network: nn.Module) -> None:
    """Drop gathered weights: after a forward pass alone what lies outside the blocks would stay whole, in the compute
    type, and be taken for the weights. Nothing happens to a network that is not sharded."""
    for part in network.modules():
        drop: Any = getattr(part, "reshard", None)
        if drop is not None:
            drop()


def _of_mixed_types(network: nn.Module, blocks: Sequence[str]) -> list[nn.Module]:
    """Parts outside the blocks that must be sharded one by one: what is gathered together must be of one type.

    Empty where all outside the blocks is of one type; else every module with parameters of its own, inner ones first.
    """
    inside = tuple(f"{block}." for block in blocks)
    outside = [name for name, _ in network.named_parameters() if not name.startswith(inside)]
    if len({network.get_parameter(name).dtype for name in outside}) == 1:
        return []
    owners = dict.fromkeys(name.rpartition(".")[0] for name in outside)
    return [network.get_submodule(name) for name in sorted(owners, key=len, reverse=True) if name]
