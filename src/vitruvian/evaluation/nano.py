"""How good the embedded networks are on synthetic people they never saw, beside a prediction that looks at nothing.

`python -m vitruvian.evaluation.nano [--pictures N]` renders held-out pictures, runs the four tasks through the same
road as the command line, and prints a Markdown table and one JSON line. The baseline predicts the mean of other
pictures: mean keypoints of a box, the most frequent label, the mean depth and the mean normal of each pixel.
"""

# Shape suffixes: P persons, K keypoints, H W picture, C classes.

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from vitruvian.media.items import Item
from vitruvian.people import View
from vitruvian.predict import load
from vitruvian.tasks import metrics
from vitruvian.tasks.base import Region
from vitruvian.tasks.depth import Depth
from vitruvian.tasks.labels import label_set
from vitruvian.tasks.normal import Normals
from vitruvian.tasks.pose import Pose
from vitruvian.tasks.seg import Segmentation
from vitruvian.training.nano.pictures import training_view
from vitruvian.training.nano.recipe import NanoRecipe
from vitruvian.zoo import DEFAULT_MODELS, TaskName

PCK_FRACTION = 0.1
CLASSES = label_set(28).count


@dataclass(frozen=True)
class Baseline:
    """Mean truth of some pictures, for comparison."""

    views: Sequence[View]

    @cached_property
    def keypoints_in_box_K2(self) -> np.ndarray:
        """Mean position of each visible keypoint relative to its person's box."""
        rows = [
            np.where(keypoints_K3[:, 2:] > 0, (keypoints_K3[:, :2] - box_4[:2]) / (box_4[2:] - box_4[:2]), np.nan)
            for view in self.views
            for keypoints_K3, box_4 in _persons(view)
        ]
        return np.nanmean(np.array(rows), axis=0)

    @cached_property
    def labels_HW(self) -> np.ndarray:
        """Most frequent label of each pixel."""
        stack = np.array([view.part_labels_HW for view in self.views])
        return np.argmax([(stack == label).sum(axis=0) for label in range(CLASSES)], axis=0).astype(np.uint8)

    @cached_property
    def depth_HW(self) -> np.ndarray:
        """Mean depth of persons at each pixel, their overall mean where none was seen."""
        depth = np.array([np.where(view.person_ids_HW > 0, view.depth_m_HW, np.nan) for view in self.views])
        seen_HW = np.isfinite(depth).any(axis=0)
        return np.where(seen_HW, np.nanmean(np.where(seen_HW, depth, 0), axis=0), np.nanmean(depth))

    @cached_property
    def normals_HW3(self) -> np.ndarray:
        """Mean normal of persons over all pixels, everywhere."""
        mean_3 = np.mean([view.normals_HW3[view.person_ids_HW > 0].mean(axis=0) for view in self.views], axis=0)
        return np.broadcast_to(mean_3, self.views[0].normals_HW3.shape)


def _persons(view: View) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Keypoints (K,3) and box of each person with more than a sliver in the picture."""
    for keypoints_K3, box_4 in zip(view.keypoints_PK3, view.boxes_P4, strict=True):
        if np.isfinite(box_4).all() and min(box_4[2:] - box_4[:2]) >= 8:
            yield keypoints_K3, box_4


def evaluate(pictures: int = 400) -> dict[str, dict[str, float]]:
    """Metric name -> {"nano": value, "mean prediction": value} over held-out pictures."""
    recipe = NanoRecipe()
    views = [training_view(recipe, recipe.held_out_seed + i) for i in range(pictures)]
    views = [view for view in views if any(True for _ in _persons(view))]
    baseline = Baseline([training_view(recipe, recipe.seed + i) for i in range(min(300, pictures))])
    return {
        "PCK@0.1 of the person box": _pck(views, baseline),
        "mIoU over present classes": _miou(views, baseline),
        **_depth(views, baseline),
        **_normals(views, baseline),
    }


def _run(task: TaskName, views: Sequence[View], regions: Sequence[Sequence[Region]] | None = None) -> Iterator:
    model = load(DEFAULT_MODELS[task])
    images = [view.image_HW3 for view in views]
    if regions is None:
        return model(images)

    def regions_of(item: Item) -> Sequence[Region]:
        return regions[item.index]

    return model(images, regions_of=regions_of)


def _pck(views: Sequence[View], baseline: Baseline) -> dict[str, float]:
    regions = [[_region(box_4) for _, box_4 in _persons(view)] for view in views]
    near: dict[str, list[np.ndarray]] = {"nano": [], "mean prediction": []}
    pose: Pose
    for view, pose in zip(views, _run("pose", views, regions), strict=True):
        true_PK3 = np.array([keypoints_K3 for keypoints_K3, _ in _persons(view)])
        boxes_P4 = np.array([box_4 for _, box_4 in _persons(view)])
        size_P12 = (boxes_P4[:, 2:] - boxes_P4[:, :2])[:, None]
        guess_PK2 = boxes_P4[:, None, :2] + baseline.keypoints_in_box_K2 * size_P12
        for name, found_PK2 in (("nano", pose.keypoints_PK2), ("mean prediction", guess_PK2)):
            distance_PK = metrics.distances_px(found_PK2, true_PK3[..., :2])
            near[name].append((distance_PK <= PCK_FRACTION * size_P12.max(axis=(1, 2))[:, None])[true_PK3[..., 2] > 0])
    return {name: float(np.concatenate(values).mean()) for name, values in near.items()}


def _region(box_4: np.ndarray) -> Region:
    x0, y0, x1, y1 = box_4.tolist()
    return Region(box_xyxy=(x0, y0, x1, y1))


def _miou(views: Sequence[View], baseline: Baseline) -> dict[str, float]:
    confusion = {name: np.zeros((CLASSES, CLASSES), np.int64) for name in ("nano", "mean prediction")}
    seg: Segmentation
    for view, seg in zip(views, _run("seg", views), strict=True):
        confusion["nano"] += metrics.confusion_matrix(seg.labels_HW, view.part_labels_HW, CLASSES)
        confusion["mean prediction"] += metrics.confusion_matrix(baseline.labels_HW, view.part_labels_HW, CLASSES)
    return {name: metrics.mean_iou(matrix) for name, matrix in confusion.items()}


def _depth(views: Sequence[View], baseline: Baseline) -> dict[str, dict[str, float]]:
    rows: dict[str, list[dict[str, float]]] = {"nano": [], "mean prediction": []}
    depth: Depth
    for view, depth in zip(views, _run("depth", views), strict=True):
        person_HW = view.person_ids_HW > 0
        for name, found_HW in (("nano", depth.depth_HW), ("mean prediction", baseline.depth_HW)):
            rows[name].append(metrics.depth_errors(found_HW, view.depth_m_HW, person_HW, align=True))
    keys = {"depth RMSE in m on persons, scale and shift fitted": "rmse", "depth AbsRel, likewise": "abs_rel"}
    return {
        title: {name: float(np.nanmean([row[key] for row in errors])) for name, errors in rows.items()}
        for title, key in keys.items()
    }


def _normals(views: Sequence[View], baseline: Baseline) -> dict[str, dict[str, float]]:
    angles: dict[str, list[np.ndarray]] = {"nano": [], "mean prediction": []}
    normals: Normals
    for view, normals in zip(views, _run("normal", views), strict=True):
        person_HW = view.person_ids_HW > 0
        for name, found_HW3 in (("nano", normals.normals_HW3), ("mean prediction", baseline.normals_HW3)):
            angles[name].append(metrics.angles_deg(found_HW3, view.normals_HW3)[person_HW])
    joined = {name: np.concatenate(values) for name, values in angles.items()}
    return {
        "normals, mean angle in degrees on persons": {name: float(np.nanmean(a)) for name, a in joined.items()},
        "normals, median angle in degrees": {name: float(np.nanmedian(a)) for name, a in joined.items()},
    }


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(prog="python -m vitruvian.evaluation.nano")
    parser.add_argument("--pictures", type=int, default=400)
    found = evaluate(parser.parse_args().pictures)
    print("| measure | nano | mean prediction |\n|---|---|---|")
    for measure, values in found.items():
        print(f"| {measure} | {values['nano']:.3f} | {values['mean prediction']:.3f} |")
    print(json.dumps(found))


if __name__ == "__main__":
    main()
