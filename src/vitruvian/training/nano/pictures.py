"""The rendered training set: synthetic pictures with all labels in memory-mapped arrays.

In: a recipe. Out: the arrays, kept in a folder. Time: rendering, on all cores; disk: about 0.75 MB a picture.
"""

# Shape suffixes: N pictures, S picture side, P = 3 persons at most, K = 17 keypoints.

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields
from functools import partial
from pathlib import Path

import numpy as np

from vitruvian.people import View, random_scene, render
from vitruvian.training.nano.recipe import NanoRecipe
from vitruvian.training.rendered import Arrays, RenderedSet, row

MAX_PERSONS = 3
NORMAL_SCALE = 127.0
"""Normals are stored as uint8: component * 127 + 128; 0 marks pixels without a surface."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Pictures:
    """Arrays of the rendered set, memory mapped."""

    image_NSS3: np.ndarray
    labels_NSS: np.ndarray
    depth_m_NSS: np.ndarray
    """float16 metres; 0 where nothing was hit."""
    normals_NSS3: np.ndarray
    keypoints_NPK3: np.ndarray
    """x, y in picture pixels and visibility; NaN for persons that are not there."""
    boxes_NP4: np.ndarray

    def __len__(self) -> int:
        return len(self.image_NSS3)

    def __getitem__(self, index: int) -> Picture:
        rows = [row(getattr(self, field.name), index) for field in fields(self)]
        return Picture(**{field.name: one for field, one in zip(fields(Picture), rows, strict=True)})


@dataclass(frozen=True, kw_only=True, slots=True)
class Picture:
    """One of them, in memory; fields as those of `Pictures`, in order."""

    image_SS3: np.ndarray
    labels_SS: np.ndarray
    depth_m_SS: np.ndarray
    normals_SS3: np.ndarray
    keypoints_PK3: np.ndarray
    boxes_P4: np.ndarray


def rendered_pictures(
    recipe: NanoRecipe, folder: Path, *, workers: int, report: Callable[[str], None] = print
) -> Pictures:
    """The recipe's pictures, rendering what is not on disk yet."""
    side = recipe.picture_side
    wanted = RenderedSet(
        count=recipe.pictures,
        layout={
            "image_NSS3": ((side, side, 3), "uint8"),
            "labels_NSS": ((side, side), "uint8"),
            "depth_m_NSS": ((side, side), "float16"),
            "normals_NSS3": ((side, side, 3), "uint8"),
            "keypoints_NPK3": ((MAX_PERSONS, 17, 3), "float32"),
            "boxes_NP4": ((MAX_PERSONS, 4), "float32"),
        },
        drawn_by={name: getattr(recipe, name) for name in ("pictures", "picture_side", "several_share", "seed")},
        draw=partial(_draw, recipe),
    )
    return Pictures(**wanted.on_disk(folder, workers=workers, report=report))


def training_view(recipe: NanoRecipe, seed: int) -> View:
    """One picture of the training distribution; also used, with other seeds, for the held-out pictures."""
    rng = np.random.default_rng([seed, 7])
    persons = int(rng.integers(2, MAX_PERSONS + 1)) if rng.random() < recipe.several_share else 1
    side = recipe.picture_side
    return render(random_scene(seed, persons=persons, height=side, width=side, framing="random"))


def _draw(recipe: NanoRecipe, arrays: Arrays, index: int) -> None:
    view = training_view(recipe, recipe.seed + index)
    arrays["image_NSS3"][index] = view.image_HW3
    arrays["labels_NSS"][index] = view.part_labels_HW
    arrays["depth_m_NSS"][index] = np.minimum(view.depth_m_HW, 1000.0)
    surface_HW1 = np.any(view.normals_HW3 != 0, axis=2, keepdims=True)
    arrays["normals_NSS3"][index] = np.where(surface_HW1, np.rint(view.normals_HW3 * NORMAL_SCALE) + 128, 0)
    persons = len(view.keypoints_PK3)
    arrays["keypoints_NPK3"][index] = np.nan
    arrays["keypoints_NPK3"][index, :persons] = view.keypoints_PK3
    arrays["boxes_NP4"][index] = np.nan
    arrays["boxes_NP4"][index, :persons] = view.boxes_P4
