"""The rendered clips of the animation trainings: one person who moves in front of a calm background.

In: a recipe. Out: memory-mapped arrays, kept in a folder. Time: rendering, about 25 ms a frame and core.
"""

# Shape suffixes: N clips, F frames, H W frame, 3 = RGB, K = 17 keypoints (COCO) with x, y and visibility.

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np

from vitruvian.people import Clip, Scene, View, random_clip, render
from vitruvian.people.background import paint_background
from vitruvian.people.labels import KEYPOINT_NAMES
from vitruvian.training.animation.recipe import ClipRecipe
from vitruvian.training.rendered import Arrays, RenderedSet

ATTEMPTS = 60
MARGIN = 0.02
"""Persons stay so far inside the frame, in shares of its sides."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Clips:
    """Arrays of the rendered set, memory mapped."""

    image_NFHW3: np.ndarray
    """uint8 RGB."""
    keypoints_NFK3: np.ndarray
    """float32 pixels and visibility (0 outside, 1 covered, 2 visible)."""

    def __len__(self) -> int:
        return len(self.image_NFHW3)


def rendered_clips(
    recipe: ClipRecipe,
    folder: Path,
    *,
    size_hw: tuple[int, int],
    workers: int,
    report: Callable[[str], None] = print,
) -> Clips:
    """The recipe's clips, rendering what is not on disk yet."""
    deciding = ("pictures", "frames", "fps", "least_person", "calm", "seed")
    wanted = RenderedSet(
        count=recipe.pictures,
        layout={
            "image_NFHW3": ((recipe.frames, *size_hw, 3), "uint8"),
            "keypoints_NFK3": ((recipe.frames, len(KEYPOINT_NAMES), 3), "float32"),
        },
        drawn_by={name: getattr(recipe, name) for name in deciding} | {"size_hw": list(size_hw)},
        draw=partial(_draw, recipe, size_hw),
    )
    return Clips(**wanted.on_disk(folder, workers=workers, report=report))


def calm_clip(recipe: ClipRecipe, seed: int, size_hw: tuple[int, int]) -> Clip:
    """A clip of one person who stays in the frame and fills much of its height; nothing else stands there.

    Raises:
        ValueError: no such clip among many; the recipe asks for too much.
    """
    height, width = size_hw
    for attempt in range(ATTEMPTS):
        drawn = int(np.random.default_rng([seed, attempt]).integers(2**31))
        clip = random_clip(drawn, persons=1, frames=recipe.frames, fps=recipe.fps, height=height, width=width)
        if all(_is_whole(recipe, render(scene, effects=False)) for scene in (clip[0], clip[-1])):
            background = _calm_background(recipe, drawn, size_hw)
            return Clip(scenes=tuple(_calmed(scene, background) for scene in clip), fps=clip.fps)
    raise ValueError(f"got no clip in {ATTEMPTS} attempts; expected one that fits the recipe; ask for less")


def clip_views(clip: Clip) -> list[View]:
    """Frames of a clip with smooth edges, and what is to be seen in them."""
    return [render(scene, supersample=2) for scene in clip]


def _is_whole(recipe: ClipRecipe, view: View) -> bool:
    height, width = view.person_ids_HW.shape
    x0, y0, x1, y1 = view.boxes_P4[0] / (width, height, width, height)
    inside = min(x0, y0) >= MARGIN and max(x1, y1) <= 1 - MARGIN
    return bool(inside and y1 - y0 >= recipe.least_person)


def _calm_background(recipe: ClipRecipe, seed: int, size_hw: tuple[int, int]) -> int:
    """The first seed from this one on whose background has little detail."""
    for later in range(seed, seed + 10_000):
        picture_HW3 = paint_background(later, *size_hw).astype(np.float32)
        if max(np.abs(np.diff(picture_HW3, axis=axis)).mean() for axis in (0, 1)) <= recipe.calm:
            return later
    raise ValueError(f"got no background as calm as {recipe.calm}; expected one; ask for less")


def _calmed(scene: Scene, background: int) -> Scene:
    effects = replace(scene.effects, noise=0.0, jpeg_quality=100, shrink=1.0, motion_heights=0.0)
    return replace(scene, props=(), room=None, background_seed=background, effects=effects)


def _draw(recipe: ClipRecipe, size_hw: tuple[int, int], arrays: Arrays, index: int) -> None:
    for frame, view in enumerate(clip_views(calm_clip(recipe, recipe.seed + index, size_hw))):
        arrays["image_NFHW3"][index, frame] = view.image_HW3
        arrays["keypoints_NFK3"][index, frame] = view.keypoints_PK3[0]
