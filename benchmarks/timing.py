"""Timing shared by the benchmarks: interleaved best of several, so that a busy moment hits all methods alike."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping


def interleaved_best_s(methods: Mapping[str, Callable[[], object]], rounds: int) -> dict[str, float]:
    """Shortest wall time of each method in seconds over `rounds` rounds; each round runs every method once."""
    best_s = dict.fromkeys(methods, float("inf"))
    for _ in range(rounds):
        for name, method in methods.items():
            start_s = time.perf_counter()
            method()
            best_s[name] = min(best_s[name], time.perf_counter() - start_s)
    return best_s
