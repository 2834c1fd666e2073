"""One network with its task, in the precision it has at the moment; the road's engine calls it.

In: uint8 canvases of one shape. Out: raw outputs on the device. Where numbers overflow it is built anew in a safer
precision: rounded weights cannot be widened again, so they are read a second time.
"""

# Shape suffixes: B crops, H W canvas, 3 = RGB.

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from vitruvian.errors import UsageError
from vitruvian.fit.precision import Precision, after_non_finite
from vitruvian.running.engine import Safer
from vitruvian.running.guard import MemoryGuard
from vitruvian.tasks.base import Task
from vitruvian.tasks.inside import InsideTask


@dataclass(kw_only=True)
class Runner:
    """A network and how to make it again in another precision."""

    task: Task
    device: str
    network: nn.Module
    precision: Precision
    build: Callable[[Precision], nn.Module]
    """The network in a precision, ready to run on the device."""
    guard: MemoryGuard
    """One for all that uses this network: a change of precision must find nobody inside."""
    max_batch_of: Callable[[Precision], int]
    """Planned batch in a precision; 0 where it does not fit."""
    ladder: Sequence[Precision] = ()
    """Precisions that an audit did not turn down."""
    on_non_finite: Callable[[Precision], None] = lambda precision: None
    """Hears which precision had to be left."""

    def raw(self, canvases: Sequence[np.ndarray], *, flip_test: bool = False) -> dict[str, Tensor]:
        """Canvases of one shape -> raw outputs (B,...) on the device."""
        return raw_outputs(self.network, self.task, self.device, canvases, flip_test=flip_test)

    def step_down(self) -> Safer | None:
        """Build the network in the next safer precision; None where there is none or it does not fit."""
        safer = after_non_finite(self.precision, self.ladder)
        if safer is None:
            return None
        max_batch = self.max_batch_of(safer)
        if not max_batch:
            return None
        self.on_non_finite(self.precision)
        self.network.to("meta")  # its memory goes before the new one comes
        self.network, self.precision = self.build(safer), safer
        return Safer(precision=str(safer), max_batch=max_batch)


def raw_outputs(
    network: nn.Module, task: Task, device: str, canvases: Sequence[np.ndarray], *, flip_test: bool = False
) -> dict[str, Tensor]:
    """Canvases of one shape -> raw outputs (B,...) on the device; with their mirror images averaged in if asked for."""
    canvas_BHW3 = torch.from_numpy(np.stack(canvases)).to(device)
    x_B3HW = task.network_input(canvas_BHW3)
    raw = network(x_B3HW)
    return averaging(task)(raw, network(x_B3HW.flip(-1))) if flip_test else raw


def averaging(task: Task) -> Callable[..., dict[str, Tensor]]:
    """How a task averages the outputs of a picture and its mirror image.

    Raises:
        UsageError: it does not.
    """
    average = getattr(task, "average_mirrored", None)
    if isinstance(task, InsideTask):
        raise UsageError(
            "got a flip test for an artefact with its post-processing inside; expected raw heat maps to average; leave "
            "out --flip-test, or export again without --with-post"
        )
    if average is None:
        raise UsageError(f"got a flip test for {task.name}; expected pose; leave out --flip-test")
    return average
