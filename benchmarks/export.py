"""Every backend of `vitruvian export` beside eager float32: build, size, opening, images/s, peak, distance.

    python benchmarks/export.py [--models sapiens-seg-nano,sapiens-seg-0.3b] [--backends eager,export,aoti,...]
        [--dtypes float32,bfloat16] [--batches 1,4,16] [--rounds 7] [--budget 20GB] [--limit-s 90]

Each artefact is made, then opened in a process of its own; all processes of a model are called in turn, so that a busy
moment hits all alike, and the fastest call counts; one of more than 20 s is not repeated, and batches that would take
longer than the limit are left out. Networks without embedded weights get random ones: their times and
memory are real, and their distance is that of raw outputs (relative L2). Rows that do not work or fit stay.
Prints a table and one JSON line.
"""

from __future__ import annotations

import argparse
import shutil
import tempfile
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from side_by_side import Watch, conditions_line, print_json, print_table
from vitruvian import zoo
from vitruvian.artefacts.examination import Candidate
from vitruvian.artefacts.fresh import Ran
from vitruvian.audit import bundled_crops
from vitruvian.errors import CheckFailedError, VitruvianError
from vitruvian.exporting import Exported, export
from vitruvian.hardware import format_bytes, probe


@dataclass(kw_only=True)
class Row:
    """One backend and compute type."""

    model: str
    backend: str
    dtype: str
    exported: Exported | None = None
    why: str = ""
    best_s: dict[int, float] = field(default_factory=dict)
    peak_bytes: int = 0
    open_s: float = 0.0

    @property
    def s_per_picture(self) -> float:
        """Of the largest batch so far."""
        return self.best_s[max(self.best_s)] / max(self.best_s) if self.best_s else 0.0


LONG_S = 20.0


def main() -> None:
    """Measure and print."""
    arguments = _arguments()
    watch, rows = Watch(), []
    for model in arguments.models.split(","):
        with tempfile.TemporaryDirectory(prefix="vitruvian-export-") as folder:
            rows += _model(model, Path(folder), arguments)
    _print(rows, [int(batch) for batch in arguments.batches.split(",")], watch.conditions())


def _model(model: str, folder: Path, arguments: argparse.Namespace) -> list[Row]:
    rows = [
        _built(Row(model=model, backend=backend, dtype=dtype), folder, arguments.budget)
        for dtype in arguments.dtypes.split(",")
        for backend in arguments.backends.split(",")
    ]
    live = [row for row in rows if row.exported is not None]
    threads = probe().cpu.cores
    task = zoo.find(model).make_task()
    canvases = [torch.from_numpy(crop.canvas_HW3) for crop in bundled_crops(task)]
    with ExitStack() as stack:
        candidates = {}
        for row in live:
            assert row.exported is not None
            device = row.exported.manifest.target.device
            candidate = Candidate(folder=row.exported.folder, device=device, threads=threads)
            candidates[id(row)] = stack.enter_context(candidate)
            row.open_s = candidate.open_s
        for batch in map(int, arguments.batches.split(",")):
            chosen = [canvases[place % len(canvases)] for place in range(batch)]
            quick = [row for row in live if batch * row.s_per_picture <= arguments.limit_s]
            _read(quick, candidates, batch, (task.network_input(torch.stack(chosen)),), arguments.rounds)
    shutil.rmtree(folder)
    folder.mkdir()
    return rows


def _built(row: Row, folder: Path, budget: str | None) -> Row:
    out = folder / f"{row.backend}-{row.dtype}"
    try:
        row.exported = export(
            row.model,
            out=out,
            backend=row.backend,
            dtype=row.dtype,
            random_weights=not zoo.find(row.model).embedded,
            quality="fast",
            budget=budget,
            report=lambda line: None,
        )
    except VitruvianError as error:
        row.why = str(error).splitlines()[0][:240]
        if not isinstance(error, CheckFailedError):
            row.why = f"{type(error).__name__}: {row.why}"
    return row


def _read(
    live: list[Row], candidates: dict[int, Candidate], batch: int, inputs: tuple[Tensor, ...], rounds: int
) -> None:
    """One batch, in turn; whoever fails leaves the race and keeps the row."""
    for turn in range(rounds):
        for row in live:
            if turn and row.best_s.get(batch, float("inf")) > LONG_S:  # or failed
                continue
            try:
                ran: Ran = candidates[id(row)].run(inputs, [0], 0.0)
            except VitruvianError as error:
                row.why = f"batch {batch}: {str(error).splitlines()[0][:160]}"
                row.best_s.pop(batch, None)
                continue
            row.best_s[batch] = min(row.best_s.get(batch, float("inf")), ran.seconds)
            row.peak_bytes = max(row.peak_bytes, ran.peak_bytes)


def _print(rows: list[Row], batches: list[int], conditions: dict[str, Any]) -> None:
    numbers = [name for batch in batches for name in (f"images_per_s_{batch}", f"ratio_{batch}")]
    before = ("model", "backend", "dtype", "build_s", "compiled", "folder", "open_s")
    headings = (*before, *numbers, "peak", "distance", "why")
    base = {row.model: row for row in rows if (row.backend, row.dtype) == ("eager", "float32")}
    table = []
    for row in rows:
        line: dict[str, Any] = {"model": row.model, "backend": row.backend, "dtype": row.dtype}
        if row.exported is not None:
            manifest, attempt = row.exported.manifest, row.exported.attempts[-1]
            distances = {} if attempt.examined is None else dict(attempt.examined.distances)
            line |= {
                "build_s": round(attempt.build_s, 1),
                "compiled": format_bytes(attempt.size_bytes),
                "folder": format_bytes(sum(entry.size_bytes for entry in manifest.files.values())),
                "open_s": round(row.open_s, 2),
                "distance": ", ".join(f"{unit} {value:.4g}" for unit, value in distances.items()),
            }
        for batch in batches:
            best = row.best_s.get(batch)
            true = base[row.model].best_s.get(batch) if row.model in base else None
            line[f"images_per_s_{batch}"] = None if best is None else round(batch / best, 3)
            line[f"ratio_{batch}"] = None if best is None or true is None else round(true / best, 2)
        line |= {"peak": format_bytes(row.peak_bytes) if row.peak_bytes else None, "why": row.why}
        table.append(line)
    print(conditions_line(conditions))
    print_table(headings, [[_cell(line.get(name)) for name in headings] for line in table])
    print_json({"benchmark": "export", "conditions": conditions, "rows": table})


def _cell(value: object) -> str:
    return "-" if value is None else str(value)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", default="sapiens-seg-nano,sapiens-seg-0.3b")
    parser.add_argument("--backends", default="eager,export,aoti,onnx,torchscript,onnx-int8,int8,fp8")
    parser.add_argument("--dtypes", default="float32,bfloat16")
    parser.add_argument("--batches", default="1,4,16")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--budget", default=None)
    parser.add_argument("--limit-s", type=float, default=90.0)
    return parser.parse_args()


if __name__ == "__main__":
    main()
