"""One optimiser step out of several micro-batches, equal to the step of the big batch.

In: micro-batches on the network's device. Out: updated weights and a `StepResult`. Every loss is a sum and a count;
each sum is divided by the count of the WHOLE effective batch, so that a pixel weighs the same in whichever micro-batch
it lies. The counts come from the targets before the first backward pass (`counts_of`); a single batch needs none.

What is skipped is said, never silent: a step whose loss or gradient is not finite leaves the weights alone. The network
dominates time and memory; gradients exist from the backward pass to the end of the step.
"""

# Shape suffixes: T loss terms.

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

import torch
from torch import Tensor, distributed, nn
from torch.nn.utils import clip_grad_norm_, get_total_norm
from torch.optim import Optimizer

from vitruvian.errors import CheckFailedError, UsageError
from vitruvian.fit.knobs import Knobs, TrainingKnobs
from vitruvian.training.losses import LossSum
from vitruvian.training.ranks import Ranks
from vitruvian.training.release import GradientRelease
from vitruvian.training.spike_guard import SpikeGuard

Batch = TypeVar("Batch")
Outputs = TypeVar("Outputs")
COUNT_REL = 1e-5
"""Counts are sums in float32."""


@dataclass(frozen=True, kw_only=True, slots=True)
class StepResult:
    """What became of one step."""

    loss: float
    """Of the effective batch, over all processes; without what the guard left out."""
    grad_norm: float
    """Of all gradients, before clipping; NaN where there was no backward pass."""
    skipped: str | None
    """Why the weights were left alone; None: they were updated."""
    items: int
    """Pictures of this process."""
    seconds: float
    """From the first forward pass to the launch of the update."""
    guarded: int = 0
    """Micro-batches that the loss-spike guard left out."""


@dataclass(kw_only=True)
class TrainingStep(Generic[Batch]):
    """Takes optimiser steps; made once for a network that `fit.apply.apply_knobs` has prepared.

    Raises:
        UsageError: knobs that exclude each other or that this device does not carry out, or parameters that learn and
            are not the optimiser's.
    """

    module: nn.Module
    optimizer: Optimizer
    knobs: Knobs
    losses_of: Callable[[nn.Module, Batch], Sequence[LossSum]]
    """Runs the network; terms are added, a weight belongs into the term's total."""
    items_of: Callable[[Batch], int]
    """Pictures of a micro-batch."""
    counts_of: Callable[[Batch], Tensor] | None = None
    """(T,) what the terms of a micro-batch are divided by, from its targets alone (`counts_from_targets`); needed for
    accumulation."""
    clip_norm: float | None = 1.0
    """Gradients are scaled down to this global norm; None: never."""
    guard: SpikeGuard | None = None
    """Leaves micro-batches out whose loss jumps; waits for each loss, which costs a GPU some of its lead."""
    release_gradients: bool = False
    """Apply each gradient as it is made and drop it; not with clipping, accumulation, loss scaling or other processes.

    Its hooks stay on the parameters until `close`."""
    ranks: Ranks = field(default_factory=Ranks)
    """Processes that train together, each with its own micro-batches, equally many."""

    def __post_init__(self) -> None:
        self._training = _training_of(self.knobs)
        self._trained = _trained_by(self.optimizer, self.module)
        self._scaler = _scaler_for(self.knobs, self._training, self._trained[0].device.type)
        self._release: GradientRelease | None = None
        self.updating = False
        """Whether an update is on its way, or broke off: weights and moments may be of two steps then."""
        if self.release_gradients:
            self._check_release()
            self._release = GradientRelease(self.optimizer)

    def __call__(self, batches: Sequence[Batch]) -> StepResult:
        """Take one step; the learning rate is the caller's (`parameter_groups.set_rates`).

        Args:
            batches: the micro-batches of the effective batch, as many as the knobs say or fewer.

        Raises:
            UsageError: no or too many micro-batches, or several without `counts_of`.
            CheckFailedError: the losses counted something else than `counts_of` said.
        """
        started = time.perf_counter()
        self._check_number(len(batches))
        try:
            expected_T = self._expected(batches)
            whole_T = None if expected_T is None else self._over_ranks(expected_T)
            tally = _Tally()
            self.updating = self._release is not None
            for batch in batches:
                self._accumulate(batch, whole_T, tally)
            if expected_T is not None:
                _check_counts(tally.count_T, expected_T)
            loss, norm = self._measure(tally)
            skipped = self._verdict(tally, loss, norm)
            self.updating = True
            self._apply(tally, skipped)
            self.updating = False
        finally:
            self.optimizer.zero_grad(set_to_none=True)
        return StepResult(
            loss=loss,
            grad_norm=norm,
            skipped=skipped,
            items=sum(map(self.items_of, batches)),
            seconds=time.perf_counter() - started,
            guarded=tally.guarded,
        )

    def state_dict(self) -> dict[str, Any]:
        """What a resumed training needs beside the network's and the optimiser's own."""
        return {
            "scaler": None if self._scaler is None else self._scaler.state_dict(),
            "previous_loss": None if self.guard is None else self.guard.previous,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on as the step that gave this state would."""
        if self._scaler is not None and state["scaler"] is not None:
            self._scaler.load_state_dict(state["scaler"])
        if self.guard is not None:
            self.guard.previous = state["previous_loss"]

    def close(self) -> None:
        """Take the hooks of `release_gradients` off, before another step is made for the same network."""
        if self._release is not None:
            self._release.remove()

    def _expected(self, batches: Sequence[Batch]) -> Tensor | None:
        """(T,) counts of this process's share of the effective batch; None where one batch's losses will say."""
        if self.counts_of is None or len(batches) == 1:
            return None
        return torch.stack([self.counts_of(batch).float() for batch in batches]).sum(dim=0)

    def _accumulate(self, batch: Batch, whole_T: Tensor | None, tally: _Tally) -> None:
        """Forward and backward of one micro-batch, or forward alone where it is left out."""
        terms = tuple(self.losses_of(self.module, batch))
        total_T = torch.stack([term.total.float() for term in terms])
        count_T = torch.stack([term.count.detach().float() for term in terms])
        tally.counts.append(count_T)
        tally.last = (total_T.detach() / count_T.clamp_min(1)).sum()
        if self.guard is not None and self._any_rank(self.guard.rejects(tally.last.item())):
            tally.guarded += 1
            return
        divisor_T = self._over_ranks(count_T) if whole_T is None else whole_T.to(total_T.device)
        share = (total_T / divisor_T.clamp_min(1)).sum()
        tally.shares.append(share.detach())
        if self._release is not None and not share.isfinite():
            return  # what is applied at once cannot be judged afterwards
        # The processes' gradients are averaged, while the divisor is that of all of them.
        share = share * self.ranks.count
        (share if self._scaler is None else self._scaler.scale(share)).backward()

    def _measure(self, tally: _Tally) -> tuple[float, float]:
        """Loss and gradient norm, gradients unscaled, averaged and clipped; the one wait for the device."""
        loss = self._over_ranks(torch.stack(tally.shares).sum()) if tally.shares else tally.last
        norm = self._norm() if tally.shares else torch.tensor(math.nan)
        numbers = torch.stack([loss.cpu().double(), norm.cpu().double()]).tolist()
        return numbers[0], numbers[1]

    def _norm(self) -> Tensor:
        if self._release is not None:
            return self._release.take_norm()
        if self._training.parallel != "fsdp":  # sharded training reduces in its backward pass
            self.ranks.average_gradients(self.module)
        if self._scaler is not None:  # averaged before, or the processes would lower their scales differently
            self._scaler.unscale_(self.optimizer)
        if self.clip_norm is not None:
            norm = clip_grad_norm_(self._trained, self.clip_norm)
        else:
            norm = get_total_norm([parameter.grad for parameter in self._trained if parameter.grad is not None])
        return norm.full_tensor() if hasattr(norm, "full_tensor") else norm

    def _verdict(self, tally: _Tally, loss: float, norm: float) -> str | None:
        if not tally.shares:
            return f"loss-spike guard: all {tally.guarded} micro-batches left out, the last with a loss of {loss:.5g}"
        if not math.isfinite(loss):
            return f"a loss of {loss}"
        if math.isfinite(norm):
            return None
        if self._release is not None:
            return f"a gradient norm of {norm}: the parameters concerned saw a gradient of zero, the others their own"
        return f"a gradient norm of {norm}"

    def _apply(self, tally: _Tally, skipped: str | None) -> None:
        if self._release is not None or not tally.shares:
            return
        if self._scaler is None:
            if skipped is None:
                self.optimizer.step()
            return
        if skipped is None:
            self._scaler.step(self.optimizer)
        self._scaler.update()

    def _over_ranks(self, value: Tensor) -> Tensor:
        """The sum over all processes."""
        if self.ranks.count == 1:
            return value
        value = value.clone().to(self._trained[0].device)
        distributed.all_reduce(value)
        return value

    def _any_rank(self, flag: bool) -> bool:
        """Whether any process says so: none may go through a backward pass alone."""
        return flag if self.ranks.count == 1 else bool(self._over_ranks(torch.tensor(float(flag))).item())

    def _check_number(self, number: int) -> None:
        accumulation = self._training.accumulation
        if not 1 <= number <= accumulation:
            raise UsageError(
                f"got {number} micro-batches for a step; expected 1 to {accumulation}, as accumulation={accumulation} "
                "says; split the effective batch accordingly"
            )
        if number > 1 and self.counts_of is None:
            raise UsageError(
                f"got {number} micro-batches without counts_of; expected a function that counts from targets what "
                "losses are divided by, or uneven micro-batches would weigh the same; give counts_of"
            )

    def _check_release(self) -> None:
        reasons = {
            f"clip_norm={self.clip_norm}": self.clip_norm is not None,
            f"accumulation={self._training.accumulation}": self._training.accumulation > 1,
            "loss scaling (float16 autocast)": self._scaler is not None,
            f"{self.ranks.count} processes": self.ranks.count > 1,
        }
        found = [reason for reason, applies in reasons.items() if applies]
        if found:
            raise UsageError(
                f"got release_gradients with {' and '.join(found)}, which need all gradients at once; expected "
                "neither; set clip_norm=None and accumulation=1, or keep gradients to the end of the step"
            )


@dataclass(kw_only=True, slots=True)
class _Tally:
    """What the micro-batches of one step came to."""

    shares: list[Tensor] = field(default_factory=list)
    """Of the loss of the effective batch, one for each micro-batch that was not left out."""
    counts: list[Tensor] = field(default_factory=list)
    guarded: int = 0
    last: Tensor = field(default_factory=lambda: torch.tensor(math.nan))
    """Loss of the last micro-batch by itself."""

    @property
    def count_T(self) -> Tensor:
        """What the terms counted together."""
        return torch.stack(self.counts).sum(dim=0)


def counts_from_targets(
    losses: Callable[[Outputs, Batch], Sequence[LossSum]], blank: Callable[[Batch], Outputs]
) -> Callable[[Batch], Tensor]:
    """A `counts_of` that cannot disagree with the losses: they are evaluated on blank outputs, without the network.

    It costs one pass over the outputs for each micro-batch, before anything of the network is in memory.

    Args:
        losses: (outputs, batch) -> terms whose counts depend on targets alone.
        blank: batch -> outputs of zeros, of the shape that the network would give.
    """

    @torch.no_grad()
    def counts_of(batch: Batch) -> Tensor:
        return torch.stack([term.count.float() for term in losses(blank(batch), batch)])

    return counts_of


def _check_counts(found_T: Tensor, expected_T: Tensor) -> None:
    found, expected = found_T.tolist(), expected_T.tolist()
    alike = len(found) == len(expected)
    if not alike or not all(math.isclose(*pair, rel_tol=COUNT_REL) for pair in zip(found, expected, strict=True)):
        raise CheckFailedError(
            f"got losses that counted {found}; expected {expected}, as counts_of says; gradients would be scaled "
            "wrongly: make counts_of count what the losses divide by, in their order"
        )


def _training_of(knobs: Knobs) -> TrainingKnobs:
    if knobs.training is None:
        raise UsageError("got knobs of inference for a training step; expected training=TrainingKnobs(...)")
    return knobs.training


def _trained_by(optimizer: Optimizer, module: nn.Module) -> list[nn.Parameter]:
    """The parameters that learn, all of them the optimiser's."""
    held = {parameter for group in optimizer.param_groups for parameter in group["params"]}
    trained = [parameter for parameter in module.parameters() if parameter.requires_grad]
    left = [name for name, parameter in module.named_parameters() if parameter.requires_grad and parameter not in held]
    if left or not trained:
        raise UsageError(
            f"got {len(left)} parameters that learn ({', '.join(left[:3]) or 'none'}) and are not the optimiser's, of "
            f"{len(trained)}; expected all of one or more; make the groups after apply_knobs has chosen what learns"
        )
    return trained


def _scaler_for(knobs: Knobs, training: TrainingKnobs, device: str) -> torch.amp.GradScaler | None:
    """Losses are scaled for float16 alone, whose range gradients leave."""
    if training.precision != "autocast" or knobs.dtype != "float16":
        return None
    if device != "cuda":
        raise UsageError(
            f"got float16 autocast for training on {device}; expected a CUDA device, where gradients can be scaled "
            "into float16's range; use dtype=bfloat16, or precision=float32"
        )
    if training.parallel == "fsdp":
        raise UsageError(
            "got float16 autocast for sharded training, where each process would scale its losses differently; "
            "expected another type; use dtype=bfloat16"
        )
    return torch.amp.GradScaler(device)
