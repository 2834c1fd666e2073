"""Recognises a spill: a full device whose driver moves tensors to host memory instead of failing, some 50 times slower.

The rule was tried on made-up readings only; no card was made to spill here.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

from vitruvian.hardware.probe import free_memory_now
from vitruvian.hardware.sizes import format_bytes

FULL = 0.97
"""Share of the device in use from which a spill is possible."""
COLLAPSE = 1 / 3
"""Of the best rate so far."""
BATCHES = 3
"""In a row: one slow batch may be the reader's."""


class SpillRule:
    """Watches batches of one run on one device.

    Args:
        total_bytes: Memory of the device.
    """

    def __init__(self, total_bytes: int) -> None:
        self._total_bytes = total_bytes
        self._best_items_per_s = 0.0
        self._suspicious: deque[float] = deque(maxlen=BATCHES)
        self._told = False

    def observe(self, items_per_s: float, used_bytes: int) -> str:
        """Take one batch's rate and what the whole device had in use (all processes, as `free_memory_now` tells).

        Returns:
            A sentence, once, when the rule holds; empty otherwise.
        """
        collapsed = items_per_s < COLLAPSE * self._best_items_per_s
        self._best_items_per_s = max(self._best_items_per_s, items_per_s)
        if not collapsed or used_bytes < FULL * self._total_bytes:
            self._suspicious.clear()
            return ""
        self._suspicious.append(items_per_s)
        if self._told or len(self._suspicious) < BATCHES:
            return ""
        self._told = True
        return (
            f"the device is full ({format_bytes(used_bytes)} of {format_bytes(self._total_bytes)}) and the last "
            f"{BATCHES} batches ran at {max(self._suspicious):.3g} items/s after {self._best_items_per_s:.3g}: the "
            "driver seems to move tensors to host memory; use a smaller --budget, or forbid it in the driver's "
            "settings (CUDA sysmem fallback policy)"
        )


def spill_watch(device: str) -> Callable[[float], str]:
    """The rule for a device of this machine: hears the rate of every network call, says once what it recognised."""
    if device == "cpu":
        return lambda items_per_s: ""
    total_bytes, _ = free_memory_now(device)
    rule = SpillRule(total_bytes)
    return lambda items_per_s: rule.observe(items_per_s, total_bytes - free_memory_now(device)[1])
