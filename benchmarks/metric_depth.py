"""Metric depth: time, memory and error of our ways against the published flow, vit-small with random weights.

Pictures of three aspects, one at a time, each way in a process of its own: canvas, network, maps at source size. Random
weights: times and memory are real; errors are those of one set of random weights and not of the published ones.
"""

# Shape suffixes: H W picture, 3 = RGB.

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from torch import Tensor

from photos import BUNDLED
from published_metric3d import PublishedFlow
from side_by_side import Watch, conditions_line, print_json, print_table
from vitruvian import weights
from vitruvian.fit.precision import Precision, apply_precision
from vitruvian.hardware import PeakWatch, open_meter, probe
from vitruvian.media.images import read_picture
from vitruvian.media.items import Entry
from vitruvian.models.metric3d import Metric3dNetwork
from vitruvian.tasks.base import Provenance
from vitruvian.tasks.cameras import Camera, CameraWish
from vitruvian.tasks.metric_depth import MetricDepthTask
from vitruvian.tasks.metric_result import MetricDepth

MODEL = "metric3d-vit-small"
SIZES = {"16:9": (1080, 1920), "4:3": (1200, 1600), "9:16": (1920, 1080)}
SMALL = {"480x360": (360, 480)}
FOCAL = 0.8
"""In longer sides."""
PUBLISHED = "published flow"
WAYS: Mapping[str, tuple[str, bool]] = {
    PUBLISHED: ("float32", False),
    "fixed, float32": ("float32", False),
    "fixed, bfloat16": ("bfloat16", False),
    "fit, float32": ("float32", True),
    "fit, bfloat16": ("bfloat16", True),
}


def picture_of(size_hw: tuple[int, int]) -> np.ndarray:
    """The middle of a photograph, enlarged to this size."""
    name = "astronaut.jpg"
    image_HW3 = read_picture(Entry(name=name, path=BUNDLED / name, payload=None, index=0)).image_HW3
    side = min(image_HW3.shape[:2])
    ratio = size_hw[1] / size_hw[0]
    high, wide = (side, round(side * ratio)) if ratio < 1 else (round(side / ratio), side)
    return cv2.resize(image_HW3[:high, :wide], size_hw[::-1], interpolation=cv2.INTER_CUBIC)


def run_way(way: str, aspect: str, calls: int, out: Path, model: str) -> dict[str, Any]:
    """One way over one picture; JSON-able. The depth map goes to `out`."""
    dtype, fit = WAYS[way]
    size_hw = (SIZES | SMALL)[aspect]
    torch.set_num_threads(probe().cpu.cores)
    found = weights.random_weights(model)
    spec = found.spec.fitted() if fit else found.spec
    task = spec.make_task()
    assert isinstance(task, MetricDepthTask)
    precision = Precision() if dtype == "float32" else Precision(dtype="bfloat16", islands=spec.family.islands)
    image_HW3 = picture_of(size_hw)
    camera = CameraWish(focal_px=FOCAL * max(size_hw)).camera(size_hw)
    with PeakWatch(open_meter("cpu")) as watch, torch.inference_mode():
        network = found.build(precision=precision).network
        assert isinstance(network, Metric3dNetwork)
        apply_precision(network, precision)
        run: Callable[[Tensor], Mapping[str, Tensor]] = PublishedFlow(network) if way == PUBLISHED else network
        seconds = []
        for _ in range(calls):
            started = time.perf_counter()
            result = measured(task, run, image_HW3, camera)
            seconds.append(time.perf_counter() - started)
    np.save(out, result.depth_m_HW[::4, ::4])
    return {"seconds": min(seconds), "peak_bytes": watch.peak_bytes, "baseline_bytes": watch.baseline_bytes}


def measured(
    task: MetricDepthTask, run: Callable[..., Mapping[str, Tensor]], image_HW3: np.ndarray, camera: Camera
) -> MetricDepth:
    """One picture, from pixels to metres."""
    canvas, geometry = task.prepare(image_HW3, None)
    x_B3HW = task.network_input(torch.from_numpy(canvas)[None])
    row = {name: value[0] for name, value in task.finish_tensors(run(x_B3HW)).items()}
    provenance = Provenance(model=MODEL, weights_sha256="", licence="")
    return task.finish(row, replace(geometry, camera=camera), provenance)[0]


def measure(aspect: str, calls: int, work: Path, model: str) -> list[dict[str, Any]]:
    """All ways in turn, each in a fresh process."""
    rows = []
    for index, way in enumerate(WAYS):
        out = work / f"{aspect.replace(':', '-')}-{index}.npy"
        command = [sys.executable, __file__, "--way", way, "--aspect", aspect, "--calls", str(calls), "--model", model]
        done = subprocess.run([*command, "--out", str(out)], check=True, capture_output=True, text=True)
        rows.append(json.loads(done.stdout.splitlines()[-1]) | {"way": way, "aspect": aspect, "map": str(out)})
    base_HW = np.load(rows[0]["map"])
    for row in rows:
        found_HW = np.load(row.pop("map"))
        row["mean_difference"] = None if row["way"].startswith("fit") else float(np.abs(found_HW / base_HW - 1).mean())
    return rows


def cells_of(rows: list[dict[str, Any]]) -> list[tuple[str, ...]]:
    """The table's lines: ratios to the published flow."""
    base = rows[0]
    return [
        (
            row["aspect"],
            row["way"],
            f"{row['seconds']:.2f}",
            f"{base['seconds'] / row['seconds']:.2f}x",
            f"{row['peak_bytes'] / 1e9:.2f}",
            f"{row['peak_bytes'] / base['peak_bytes']:.2f}",
            "other canvas" if row["mean_difference"] is None else f"{100 * row['mean_difference']:.3f} %",
        )
        for row in rows
    ]


def main() -> None:
    """Run all, or one way when called as a child."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--calls", type=int, default=2, help="calls of each way; the best counts")
    parser.add_argument("--aspect", choices=[*SIZES, *SMALL], action="append")
    parser.add_argument("--model", default=MODEL)
    parser.add_argument("--way", choices=list(WAYS))
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    if arguments.way:
        found = run_way(arguments.way, arguments.aspect[0], arguments.calls, arguments.out, arguments.model)
        print(json.dumps(found))
        return
    watch, rows, cells = Watch(), [], []
    with tempfile.TemporaryDirectory() as work:
        for aspect in arguments.aspect or list(SIZES):
            of_aspect = measure(aspect, arguments.calls, Path(work), arguments.model)
            rows += of_aspect
            cells += cells_of(of_aspect)
    header = ("picture", "way", "s a picture", "speed", "peak GB", "of published", "mean difference of depth")
    print_table(header, cells)
    print_json({"benchmark": "metric_depth", "model": arguments.model, "rows": rows, **watch.conditions()})
    print(conditions_line(watch.conditions()))


if __name__ == "__main__":
    main()
