"""How fast training samples are prepared, by threads and by processes: a table of `docs/fine-tuning.md`.

python benchmarks/samples.py [--samples 60]

Rendered people at 1440x1080 as PNG with their targets, prepared for 1024x768 with the published augmentation. A step
needs its batch within its own time.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import Executor, ProcessPoolExecutor, ThreadPoolExecutor
from functools import partial
from pathlib import Path

import cv2
import numpy as np

from vitruvian.datasets.augment import DENSE_RECIPES
from vitruvian.datasets.layouts import DenseKind, Sample, find_samples
from vitruvian.datasets.preparing import DensePreparation, Prepared, sample_rng
from vitruvian.media.png import encode_png
from vitruvian.people import random_scene, render

FILES = 4
CORES = os.cpu_count() or 1
WAYS: dict[str, Callable[[], Executor]] = {
    "1 thread": partial(ThreadPoolExecutor, 1),
    f"{CORES} threads": partial(ThreadPoolExecutor, CORES),
    "1 process": partial(ProcessPoolExecutor, 1),
    f"{CORES} processes": partial(ProcessPoolExecutor, CORES),
}


def write_data(folder: Path, kind: DenseKind) -> None:
    """A small set in the plain layout."""
    (folder / "images").mkdir(parents=True)
    (folder / "labels").mkdir()
    for seed in range(FILES):
        view = render(random_scene(seed, height=1440, width=1080, framing="full"))
        (folder / "images" / f"{seed}.png").write_bytes(encode_png(view.image_HW3))
        if kind == "seg":
            (folder / "labels" / f"{seed}.png").write_bytes(encode_png(view.part_labels_HW))
        else:
            target = view.depth_m_HW if kind == "depth" else view.normals_HW3
            np.save(folder / "labels" / f"{seed}.npy", target.astype(np.float32))


def prepared(kind: DenseKind, samples: tuple[Sample, ...], place: int) -> Prepared:
    """One sample as a loader makes it."""
    cv2.setNumThreads(1)
    preparation = DensePreparation(task=kind, recipe=DENSE_RECIPES[kind])
    return preparation.prepared(samples[place % FILES], sample_rng(0, 0, place))


def rate(executor: Executor, work: Callable[[int], Prepared], count: int) -> float:
    """Samples per second."""
    with executor:
        list(executor.map(work, range(2 * CORES)))
        started = time.perf_counter()
        for _ in executor.map(work, range(count)):
            pass
        return count / (time.perf_counter() - started)


def main() -> None:
    """Print the table as Markdown."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--samples", type=int, default=60)
    count = parser.parse_args().samples
    print(f"| samples/s | {' | '.join(WAYS)} |\n|---{'|---' * len(WAYS)}|")
    kinds: tuple[DenseKind, ...] = ("seg", "depth", "normal")
    for kind in kinds:
        with tempfile.TemporaryDirectory() as folder:
            write_data(Path(folder) / kind, kind)
            samples = find_samples(Path(folder) / kind, kind).samples
            rates = [rate(way(), partial(prepared, kind, samples), count) for way in WAYS.values()]
            print(f"| {kind} | {' | '.join(f'{one:.1f}' for one in rates)} |", flush=True)


if __name__ == "__main__":
    main()
