"""The rendered training set: synthetic pictures with all labels in memory-mapped arrays.

In: a recipe. Out: a folder of `.npy` files and one marker per finished chunk, so that an interrupted rendering goes on
where it stopped. Time: rendering, on all cores; disk: about 0.75 MB a picture.
"""

# Shape suffixes: N pictures, S picture side, P = 3 persons at most, K = 17 keypoints.

from __future__ import annotations

import json
import multiprocessing
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.lib.format import open_memmap

from vitruvian.people import View, random_scene, render
from vitruvian.training.nano.recipe import NanoRecipe

MAX_PERSONS = 3
CHUNK = 200
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


def _layout(recipe: NanoRecipe) -> dict[str, tuple[tuple[int, ...], str]]:
    count, side = recipe.pictures, recipe.picture_side
    return {
        "image_NSS3": ((count, side, side, 3), "uint8"),
        "labels_NSS": ((count, side, side), "uint8"),
        "depth_m_NSS": ((count, side, side), "float16"),
        "normals_NSS3": ((count, side, side, 3), "uint8"),
        "keypoints_NPK3": ((count, MAX_PERSONS, 17, 3), "float32"),
        "boxes_NP4": ((count, MAX_PERSONS, 4), "float32"),
    }


def rendered_pictures(
    recipe: NanoRecipe, folder: Path, *, workers: int, report: Callable[[str], None] = print
) -> Pictures:
    """The recipe's pictures, rendering what is not on disk yet."""
    folder.mkdir(parents=True, exist_ok=True)
    _forget_other_pictures(recipe, folder)
    for name, (shape, dtype) in _layout(recipe).items():
        path = folder / f"{name}.npy"
        if not path.exists() or np.load(path, mmap_mode="r").shape != shape:
            for marker in folder.glob("chunk_*.done"):
                marker.unlink()
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


def _forget_other_pictures(recipe: NanoRecipe, folder: Path) -> None:
    """Drop the markers of pictures that another recipe drew: equal shapes do not make equal pictures."""
    wanted = json.dumps({"seed": recipe.seed, "several_share": recipe.several_share})
    note = folder / "drawn_by.json"
    if not note.exists() or note.read_text(encoding="utf-8") != wanted:
        for marker in folder.glob("chunk_*.done"):
            marker.unlink()
        note.write_text(wanted, encoding="utf-8")


def _marker(folder: Path, start: int) -> Path:
    return folder / f"chunk_{start:07d}.done"


def _render_chunk(recipe: NanoRecipe, folder: Path, start: int) -> None:
    cv2.setNumThreads(1)  # one process a core is enough
    arrays = {name: np.load(folder / f"{name}.npy", mmap_mode="r+") for name in _layout(recipe)}
    for index in range(start, min(start + CHUNK, recipe.pictures)):
        _store(arrays, index, training_view(recipe, recipe.seed + index))
    for array in arrays.values():
        array.flush()
    _marker(folder, start).touch()


def training_view(recipe: NanoRecipe, seed: int) -> View:
    """One picture of the training distribution; also used, with other seeds, for the held-out pictures."""
    rng = np.random.default_rng([seed, 7])
    persons = int(rng.integers(2, MAX_PERSONS + 1)) if rng.random() < recipe.several_share else 1
    side = recipe.picture_side
    return render(random_scene(seed, persons=persons, height=side, width=side, framing="random"))


def _store(arrays: dict[str, np.ndarray], index: int, view: View) -> None:
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
