"""A network under knobs: what takes optimizer steps, and how it is put together anew under other knobs.

In: a network on the host, knobs, a recipe. Out: a `Rig`. The optimizer's moments are made before the first step, so
that an update does not stop halfway for want of memory.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from vitruvian.finetuning.recipe import Recipe
from vitruvian.finetuning.sharding import shard
from vitruvian.finetuning.state import random_states, set_random_states
from vitruvian.fit.apply import apply_knobs, rewrap
from vitruvian.fit.decisions import Decision
from vitruvian.fit.knobs import Knobs, TrainingKnobs
from vitruvian.fit.workload import Workload
from vitruvian.training.average import WeightAverage
from vitruvian.training.batches import Canvases, size_of, stacked
from vitruvian.training.objectives import Objective, losses_on
from vitruvian.training.optimizers import load_optimizer_state, make_optimizer, optimizer_decision
from vitruvian.training.parameter_groups import parameter_groups, set_rates
from vitruvian.training.ranks import Ranks
from vitruvian.training.spike_guard import SpikeGuard
from vitruvian.training.step import TrainingStep
from vitruvian.zoo import Family


@dataclass(kw_only=True)
class Rig:
    """Network, optimizer and step of a training."""

    network: nn.Module
    workload: Workload
    recipe: Recipe
    objective: Objective[Any]
    stack: Callable[[Sequence[Any]], Canvases] = stacked
    """Samples -> batch."""
    family: Family
    """Knows what lies before the blocks and what has no weight decay."""
    device: str
    knobs: Knobs
    rates: Mapping[str, float] = field(default_factory=dict)
    """Pattern of parameter names -> factor on their learning rate."""
    ranks: Ranks = field(default_factory=Ranks)
    optimizer: Optimizer = field(init=False)
    average: WeightAverage | None = field(init=False)
    step: TrainingStep[Canvases] = field(init=False)
    decisions: tuple[Decision, ...] = field(init=False)

    def __post_init__(self) -> None:
        """Raises `UsageError` for knobs that this network or device does not carry out."""
        applied = apply_knobs(self.network, self.workload, self.knobs)
        if self.training.parallel == "fsdp":  # it takes each part to the device by itself
            shard(self.network, applied.blocks, self.knobs, self.device, self.ranks)
        else:
            self.network.to(self.device)
        self._groups = parameter_groups(
            self.network,
            applied.blocks,
            weight_decay=self.recipe.weight_decay,
            layer_decay=self.recipe.layer_decay,
            stem=self.family.stem,
            undecayed=self.family.undecayed,
            rates=self.rates,
        )
        self._make_optimizer()
        _make_moments(self.optimizer)
        self.average = WeightAverage(self.network, self.recipe.average) if self.recipe.average else None
        self._make_step(SpikeGuard(factor=self.recipe.guard) if self.recipe.guard else None)

    @property
    def training(self) -> TrainingKnobs:
        """The knobs of training."""
        assert self.knobs.training is not None
        return self.knobs.training

    @property
    def clips(self) -> bool:
        """Whether gradients are held to a norm."""
        return self.recipe.clip_norm > 0 and self.training.gradients == "kept"

    def change(self, knobs: Knobs) -> None:
        """Go on under knobs that learn the same: other micro-batches, checkpointing, place of the state."""
        travelled = knobs.training is not None and knobs.training.state != self.training.state
        saved = self.optimizer.state_dict() if travelled else None
        guard, scaler = self.step.guard, self.step.state_dict()
        self.step.close()
        self.knobs = knobs
        rewrap(self.network, self.workload, knobs)
        if saved is not None:
            self._make_optimizer()
            load_optimizer_state(self.optimizer, saved)
        self._make_step(guard)
        self.step.load_state_dict(scaler)

    def micro_batches(self, samples: Sequence[Any]) -> list[Canvases]:
        """A step's samples in batches of the knobs' size, in host memory."""
        size = self.knobs.micro_batch
        return [self.stack(samples[start : start + size]) for start in range(0, len(samples), size)]

    def set_rate(self, lr: float) -> None:
        """The learning rate of the next step, each layer's by its own factor."""
        set_rates(self.optimizer, lr)

    def _make_optimizer(self) -> None:
        groups = [dict(group) for group in self._groups]
        self.optimizer = make_optimizer(groups, self.training, self.recipe.lr, self.recipe.betas, seed=self.recipe.seed)
        self.decisions = (optimizer_decision(groups, self.training),)

    def _make_step(self, guard: SpikeGuard | None) -> None:
        self.step = TrainingStep(
            module=self.network,
            optimizer=self.optimizer,
            knobs=self.knobs,
            losses_of=partial(losses_on, self.device, self.objective),
            items_of=size_of,
            counts_of=self.objective.counts,
            clip_norm=self.recipe.clip_norm if self.clips else None,
            guard=guard,
            release_gradients=self.training.gradients == "released",
            ranks=self.ranks,
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class Moment:
    """What an action uses up even if it breaks off: chance, and the memory of the step's guards."""

    chance: list[dict[str, Any]]
    step: dict[str, Any]

    @classmethod
    def of(cls, rig: Rig) -> Moment:
        """Before the action."""
        return cls(chance=random_states(rig.ranks, rig.device), step=rig.step.state_dict())

    def restore(self, rig: Rig) -> None:
        """Before it is tried again."""
        set_random_states(self.chance, rig.ranks, rig.device)
        rig.step.load_state_dict(self.step)


def _make_moments(optimizer: Optimizer) -> None:
    """Let the optimizer allocate its state by a step that changes nothing: no rate, a gradient of zero for one
    parameter after the other, since all of them at once may be more than the plan allows."""
    set_rates(optimizer, 0.0)
    for parameter in [parameter for group in optimizer.param_groups for parameter in group["params"]]:
        parameter.grad = torch.zeros_like(parameter)
        optimizer.step()
        parameter.grad = None
    for state in optimizer.state.values():
        if isinstance(state["step"], Tensor):
            state["step"].zero_()
        else:
            state["step"] = 0
