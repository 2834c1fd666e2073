"""Synthetic pictures per second and core: one person at 256x192, scene sampling and camera effects included.

Inputs -> outputs: none -> a table and one JSON line. Run with one thread: OMP_NUM_THREADS=1 python benchmarks/people.py
"""

from __future__ import annotations

import json
import time

import cv2

from vitruvian.people import random_scene, render

PICTURES = 150
WARM_UP = 10


def measure(first_seed: int, pictures: int) -> dict[str, float]:
    """CPU seconds per picture for sampling and for rendering; CPU time, so that a busy machine distorts less."""
    start = time.process_time()
    scenes = [random_scene(first_seed + index) for index in range(pictures)]
    sampled = time.process_time()
    for scene in scenes:
        render(scene, effects=False)
    rendered = time.process_time()
    for scene in scenes:
        render(scene)
    finished = time.process_time()
    return {
        "sampling_ms": 1e3 * (sampled - start) / pictures,
        "rendering_ms": 1e3 * (rendered - sampled) / pictures,
        "with_effects_ms": 1e3 * (finished - rendered) / pictures,
    }


def main() -> None:
    """Print the table and the JSON line."""
    cv2.setNumThreads(1)
    measure(10_000, WARM_UP)
    times = measure(0, PICTURES)
    rate = 1e3 / (times["sampling_ms"] + times["with_effects_ms"])
    for name, value in times.items():
        print(f"{name:<18}{value:8.2f}")
    print(f"{'images_per_s':<18}{rate:8.1f}")
    print(json.dumps({"benchmark": "people_256x192_one_person", "images_per_s_per_core": round(rate, 1), **times}))


if __name__ == "__main__":
    main()
