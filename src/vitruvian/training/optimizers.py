"""The optimiser that knobs ask for, over groups of parameters.

In: groups and training knobs. Out: an AdamW of torch, of torchao (8-bit state) or of this room (state on the host,
stochastic rounding), whose `state_dict` resumes it bit for bit.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import nn
from torch.optim import AdamW, Optimizer

from vitruvian.errors import UsageError
from vitruvian.fit.decisions import Decision
from vitruvian.fit.knobs import TrainingKnobs
from vitruvian.training.careful_adamw import CarefulAdamW

Groups = Sequence[dict[str, Any]]
BETAS = (0.9, 0.999)


def make_optimizer(
    groups: Groups, knobs: TrainingKnobs, lr: float, betas: tuple[float, float] = BETAS, *, seed: int = 0
) -> Optimizer:
    """AdamW as the knobs say; each group begins with lr times its `lr_scale`.

    - adamw: torch's fused kernel. Where weights are bfloat16 or the state is on the host: `CarefulAdamW`.
    - adamw-foreach: torch's, as the published code uses it; one more copy of what is trained during the step.
    - adamw-8bit: torchao's (extra `quantize`). It compiles its update for every shape of parameter, which on a CPU
      takes a C++ compiler and some 4 s a shape before the first step (26 s for six, one thread). Its rates are tensors
      (`set_rates` fills them). bfloat16 weights are rounded with torch's global generator.

    State "host" means nothing where the parameters are in host memory already: the optimiser is the same as without.

    Args:
        groups: as `parameter_groups` makes them, after the network is on its device.
        knobs: `optimizer` and `state` count; the types are the parameters' own.
        lr: base learning rate.
        betas: decay of the moments.
        seed: of stochastic rounding.

    Raises:
        UsageError: weights in float16, knobs that exclude each other, or torchao is missing.
    """
    groups = [{**group, "lr": lr * group.get("lr_scale", 1.0)} for group in groups]
    _check(groups, knobs)
    if knobs.optimizer == "adamw-8bit":
        return _eight_bit(groups, lr, betas)
    if knobs.optimizer == "adamw-foreach":
        return AdamW(groups, lr=lr, betas=betas, foreach=True)
    if _has_type(groups, torch.bfloat16) or _travels(groups, knobs):
        return CarefulAdamW(groups, lr=lr, betas=betas, on_host=_travels(groups, knobs), seed=seed)
    return AdamW(groups, lr=lr, betas=betas, fused=True)


def load_optimizer_state(optimizer: Optimizer, saved: dict[str, Any]) -> None:
    """Take over the moments of an optimiser of other knobs, keeping one's own way to compute: state on the host now.

    The optimiser's own `load_state_dict` takes over that way, too, and is for the same knobs.

    Args:
        optimizer: of the same groups; its learning rates and weight decay stay.
        saved: what `state_dict` gave.

    Raises:
        UsageError: moments in 8 bits for an optimiser that has none, or the other way round.
        ValueError: the state dict of other parameters.
    """
    eight_bit = _in_8_bits(saved["state"])
    # torchao leaves the moments of small parameters as they are, so an optimiser of its kind may have none in 8 bits.
    own = _in_8_bits(optimizer.state) if optimizer.state else type(optimizer).__name__ == "AdamW8bit"
    if saved["state"] and eight_bit != own:
        raise UsageError(
            f"got {'8-bit' if eight_bit else 'plain'} moments for {type(optimizer).__name__}; expected the state of an "
            "optimiser of its kind; keep optimizer=adamw-8bit as it was, or begin with new moments"
        )
    groups = [
        {**mine, "params": theirs["params"]}
        for mine, theirs in zip(optimizer.state_dict()["param_groups"], saved["param_groups"], strict=True)
    ]
    optimizer.load_state_dict({"state": saved["state"], "param_groups": groups})


def _in_8_bits(states: Mapping[Any, Mapping[str, Any]]) -> bool:
    return any(type(value).__name__ == "OptimState8bit" for state in states.values() for value in state.values())


def optimizer_decision(groups: Groups, knobs: TrainingKnobs) -> Decision:
    """What `make_optimizer` makes of the same arguments, in words."""
    reasons: list[str] = []
    if _travels(groups, knobs):
        reasons.append("moments live in host memory")
    elif knobs.state == "host":
        reasons.append("state=host changes nothing here, where the parameters are in host memory already")
    if _has_type(groups, torch.bfloat16):
        reasons.append("bfloat16 weights are rounded stochastically")
    value = f"{knobs.optimizer} on the host" if _travels(groups, knobs) else knobs.optimizer
    return Decision(what="optimizer", value=value, because="; ".join(reasons) or "asked for")


def _check(groups: Groups, knobs: TrainingKnobs) -> None:
    if _has_type(groups, torch.float16):
        raise UsageError(
            "got weights in float16, which lose small updates whatever the rounding; expected float32 or bfloat16; use "
            "precision=autocast with float16, or precision=pure with bfloat16"
        )
    if knobs.optimizer == "adamw":
        return
    if knobs.optimizer == "adamw-8bit" and knobs.parallel == "fsdp" and _has_type(groups, torch.bfloat16):
        raise UsageError(
            "got optimizer=adamw-8bit for sharded bfloat16 weights, which torchao cannot round by chance; expected "
            "another combination; use optimizer=adamw, or precision=autocast"
        )
    if _travels(groups, knobs):
        raise UsageError(
            f"got optimizer={knobs.optimizer} with state=host; expected adamw there; use optimizer=adamw, or "
            "state=device"
        )
    if knobs.optimizer == "adamw-foreach" and _has_type(groups, torch.bfloat16):
        raise UsageError(
            "got optimizer=adamw-foreach for bfloat16 weights, which need stochastic rounding; expected adamw or "
            "adamw-8bit; use optimizer=adamw"
        )


def _eight_bit(groups: Groups, lr: float, betas: tuple[float, float]) -> Optimizer:
    logger = logging.getLogger("torchao")
    level = logger.level
    logger.setLevel(logging.ERROR)  # it reports kernels for other machines that it could not load
    try:
        from torchao.optim import AdamW8bit
    except ImportError as error:
        raise UsageError(
            f"got optimizer=adamw-8bit without torchao ({error}); expected version 0.18 or newer; install it with: "
            'pip install "vitruvian[quantize]", or use optimizer=adamw'
        ) from error
    finally:
        logger.setLevel(level)
    optimizer: Optimizer = AdamW8bit(groups, lr=lr, betas=betas, bf16_stochastic_round=True)
    return optimizer


def _parameters(groups: Groups) -> list[nn.Parameter]:
    return [parameter for group in groups for parameter in group["params"]]


def _has_type(groups: Groups, dtype: torch.dtype) -> bool:
    return any(parameter.dtype == dtype for parameter in _parameters(groups))


def _travels(groups: Groups, knobs: TrainingKnobs) -> bool:
    """Whether the state is to be kept away from the parameters."""
    return knobs.state == "host" and any(parameter.device.type != "cpu" for parameter in _parameters(groups))
