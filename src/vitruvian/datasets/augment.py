"""Random geometry of training samples by the published recipes: whole pictures of dense tasks, crops of persons.

In: a recipe, what there is to move, a `numpy.random.Generator`. Out: one `Warp`; nothing is resampled here. The same
generator state gives the same warp.
"""

# Shape suffixes: K keypoints, H W picture size, 2 = x y, 3 = x y visibility.

from __future__ import annotations

from dataclasses import dataclass, field, replace
from statistics import NormalDist
from typing import Literal

import numpy as np

from vitruvian.datasets.geometry import Warp
from vitruvian.datasets.layouts import DenseKind
from vitruvian.datasets.photometric import Damage, Photometric
from vitruvian.tasks.base import Region
from vitruvian.tasks.labels import KeypointSet
from vitruvian.tasks.preprocess import BOX_PADDING, crop_geometry

_LOOKED_AT = 200
"""Rows and columns of a candidate crop that are counted, at most; a share needs no more."""


@dataclass(frozen=True, kw_only=True, slots=True)
class DenseRecipe:
    """Augmentation of a dense task (published training configurations)."""

    canvas_hw: tuple[int, int] = (1024, 768)
    """Size of what is trained on; resize and crop go by it."""
    resize: tuple[float, float] = (0.2, 2.0)
    """Range of the factor by which a picture that just fits the canvas is resized."""
    most_of_one_class: float = 0.75
    """Labels: a crop in which one class takes more is drawn again."""
    crop_tries: int = 10
    turn_deg: float = 0.0
    """Largest turn either way."""
    turn_probability: float = 0.5
    outside: Literal["background", "ignore"] = "background"
    """What labels say where a turn shows what lies outside the picture."""
    mirror_probability: float = 0.5
    background_probability: float = 0.5
    """Of another background, where the caller has some: none come with this package, and without any this is left
    out, as the published programs do without their compositing library."""
    photometric: Photometric = field(default_factory=Photometric)


DENSE_RECIPES: dict[DenseKind, DenseRecipe] = {
    "seg": DenseRecipe(turn_deg=45.0, background_probability=0.8),
    "depth": DenseRecipe(turn_deg=60.0),
    "normal": DenseRecipe(),
}
"""Published recipe of each task; normals are not turned."""

PARSING_RECIPE = replace(DENSE_RECIPES["seg"], resize=(0.75, 1.25), outside="ignore")
"""Published recipe of the LIP data set; that of CIHP differs by `outside="background"`."""


@dataclass(frozen=True, kw_only=True, slots=True)
class PoseRecipe:
    """Augmentation of pose (published training configurations)."""

    canvas_hw: tuple[int, int] = (1024, 768)
    padding: float = BOX_PADDING
    """Of the person's box."""
    mirror_probability: float = 0.5
    half_body_probability: float = 0.3
    half_body_visible: int = 9
    """Visible keypoints from which a person may be halved."""
    half_body_least: int = 3
    """Visible keypoints that a half must have."""
    half_body_padding: float = 1.5
    """Of the half's box."""
    upper_probability: float = 0.7
    """Of the upper half, where both may be taken."""
    shift: float = 0.16
    """Share of the crop's sides by which it is moved, at most."""
    shift_probability: float = 0.3
    scale: tuple[float, float] = (0.5, 1.5)
    """Range of the factor on the crop's size, always drawn."""
    turn_deg: float = 80.0
    turn_probability: float = 0.6
    photometric: Photometric = field(default_factory=Photometric)
    damage: Damage = field(default_factory=Damage)


def dense_warp(target: np.ndarray, recipe: DenseRecipe, rng: np.random.Generator) -> Warp:
    """Resize, crop, forced resize, turn, mirror: the way of a picture of the target's size to the recipe's canvas.

    `target` as in `Decoded`: labels decide which crops are taken; of depth and normals the first crop with any value.
    """
    height, width = target.shape[:2]
    fits = min(max(recipe.canvas_hw) / max(height, width), min(recipe.canvas_hw) / min(height, width))
    scale = fits * rng.uniform(*recipe.resize)
    resized_hw = max(1, round(height * scale)), max(1, round(width * scale))
    crop_hw = min(resized_hw[0], recipe.canvas_hw[0]), min(resized_hw[1], recipe.canvas_hw[1])
    top = left = 0
    for _ in range(recipe.crop_tries):
        top, left = (int(rng.integers(0, whole - part + 1)) for whole, part in zip(resized_hw, crop_hw, strict=True))
        if _worth_it(target, (top / scale, left / scale), (crop_hw[0] / scale, crop_hw[1] / scale), recipe):
            break
    warp = Warp(canvas_hw=(height, width)).resize(resized_hw).crop(left, top, crop_hw).resize(recipe.canvas_hw)
    angle_deg = rng.uniform(-recipe.turn_deg, recipe.turn_deg)
    if rng.random() < recipe.turn_probability and recipe.turn_deg:
        warp = warp.turn(angle_deg)
    return warp.mirror() if rng.random() < recipe.mirror_probability else warp


def _worth_it(
    target: np.ndarray, corner_yx: tuple[float, float], size_hw: tuple[float, float], recipe: DenseRecipe
) -> bool:
    """Whether a rectangle of the source makes a crop to learn from."""
    rows, columns = (
        slice(round(start), max(round(start) + 1, round(start + length)), max(1, int(length) // _LOOKED_AT))
        for start, length in zip(corner_yx, size_hw, strict=True)
    )
    part = target[rows, columns]
    if target.dtype != np.uint8:
        return bool(np.isfinite(part).any())
    counts = np.bincount(part.ravel(), minlength=256)[:255]
    return bool((counts > 0).sum() > 1 and counts.max() < recipe.most_of_one_class * counts.sum())


def person_warp(
    source_hw: tuple[int, int],
    box_xyxy: tuple[float, float, float, float],
    keypoints_K3: np.ndarray,
    convention: KeypointSet,
    recipe: PoseRecipe,
    rng: np.random.Generator,
) -> Warp:
    """Mirror, half body, shift, scale, turn: the way of a person to the recipe's canvas.

    `InputError` for a box that is empty or not finite.
    """
    warp = Warp(canvas_hw=source_hw)
    mirrored = rng.random() < recipe.mirror_probability
    half_K = _half(keypoints_K3, convention, recipe, rng)
    box_2x2, padding = np.reshape(box_xyxy, (2, 2)).astype(np.float64), recipe.padding
    if half_K is not None:
        points_K2 = keypoints_K3[half_K, :2].astype(np.float64)
        box_2x2, padding = np.stack((points_K2.min(axis=0), points_K2.max(axis=0))), recipe.half_body_padding
    if mirrored:
        warp = warp.mirror()
        box_2x2[:, 0] = source_hw[1] - 1 - box_2x2[::-1, 0]
    extent_2 = (box_2x2[1] - box_2x2[0]) * padding
    moved_2 = np.array([_in_unit(rng), _in_unit(rng)]) * (rng.random() < recipe.shift_probability)
    smallest, largest = recipe.scale
    factor = (smallest + largest) / 2 + _in_unit(rng) * (largest - smallest) / 2
    angle_deg = _in_unit(rng) * recipe.turn_deg * (rng.random() < recipe.turn_probability)
    middle_2 = box_2x2.mean(axis=0) + moved_2 * recipe.shift * extent_2
    return _cut(warp, source_hw, middle_2, extent_2 * factor, angle_deg, recipe.canvas_hw)


def plain_person_warp(
    source_hw: tuple[int, int], box_xyxy: tuple[float, float, float, float], recipe: PoseRecipe
) -> Warp:
    """The way of a person to the canvas without chance: the crop that the pose task makes."""
    box_2x2 = np.reshape(box_xyxy, (2, 2)).astype(np.float64)
    extent_2 = (box_2x2[1] - box_2x2[0]) * recipe.padding
    return _cut(Warp(canvas_hw=source_hw), source_hw, box_2x2.mean(axis=0), extent_2, 0.0, recipe.canvas_hw)


def _cut(
    warp: Warp,
    source_hw: tuple[int, int],
    middle_2: np.ndarray,
    extent_2: np.ndarray,
    angle_deg: float,
    canvas_hw: tuple[int, int],
) -> Warp:
    """A padded box, grown to the canvas' aspect ratio."""
    low_2, high_2 = middle_2 - extent_2 / 2, middle_2 + extent_2 / 2
    box_xyxy = (float(low_2[0]), float(low_2[1]), float(high_2[0]), float(high_2[1]))
    geometry = crop_geometry(source_hw, Region(box_xyxy=box_xyxy), canvas_hw, padding=1.0)
    return warp.cut(geometry.centre_xy, geometry.size_wh, angle_deg, canvas_hw)


def _half(
    keypoints_K3: np.ndarray, convention: KeypointSet, recipe: PoseRecipe, rng: np.random.Generator
) -> np.ndarray | None:
    """Visible keypoints of the upper or the lower half, if a half is to be taken; both draws are always made."""
    halved, upper_first = rng.random() < recipe.half_body_probability, rng.random() < recipe.upper_probability
    visible_K = keypoints_K3[:, 2] > 0
    if not halved or visible_K.sum() < recipe.half_body_visible:
        return None
    upper_K = np.zeros(len(visible_K), bool)
    upper_K[list(convention.upper_body)] = True
    halves = [upper_K & visible_K, ~upper_K & visible_K]
    for half_K in halves if upper_first else halves[::-1]:
        extent_2 = np.ptp(keypoints_K3[half_K, :2], axis=0) if half_K.any() else np.zeros(2)
        if half_K.sum() >= recipe.half_body_least and extent_2.min() > 0:
            return half_K
    return None


def _in_unit(rng: np.random.Generator) -> float:
    """A standard normal number, cut to -1..1 (not clipped: drawn from within)."""
    normal = NormalDist()
    return normal.inv_cdf(rng.uniform(normal.cdf(-1.0), normal.cdf(1.0)))
