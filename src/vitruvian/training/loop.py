"""A small resumable training loop.

In: a module, an optimiser, `batch_of(step)` and `loss_of(batch)`. Out: checkpoints and a JSONL log in a folder. Because
a batch is a pure function of the step, the state to resume from is the step, the tensors and the random generator.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Generic, TypeVar

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from vitruvian.errors import CheckFailedError
from vitruvian.training.parameter_groups import set_rates
from vitruvian.training.ranks import Ranks

Batch = TypeVar("Batch")
STATE_FILE, LOG_FILE = "state.pt", "log.jsonl"


@dataclass(frozen=True, kw_only=True, slots=True)
class LoopConfig:
    """How long and how carefully to train."""

    steps: int
    """Optimiser steps in all."""
    lr: float
    """Base learning rate."""
    clip_norm: float = 1.0
    """Gradients are scaled down to this global norm."""
    ema_decay: float = 0.999
    """Decay of the running average of the weights; the average is what gets published."""
    log_every: int = 50
    checkpoint_every: int = 500


@dataclass(kw_only=True)
class Loop(Generic[Batch]):
    """Training from `state.pt` in the run folder, or from the start where there is none."""

    config: LoopConfig
    module: nn.Module
    optimizer: Optimizer
    batch_of: Callable[[int], Batch]
    """Batch of a step; pure, so that a resumed run sees what an uninterrupted one would."""
    loss_of: Callable[[nn.Module, Batch], tuple[Tensor, Mapping[str, float]]]
    """Scalar loss and numbers worth logging."""
    rate_of: Callable[[int], float]
    """Learning-rate factor of a step."""
    run: Path
    ranks: Ranks = field(default_factory=Ranks)
    """Processes that train together; each has its own `batch_of`, gradients are averaged."""

    def train(self, report: Callable[[str], None] = print) -> dict[str, Tensor]:
        """Train to the end and return the averaged weights.

        Raises:
            CheckFailedError: the loss or its gradient is no longer finite; the last checkpoint is kept.
        """
        self.run.mkdir(parents=True, exist_ok=True)
        step, average = self._restore()
        started, first = time.perf_counter(), step
        self.module.train()
        while step < self.config.steps:
            numbers = self._step(step)
            self._update_average(average, step)
            step += 1
            if not self.ranks.leads:
                continue
            if step % self.config.log_every == 0 or step == self.config.steps:
                pace = (step - first) / (time.perf_counter() - started)
                self._log({"step": step, "steps_per_s": round(pace, 3), **numbers}, report)
            if step % self.config.checkpoint_every == 0 or step == self.config.steps:
                self._save(step, average)
        self.module.eval()
        return average

    def _step(self, step: int) -> dict[str, float]:
        lr = self.config.lr * self.rate_of(step)
        set_rates(self.optimizer, lr)
        loss, numbers = self.loss_of(self.module, self.batch_of(step))
        _check_finite("loss", loss, step)
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        self.ranks.average_gradients(self.module)
        norm = nn.utils.clip_grad_norm_(self.module.parameters(), self.config.clip_norm)
        # A finite loss can have an infinite gradient; one step with it would ruin the weights before the next check.
        _check_finite("gradient norm", norm, step)
        self.optimizer.step()
        return {"loss": loss.item(), "grad_norm": norm.item(), "lr": lr, **numbers}

    @torch.no_grad()
    def _update_average(self, average: dict[str, Tensor], step: int) -> None:
        # A young average follows closely, otherwise it would remember the random start for thousands of steps.
        decay = min(self.config.ema_decay, (1 + step) / (10 + step))
        for name, value in self.module.state_dict().items():
            if value.is_floating_point():
                average[name].lerp_(value, 1 - decay)
            else:
                average[name].copy_(value)

    def _log(self, row: dict[str, Any], report: Callable[[str], None]) -> None:
        rounded = {key: float(f"{value:.5g}") if isinstance(value, float) else value for key, value in row.items()}
        with (self.run / LOG_FILE).open("a", encoding="utf-8") as log:
            log.write(json.dumps(rounded) + "\n")
        report("  ".join(f"{key} {value}" for key, value in rounded.items()))

    def _restore(self) -> tuple[int, dict[str, Tensor]]:
        path = self.run / STATE_FILE
        if not path.exists():
            self._rewind_log(0)
            return 0, {name: value.clone() for name, value in self.module.state_dict().items()}
        state = torch.load(path, weights_only=True, map_location="cpu")
        self._rewind_log(state["step"])
        self.module.load_state_dict(state["module"])
        self.optimizer.load_state_dict(state["optimizer"])
        torch.set_rng_state(state["rng"])
        own = self.module.state_dict()
        return state["step"], {name: value.to(own[name].device) for name, value in state["average"].items()}

    def _rewind_log(self, step: int) -> None:
        """Drop rows of steps that are trained again, and a row that an interruption tore."""
        path = self.run / LOG_FILE
        if not self.ranks.leads or not path.exists():
            return
        rows = path.read_text(encoding="utf-8").splitlines(keepends=True)
        kept = [row for row in rows if row.endswith("\n") and json.loads(row)["step"] <= step]
        temporary = self.run / f"{LOG_FILE}.partial"
        temporary.write_text("".join(kept), encoding="utf-8")
        os.replace(temporary, path)

    def _save(self, step: int, average: dict[str, Tensor]) -> None:
        state = {
            "step": step,
            "module": self.module.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "average": average,
            "rng": torch.get_rng_state(),
        }
        temporary = self.run / f"{STATE_FILE}.partial"
        torch.save(state, temporary)
        os.replace(temporary, self.run / STATE_FILE)


def _check_finite(what: str, value: Tensor, step: int) -> None:
    if not torch.isfinite(value):
        raise CheckFailedError(
            f"got a {what} of {value.item()} at step {step}; expected a finite number; "
            "resume from the last checkpoint with a lower learning rate"
        )
