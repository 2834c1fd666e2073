"""Training samples: crops of rendered pictures with targets for the four heads.

In: a picture, chance. Out: a `NanoSample` of arrays, or several as a `Batch` of tensors. Three kinds of crop train the
three uses: the whole picture (dense tasks, pose without boxes), a padded person box (pose) and a stretched part (odd
aspect ratios, because the dense tasks squeeze every picture into one canvas). Time: OpenCV warps, about 3 ms a picture.
"""

# Shape suffixes: B pictures, S picture side, H W canvas, h w head output, K keypoints, P persons, V values of a level.

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields

import cv2
import numpy as np
import torch
from torch import Tensor

from vitruvian.models.sapiens.config import NANO_BACKBONE, NANO_HEADS, HeadKind
from vitruvian.tasks.encode import encode_heatmaps
from vitruvian.tasks.labels import keypoint_set, label_set
from vitruvian.training.nano.pictures import NORMAL_SCALE, Picture
from vitruvian.training.nano.recipe import NanoRecipe

WHOLE_SHARE, BOX_SHARE = 0.35, 0.45


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class NanoSample:
    """Network input and targets of one crop; fields as those of `Batch`, in order."""

    canvas_HW3: np.ndarray
    heat_Khw: np.ndarray
    heat_weight_K: np.ndarray
    labels_hw: np.ndarray
    depth_HW: np.ndarray
    normals_3hw: np.ndarray
    person_hw: np.ndarray


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
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
    """Which part of a picture, and how it is changed."""

    person: int
    """Person whose keypoints are the pose target; -1 for none (several persons in a whole picture)."""
    corner_xy: tuple[float, float]
    """Pixel position of the crop's first edge."""
    size_wh: tuple[float, float]
    flipped: bool


def sample_of(picture: Picture, rng: np.random.Generator, recipe: NanoRecipe) -> NanoSample:
    """A crop by chance, with its targets; a function of its arguments alone."""
    crop = _draw_crop(picture, rng)
    heat_Khw, weight_K = _pose_targets(picture, crop, recipe.heat_sigma)
    normal_hw = _output_hw("normal")
    normals_hw3 = _normals(_cut(picture.normals_SS3, crop, normal_hw), crop.flipped)
    return NanoSample(
        canvas_HW3=_colour(_cut(picture.image_SS3, crop, NANO_BACKBONE.input_hw, smooth=True), rng),
        heat_Khw=heat_Khw,
        heat_weight_K=weight_K,
        labels_hw=_labels(picture, crop, _output_hw("seg")),
        depth_HW=_depth(picture, crop, _output_hw("depth")),
        normals_3hw=np.ascontiguousarray(normals_hw3.transpose(2, 0, 1)),
        person_hw=_cut(picture.labels_SS, crop, normal_hw) > 0,
    )


def joint_batch(samples: Sequence[NanoSample]) -> Batch:
    """Samples as one batch, in host memory."""
    rows = [[getattr(sample, field.name) for sample in samples] for field in fields(NanoSample)]
    stacks = [torch.from_numpy(np.stack(row)) for row in rows]
    return Batch(**{field.name: stack for field, stack in zip(fields(Batch), stacks, strict=True)})


def blank_joint_batch(count: int, device: torch.device) -> Batch:
    """A batch of nothing, of the sizes and types of a real one, for planners."""
    keypoints = NANO_HEADS["pose"].channels
    shapes: tuple[tuple[tuple[int, ...], torch.dtype], ...] = (
        ((*NANO_BACKBONE.input_hw, 3), torch.uint8),
        ((keypoints, *_output_hw("pose")), torch.float32),
        ((keypoints,), torch.float32),
        (_output_hw("seg"), torch.uint8),
        (_output_hw("depth"), torch.float32),
        ((3, *_output_hw("normal")), torch.float32),
        (_output_hw("normal"), torch.bool),
    )
    blank = [torch.zeros((count, *shape), dtype=dtype, device=device) for shape, dtype in shapes]
    return Batch(**{field.name: tensor for field, tensor in zip(fields(Batch), blank, strict=True)})


def _output_hw(kind: HeadKind) -> tuple[int, int]:
    """Size of a head's maps."""
    return NANO_HEADS[kind].output_hw(NANO_BACKBONE.grid_hw())


def _draw_crop(picture: Picture, rng: np.random.Generator) -> Crop:
    there = np.flatnonzero(np.isfinite(picture.boxes_P4).all(axis=1))
    side = len(picture.image_SS3)
    draw, flipped = rng.random(), bool(rng.random() < 0.5)
    person = int(there[0]) if len(there) == 1 else -1
    corner, size = np.full(2, -0.5), np.full(2, float(side))
    if draw >= WHOLE_SHARE and draw < WHOLE_SHARE + BOX_SHARE and len(there):
        person = int(rng.choice(there))
        corner, size = _box_crop(picture.boxes_P4[person], rng)
    elif draw >= WHOLE_SHARE + BOX_SHARE:
        size = side * rng.uniform(0.55, 1.0, 2)
        corner = rng.uniform(0, side - size) - 0.5
    return Crop(
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


def _cut(values: np.ndarray, crop: Crop, out_hw: tuple[int, int], *, smooth: bool = False) -> np.ndarray:
    """A crop of a picture's array at an output size, zeros outside the picture."""
    height, width = out_hw
    step_x, step_y = crop.size_wh[0] / width, crop.size_wh[1] / height
    matrix = np.array(
        [[step_x, 0, crop.corner_xy[0] + step_x / 2], [0, step_y, crop.corner_xy[1] + step_y / 2]], np.float64
    )
    how = (cv2.INTER_LINEAR if smooth else cv2.INTER_NEAREST) | cv2.WARP_INVERSE_MAP
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


def _pose_targets(picture: Picture, crop: Crop, sigma: float) -> tuple[np.ndarray, np.ndarray]:
    """Heat maps and weights. Joints outside the canvas are taught as empty maps, so that a close-up does not invent
    legs; the published recipe leaves them out of the loss."""
    height, width = NANO_BACKBONE.input_hw
    keypoints = NANO_HEADS["pose"].channels
    xy_1K2, inside_1K = np.zeros((1, keypoints, 2), np.float32), np.zeros((1, keypoints), np.float32)
    if crop.person >= 0:
        keypoints_K3 = picture.keypoints_PK3[crop.person]
        unit_K2 = (keypoints_K3[:, :2] - crop.corner_xy) / crop.size_wh
        if crop.flipped:
            flip = list(keypoint_set(keypoints).flip_indices)
            unit_K2 = unit_K2[flip] * (-1, 1) + (1, 0)
            keypoints_K3 = keypoints_K3[flip]
        inside_1K[0] = (keypoints_K3[:, 2] > 0) & np.all((unit_K2 >= 0) & (unit_K2 <= 1), axis=1)
        xy_1K2[0] = np.where(inside_1K[0][:, None] > 0, unit_K2 * (width - 1, height - 1), 0)
    heat_1Khw, _ = encode_heatmaps(
        torch.from_numpy(xy_1K2),
        torch.from_numpy(inside_1K),
        input_hw=NANO_BACKBONE.input_hw,
        heat_hw=_output_hw("pose"),
        sigma=sigma,
    )
    return heat_1Khw[0].numpy(), np.full(keypoints, float(crop.person >= 0), np.float32)


def _labels(picture: Picture, crop: Crop, out_hw: tuple[int, int]) -> np.ndarray:
    labels_HW = _cut(picture.labels_SS, crop, out_hw)
    if not crop.flipped:
        return labels_HW
    mirror = np.arange(256, dtype=np.uint8)
    for left, right in label_set(28).flip_pairs:
        mirror[left], mirror[right] = right, left
    return mirror[labels_HW]


def _depth(picture: Picture, crop: Crop, out_hw: tuple[int, int]) -> np.ndarray:
    depth_HW = _cut(picture.depth_m_SS, crop, out_hw)
    person_HW = _cut(picture.labels_SS, crop, out_hw) > 0
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
