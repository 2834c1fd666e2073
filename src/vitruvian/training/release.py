"""Gradients applied and dropped one by one, while the backward pass still makes the others.

In: parameters and their optimiser. Out: updated parameters without gradients. Memory: the largest gradient instead of
all of them. What needs all gradients at once (clipping, accumulation, loss scaling) cannot be had with it, and a
backward pass that breaks off leaves a step half taken.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.optim import Optimizer


class GradientRelease:
    """Steps the optimiser for one parameter at a time, as soon as its gradient is whole."""

    def __init__(self, optimizer: Optimizer) -> None:
        """Hang on all parameters of an optimiser; for the rest of their lives, unless `remove` is called."""
        self._optimizer = optimizer
        self._place = {
            parameter: index for index, group in enumerate(optimizer.param_groups) for parameter in group["params"]
        }
        self._norms: list[Tensor] = []
        self._handles = [parameter.register_post_accumulate_grad_hook(self._apply) for parameter in self._place]

    def take_norm(self) -> Tensor:
        """Norm of all gradients since it was last asked for, as they were made; zero where there were none."""
        norms, self._norms = self._norms, []
        return torch.stack(norms).norm() if norms else torch.zeros(())

    def remove(self) -> None:
        """Let gradients pile up again."""
        for handle in self._handles:
            handle.remove()

    @torch.no_grad()
    def _apply(self, parameter: Tensor) -> None:
        assert isinstance(parameter, nn.Parameter)
        assert parameter.grad is not None
        norm = parameter.grad.float().norm()
        self._norms.append(norm)
        # Its value is not asked for: that would make the host wait for the device at every parameter.
        parameter.grad.masked_fill_(~norm.isfinite(), 0)
        groups = self._optimizer.param_groups
        self._optimizer.param_groups = [{**groups[self._place[parameter]], "params": [parameter]}]
        try:
            self._optimizer.step()
        finally:
            self._optimizer.param_groups = groups
        parameter.grad = None
