"""Metric depth for weak machines: a 480x360 picture on a canvas of its size, against the published canvas.

Random weights: time and memory are real. Torch in float32, ONNX Runtime in float32 and with 8-bit weights; each way in
a process of its own, pixels to metres. The artefacts are exported first, which takes minutes for the large network.
"""

# Shape suffixes: H W picture.

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from metric_depth import SMALL, picture_of
from side_by_side import Watch, conditions_line, print_table
from vitruvian.hardware import PeakWatch, open_meter
from vitruvian.loading import load
from vitruvian.zoo import CanvasWish

CANVAS_HW = (364, 476)
"""The multiples of 28 next to 360x480."""
PICTURES = 4
"""Of a call: on a processor the road runs one on each core."""
PUBLISHED, TORCH = "published canvas, float32", "364x476, float32"
EXPORTED = {"364x476, ONNX Runtime, float32": "onnx", "364x476, ONNX Runtime, 8-bit weights": "onnx-int8"}


def exported(model: str, backend: str, folder: Path) -> None:
    """An artefact at the small canvas."""
    size = f"{CANVAS_HW[0]}x{CANVAS_HW[1]}"
    command = [sys.executable, "-m", "vitruvian", "export", model, "--random-weights", "--backend", backend]
    subprocess.run(
        [*command, "--size", size, "--dtype", "float32", "--max-batch", "2", "--quality", "fast", "-o", str(folder)],
        check=True,
        stdout=subprocess.DEVNULL,
    )


def run_way(way: str, model: str, calls: int) -> dict[str, Any]:
    """One way over one picture; JSON-able. `model`: a name, or an artefact."""
    picture_HW3 = picture_of(SMALL["480x360"])
    canvas = CanvasWish(canvas=f"{CANVAS_HW[1]}x{CANVAS_HW[0]}") if way == TORCH else CanvasWish()
    with PeakWatch(open_meter("cpu")) as watch:
        noise = way not in EXPORTED
        dtype = "float32" if noise else None
        loaded = load(model, random_weights=noise, dtype=dtype, canvas=canvas, micro_batch=1, quality="fast")
        seconds = []
        for _ in range(calls):
            started = time.perf_counter()
            list(loaded([picture_HW3] * PICTURES, focal_px=400))
            seconds.append((time.perf_counter() - started) / PICTURES)
    return {"seconds": min(seconds), "peak_bytes": watch.peak_bytes}


def measure(model: str, calls: int, work: Path) -> list[list[str]]:
    """Rows of the table."""
    rows: list[list[str]] = []
    base = 0.0
    for way in (PUBLISHED, TORCH, *EXPORTED):
        target = model
        if way in EXPORTED:
            target = str(work / EXPORTED[way])
            exported(model, EXPORTED[way], Path(target))
        command = [sys.executable, __file__, "--way", way, "--model", target, "--calls", str(calls)]
        done = subprocess.run(command, check=True, capture_output=True, text=True)
        found = json.loads(done.stdout.splitlines()[-1])
        base = base or found["seconds"]
        speed = f"{base / found['seconds']:.2f}x"
        rows.append([model, way, f"{found['seconds']:.2f}", speed, f"{found['peak_bytes'] / 1e9:.2f}"])
        print("  ".join(rows[-1]), file=sys.stderr)
    return rows


def main() -> None:
    """Run all, or one way when called as a child."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--calls", type=int, default=2, help="calls of each way; the best counts")
    parser.add_argument("--model", action="append")
    parser.add_argument("--way")
    arguments = parser.parse_args()
    models = arguments.model or ["metric3d-vit-small", "metric3d-vit-large"]
    if arguments.way:
        print(json.dumps(run_way(arguments.way, models[0], arguments.calls)))
        return
    rows: list[list[str]] = []
    watch = Watch()
    for model in models:
        with tempfile.TemporaryDirectory() as work:
            rows += measure(model, arguments.calls, Path(work))
    print_table(["model", "way", "s a picture", "speed", "peak GB"], rows)
    print(conditions_line(watch.conditions()))


if __name__ == "__main__":
    main()
