"""What the automatic choice buys: published flow, float32 one by one, and automatic; pictures in, files out.

Each way runs in a process of its own, in turn: seconds, peak resident memory, and how far its labels are from float32.
The published flow is what the original programs do for segmentation: a float32 TorchScript program, batches of 2 with
the last one padded by blank pictures, all class logits brought to source size before the arg-max. It is kinder here
than in the original: no process pool is fed with pickled maps.
"""

# Shape suffixes: B pictures, C classes, H W source size, 3 = RGB.

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from PIL import Image
from torch.nn import functional

from photos import BUNDLED, mixed_sizes
from side_by_side import Watch, conditions_line, print_json, print_table
from vitruvian import weights
from vitruvian.hardware import PeakWatch, open_meter, probe
from vitruvian.jobs import RUN_FILE, Job, run_job
from vitruvian.loading import load
from vitruvian.tasks.base import Origin
from vitruvian.tasks.preprocess import MEAN_RGB, STD_RGB
from vitruvian.tasks.seg import Segmentation, SegTask

PUBLISHED_BATCH = 2


@torch.inference_mode()
def published(name: str, pictures: Path, out: Path, watch: PeakWatch) -> None:
    """Segmentation as the published programs do it."""
    torch.set_num_threads(probe().cpu.cores)
    found = _found(name).build()
    task = found.spec.make_task()
    assert isinstance(task, SegTask)
    height, width = task.input_hw
    example = torch.zeros(1, 3, height, width)
    program = torch.jit.freeze(torch.jit.trace(Only(found.network, "logits").eval(), example))
    found.network.to_empty(device="meta")
    out.mkdir(parents=True)
    paths = sorted(pictures.iterdir())
    mean_3, std_3 = np.array(MEAN_RGB, np.float32), np.array(STD_RGB, np.float32)
    for start in range(0, len(paths), PUBLISHED_BATCH):
        part = paths[start : start + PUBLISHED_BATCH]
        images = [cv2.cvtColor(cv2.imread(str(path)), cv2.COLOR_BGR2RGB) for path in part]  # type: ignore[arg-type]
        canvases = [task.prepare(image, None)[0] for image in images]
        canvases += [np.zeros_like(canvases[0])] * (PUBLISHED_BATCH - len(part))
        x_B3HW = ((np.stack(canvases).astype(np.float32) - mean_3) / std_3).transpose(0, 3, 1, 2)
        logits_BChw = program(torch.from_numpy(np.ascontiguousarray(x_B3HW)))
        for path, image_HW3, logits_Chw in zip(part, images, logits_BChw, strict=False):
            logits_CHW = functional.interpolate(logits_Chw[None], image_HW3.shape[:2], mode="bilinear")[0]
            labels_HW = logits_CHW.argmax(dim=0).to(torch.uint8).numpy()
            result = Segmentation(
                provenance=found.provenance,
                labels_HW=labels_HW,
                label_set=task.labels,
                origin=Origin(name=path.name, index=0, time_s=None, image_HW3=image_HW3),
            )
            cv2.imwrite(str(out / f"{path.name}.seg.png"), labels_HW)
            cv2.imwrite(str(out / f"{path.name}.seg.drawn.jpg"), cv2.cvtColor(result.draw(), cv2.COLOR_RGB2BGR))


class Only(torch.nn.Module):
    """A network that returns one tensor instead of a dict, as published programs do."""

    def __init__(self, network: torch.nn.Module, key: str) -> None:
        super().__init__()
        self.network, self.key = network, key

    def forward(self, x_B3HW: torch.Tensor) -> torch.Tensor:
        return self.network(x_B3HW)[self.key]


def one_by_one(name: str, pictures: Path, out: Path, watch: PeakWatch) -> None:
    """Our road held to float32 and batch 1."""
    model = load(**_source(name), device="cpu", dtype="float32", micro_batch=1)
    run_job(model, Job(inputs=[str(pictures)], out=out), watch=watch)


def automatic(name: str, pictures: Path, out: Path, watch: PeakWatch) -> None:
    """Our road as it comes."""
    run_job(load(**_source(name), device="cpu"), Job(inputs=[str(pictures)], out=out), watch=watch)


WAYS: dict[str, Callable[[str, Path, Path, PeakWatch], None]] = {
    "published flow": published,
    "float32, batch 1": one_by_one,
    "automatic": automatic,
}


def _found(name: str) -> weights.FoundWeights:
    return weights.find_weights(name) if name.endswith("nano") else weights.random_weights(name)


def _source(name: str) -> dict[str, Any]:
    return {"name": name, "random_weights": not name.endswith("nano")}


def run_way(way: str, name: str, pictures: Path, out: Path) -> dict[str, Any]:
    """One way in this process; JSON-able."""
    started = time.perf_counter()
    with PeakWatch(open_meter("cpu")) as watch:
        WAYS[way](name, pictures, out, watch)
    run = out / RUN_FILE
    document = json.loads(run.read_text()) if run.exists() else {}
    return {
        "wall_s": time.perf_counter() - started,
        "cpu_s": time.process_time(),
        "peak_bytes": watch.peak_bytes,
        "dtype": document.get("precision", "float32"),
        "micro_batch": document.get("micro_batch", PUBLISHED_BATCH),
    }


def measure(name: str, pictures: Path, work: Path, rounds: int) -> list[dict[str, Any]]:
    """All ways in turn, each in fresh processes; the shortest of each."""
    best: dict[str, dict[str, Any]] = {}
    for turn in range(rounds):
        for index, way in enumerate(WAYS):
            out = work / f"{name}-{turn}-{index}"
            command = [sys.executable, __file__, "--way", way, "--model", name, "--pictures", str(pictures)]
            done = subprocess.run([*command, "--out", str(out)], check=True, capture_output=True, text=True)
            row = json.loads(done.stdout.splitlines()[-1]) | {"way": way, "model": name, "out": str(out)}
            if way not in best or row["wall_s"] < best[way]["wall_s"]:
                best[way] = row
    base = Path(best["float32, batch 1"]["out"])
    for row in best.values():
        row["equal_labels"] = _equal_share(base, Path(row.pop("out")))
    return list(best.values())


def _equal_share(first: Path, second: Path) -> float:
    equal = total = 0
    for path in sorted(first.glob("*.seg.png")):
        with Image.open(path) as one, Image.open(second / path.name) as other:
            same = np.asarray(one) == np.asarray(other)
        equal, total = equal + int(same.sum()), total + same.size
    return equal / total


def print_rows(rows: Sequence[dict[str, Any]], amount: int) -> None:
    """One table per model: ratios to the published flow."""
    published_row = next(row for row in rows if row["way"] == "published flow")
    cells = [
        (
            row["model"],
            row["way"],
            f"{row['dtype']}, batch {row['micro_batch']}",
            f"{row['wall_s'] / amount:.2f}",
            f"{published_row['wall_s'] / row['wall_s']:.2f}x",
            f"{row['peak_bytes'] / 1e9:.2f}",
            f"{100 * row['equal_labels']:.2f} %",
        )
        for row in rows
    ]
    print_table(("model", "way", "ran as", "s a picture", "speed", "peak GB", "labels equal to float32"), cells)


def main() -> None:
    """Run all, or one way when called as a child."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--photos", type=Path, default=BUNDLED)
    parser.add_argument("--model", action="append", default=None)
    parser.add_argument("--amount", type=int, default=None, help="pictures (default: 40 for nano, 3 for others)")
    parser.add_argument("--rounds", type=int, default=None, help="(default: 3 for nano, 1 for others)")
    parser.add_argument("--way", choices=list(WAYS))
    parser.add_argument("--pictures", type=Path)
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    if arguments.way:
        print(json.dumps(run_way(arguments.way, arguments.model[0], arguments.pictures, arguments.out)))
        return
    watch = Watch()
    for name in arguments.model or ["sapiens-seg-nano", "sapiens-seg-0.3b"]:
        small = name.endswith("nano")
        amount = arguments.amount or (40 if small else 3)
        work = Path(tempfile.mkdtemp())
        try:
            mixed_sizes(arguments.photos, work / "pictures", amount)
            rows = measure(name, work / "pictures", work, arguments.rounds or (3 if small else 1))
        finally:
            shutil.rmtree(work)
        print_rows(rows, amount)
        print_json({"benchmark": "automatic", "pictures": amount, "rows": rows, **watch.conditions()})
    print(conditions_line(watch.conditions()))


if __name__ == "__main__":
    main()
