"""A guard against batches that would ruin weights, as the published pose recipe has it. In: losses. Out: yes or no."""

from __future__ import annotations

import math
from dataclasses import dataclass

SPIKE_FACTOR = 25.0
"""Of the pose recipe."""


@dataclass(kw_only=True, slots=True)
class SpikeGuard:
    """Rejects a loss that is not finite or lies far above the one before.

    The one before is the last finite loss above zero, rejected or not: a jump that stays is let through from its second
    batch on, and a batch without a target does not make the next one look like a spike.
    """

    factor: float = SPIKE_FACTOR
    previous: float | None = None

    def rejects(self, loss: float) -> bool:
        """Whether a batch of this loss is to contribute nothing; takes note of the loss."""
        rejected = not math.isfinite(loss) or (self.previous is not None and loss > self.factor * self.previous)
        if math.isfinite(loss) and loss > 0:
            self.previous = loss
        return rejected
