"""What every training on synthetic pictures has to decide, as one value."""

from __future__ import annotations

from dataclasses import dataclass

from vitruvian.training.loop import LoopConfig


@dataclass(frozen=True, kw_only=True, slots=True)
class Recipe:
    """Pictures and steps; each network's own recipe says how many, and adds what it alone has."""

    pictures: int
    """Synthetic pictures rendered once; each is seen many times, cut and coloured anew."""
    batch: int = 16
    """Canvases per step and process."""
    loop: LoopConfig
    warmup: int
    """Steps until the learning rate is full."""
    weight_decay: float
    seed: int
    """Training pictures have seeds from here on; held-out pictures come from far above."""
    held_out_seed: int
