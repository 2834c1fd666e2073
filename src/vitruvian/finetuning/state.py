"""All that a resumed training needs, as one document of plain containers and whole tensors.

In: network, optimizer and what else changes from step to step. Out: a document for `torch.save` that
`torch.load(weights_only=True)` reads, the same however many processes train: shards are gathered for it, and dealt out
anew where it is taken up. Only what learns is in it; the rest comes from the weights that the training began with.
Gathering needs host memory for weights and moments in the first process.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from pickle import UnpicklingError
from typing import Any, BinaryIO

import torch
from torch import Tensor, distributed, nn
from torch.optim import Optimizer
from torch.utils._pytree import tree_map

from vitruvian.errors import RefusedError
from vitruvian.finetuning.sharding import reshard
from vitruvian.hardware import device_rng_state, set_device_rng_state
from vitruvian.media.names import shown
from vitruvian.training.ranks import Ranks

FORMAT = 1


def learnt_weights(network: nn.Module, *, keep: bool = True) -> dict[str, Tensor]:
    """Parameters that learn, whole, by name; every process takes part in gathering, those that write keep them."""
    reshard(network)
    learning = {name: one.detach() for name, one in network.named_parameters() if one.requires_grad}
    return {name: whole(value, keep=keep) for name, value in learning.items()}


def whole(value: Any, *, keep: bool = True) -> Any:
    """A sharded tensor put together, in host memory; anything else as it is. None: it is not to be kept here."""
    if hasattr(value, "full_tensor"):
        gathered = value.full_tensor()  # every process must ask
        return gathered.cpu() if keep else None
    return value if keep else None


def optimizer_state(optimizer: Optimizer, *, keep: bool = True) -> dict[str, Any]:
    """The optimizer's state dict with whole tensors."""
    state: dict[str, Any] = tree_map(partial(whole, keep=keep), optimizer.state_dict())
    return state


def dealt_out(saved: Mapping[str, Any], optimizer: Optimizer) -> dict[str, Any]:
    """A saved state dict as an optimizer of sharded parameters takes it: each process gets its share of the moments."""
    parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    places = [place for group in saved["param_groups"] for place in group["params"]]
    owner = dict(zip(places, parameters, strict=True))
    state = {
        place: {key: share_of(value, owner[place]) for key, value in entries.items()}
        for place, entries in saved["state"].items()
    }
    return {**saved, "state": state}


def share_of(value: Any, parameter: Tensor) -> Any:
    """A whole tensor sharded as a parameter of its shape is; anything else as it is."""
    if not hasattr(parameter, "full_tensor") or not isinstance(value, Tensor) or value.shape != parameter.shape:
        return value
    from torch.distributed.tensor import distribute_tensor

    sharded: Any = parameter
    return distribute_tensor(value.to(sharded.device), sharded.device_mesh, sharded.placements)


@torch.no_grad()
def put_weights(network: nn.Module, weights: Mapping[str, Tensor]) -> None:
    """Give a network the weights of `learnt_weights`.

    Raises:
        RefusedError: other parameters learn there than here.
    """
    reshard(network)
    own = {name: parameter for name, parameter in network.named_parameters() if parameter.requires_grad}
    if own.keys() != weights.keys():
        differing = sorted(own.keys() ^ weights.keys())
        raise RefusedError(
            f"got the state of a training of {len(weights)} parameters for one of {len(own)} ({differing[0]} is in one "
            "of them alone); expected the same; keep `trainable` as it was, or train into another folder"
        )
    for name, parameter in own.items():
        parameter.copy_(share_of(weights[name], parameter))


def random_states(ranks: Ranks, device: str) -> list[dict[str, Any]]:
    """State of torch's generators in every process."""
    own = {"host": torch.get_rng_state(), "device": device_rng_state(device)}
    if ranks.count == 1:
        return [own]
    gathered: list[Any] = [None] * ranks.count
    distributed.all_gather_object(gathered, own)
    return gathered


def set_random_states(states: list[dict[str, Any]], ranks: Ranks, device: str) -> bool:
    """Go on with these; False where they are of another number of processes, and nothing was set."""
    if len(states) != ranks.count:
        return False
    own = states[ranks.rank]
    torch.set_rng_state(own["host"])
    if own["device"] is not None:
        set_device_rng_state(device, own["device"])
    return True


def write_document(document: Mapping[str, Any], file: BinaryIO) -> None:
    """Write a state."""
    torch.save(dict(document), file)


def _loaded(path: Path) -> dict[str, Any]:
    """A state as torch reads it; the kinds of tensors that torchao adds are known only when it was imported."""
    try:
        document: dict[str, Any] = torch.load(path, weights_only=True, map_location="cpu", mmap=True)
    except UnpicklingError as error:
        if "torchao" not in str(error):
            raise
        import torchao.optim  # noqa: F401

        document = torch.load(path, weights_only=True, map_location="cpu", mmap=True)
    return document


def read_document(path: Path) -> dict[str, Any]:
    """Read a state; runs nothing in it.

    Raises:
        RefusedError: the file is damaged, or of another version.
    """
    try:
        document = _loaded(path)
        version = document["format"]
    except (OSError, RuntimeError, ValueError, KeyError, EOFError, UnpicklingError) as error:
        raise RefusedError(
            f"got the state {shown(path)}, which cannot be read ({type(error).__name__}: {str(error)[:100]}); expected "
            "one that this program wrote; take it away to begin anew"
        ) from error
    if version != FORMAT:
        raise RefusedError(
            f"got the state {shown(path)} of version {version}; expected {FORMAT}; go on with the program that wrote it"
        )
    return document
