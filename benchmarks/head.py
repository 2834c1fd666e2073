"""Time and memory of a task head in strips against its plain path: the head alone and the whole network.

Weights are noise. Times are the best of several interleaved rounds in one process. Memory is the resident peak of a
fresh process per row that runs once, beyond what it held before. Types match as in a real run: the published float32
islands hold. The error is the relative distance to the plain path of the same weights in float32.
Run: python benchmarks/head.py [--model sapiens-seg-0.3b] [--batch N] [--rounds N] [--threads N] [--part head|network]
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from collections.abc import Callable
from itertools import product
from typing import Any

import torch
from torch import Tensor, nn

from side_by_side import Watch, conditions_line, interleaved_best, print_json, print_table
from vitruvian import zoo
from vitruvian.fit.precision import Precision, apply_precision
from vitruvian.hardware import Dtype
from vitruvian.hardware.process_memory import process_memory, restart_peak
from vitruvian.models.sapiens import build_network
from vitruvian.models.sapiens.heads import Head

PARTS = ("head", "network")
PATHS = ("plain", "strips")
DTYPES: tuple[Dtype, ...] = ("float32", "bfloat16")


class Rig:
    """One part of a network in one type, ready to run either way."""

    def __init__(self, model: str, part: str, dtype: Dtype, batch: int) -> None:
        spec = zoo.find(model)
        config = zoo.sapiens_config(spec)
        assert config.head is not None
        precision = Precision(dtype=dtype, islands=spec.workload.islands)
        self.network = apply_precision(build_network(config), precision)
        (self.head,) = (module for module in self.network.modules() if isinstance(module, Head))
        self.module: nn.Module = self.head if part == "head" else self.network
        self.module.to_empty(device="cpu").requires_grad_(False)
        torch.manual_seed(0)
        for parameter in self.module.parameters():
            parameter.normal_(std=0.02)
        backbone = config.backbone
        if part == "head":  # tokens by channels, as the encoder gives it
            grid = torch.randn(batch, *backbone.grid_hw(), backbone.width)
            self.given = grid.permute(0, 3, 1, 2).to(next(self.head.parameters()).dtype)
        else:
            self.given = torch.randn(batch, 3, *backbone.input_hw)

    def run(self, path: str) -> Tensor:
        """The result of the plain path or of the one in strips."""
        self.head.chunked_head = path == "strips"
        with torch.inference_mode():
            result = self.module(self.given)
        return result if isinstance(result, Tensor) else next(iter(result.values()))

    def errors(self) -> dict[str, float]:
        """Relative distance of both paths to the plain one in float32; the network is in float32 afterwards."""
        found = {path: self.run(path).float() for path in PATHS}
        apply_precision(self.network, Precision())
        self.given = self.given.float()
        exact = self.run("plain")
        return {path: float(torch.dist(result, exact) / exact.norm()) for path, result in found.items()}


def _measure_memory(rig: Rig, path: str) -> None:
    restart_peak()
    before_bytes = process_memory().resident_bytes
    rig.run(path)
    print_json({"before_bytes": before_bytes, "peak_bytes": process_memory().peak_bytes})


def _in_child(given: argparse.Namespace, part: str, dtype: str, path: str) -> dict[str, int]:
    command = [sys.executable, __file__, "--model", given.model, "--batch", given.batch, "--threads", given.threads]
    command += ["--memory-of", part, dtype, path]
    done = subprocess.run([str(word) for word in command], check=True, capture_output=True, text=True)
    found: dict[str, int] = json.loads(done.stdout)
    return found


def _row(given: argparse.Namespace, part: str, dtype: Dtype) -> list[dict[str, Any]]:
    memory = {path: _in_child(given, part, dtype, path) for path in PATHS}
    rig = Rig(given.model, part, dtype, given.batch)

    def method(path: str) -> Callable[[], object]:
        return lambda: rig.run(path)

    best = interleaved_best({path: method(path) for path in PATHS}, given.rounds)
    errors = rig.errors()
    return [
        {
            "part": part,
            "dtype": dtype,
            "path": path,
            "wall_s": best[path].wall_s,
            "cpu_s": best[path].cpu_s,
            "peak_bytes": memory[path]["peak_bytes"],
            "beyond_weights_bytes": memory[path]["peak_bytes"] - memory[path]["before_bytes"],
            "error": errors[path],
        }
        for path in PATHS
    ]


def main() -> None:
    """Print a table and one JSON line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="sapiens-seg-0.3b")
    parser.add_argument("--batch", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--part", choices=PARTS, help="only this one")
    parser.add_argument("--memory-of", nargs=3, help=argparse.SUPPRESS)
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    if given.memory_of:
        part, dtype, path = given.memory_of
        _measure_memory(Rig(given.model, part, dtype, given.batch), path)
        return
    watch = Watch()
    parts = [given.part] if given.part else PARTS
    rows = [row for part, dtype in product(parts, DTYPES) for row in _row(given, part, dtype)]
    found = watch.conditions()
    print(
        f"{conditions_line(found)}; {given.model}, batch {given.batch}, {given.threads} threads, best of {given.rounds}"
    )
    print_table(
        ("part", "type", "path", "seconds", "processor seconds", "GB beyond before", "GB peak", "error"),
        [
            (
                row["part"],
                row["dtype"],
                row["path"],
                f"{row['wall_s']:.2f}",
                f"{row['cpu_s']:.2f}",
                f"{row['beyond_weights_bytes'] / 1e9:.2f}",
                f"{row['peak_bytes'] / 1e9:.2f}",
                f"{row['error']:.1e}",
            )
            for row in rows
        ],
    )
    given_as = {key: getattr(given, key) for key in ("model", "batch", "rounds", "threads")}
    print_json({"benchmark": "head", **found, **given_as, "rows": rows})


if __name__ == "__main__":
    main()
