"""What the benchmarks share: interleaved best of several, conditions, a table, one JSON line, random networks."""

from __future__ import annotations

import json
import os
import platform
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import torch
from torch import nn

from vitruvian.hardware.host import cpu_name, usable_cores
from vitruvian.models.sapiens import SapiensConfig, build_network

IDLE_CORES = 0.1
"""Cores busy with other programs, on average, above which a machine counts as shared."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Best:
    """The best of several runs of one method."""

    wall_s: float
    """Shortest wall time."""
    cpu_s: float
    """Least processor time of all threads of this process: what a busy machine distorts less."""


def interleaved_best(methods: Mapping[str, Callable[[], object]], rounds: int) -> dict[str, Best]:
    """Run every method once per round, in turn, so that a busy moment hits all alike; best of all rounds for each."""
    found: dict[str, list[tuple[float, float]]] = {name: [] for name in methods}
    for _ in range(rounds):
        for name, method in methods.items():
            wall_s, cpu_s = time.perf_counter(), time.process_time()
            method()
            found[name].append((time.perf_counter() - wall_s, time.process_time() - cpu_s))
    return {
        name: Best(wall_s=min(wall for wall, _ in runs), cpu_s=min(cpu for _, cpu in runs))
        for name, runs in found.items()
    }


class Watch:
    """The conditions of everything measured between its making and `conditions()`."""

    def __init__(self) -> None:
        self._wall_s, self._own_s, self._busy_s = time.perf_counter(), _own_s(), _busy_s()

    def conditions(self) -> dict[str, Any]:
        """Machine, versions, and how many cores other programs kept busy meanwhile (Linux; None elsewhere)."""
        others = None
        if self._busy_s is not None and (busy_s := _busy_s()) is not None:
            foreign_s = busy_s - self._busy_s - (_own_s() - self._own_s)
            others = round(max(0.0, foreign_s / (time.perf_counter() - self._wall_s)), 2)
        return {
            "processor": cpu_name(),
            "cores": usable_cores(),
            "cores_busy_with_others": others,
            "shared_machine": None if others is None else others > IDLE_CORES,
            "python": platform.python_version(),
            "torch": torch.__version__,
            "opencv": cv2.__version__,
        }


def _own_s() -> float:
    """Processor seconds of this process and of its children that ended."""
    return sum(os.times()[:4])


def _busy_s() -> float | None:
    """Processor seconds the whole machine has spent on anything, stolen ones included."""
    try:
        fields = Path("/proc/stat").read_text(encoding="ascii").splitlines()[0].split()
    except OSError:
        return None
    user, nice, system, _, _, interrupts, soft_interrupts, stolen = (int(field) for field in fields[1:9])
    return (user + nice + system + interrupts + soft_interrupts + stolen) / os.sysconf("SC_CLK_TCK")


def conditions_line(found: Mapping[str, Any]) -> str:
    """The conditions in one line for people."""
    shared = {True: "machine SHARED with other work", False: "otherwise idle", None: "other work unknown"}
    return (
        f"{found['processor']}, {found['cores']} cores; {shared[found['shared_machine']]} "
        f"({found['cores_busy_with_others']} cores busy with others); "
        f"Python {found['python']}, torch {found['torch']}, OpenCV {found['opencv']}"
    )


def print_table(header: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    """Print a Markdown table, ready to be pasted into the documentation, with its columns aligned."""
    cells = [[str(cell) for cell in row] for row in (header, *rows)]
    widths = [max(len(row[column]) for row in cells) for column in range(len(header))]
    lines = [[cell.ljust(width) for cell, width in zip(row, widths, strict=True)] for row in cells]
    lines.insert(1, ["-" * width for width in widths])
    for line in lines:
        print("| " + " | ".join(line) + " |")


def print_json(document: Mapping[str, Any]) -> None:
    """One line for machines."""
    print(json.dumps(document, separators=(", ", ": ")))


def random_network(config: SapiensConfig) -> nn.Module:
    """A network whose weights are noise (deviation 0.02); its numbers mean nothing, its time and memory are real."""
    network = build_network(config).to_empty(device="cpu")
    torch.manual_seed(0)
    for parameter in network.parameters():
        parameter.requires_grad_(False).normal_(std=0.02)
    return network
