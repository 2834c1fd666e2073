"""Training batches: crops of rendered pictures with targets for the four heads.

In: pictures, recipe, step. Out: a `Batch` of tensors; pure in (recipe, step). Three kinds of crop train the three uses:
the whole picture (dense tasks, pose without boxes), a padded person box (pose) and a stretched part (odd aspect ratios,
because the dense tasks squeeze every picture into one canvas). Time: OpenCV warps, about 3 ms a picture.
"""

# Shape suffixes: B pictures, H W canvas, h w head output, K keypoints.

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
import torch
from torch import Tensor

from vitruvian.models.sapiens.config import NANO_BACKBONE, NANO_HEADS
from vitruvian.tasks.encode import encode_heatmaps
from vitruvian.tasks.labels import keypoint_set, label_set
from vitruvian.training.nano.pictures import NORMAL_SCALE, Pictures
from vitruvian.training.nano.recipe import NanoRecipe

WHOLE_SHARE, BOX_SHARE = 0.35, 0.45


@dataclass(frozen=True, kw_only=True, slots=True)
class Batch:
    """Network input and targets."""

    canvas_BHW3: Tensor
    """uint8 RGB."""
    heat_BKhw: Tensor
    heat_weight_BK: Tensor
    labels_Bhw: Tensor
    depth_BHW: Tensor
    """Relative depth of persons, 0 nearest .. 1 farthest in the canvas; -1 where no person is."""
    normals_B3hw: Tensor
    person_Bhw: Tensor
    """True on persons, at the resolution of the normals."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Crop:
    """Which part of which picture, and how it is changed."""

    picture: int
    person: int
    """Person whose keypoints are the pose target; -1 for none (several persons in a whole picture)."""
    corner_xy: tuple[float, float]
    """Pixel position of the crop's first edge."""
    size_wh: tuple[float, float]
    flipped: bool


def make_batch(pictures: Pictures, recipe: NanoRecipe, step: int) -> Batch:
    """The batch of one step."""
    rng = np.random.default_rng([recipe.seed, step])
    crops = [_draw_crop(pictures, rng) for _ in range(recipe.batch)]
    canvases = [_colour(_cut(pictures.image_NSS3, crop, NANO_BACKBONE.input_hw, smooth=True), rng) for crop in crops]
    heat_BKhw, weight_BK = _pose_targets(pictures, crops, recipe)
    seg_hw, depth_hw, normal_hw = (
        NANO_HEADS[kind].output_hw(NANO_BACKBONE.grid_hw()) for kind in ("seg", "depth", "normal")
    )
    normals = [_normals(_cut(pictures.normals_NSS3, crop, normal_hw), crop.flipped) for crop in crops]
    labels = [_labels(pictures, crop, seg_hw) for crop in crops]
    return Batch(
        canvas_BHW3=torch.from_numpy(np.stack(canvases)),
        heat_BKhw=heat_BKhw,
        heat_weight_BK=weight_BK,
        labels_Bhw=torch.from_numpy(np.stack(labels)),
        depth_BHW=torch.from_numpy(np.stack([_depth(pictures, crop, depth_hw) for crop in crops])),
        normals_B3hw=torch.from_numpy(np.stack(normals)).permute(0, 3, 1, 2),
        person_Bhw=torch.from_numpy(np.stack([_cut(pictures.labels_NSS, crop, normal_hw) > 0 for crop in crops])),
    )


def _draw_crop(pictures: Pictures, rng: np.random.Generator) -> Crop:
    picture = int(rng.integers(len(pictures)))
    there = np.flatnonzero(np.isfinite(pictures.boxes_NP4[picture]).all(axis=1))
    side = pictures.image_NSS3.shape[1]
    draw, flipped = rng.random(), bool(rng.random() < 0.5)
    person = int(there[0]) if len(there) == 1 else -1
    corner, size = np.full(2, -0.5), np.full(2, float(side))
    if draw >= WHOLE_SHARE and draw < WHOLE_SHARE + BOX_SHARE and len(there):
        person = int(rng.choice(there))
        corner, size = _box_crop(pictures.boxes_NP4[picture, person], rng)
    elif draw >= WHOLE_SHARE + BOX_SHARE:
        size = side * rng.uniform(0.55, 1.0, 2)
        corner = rng.uniform(0, side - size) - 0.5
    return Crop(
        picture=picture,
        person=person,
        corner_xy=(float(corner[0]), float(corner[1])),
        size_wh=(float(size[0]), float(size[1])),
        flipped=flipped,
    )


def _box_crop(box_4: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """A person box padded as the pose task pads it, shaken and brought to the canvas's aspect ratio."""
    extent = np.maximum(box_4[2:] - box_4[:2], 8.0)
    centre = (box_4[:2] + box_4[2:]) / 2 + extent * rng.normal(0, 0.04, 2)
    size = extent * 1.25 * rng.uniform(0.85, 1.25)
    ratio = NANO_BACKBONE.input_hw[1] / NANO_BACKBONE.input_hw[0]
    size = np.array([max(size[0], size[1] * ratio), max(size[1], size[0] / ratio)])
    return centre - size / 2, size


def _cut(source: np.ndarray, crop: Crop, out_hw: tuple[int, int], *, smooth: bool = False) -> np.ndarray:
    """One crop of one picture's array at an output size, zeros outside the picture."""
    height, width = out_hw
    step_x, step_y = crop.size_wh[0] / width, crop.size_wh[1] / height
    matrix = np.array(
        [[step_x, 0, crop.corner_xy[0] + step_x / 2], [0, step_y, crop.corner_xy[1] + step_y / 2]], np.float64
    )
    how = (cv2.INTER_LINEAR if smooth else cv2.INTER_NEAREST) | cv2.WARP_INVERSE_MAP
    values = source[crop.picture]
    if values.dtype == np.float16:
        values = values.astype(np.float32)
    out = cv2.warpAffine(np.ascontiguousarray(values), matrix, (width, height), flags=how)
    return np.ascontiguousarray(out[:, ::-1]) if crop.flipped else out


def _colour(canvas_HW3: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Random gain per channel, contrast and brightness; now and then gray."""
    gain = rng.uniform(0.75, 1.25) * rng.uniform(0.88, 1.12, 3)
    table_V3 = np.clip((np.arange(256)[:, None] - 128) * gain + 128 + rng.uniform(-28, 28), 0, 255).astype(np.uint8)
    coloured = cv2.LUT(canvas_HW3, np.ascontiguousarray(table_V3[None]))
    if rng.random() < 0.08:
        coloured = np.repeat(cv2.cvtColor(coloured, cv2.COLOR_RGB2GRAY)[..., None], 3, axis=2)
    return coloured


def _pose_targets(pictures: Pictures, crops: list[Crop], recipe: NanoRecipe) -> tuple[Tensor, Tensor]:
    """Heat maps and weights. Joints outside the canvas are taught as empty maps, so that a close-up does not invent
    legs; the published recipe leaves them out of the loss."""
    height, width = NANO_BACKBONE.input_hw
    flip = list(keypoint_set(17).flip_indices)
    xy_BK2, inside_BK = np.zeros((len(crops), 17, 2), np.float32), np.zeros((len(crops), 17), np.float32)
    for row, crop in enumerate(crops):
        if crop.person < 0:
            continue
        keypoints_K3 = pictures.keypoints_NPK3[crop.picture, crop.person]
        unit_K2 = (keypoints_K3[:, :2] - crop.corner_xy) / crop.size_wh
        if crop.flipped:
            unit_K2 = unit_K2[flip] * (-1, 1) + (1, 0)
            keypoints_K3 = keypoints_K3[flip]
        inside_BK[row] = (keypoints_K3[:, 2] > 0) & np.all((unit_K2 >= 0) & (unit_K2 <= 1), axis=1)
        xy_BK2[row] = np.where(inside_BK[row][:, None] > 0, unit_K2 * (width - 1, height - 1), 0)
    heat_hw = NANO_HEADS["pose"].output_hw(NANO_BACKBONE.grid_hw())
    heat_BKhw, _ = encode_heatmaps(
        torch.from_numpy(xy_BK2),
        torch.from_numpy(inside_BK),
        input_hw=NANO_BACKBONE.input_hw,
        heat_hw=heat_hw,
        sigma=recipe.heat_sigma,
    )
    known_B = torch.tensor([crop.person >= 0 for crop in crops], dtype=torch.float32)
    return heat_BKhw, known_B[:, None].expand(-1, 17)


def _labels(pictures: Pictures, crop: Crop, out_hw: tuple[int, int]) -> np.ndarray:
    labels_HW = _cut(pictures.labels_NSS, crop, out_hw)
    if not crop.flipped:
        return labels_HW
    mirror = np.arange(256, dtype=np.uint8)
    for left, right in label_set(28).flip_pairs:
        mirror[left], mirror[right] = right, left
    return mirror[labels_HW]


def _depth(pictures: Pictures, crop: Crop, out_hw: tuple[int, int]) -> np.ndarray:
    depth_HW = _cut(pictures.depth_m_NSS, crop, out_hw)
    person_HW = _cut(pictures.labels_NSS, crop, out_hw) > 0
    if not person_HW.any():
        return np.full(out_hw, -1, np.float32)
    near, far = depth_HW[person_HW].min(), depth_HW[person_HW].max()
    return np.where(person_HW, (depth_HW - near) / max(far - near, 1e-3), -1).astype(np.float32)


def _normals(stored_HW3: np.ndarray, flipped: bool) -> np.ndarray:
    normals_HW3 = (stored_HW3.astype(np.float32) - 128) / NORMAL_SCALE
    if flipped:
        normals_HW3[..., 0] *= -1
    # Empty backgrounds count as walls that face the camera, so that drawings are calm there.
    normals_HW3[~stored_HW3.any(axis=2)] = (0, 0, -1)
    return normals_HW3
