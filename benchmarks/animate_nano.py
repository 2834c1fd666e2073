"""How well the small animation network puts a person into known poses, on rendered clips that it never saw.

The first frame is the picture, all others are to be made from it and the true points (with the errors of found ones).
PSNR and SSIM beside what copying the picture gives, and what the image codec alone loses.
"""

# Shape suffixes: F frames, H W frame, 3 = RGB, W = 133 points.

from __future__ import annotations

import argparse
from collections.abc import Iterator

import cv2
import numpy as np
import torch

from made_clip import made_latents
from side_by_side import Watch, conditions_line, print_table
from vitruvian import zoo
from vitruvian.animation.drive_poses import drive_poses
from vitruvian.animation.pose_maps import draw_pose_map
from vitruvian.generation.stages import Stages
from vitruvian.generation.strategy import Pilot
from vitruvian.generation.weights import find_weights
from vitruvian.models.mimicmotion import NANO
from vitruvian.people import View
from vitruvian.training.animation.clips import calm_clip, clip_views
from vitruvian.training.animation.denoiser import found_points
from vitruvian.training.animation.recipe import DenoiserRecipe

SIGMA_PX, DYNAMIC = 1.5, 255.0
"""Of SSIM (Wang et al. 2004)."""
OVERLAP = 4
"""Frames that tiles share."""


def psnr_db(one: np.ndarray, other: np.ndarray) -> float:
    """Of two frames."""
    error = np.mean((one.astype(np.float64) - other) ** 2)
    return float(10 * np.log10(DYNAMIC**2 / max(error, 1e-9)))


def ssim(one: np.ndarray, other: np.ndarray) -> float:
    """Of two frames in grey: windows of a Gaussian of 1.5 pixels."""
    x, y = (cv2.cvtColor(image, cv2.COLOR_RGB2GRAY).astype(np.float64) for image in (one, other))

    def mean(values: np.ndarray) -> np.ndarray:
        return cv2.GaussianBlur(values, (11, 11), SIGMA_PX)[5:-5, 5:-5]

    mean_x, mean_y = mean(x), mean(y)
    var_x, var_y, both = mean(x * x) - mean_x**2, mean(y * y) - mean_y**2, mean(x * y) - mean_x * mean_y
    low, high = (0.01 * DYNAMIC) ** 2, (0.03 * DYNAMIC) ** 2
    above = (2 * mean_x * mean_y + low) * (2 * both + high)
    return float(np.mean(above / ((mean_x**2 + mean_y**2 + low) * (var_x + var_y + high))))


def made_frames(stages: Stages, views: list[View], *, steps: int, scale: float, seed: int) -> np.ndarray:
    """uint8 (F,H,W,3): the clip as the network makes it of its first frame and its points, that frame included."""
    config = stages.found.spec.config
    recipe, rng = DenoiserRecipe(), np.random.default_rng(seed)
    height, width = config.input_hw
    poses = []
    for view in views:
        points_W2, scores_W = found_points(view.keypoints_PK3[0], config.input_hw, recipe, rng)
        poses.append(drive_poses(points_W2[None], scores_W[None], config.input_hw))
    first_HW3 = views[0].image_HW3
    noise = torch.randn(config.tile_frames, 4, height // 8, width // 8, generator=torch.Generator().manual_seed(seed))

    def map_of(frame: int) -> np.ndarray:
        return draw_pose_map(poses[frame], config.input_hw, canvas_side=config.pose_canvas)

    latents_F4hw = made_latents(
        stages,
        map_of,
        len(views),
        context_11D=stages.embedding(first_HW3),
        image_14hw=stages.image_latents(first_HW3, torch.zeros(1, 3, height, width), 0.0),
        noise_T4hw=noise,
        steps=steps,
        scale=scale,
        overlap=OVERLAP,
        pilot=Pilot(wish="batched", needed_bytes={"sequential": 0, "batched": 0}, free_bytes=lambda: 1),
    )
    return np.concatenate(list(stages.frames(latents_F4hw, 8, 2)))


def through_codec(stages: Stages, views: list[View]) -> np.ndarray:
    """The same frames to latents and back."""
    height, width = views[0].image_HW3.shape[:2]
    nothing = torch.zeros(1, 3, height, width)
    latents = torch.cat([stages.image_latents(view.image_HW3, nothing, 0.0) for view in views])
    return np.concatenate(list(stages.frames(latents * NANO.vae.scaling_factor, 8, 0)))


def rows_of(stages: Stages, clips: int, steps: int, scales: list[float]) -> Iterator[list[str]]:
    """Means over clips of the means over frames."""
    recipe = DenoiserRecipe()
    numbers: dict[str, list[tuple[float, float]]] = {}
    for index in range(clips):
        seed = recipe.held_out_seed + index
        views = clip_views(calm_clip(recipe, seed, NANO.input_hw))
        truth = np.stack([view.image_HW3 for view in views])
        ways = {"copying the picture": np.repeat(truth[:1], len(truth), axis=0), "codec": through_codec(stages, views)}
        for scale in scales:
            ways[f"guidance {scale:g}"] = made_frames(stages, views, steps=steps, scale=scale, seed=seed)
        for way, frames in ways.items():
            pairs = list(zip(frames[1:], truth[1:], strict=True))
            numbers.setdefault(way, []).append(
                (float(np.mean([psnr_db(*pair) for pair in pairs])), float(np.mean([ssim(*pair) for pair in pairs])))
            )
    for way, found in numbers.items():
        means = np.mean(found, axis=0)
        yield [way, f"{means[0]:.2f} dB", f"{means[1]:.3f}"]


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--clips", type=int, default=40)
    parser.add_argument("--steps", type=int, default=25)
    parser.add_argument("--scales", type=float, nargs="+", default=[1.0, 1.5, 2.0])
    parser.add_argument("--model", default=zoo.NANO_ANIMATION_NAME, help="catalogue name, or what a training wrote")
    arguments = parser.parse_args()
    watch = Watch()
    stages = Stages(found=find_weights(arguments.model), device="cpu")
    print_table(["way", "PSNR", "SSIM"], list(rows_of(stages, arguments.clips, arguments.steps, arguments.scales)))
    print(conditions_line(watch.conditions()))


if __name__ == "__main__":
    main()
