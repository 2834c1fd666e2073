"""The rendered training set of the small metric network: places with depth in metres and normals, in mapped arrays.

In: a recipe. Out: the arrays, kept in a folder; pictures of all aspects lie in rows of equal length. Time: rendering,
on all cores, 35 ms a picture; disk: 0.4 MB a picture.
"""

# Shape suffixes: N pictures, P pixels at most, H W picture, 3 = RGB or x y z.

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from vitruvian.people import View, render
from vitruvian.people.places import random_place
from vitruvian.training.metric.nano_recipe import MetricNanoRecipe
from vitruvian.training.metric.samples import MetricPicture
from vitruvian.training.rendered import Arrays, RenderedSet, row

NORMAL_SCALE = 127.0
"""Normals are stored as uint8: component * 127 + 128; 0 marks pixels without a surface."""
ASPECTS = {16 / 9: 0.3, 3 / 2: 0.15, 4 / 3: 0.2, 1.0: 0.1, 3 / 4: 0.15, 9 / 16: 0.1}
"""Width to height of pictures, and their shares."""


@dataclass(frozen=True, kw_only=True, slots=True)
class MetricPictures:
    """Arrays of the rendered set, memory mapped."""

    image_NP3: np.ndarray
    depth_m_NP: np.ndarray
    """float16 metres; 0 where nothing was hit."""
    normals_NP3: np.ndarray
    size_hw_N2: np.ndarray
    focal_px_N1: np.ndarray

    def __len__(self) -> int:
        return len(self.image_NP3)

    def __getitem__(self, index: int) -> MetricPicture:
        height, width = row(self.size_hw_N2, index).tolist()
        pixels = height * width
        stored_HW3 = row(self.normals_NP3, index)[:pixels].reshape(height, width, 3)
        normals_HW3 = (stored_HW3.astype(np.float32) - 128) / NORMAL_SCALE
        normals_HW3 /= np.linalg.norm(normals_HW3, axis=2, keepdims=True)
        normals_HW3[~stored_HW3.any(axis=2)] = 0
        return MetricPicture(
            image_HW3=row(self.image_NP3, index)[:pixels].reshape(height, width, 3),
            depth_m_HW=row(self.depth_m_NP, index)[:pixels].reshape(height, width),
            focal_px=float(row(self.focal_px_N1, index)[0]),
            normals_HW3=normals_HW3,
        )


def rendered_metric_pictures(
    recipe: MetricNanoRecipe, folder: Path, *, workers: int, report: Callable[[str], None] = print
) -> MetricPictures:
    """The recipe's pictures, rendering what is not on disk yet."""
    wanted = RenderedSet(
        count=recipe.pictures,
        layout={
            "image_NP3": ((recipe.pixels, 3), "uint8"),
            "depth_m_NP": ((recipe.pixels,), "float16"),
            "normals_NP3": ((recipe.pixels, 3), "uint8"),
            "size_hw_N2": ((2,), "int32"),
            "focal_px_N1": ((1,), "float32"),
        },
        drawn_by={"pictures": recipe.pictures, "pixels": recipe.pixels, "view_deg": list(recipe.view_deg)}
        | {"seed": recipe.seed},
        draw=partial(_draw, recipe),
    )
    return MetricPictures(**wanted.on_disk(folder, workers=workers, report=report))


def metric_view(recipe: MetricNanoRecipe, seed: int) -> View:
    """One picture of the training distribution; also used, with other seeds, for the held-out pictures.

    Aspect, field of view and place are drawn apart, so that none tells of another.
    """
    rng = np.random.default_rng([seed, 17])
    aspect = float(rng.choice(list(ASPECTS), p=list(ASPECTS.values())))
    height, width = int(math.sqrt(recipe.pixels / aspect)), int(math.sqrt(recipe.pixels * aspect))
    low, high = (math.tan(math.radians(degrees) / 2) for degrees in recipe.view_deg)
    focal_px = max(height, width) / (2 * math.exp(rng.uniform(math.log(low), math.log(high))))
    return render(random_place(seed, height, width, focal_px))


def picture_of(view: View) -> MetricPicture:
    """A rendered view as samples are made of it."""
    return MetricPicture(
        image_HW3=view.image_HW3,
        depth_m_HW=view.depth_m_HW,
        focal_px=view.camera.focal_px,
        normals_HW3=view.normals_HW3,
    )


def _draw(recipe: MetricNanoRecipe, arrays: Arrays, index: int) -> None:
    view = metric_view(recipe, recipe.seed + index)
    pixels = view.depth_m_HW.size
    arrays["image_NP3"][index, :pixels] = view.image_HW3.reshape(pixels, 3)
    arrays["depth_m_NP"][index, :pixels] = np.minimum(view.depth_m_HW, 1000.0).ravel()
    normals_P3 = view.normals_HW3.reshape(pixels, 3)
    surface_P1 = np.any(normals_P3 != 0, axis=1, keepdims=True)
    stored_P3 = np.where(surface_P1, np.rint(normals_P3 * NORMAL_SCALE) + 128, 0)
    arrays["normals_NP3"][index, :pixels] = stored_P3
    arrays["size_hw_N2"][index] = view.depth_m_HW.shape
    arrays["focal_px_N1"][index] = view.camera.focal_px
