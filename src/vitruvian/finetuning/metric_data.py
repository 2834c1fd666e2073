"""The samples of a metric-depth fine-tuning: pictures with depth in metres and their cameras, perhaps with normals.

In: a data folder, the canvas and range of a network. Out: `TrainingData`. Of the folder names and tables of cameras are
read at once, pictures when they are wanted. What a network learns rests on the focal length as much as on the depth, so
a camera is never assumed. Time: decoding dominates.
"""

# Shape suffixes: H W picture, N pixels with a depth, 3 = x y z.

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from vitruvian.datasets.dense_checks import METRES, depth_unit
from vitruvian.datasets.depth_protocols import AS_STORED
from vitruvian.datasets.layouts import Sample, Split, find_samples, split_samples
from vitruvian.datasets.metric_layouts import INTRINSICS, MetricFound, find_depth
from vitruvian.datasets.targets import Decoded, decode_sample, lengths, read_further
from vitruvian.errors import InputError, UsageError
from vitruvian.finetuning.recipe import Recipe
from vitruvian.finetuning.samples import TrainingData, as_wanted, with_samples
from vitruvian.fit.decisions import Decision
from vitruvian.tasks.cameras import CameraWish
from vitruvian.training.metric.samples import (
    MetricAugmentation,
    MetricPicture,
    MetricSample,
    metric_batch,
    metric_sample,
)

LOOKED_AT = 10_000
"""Depths of a map of which the middle one is taken, to tell metres from millimetres."""


@dataclass(frozen=True, kw_only=True, slots=True)
class MetricFiles:
    """One picture with its depth, not read yet."""

    depth: Sample
    normals: Sample | None
    """The same picture with its normals."""

    @property
    def name(self) -> str:
        """The picture's path below the data folder."""
        return self.depth.name

    @property
    def split(self) -> Split:
        """Part of the data set it belongs to."""
        return self.depth.split


@dataclass(frozen=True, kw_only=True, slots=True)
class MetricPreparation:
    """How samples are prepared for one network."""

    found: MetricFound
    """Knows their cameras."""
    canvas_hw: tuple[int, int]
    depth_range_m: tuple[float, float]
    """Canonical depth that the network can say."""
    augmentation: MetricAugmentation

    def prepared(self, files: MetricFiles, rng: np.random.Generator | None) -> MetricSample:
        """Decode and augment; without a generator the whole picture on the canvas, as networks are used.

        `InputError` for a sample that cannot be used.
        """
        return metric_sample(self.picture(files), self.canvas_hw, self.depth_range_m, self.augmentation, rng)

    def picture(self, files: MetricFiles) -> MetricPicture:
        """Decoded, with what is known; see `prepared`."""
        decoded = decode_sample(files.depth, "depth")
        _check_metres(decoded.target)
        normals_HW3 = None if files.normals is None else _unit_normals(read_further(decoded, files.normals, "normal"))
        return MetricPicture(
            image_HW3=decoded.image_HW3,
            depth_m_HW=decoded.target,
            focal_px=self._focal_px(files.depth, decoded),
            normals_HW3=normals_HW3,
        )

    def _focal_px(self, sample: Sample, decoded: Decoded) -> float:
        """By the folder's files, else by the picture's own data."""
        wish = CameraWish(table=self.found.camera(sample, self.found.own or AS_STORED))
        source_hw = decoded.image_HW3.shape[0], decoded.image_HW3.shape[1]
        camera = wish.camera(source_hw, name=sample.name, focal_35mm=decoded.focal_35mm)
        if not camera.known:
            raise InputError(
                "has no known focal length; metric training needs the camera; expected it in its EXIF data or in "
                f"{INTRINSICS} beside the folder of pictures; add it there"
            )
        return camera.fx_px


def metric_data(
    folder: Path, canvas_hw: tuple[int, int], depth_range_m: tuple[float, float], recipe: Recipe
) -> TrainingData[MetricFiles]:
    """The samples of a folder of depth, in a layout of `metric_layouts.find_depth`.

    Normals are those of a folder `normals/` beside the pictures', in the camera's frame.

    Raises:
        UsageError: no such folder, no known layout, or no sample to train on.
    """
    found = find_depth(folder)
    normals = _normals(folder)
    files = [
        MetricFiles(depth=sample, normals=normals.get(sample.image))
        for sample in found.read_as(found.own or AS_STORED, found.samples)
    ]
    train, validation = split_samples(files, recipe.validation_share)
    augmentation = recipe.augment or MetricAugmentation()
    assert isinstance(augmentation, MetricAugmentation)
    preparation = MetricPreparation(
        found=found, canvas_hw=canvas_hw, depth_range_m=depth_range_m, augmentation=augmentation
    )
    data = as_wanted(found.layout, train, validation, preparation.prepared, recipe, found.missing)
    taught = sum(one.normals is not None for one in train)
    return with_samples(
        folder,
        replace(
            data,
            stack=metric_batch,
            decisions=_decisions(taught, len(train)),
            identity={"normals": taught},
        ),
    )


def _normals(folder: Path) -> Mapping[Path, Sample]:
    """Normals by picture; a folder with a name of its own says that they are some, `labels/` does not."""
    try:
        found = find_samples(folder, "normal")
    except UsageError:
        return {}
    if found.layout.tasks != ("normal",):
        return {}
    return {sample.image: sample for sample in found.samples}


def _decisions(taught: int, pictures: int) -> tuple[Decision, ...]:
    if taught == pictures:
        return ()
    if not taught:
        because = "no picture has a partner in normals/; what the network knows of them may drift"
        return (Decision(what="normals", value="not taught", because=because),)
    because = "the other pictures have no partner in normals/"
    return (Decision(what="normals", value=f"taught by {taught} of {pictures} pictures", because=because),)


def _check_metres(depth_HW: np.ndarray) -> None:
    """`InputError` for a map without any depth, or with one that is not in metres."""
    values_N = depth_HW[np.isfinite(depth_HW) & (depth_HW > 0)]
    if not values_N.size:
        raise InputError("has no depth above 0 that counts; expected metres; correct or remove it")
    low, high = float(values_N.min()), float(values_N.max())
    middle = float(np.median(values_N[:: max(1, values_N.size // LOOKED_AT)]))
    unit = depth_unit(low, middle, high)
    if unit != METRES:
        raise InputError(
            f"has a depth of {low:.4g} to {high:.4g}, which looks like {unit}; expected metres in .npy, millimetres "
            "in 16-bit .png; convert it"
        )


def _unit_normals(decoded: Decoded) -> np.ndarray:
    """float32 (H,W,3) unit vectors; zeros where there is none or the mask hides it."""
    normals_HW3 = decoded.masked().target
    with np.errstate(invalid="ignore"):
        normals_HW3 /= lengths(normals_HW3)[..., None]
    return np.nan_to_num(normals_HW3, copy=False, nan=0.0)
