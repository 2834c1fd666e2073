"""How far the fitted size of a person is from the true one: the published line and the robust fit, on rendered clips.

Points of a clip's person are known; the reference is one of its frames, made smaller or larger and moved by known
amounts, both with the errors of found points. A perfect fit gives that factor back.
"""

# Shape suffixes: K = 17 keypoints with x, y, visibility, W = 133 points, 2 = x y.

from __future__ import annotations

import argparse
from dataclasses import replace

import numpy as np

from side_by_side import print_table
from vitruvian.animation.alignment import Method, align
from vitruvian.animation.drive_poses import DrivePoses, drive_poses
from vitruvian.people import random_clip, render
from vitruvian.training.animation.denoiser import found_points
from vitruvian.training.animation.recipe import DenoiserRecipe

SIZE_HW = (256, 192)
FIRST_SEED = 98_000_000
METHODS: tuple[Method, ...] = ("published", "robust")
LIFTS = {"as they move": 0.0, "moving up and down by a tenth": 0.1, "by a fifth": 0.2}
"""Spread of a motion of the whole body along y, in shares of the frame's height: jumps, squats, a camera that nods."""


def errors_of(seed: int, lift: float) -> dict[Method, float]:
    """Relative errors of the fitted height."""
    rng = np.random.default_rng(seed)
    recipe = replace(DenoiserRecipe(), jitter=0.01, missed=0.05)
    clip = random_clip(seed, persons=1, frames=24, fps=10, height=SIZE_HW[0], width=SIZE_HW[1])
    seen = [render(scene).keypoints_PK3[0] for scene in clip]
    factor, shift_2 = rng.uniform(0.6, 1.6), rng.uniform(-20, 20, 2)
    own_K3 = seen[int(rng.integers(len(seen)))].copy()
    own_K3[:, :2] = own_K3[:, :2] * factor + shift_2
    for keypoints_K3 in seen:
        keypoints_K3[:, 1] += rng.normal(0, lift * SIZE_HW[0])
    reference = _posed(own_K3, recipe, rng)
    driving = [_posed(keypoints_K3, recipe, rng) for keypoints_K3 in seen]
    fitted = {
        method: align(driving, reference, drive_hw=SIZE_HW, reference_hw=SIZE_HW, method=method) for method in METHODS
    }
    return {method: found.scale_xy[1] / factor - 1 for method, found in fitted.items()}


def _posed(keypoints_K3: np.ndarray, recipe: DenoiserRecipe, rng: np.random.Generator) -> DrivePoses:
    points_W2, scores_W = found_points(keypoints_K3, SIZE_HW, recipe, rng)
    return drive_poses(points_W2[None], scores_W[None], SIZE_HW)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--clips", type=int, default=40)
    arguments = parser.parse_args()
    rows = []
    for words, lift in LIFTS.items():
        found = [errors_of(FIRST_SEED + index, lift) for index in range(arguments.clips)]
        for method in METHODS:
            errors = np.array([one[method] for one in found])
            rows.append([words, method, f"{errors.mean():+.3f}", f"{np.abs(errors).mean():.3f}"])
    print_table(["clips", "fit", "bias of the size", "mean error"], rows)


if __name__ == "__main__":
    main()
