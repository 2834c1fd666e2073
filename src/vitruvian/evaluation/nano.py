"""How good the embedded networks are on synthetic people they never saw, beside a prediction that looks at nothing.

`python -m vitruvian.evaluation.nano [--pictures N]` renders held-out pictures, runs the four tasks through the same
road as the command line, and prints a Markdown table and one JSON line. The baseline predicts the mean of other
pictures: mean keypoints of a box, the most frequent label, the mean depth and the mean normal of each pixel.
"""

# Shape suffixes: P persons, K keypoints, H W picture, C classes.

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from vitruvian.evaluation import measures
from vitruvian.loading import load
from vitruvian.media.items import Item
from vitruvian.people import View
from vitruvian.tasks.base import Region
from vitruvian.tasks.depth import Depth
from vitruvian.tasks.normal import Normals
from vitruvian.tasks.pose import Pose
from vitruvian.tasks.seg import Segmentation
from vitruvian.zoo import NANO_MODELS, SapiensTask

NANO, MEAN = "nano", "mean prediction"


@dataclass(frozen=True)
class Baseline:
    """Mean truth of some pictures, for comparison."""

    views: Sequence[View]

    def keypoints_PK2(self, view: View) -> np.ndarray:
        """The mean keypoints put into each person's box."""
        boxes_P4 = np.array([box_4 for _, box_4 in measures.persons(view)])
        size_P12 = (boxes_P4[:, 2:] - boxes_P4[:, :2])[:, None]
        return boxes_P4[:, None, :2] + self.keypoints_in_box_K2 * size_P12

    @cached_property
    def keypoints_in_box_K2(self) -> np.ndarray:
        """Mean position of each visible keypoint relative to its person's box."""
        rows = [
            np.where(keypoints_K3[:, 2:] > 0, (keypoints_K3[:, :2] - box_4[:2]) / (box_4[2:] - box_4[:2]), np.nan)
            for view in self.views
            for keypoints_K3, box_4 in measures.persons(view)
        ]
        return np.nanmean(np.array(rows), axis=0)

    @cached_property
    def labels_HW(self) -> np.ndarray:
        """Most frequent label of each pixel."""
        stack = np.array([view.part_labels_HW for view in self.views])
        counts = [(stack == label).sum(axis=0) for label in range(measures.CLASSES)]
        return np.argmax(counts, axis=0).astype(np.uint8)

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


def evaluate(pictures: int = 400) -> dict[str, dict[str, float]]:
    """Metric name -> {"nano": value, "mean prediction": value} over held-out pictures."""
    views = measures.held_out_views(pictures)
    baseline = Baseline(measures.training_views(min(300, pictures)))
    return {
        "PCK@0.1 of the person box": _pck(views, baseline),
        "mIoU over present classes": _miou(views, baseline),
        **_depth(views, baseline),
        **_normals(views, baseline),
    }


def _run(task: SapiensTask, views: Sequence[View], regions: Sequence[Sequence[Region]] | None = None) -> Iterator:
    model = load(NANO_MODELS[task])
    images = [view.image_HW3 for view in views]
    if regions is None:
        return model(images)

    def regions_of(item: Item) -> Sequence[Region]:
        return regions[item.index]

    return model(images, regions_of=regions_of)


def _both(
    measure: Callable[[Sequence[np.ndarray]], float], found: list[np.ndarray], guess: list[np.ndarray]
) -> dict[str, float]:
    return {NANO: measure(found), MEAN: measure(guess)}


def _pck(views: Sequence[View], baseline: Baseline) -> dict[str, float]:
    poses: Iterator[Pose] = _run("pose", views, [measures.person_regions(view) for view in views])
    found = [pose.keypoints_PK2 for pose in poses]
    return _both(lambda kept: measures.pck(views, kept), found, [baseline.keypoints_PK2(view) for view in views])


def _miou(views: Sequence[View], baseline: Baseline) -> dict[str, float]:
    segmentations: Iterator[Segmentation] = _run("seg", views)
    found = [seg.labels_HW for seg in segmentations]
    return _both(lambda kept: measures.miou(views, kept), found, [baseline.labels_HW] * len(views))


def _depth(views: Sequence[View], baseline: Baseline) -> dict[str, dict[str, float]]:
    depths: Iterator[Depth] = _run("depth", views)
    found = measures.depth_errors(views, [depth.depth_HW for depth in depths])
    guess = measures.depth_errors(views, [baseline.depth_HW] * len(views))
    titles = {"rmse": "depth RMSE in m on persons, scale and shift fitted", "abs_rel": "depth AbsRel, likewise"}
    return {title: {NANO: found[key], MEAN: guess[key]} for key, title in titles.items()}


def _normals(views: Sequence[View], baseline: Baseline) -> dict[str, dict[str, float]]:
    normals: Iterator[Normals] = _run("normal", views)
    found = measures.normal_angles(views, [normal.normals_HW3 for normal in normals])
    guess = measures.normal_angles(views, [baseline.normals_HW3] * len(views))
    titles = {"mean": "normals, mean angle in degrees on persons", "median": "normals, median angle in degrees"}
    return {title: {NANO: found[key], MEAN: guess[key]} for key, title in titles.items()}


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(prog="python -m vitruvian.evaluation.nano")
    parser.add_argument("--pictures", type=int, default=400)
    found = evaluate(parser.parse_args().pictures)
    print("| measure | nano | mean prediction |\n|---|---|---|")
    for measure, values in found.items():
        print(f"| {measure} | {values[NANO]:.3f} | {values[MEAN]:.3f} |")
    print(json.dumps(found))


if __name__ == "__main__":
    main()
