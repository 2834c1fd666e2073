"""Samples made ready for a network: decoded, moved and recoloured by chance, targets in the form that losses want.

In: a sample and a generator. Out: arrays of the canvas' size. Pure functions of (sample, generator's state): with
`sample_rng` a resumed run sees what an uninterrupted one would. Time: decoding dominates (see `media.images`), one
warp per array and some milliseconds of colour follow.
"""

# Shape suffixes: K keypoints, H W canvas, 2 = x y, 3 = RGB or x y z.

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from vitruvian.datasets.augment import (
    DenseRecipe,
    PoseRecipe,
    dense_warp,
    person_warp,
    plain_person_warp,
)
from vitruvian.datasets.coco_persons import PersonSample
from vitruvian.datasets.geometry import Warp, identity
from vitruvian.datasets.layouts import DenseKind, Sample
from vitruvian.datasets.targets import IGNORE, Decoded, decode_sample, kept
from vitruvian.errors import InputError
from vitruvian.media.images import read_picture
from vitruvian.media.items import Entry
from vitruvian.media.names import printable
from vitruvian.tasks.bands import all_finite
from vitruvian.tasks.labels import KeypointSet
from vitruvian.tasks.normal import CAMERA, NormalFrame

NO_NORMAL = -1000.0
"""Components of pixels without a normal, as the published losses know them."""
NO_DEPTH = -1.0
"""Relative depth of pixels without one."""

Background = Callable[[np.random.Generator, tuple[int, int]], np.ndarray]
"""Makes a uint8 RGB (H,W,3) picture of this size to stand behind persons."""


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Prepared:
    """One dense sample on its canvas."""

    image_HW3: np.ndarray
    """uint8 RGB, not normalised: a quarter of the bytes."""
    target: np.ndarray
    """seg: uint8 (H,W), 255 = ignore; depth: float32 (H,W), 0 nearest .. 1 farthest of what is in the canvas, -1
    without; normal: float32 (H,W,3) unit vectors, -1000 without."""


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class PreparedPerson:
    """One person on its canvas; `tasks.encode.encode_heatmaps` makes maps of a batch, on any device."""

    image_HW3: np.ndarray
    """uint8 RGB."""
    xy_K2: np.ndarray
    """float32 canvas pixels; anything where not visible."""
    visible_K: np.ndarray
    """float32; 1 for labelled keypoints, covered ones too, else 0."""


@dataclass(frozen=True, kw_only=True, slots=True)
class DensePreparation:
    """How samples of a dense task are prepared."""

    task: DenseKind
    recipe: DenseRecipe
    flip_pairs: tuple[tuple[int, int], ...] = ()
    """Labels that change places where mirrored, see `LabelSet`."""
    frame: NormalFrame = CAMERA
    """Axes of the normals."""
    background: Background | None = None
    """Other backgrounds; None: persons keep their own."""

    def prepared(self, sample: Sample, rng: np.random.Generator | None) -> Prepared:
        """Decode and augment; without a generator the whole picture on the canvas, as networks are used.

        `InputError` for a sample that cannot be used.
        """
        return self.augmented(decode_sample(sample, self.task), rng)

    def augmented(self, decoded: Decoded, rng: np.random.Generator | None) -> Prepared:
        """The same of a sample that is decoded already; nothing outside its mask may have a value."""
        if rng is None:
            warp = identity(decoded.image_HW3).resize(self.recipe.canvas_hw)
        else:
            warp = dense_warp(decoded.target, self.recipe, rng)
        target = self._target(decoded.target, warp)
        image_HW3 = warp.image(decoded.image_HW3)
        if rng is not None:
            image_HW3 = self._other_background(image_HW3, target, rng)
            image_HW3 = self.recipe.photometric.changed(image_HW3, rng)
        return Prepared(image_HW3=image_HW3, target=target)

    def _target(self, target: np.ndarray, warp: Warp) -> np.ndarray:
        if self.task == "seg":
            outside = IGNORE if self.recipe.outside == "ignore" else 0
            return warp.labels(target, self.flip_pairs, outside)
        if self.task == "depth":
            return relative_depth(warp.values(target, np.nan))
        normals_HW3 = warp.normals(target, self.frame)
        return kept(normals_HW3, all_finite(normals_HW3), NO_NORMAL)

    def _other_background(self, image_HW3: np.ndarray, target: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        wanted = rng.random() < self.recipe.background_probability
        if self.background is None or not wanted:
            return image_HW3
        person_HW = person_of(target)
        return np.where(person_HW[..., None], image_HW3, self.background(rng, self.recipe.canvas_hw))


@dataclass(frozen=True, kw_only=True, slots=True)
class PosePreparation:
    """How persons are prepared."""

    convention: KeypointSet
    recipe: PoseRecipe

    def prepared(self, sample: PersonSample, rng: np.random.Generator | None) -> PreparedPerson:
        """Decode and augment; without a generator the crop of the pose task. `InputError`: the picture is no use."""
        return self.augmented(read_person_picture(sample), sample, rng)

    def augmented(self, image_HW3: np.ndarray, sample: PersonSample, rng: np.random.Generator | None) -> PreparedPerson:
        """The same with the person's picture at hand."""
        source_hw = image_HW3.shape[0], image_HW3.shape[1]
        if rng is None:
            warp = plain_person_warp(source_hw, sample.box_xyxy, self.recipe)
        else:
            warp = person_warp(source_hw, sample.box_xyxy, sample.keypoints_K3, self.convention, self.recipe, rng)
        canvas_HW3 = warp.image(image_HW3)
        if rng is not None:
            canvas_HW3 = self.recipe.damage.done_to(self.recipe.photometric.changed(canvas_HW3, rng), rng)
        keypoints_K3 = warp.keypoints(sample.keypoints_K3, self.convention.flip_indices)
        return PreparedPerson(
            image_HW3=canvas_HW3,
            xy_K2=keypoints_K3[:, :2].astype(np.float32),
            visible_K=(keypoints_K3[:, 2] > 0).astype(np.float32),
        )


def sample_rng(seed: int, epoch: int, place: int) -> np.random.Generator:
    """Chance of one sample (by its place in the data set) in one epoch, the same whoever asks and when."""
    return np.random.default_rng([seed, epoch, place])


def read_person_picture(sample: PersonSample) -> np.ndarray:
    """uint8 RGB picture that a person is in; `InputError` with the sample's name."""
    entry = Entry(name=sample.image.name, path=sample.image, payload=None, index=0)
    try:
        return read_picture(entry).image_HW3
    except InputError as error:
        raise InputError(f"{printable(sample.image.name)} {error}") from None


def relative_depth(depth_HW: np.ndarray) -> np.ndarray:
    """Finite values brought to 0 (nearest) .. 1 (farthest), -1 elsewhere; a flat map is 0 (published targets)."""
    valid_HW = np.isfinite(depth_HW)
    if not valid_HW.any():
        return np.full(depth_HW.shape, NO_DEPTH, np.float32)
    near, far = depth_HW[valid_HW].min(), depth_HW[valid_HW].max()
    span = far - near if far > near else np.float32(1)
    return np.where(valid_HW, (depth_HW - near) / span, np.float32(NO_DEPTH)).astype(np.float32)


def person_of(target: np.ndarray) -> np.ndarray:
    """bool (H,W): where a prepared target shows a person."""
    if target.dtype == np.uint8:
        return np.asarray((target > 0) & (target != IGNORE))
    return np.asarray((target if target.ndim == 2 else target[..., 0]) >= (NO_DEPTH / 2 if target.ndim == 2 else -100))
