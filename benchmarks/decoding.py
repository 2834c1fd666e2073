"""Decoding heat maps: 308 keypoints of 16 persons, our windowed decoder against the usual loop over keypoints.

The usual loop blurs every whole map (OpenCV, 11 taps) and takes one Taylor step in numpy; it is bound by arithmetic on
pixels that are never looked at. Ours is bound by reading each map once. Both run on the CPU with the same threads.
Run: python benchmarks/decoding.py
"""

# Shape suffixes: P persons, K keypoints, H W heat-map size, 3 = x y score.

from __future__ import annotations

import json
import platform
from typing import Any

import cv2
import numpy as np
import torch

from side_by_side import interleaved_best
from vitruvian.hardware.host import usable_cores
from vitruvian.tasks.decode import decode_heatmaps

INPUT_HW = (1024, 768)
HEAT_HW = (256, 192)
THREADS = min(2, usable_cores())
COMPARED_SCORE = 0.1
"""Locations are compared above this peak; the rest of the maps is noise alone."""


def realistic_maps(persons: int, keypoints: int, seed: int = 0) -> np.ndarray:
    """Heat maps (P,K,H,W): blobs of 6 px width and uneven height, a weaker second blob, noise; a tenth noise alone."""
    rng = np.random.default_rng(seed)
    height, width = HEAT_HW
    maps_PKHW = rng.standard_normal((persons, keypoints, height, width), np.float32)
    maps_PKHW *= 0.002
    rows_H, columns_W = np.arange(height), np.arange(width)
    for map_HW in maps_PKHW.reshape(-1, height, width):
        strength = rng.uniform(0.2, 1.0) * (rng.random() > 0.1)
        for share in (1.0, rng.uniform(0, 0.5)):
            y, x, sigma = rng.uniform(0, height - 1), rng.uniform(0, width - 1), rng.uniform(4, 7)
            blob_H = np.exp(-((rows_H - y) ** 2) / (2 * sigma**2))
            blob_W = np.exp(-((columns_W - x) ** 2) / (2 * sigma**2))
            map_HW += (strength * share * blob_H[:, None] * blob_W).astype(np.float32)
    return maps_PKHW


def decode_by_loop(heat_KHW: np.ndarray, input_hw: tuple[int, int] = INPUT_HW) -> np.ndarray:
    """One person's keypoints (K,3) the usual way, keypoint by keypoint: whole-map blur, logarithm, Taylor step."""
    count, height, width = heat_KHW.shape
    points_K3 = np.zeros((count, 3))
    for index, heat_HW in enumerate(heat_KHW):
        peak = float(heat_HW.max())
        y, x = np.unravel_index(heat_HW.argmax(), heat_HW.shape)
        blurred_HW = cv2.GaussianBlur(heat_HW, (11, 11), 0, borderType=cv2.BORDER_CONSTANT)
        blurred_HW *= peak / blurred_HW.max()
        log_HW = np.pad(np.log(np.clip(blurred_HW, 1e-3, 50)), 1, mode="edge")
        (nw, n, _), (w, c, e), (_, s, se) = log_HW[y : y + 3, x : x + 3].astype(np.float64)
        gradient = np.array([(e - w) / 2, (s - n) / 2])
        mixed = (se - e - s + 2 * c - w - n + nw) / 2
        hessian = np.array([[e - 2 * c + w, mixed], [mixed, s - 2 * c + n]]) + np.eye(2) * np.finfo(np.float32).eps
        shift = np.linalg.inv(hessian) @ gradient
        points_K3[index, :2] = (np.array([x, y]) - shift) / (width - 1, height - 1) * input_hw[::-1]
        points_K3[index, 2] = peak
    return points_K3


def measure(persons: int = 16, keypoints: int = 308, rounds: int = 3) -> dict[str, Any]:
    """Time both methods and compare their locations; returns one JSON-able row with its conditions."""
    torch.set_num_threads(THREADS)
    cv2.setNumThreads(THREADS)
    maps_PKHW = realistic_maps(persons, keypoints)
    on_torch = torch.from_numpy(maps_PKHW)
    found: dict[str, np.ndarray] = {}

    def loop() -> None:
        found["loop"] = np.stack([decode_by_loop(heat_KHW) for heat_KHW in maps_PKHW])

    def ours() -> None:
        found["ours"] = decode_heatmaps(on_torch, INPUT_HW).numpy()

    best = interleaved_best({"loop": loop, "ours": ours}, rounds)
    compared_PK = found["loop"][..., 2] > COMPARED_SCORE
    distance_PK = np.linalg.norm(found["loop"][..., :2] - found["ours"][..., :2], axis=-1)
    return {
        "benchmark": "decoding",
        "persons": persons,
        "keypoints": keypoints,
        "heat_hw": HEAT_HW,
        "threads": THREADS,
        "processor": platform.machine(),
        "torch": torch.__version__,
        "opencv": cv2.__version__,
        "rounds": rounds,
        "loop_s": round(best["loop"].wall_s, 4),
        "ours_s": round(best["ours"].wall_s, 4),
        "speed_up": round(best["loop"].wall_s / best["ours"].wall_s, 1),
        "compared_keypoints": int(compared_PK.sum()),
        "largest_difference_px": float(distance_PK[compared_PK].max()),
    }


def main() -> None:
    """Print a table and one JSON line."""
    row = measure()
    print(f"{row['persons']} persons x {row['keypoints']} keypoints, maps {HEAT_HW}, {THREADS} threads, best of 3")
    print(f"{'method':<24}{'seconds':>10}{'speed-up':>10}")
    print(f"{'loop over keypoints':<24}{row['loop_s']:>10.3f}{1.0:>10.1f}")
    print(f"{'windowed, all at once':<24}{row['ours_s']:>10.3f}{row['speed_up']:>10.1f}")
    print(f"largest difference {row['largest_difference_px']:.1e} px over {row['compared_keypoints']} keypoints")
    print(json.dumps(row))


if __name__ == "__main__":
    main()
