"""The rendered training set of the detector: pictures of mixed shape with the person that owns each pixel.

In: a recipe. Out: a folder of memory-mapped arrays and one marker per finished chunk, so that an interrupted rendering
goes on where it stopped. Time: rendering, about 60 ms a picture and core; disk: about 0.4 MB a picture.
"""

# Shape suffixes: N pictures, V values of one picture in a row, P persons at most, H W picture.

from __future__ import annotations

import json
import multiprocessing
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import asdict, dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.lib.format import open_memmap

from vitruvian.people import Camera, Scene, View, random_scene, render
from vitruvian.people.person import person_primitives, world_bones
from vitruvian.people.raster import trace
from vitruvian.training.detector.recipe import DetectorRecipe

MAX_PERSONS = 20
CHUNK = 200
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


def _layout(recipe: DetectorRecipe) -> dict[str, tuple[tuple[int, ...], str]]:
    count, area = recipe.pictures, recipe.longer_side**2
    return {
        "image_NV": ((count, area * 3), "uint8"),
        "ids_NV": ((count, area), "uint8"),
        "shape_N2": ((count, 2), "int32"),
        "pixels_NP": ((count, MAX_PERSONS), "int32"),
        "share_NP": ((count, MAX_PERSONS), "float32"),
    }


def rendered_pictures(
    recipe: DetectorRecipe, folder: Path, *, workers: int, report: Callable[[str], None] = print
) -> Pictures:
    """The recipe's pictures, rendering what is not on disk yet."""
    folder.mkdir(parents=True, exist_ok=True)
    _forget_other_pictures(recipe, folder)
    for name, (shape, dtype) in _layout(recipe).items():
        path = folder / f"{name}.npy"
        if not path.exists():
            open_memmap(path, mode="w+", dtype=np.dtype(dtype), shape=shape).flush()
    todo = [start for start in range(0, recipe.pictures, CHUNK) if not _marker(folder, start).exists()]
    if todo:
        # Children are spawned, not forked: torch's threads do not survive a fork.
        context = multiprocessing.get_context("spawn")
        with ProcessPoolExecutor(workers, mp_context=context) as pool:
            futures = [pool.submit(_render_chunk, recipe, folder, start) for start in todo]
            for done, future in enumerate(as_completed(futures), 1):
                future.result()
                if done % 10 == 0 or done == len(todo):
                    report(f"rendered {done} of {len(todo)} chunks of {CHUNK} pictures")
    return Pictures(**{name: np.load(folder / f"{name}.npy", mmap_mode="r") for name in _layout(recipe)})


def _forget_other_pictures(recipe: DetectorRecipe, folder: Path) -> None:
    """Drop pictures that another recipe drew: equal shapes do not make equal pictures."""
    deciding = ("pictures", "longer_side", "aspects", "empty_share", "single_share", "crowd_share", "seed")
    wanted = json.dumps({key: value for key, value in asdict(recipe).items() if key in deciding})
    note = folder / "drawn_by.json"
    if not note.exists() or note.read_text(encoding="utf-8") != wanted:
        for stale in (*folder.glob("chunk_*.done"), *folder.glob("*.npy")):
            stale.unlink()
        note.write_text(wanted, encoding="utf-8")


def _marker(folder: Path, start: int) -> Path:
    return folder / f"chunk_{start:07d}.done"


def _render_chunk(recipe: DetectorRecipe, folder: Path, start: int) -> None:
    cv2.setNumThreads(1)  # one process a core is enough
    arrays = {name: np.load(folder / f"{name}.npy", mmap_mode="r+") for name in _layout(recipe)}
    for index in range(start, min(start + CHUNK, recipe.pictures)):
        scene = training_scene(recipe, recipe.seed + index)
        _store(arrays, index, render(scene), scene)
    for array in arrays.values():
        array.flush()
    _marker(folder, start).touch()


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
    coarse = _coarse(scene.camera)
    alone_P = np.zeros(len(scene.persons))
    for index, person in enumerate(scene.persons):
        primitives = person_primitives(person, world_bones(person), coarse, 0, 0)
        alone_P[index] = len(trace(primitives, coarse).pixel_K) * _OUTLINE_COARSENESS**2
    return pixels_P, np.minimum(pixels_P / np.maximum(alone_P, 1.0), 1.0)


def _coarse(camera: Camera) -> Camera:
    """The same view on a coarser grid; pixel areas (not centres) coincide."""
    factor = _OUTLINE_COARSENESS
    return Camera(
        focal_px=camera.focal_px / factor,
        cx=(camera.cx + 0.5) / factor - 0.5,
        cy=(camera.cy + 0.5) / factor - 0.5,
        height=-(-camera.height // factor),
        width=-(-camera.width // factor),
        camera_from_world_33=camera.camera_from_world_33,
        position_m_3=camera.position_m_3,
    )


def _store(arrays: dict[str, np.ndarray], index: int, view: View, scene: Scene) -> None:
    height, width = view.person_ids_HW.shape
    arrays["image_NV"][index, : height * width * 3] = view.image_HW3.ravel()
    arrays["ids_NV"][index, : height * width] = view.person_ids_HW.ravel()
    arrays["shape_N2"][index] = height, width
    pixels_P, share_P = visible_shares(scene, view)
    arrays["pixels_NP"][index, : len(pixels_P)] = pixels_P
    arrays["share_NP"][index, : len(share_P)] = share_P
