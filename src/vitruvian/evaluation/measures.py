"""Held-out synthetic people, and how near a task's results come to their truth.

Seeds -> rendered pictures with exact labels that no training picture shares; those and arrays of the same size ->
numbers. Rendering dominates: some 20 ms a picture.
"""

# Shape suffixes: P persons, K keypoints, C classes, H W picture, 2 = x y, 3 = x y visibility or x y z, 4 = box.

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from vitruvian.people import View
from vitruvian.tasks import metrics
from vitruvian.tasks.base import Region
from vitruvian.tasks.labels import label_set
from vitruvian.training.nano.pictures import training_view
from vitruvian.training.nano.recipe import NanoRecipe

PCK_FRACTION = 0.1
CLASSES = label_set(28).count
_SLIVER_PX = 8
"""Persons of whom less is in the picture do not count."""


def held_out_views(pictures: int) -> list[View]:
    """The first pictures of the held-out seeds; those without a person to look at are left out."""
    recipe = NanoRecipe()
    views = [training_view(recipe, recipe.held_out_seed + index) for index in range(pictures)]
    return [view for view in views if any(True for _ in persons(view))]


def training_views(pictures: int) -> list[View]:
    """The first pictures of the training seeds."""
    recipe = NanoRecipe()
    return [training_view(recipe, recipe.seed + index) for index in range(pictures)]


def persons(view: View) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Keypoints (K,3) and box of each person with more than a sliver in the picture."""
    for keypoints_K3, box_4 in zip(view.keypoints_PK3, view.boxes_P4, strict=True):
        if np.isfinite(box_4).all() and min(box_4[2:] - box_4[:2]) >= _SLIVER_PX:
            yield keypoints_K3, box_4


def person_regions(view: View) -> list[Region]:
    """The persons' true boxes, as a pose network is given them."""
    return [Region(box_xyxy=(float(x0), float(y0), float(x1), float(y1))) for _, (x0, y0, x1, y1) in persons(view)]


def pck(views: Sequence[View], found: Sequence[np.ndarray]) -> float:
    """Share of visible keypoints (P,K,2) within a tenth of the longer side of their person's box."""
    near: list[np.ndarray] = []
    for view, found_PK2 in zip(views, found, strict=True):
        true_PK3 = np.array([keypoints_K3 for keypoints_K3, _ in persons(view)])
        boxes_P4 = np.array([box_4 for _, box_4 in persons(view)])
        size_P1 = (boxes_P4[:, 2:] - boxes_P4[:, :2]).max(axis=1, keepdims=True)
        distance_PK = metrics.distances_px(found_PK2, true_PK3[..., :2])
        near.append((distance_PK <= PCK_FRACTION * size_P1)[true_PK3[..., 2] > 0])
    return float(np.concatenate(near).mean())


def miou(views: Sequence[View], found: Sequence[np.ndarray]) -> float:
    """Mean intersection over union of labels (H,W) over the classes that are there."""
    confusion_CC = np.zeros((CLASSES, CLASSES), np.int64)
    for view, labels_HW in zip(views, found, strict=True):
        confusion_CC += metrics.confusion_matrix(labels_HW, view.part_labels_HW, CLASSES)
    return metrics.mean_iou(confusion_CC)


def depth_errors(views: Sequence[View], found: Sequence[np.ndarray]) -> dict[str, float]:
    """`rmse` in metres and `abs_rel` on persons of relative depth (H,W), scale and shift fitted to each picture."""
    rows = [
        metrics.depth_errors(depth_HW, view.depth_m_HW, view.person_ids_HW > 0, align=True)
        for view, depth_HW in zip(views, found, strict=True)
    ]
    return {key: float(np.nanmean([row[key] for row in rows])) for key in ("rmse", "abs_rel")}


def normal_angles(views: Sequence[View], found: Sequence[np.ndarray]) -> dict[str, float]:
    """`mean` and `median` angle in degrees on persons of normals (H,W,3) in the camera's frame."""
    angles = np.concatenate(
        [
            metrics.angles_deg(normals_HW3, view.normals_HW3)[view.person_ids_HW > 0]
            for view, normals_HW3 in zip(views, found, strict=True)
        ]
    )
    return {"mean": float(np.nanmean(angles)), "median": float(np.nanmedian(angles))}
