"""Optimiser groups of the published recipes: lower rates toward the input, no weight decay where it does harm.

In: a module and the names of its blocks. Out: groups for any optimiser of torch, each with its own `weight_decay` and
`lr_scale`, the factor that its learning rate has beside the schedule's.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from fnmatch import fnmatchcase
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from vitruvian.errors import UsageError


def parameter_groups(
    module: nn.Module,
    blocks: Sequence[str],
    *,
    weight_decay: float,
    layer_decay: float = 1.0,
    stem: tuple[str, ...] = (),
    undecayed: tuple[str, ...] = (),
    rates: Mapping[str, float] | None = None,
) -> list[dict[str, Any]]:
    """Groups of all parameters that learn; a frozen one is in none.

    With L blocks a parameter's rate is scaled by layer_decay^(L + 1 - id): id 0 for the stem, i + 1 for block i, L + 1
    for everything else (BEiT, Bao et al. 2021; published configurations). Tensors of one axis or none, biases and what
    `undecayed` names have no weight decay.

    Args:
        module: the network, adapters and frozen parts included.
        blocks: names of its repeated blocks from the input on (`fit.parts.blocks_of`).
        weight_decay: of matrices and kernels.
        layer_decay: from above 0 to 1; 1 gives every parameter the same rate.
        stem: name patterns (as `fnmatch`) of parameters before the blocks: patches, positions, class token.
        undecayed: name patterns of further parameters without decay: position tables.
        rates: name pattern -> factor on the rate, the first that names a parameter.

    Raises:
        UsageError: a factor that is none, rates by layer without blocks, or patterns that name nothing together.
    """
    names = [name for name, _ in module.named_parameters()]
    _check_decay(blocks, layer_decay)
    rates = rates or {}
    for patterns in (stem, undecayed, *((pattern,) for pattern in rates)):
        _check_patterns(names, patterns)
    groups: dict[tuple[int, bool, float], list[nn.Parameter]] = {}
    last = len(blocks) + 1
    for name, parameter in module.named_parameters():
        if parameter.requires_grad:
            layer = last if layer_decay == 1 else _layer_of(name, blocks, stem)
            exempt = parameter.ndim <= 1 or name.rpartition(".")[2] == "bias" or _named(name, undecayed)
            factor = next((rate for pattern, rate in rates.items() if fnmatchcase(name, pattern)), 1.0)
            groups.setdefault((layer, exempt, factor), []).append(parameter)
    return [
        {
            "params": parameters,
            "weight_decay": 0.0 if exempt else weight_decay,
            "lr_scale": layer_decay ** (last - layer) * factor,
        }
        for (layer, exempt, factor), parameters in sorted(groups.items(), key=lambda item: item[0])
    ]


def set_rates(optimizer: Optimizer, lr: float) -> None:
    """Give every group its own learning rate, lr * lr_scale; groups without a scale get lr.

    Rates that are tensors keep being them: torchao compiles its step once, for a tensor that changes.
    """
    for group in optimizer.param_groups:
        rate = lr * group.get("lr_scale", 1.0)
        if isinstance(group["lr"], Tensor):
            with torch.no_grad():
                group["lr"].fill_(rate)
        else:
            group["lr"] = rate


def _layer_of(name: str, blocks: Sequence[str], stem: Iterable[str]) -> int:
    for index, block in enumerate(blocks):
        if name.startswith(f"{block}."):
            return index + 1
    return 0 if _named(name, stem) else len(blocks) + 1


def _named(name: str, patterns: Iterable[str]) -> bool:
    return any(fnmatchcase(name, pattern) for pattern in patterns)


def _check_decay(blocks: Sequence[str], layer_decay: float) -> None:
    if not 0 < layer_decay <= 1:
        raise UsageError(f"got a layer decay of {layer_decay}; expected a factor above 0, up to 1; 1 switches it off")
    if layer_decay < 1 and not blocks:
        raise UsageError(
            f"got a layer decay of {layer_decay} for a network without known repeated blocks; expected names of them; "
            "give the workload blocks=(patterns of module names,), or use layer_decay=1"
        )


def _check_patterns(names: Sequence[str], patterns: tuple[str, ...]) -> None:
    """One of several may name nothing: few networks have a class token."""
    if patterns and not any(_named(name, patterns) for name in names):
        raise UsageError(
            f"got the name patterns {', '.join(patterns)}, which name no parameter; expected patterns of names like "
            f"{names[0] if names else 'weight'}; correct them or leave them out"
        )
