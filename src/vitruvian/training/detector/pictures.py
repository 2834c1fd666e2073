"""The rendered training set of the detector: pictures of mixed shape with the person that owns each pixel.

In: a recipe. Out: memory-mapped arrays, kept in a folder. Time: rendering, about 60 ms a picture and core; disk: about
0.4 MB a picture.
"""

# Shape suffixes: N pictures, V values of one picture in a row, P persons at most, H W picture.

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from vitruvian.people import Scene, View, random_scene, render
from vitruvian.people.person import person_primitives, world_bones
from vitruvian.people.raster import trace
from vitruvian.training.detector.recipe import DetectorRecipe
from vitruvian.training.rendered import Arrays, RenderedSet

MAX_PERSONS = 20
_OUTLINE_COARSENESS = 3
"""Outlines of single persons are counted on a grid this many times coarser than the picture: only areas matter."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Pictures:
    """Arrays of the rendered set, memory mapped."""

    image_NV: np.ndarray
    """uint8 RGB, rows of H*W*3 values, the rest of a row unused."""
    ids_NV: np.ndarray
    """uint8, index of the person that owns a pixel plus one, 0 for none; H*W values."""
    shape_N2: np.ndarray
    """Height and width."""
    pixels_NP: np.ndarray
    """Visible pixels of each person; 0 for persons that are not there."""
    share_NP: np.ndarray
    """Visible share of each person's outline inside the picture, 0..1."""

    def __len__(self) -> int:
        return len(self.image_NV)

    def image_HW3(self, index: int) -> np.ndarray:
        """One picture."""
        height, width = self.shape_N2[index]
        return self.image_NV[index, : height * width * 3].reshape(height, width, 3)

    def ids_HW(self, index: int) -> np.ndarray:
        """The owners of one picture's pixels."""
        height, width = self.shape_N2[index]
        return self.ids_NV[index, : height * width].reshape(height, width)


def rendered_pictures(
    recipe: DetectorRecipe, folder: Path, *, workers: int, report: Callable[[str], None] = print
) -> Pictures:
    """The recipe's pictures, rendering what is not on disk yet."""
    area = recipe.longer_side**2
    deciding = ("pictures", "longer_side", "aspects", "empty_share", "single_share", "crowd_share", "seed")
    wanted = RenderedSet(
        count=recipe.pictures,
        layout={
            "image_NV": ((area * 3,), "uint8"),
            "ids_NV": ((area,), "uint8"),
            "shape_N2": ((2,), "int32"),
            "pixels_NP": ((MAX_PERSONS,), "int32"),
            "share_NP": ((MAX_PERSONS,), "float32"),
        },
        drawn_by={name: getattr(recipe, name) for name in deciding},
        draw=partial(_draw, recipe),
    )
    return Pictures(**wanted.on_disk(folder, workers=workers, report=report))


def training_scene(recipe: DetectorRecipe, seed: int) -> Scene:
    """One scene of the training distribution."""
    rng = np.random.default_rng([seed, 11])
    draw = rng.random()
    limits = np.cumsum([recipe.empty_share, recipe.single_share, recipe.crowd_share])
    low, high = ((0, 0), (1, 1), (9, MAX_PERSONS), (2, 8))[int(np.searchsorted(limits, draw, side="right"))]
    return shaped_scene(recipe, seed, int(rng.integers(low, high + 1)), float(rng.choice(recipe.aspects)))


def shaped_scene(recipe: DetectorRecipe, seed: int, persons: int, aspect: float) -> Scene:
    """A scene with so many persons in a picture of the recipe's size and the given width over height."""
    height = round(recipe.longer_side / max(aspect, 1.0))
    width = round(recipe.longer_side * min(aspect, 1.0))
    return random_scene(seed, persons=persons, height=height, width=width)


def visible_shares(scene: Scene, view: View) -> tuple[np.ndarray, np.ndarray]:
    """Visible pixels of each person, and their share of the outline the person would have alone; both (persons,).

    What lies outside the picture does not count. Persons that are not in the picture have 0 and 0.
    """
    pixels_P = np.bincount(view.person_ids_HW.ravel(), minlength=len(scene.persons) + 1)[1:]
    coarse = scene.camera.coarsened(_OUTLINE_COARSENESS)
    alone_P = np.zeros(len(scene.persons))
    for index, person in enumerate(scene.persons):
        primitives = person_primitives(person, world_bones(person), coarse, 0, 0)
        alone_P[index] = len(trace(primitives, coarse).pixel_K) * _OUTLINE_COARSENESS**2
    return pixels_P, np.minimum(pixels_P / np.maximum(alone_P, 1.0), 1.0)


def _draw(recipe: DetectorRecipe, arrays: Arrays, index: int) -> None:
    scene = training_scene(recipe, recipe.seed + index)
    view = render(scene)
    height, width = view.person_ids_HW.shape
    arrays["image_NV"][index, : height * width * 3] = view.image_HW3.ravel()
    arrays["ids_NV"][index, : height * width] = view.person_ids_HW.ravel()
    arrays["shape_N2"][index] = height, width
    pixels_P, share_P = visible_shares(scene, view)
    arrays["pixels_NP"][index, : len(pixels_P)] = pixels_P
    arrays["share_NP"][index, : len(share_P)] = share_P
