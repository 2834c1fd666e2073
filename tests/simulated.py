"""A simulated device for tests of the engine: memory that changes with time, and a network that doubles numbers."""

from __future__ import annotations

import random
import threading
import time
import weakref
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor

from vitruvian.running.engine import Engine, NonFinite, Row, Safer
from vitruvian.running.guard import MemoryGuard

SHAPES = ((8, 6), (4, 4))
PRECISIONS = ("bfloat16", "bfloat16 with 3 float32 islands", "float32")
HANG_S = 20.0
"""Far longer than any run here takes; one that is not over by then hangs."""


def canvas(number: int, shape: tuple[int, int] = SHAPES[0]) -> np.ndarray:
    picture = np.zeros((*shape, 3), np.uint8)
    picture[0, 0] = number // 256, number % 256, 0
    return picture


def number_of(picture: np.ndarray) -> int:
    return int(picture[0, 0, 0]) * 256 + int(picture[0, 0, 1])


def doubled(canvases: Sequence[np.ndarray]) -> dict[str, Tensor]:
    return {"value_B2": torch.tensor([[number_of(one), 2 * number_of(one)] for one in canvases], dtype=torch.float32)}


class Held:
    """Units of a simulated memory; given back when the last reference dies, as a tensor's."""

    def __init__(self, memory: Memory, units: int) -> None:
        self.memory, self.units = memory, units

    def __del__(self) -> None:
        with self.memory.turn:
            self.memory.used -= self.units


@dataclass
class Memory:
    """A device whose room changes with every allocation; with a seed, a share of all calls fails once besides."""

    room_at: Callable[[int], int] = lambda tick: 10**9
    seed: int | None = None
    share: float = 0.1
    pause_s: float = 0.0
    used: int = 0
    ticks: int = 0
    failures: int = 0
    met: set[Any] = field(default_factory=set)
    turn: Any = field(default_factory=threading.RLock)

    def take(self, units: int, key: object) -> Held:
        with self.turn:
            self.ticks += 1
            unlucky = self.seed is not None and key not in self.met and self._draw(key) < self.share
            self.met.add(key)
            if unlucky or self.used + units > self.room_at(self.ticks):
                self.failures += 1
                raise torch.OutOfMemoryError(f"simulated: {units} more than {self.used} of {self.room_at(self.ticks)}")
            self.used += units
            held = Held(self, units)
        time.sleep(self.pause_s)  # so that other threads come in while the memory is held
        return held

    def _draw(self, key: object) -> float:
        return random.Random(f"{self.seed} {key}").random()


@dataclass
class Network:
    """Doubles the number in a canvas; some numbers are no good in some precisions."""

    memory: Memory = field(default_factory=Memory)
    precision: str = "float32"
    bad_in: Mapping[int, tuple[str, ...]] = field(default_factory=dict)
    rows_hold: bool = False
    """Whether outputs take a unit each until they are finished."""
    sizes: list[int] = field(default_factory=list)
    steps: list[str] = field(default_factory=list)

    def __call__(self, canvases: Sequence[np.ndarray]) -> dict[str, Tensor]:
        numbers = [number_of(one) for one in canvases]
        held = self.memory.take(len(canvases), ("network", tuple(numbers)))
        self.sizes.append(len(canvases))
        raw = doubled(canvases)
        if self.rows_hold:
            array = raw["value_B2"].numpy().copy()
            weakref.finalize(array, lambda held: None, self.memory.take(len(canvases), ("rows", tuple(numbers))))
            raw = {"value_B2": torch.from_numpy(array)}
        for place, number in enumerate(numbers):
            if self.precision in self.bad_in.get(number, ()):
                raw["value_B2"][place, 1] = float("inf")
        del held
        return raw

    def step_down(self) -> Safer | None:
        place = PRECISIONS.index(self.precision)
        if place == 2:
            return None
        self.precision = PRECISIONS[place + 1]
        self.steps.append(self.precision)
        return Safer(precision=self.precision, max_batch=8 >> place)


def engine_of(
    network: Network | Callable[..., dict[str, Tensor]], *, patience_s: float = 0.0, **options: Any
) -> Engine:
    guard = MemoryGuard(
        is_oom=lambda error: isinstance(error, torch.OutOfMemoryError),
        free=lambda: None,
        advice=lambda: "0.5 GB are missing; run with --dtype bfloat16",
        patience_s=patience_s,
    )
    given: dict[str, Any] = {"guard": guard, "max_batch": 8, "aim": None, **options}
    if isinstance(network, Network):
        given |= {"step_down": network.step_down, "precision": network.precision}
    return Engine(network=network, finish_tensors=dict, **given)


def values(rows: Sequence[Row]) -> list[Any]:
    return [row.reason if isinstance(row, NonFinite) else row["value_B2"].tolist() for row in rows]


def expected(numbers: Sequence[int]) -> list[list[float]]:
    return [[float(number), 2.0 * number] for number in numbers]
