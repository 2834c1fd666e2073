"""How good a network's metric depth and normals are in rendered places it never saw, beside a guess without looking.

In: a callable that sees a picture and its focal length, or on the command line a model. Out: AbsRel and delta1 of depth
in metres, nothing fitted, a mean over the pixels of each picture, then over pictures; the mean angle of normals in
degrees over all pixels. The guess knows the camera, but not the picture: one canonical depth for all pixels, brought to
metres by the true focal length, and one normal. Rendering takes some 35 ms a picture.
"""

# Shape suffixes: H W picture, N pixels, 3 = RGB or x y z.

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

import numpy as np

from vitruvian.loading import load
from vitruvian.models.metric3d import CANONICAL_FOCAL_PX, NANO
from vitruvian.people import View
from vitruvian.predict import Model
from vitruvian.tasks import metrics
from vitruvian.tasks.metric_canvas import padded_placement
from vitruvian.tasks.metric_result import MetricDepth
from vitruvian.training.metric.nano_pictures import metric_view
from vitruvian.training.metric.nano_recipe import MetricNanoRecipe
from vitruvian.zoo import DEFAULT_MODELS

Predict = Callable[[np.ndarray, float], tuple[np.ndarray, np.ndarray]]
"""(uint8 RGB picture, its focal length in pixels) -> depth in metres (H,W), unit normals (H,W,3) in the camera's
frame."""

NANO_COLUMN, CONSTANT_COLUMN = "nano", "constant"


@dataclass(frozen=True, kw_only=True, slots=True)
class Constant:
    """A guess that looks at nothing."""

    canonical_m: float
    """Depth of a camera with a focal length of 1000 px on the small network's canvas."""
    normal_3: np.ndarray
    """Unit vector."""

    def __call__(self, image_HW3: np.ndarray, focal_px: float) -> tuple[np.ndarray, np.ndarray]:
        """The same depth and normal everywhere."""
        size_hw = image_HW3.shape[0], image_HW3.shape[1]
        depth_m = self.canonical_m / canonical_per_m(size_hw, focal_px)
        return np.full(size_hw, depth_m), np.broadcast_to(self.normal_3, (*size_hw, 3))


@dataclass(kw_only=True)
class Tally:
    """Errors of one callable so far."""

    abs_rel: list[float] = field(default_factory=list)
    delta1: list[float] = field(default_factory=list)
    angle_sum_deg: float = 0.0
    angles: int = 0

    def add(self, view: View, depth_m_HW: np.ndarray, normals_HW3: np.ndarray) -> None:
        """One picture; without any surface it counts for nothing, and a pixel without an answer is a miss."""
        surface_HW = view.depth_m_HW > 0
        if not surface_HW.any():
            return
        depth_m_HW = np.nan_to_num(depth_m_HW, nan=0.0, posinf=0.0, neginf=0.0)
        found = metrics.depth_errors(depth_m_HW, view.depth_m_HW, surface_HW, align=False)
        self.abs_rel.append(found["abs_rel"])
        self.delta1.append(found["delta1"])
        angles_N = np.nan_to_num(metrics.angles_deg(normals_HW3, view.normals_HW3)[surface_HW], nan=180.0)
        self.angle_sum_deg += float(angles_N.sum())
        self.angles += angles_N.size

    def numbers(self) -> dict[str, float]:
        """By name; NaN without pictures."""
        if not self.abs_rel:
            return dict.fromkeys(("AbsRel", "delta1", "mean angle in degrees"), float("nan"))
        return {
            "AbsRel": float(np.mean(self.abs_rel)),
            "delta1": float(np.mean(self.delta1)),
            "mean angle in degrees": self.angle_sum_deg / self.angles,
        }


def canonical_per_m(size_hw: tuple[int, int], focal_px: float) -> float:
    """Canonical metres for each metre of a whole picture on the small network's canvas."""
    return CANONICAL_FOCAL_PX / (focal_px * padded_placement(size_hw, NANO.input_hw).scale)


def held_out_views(pictures: int) -> Iterable[View]:
    """The first places of the held-out seeds, rendered one at a time."""
    recipe = MetricNanoRecipe()
    return (metric_view(recipe, recipe.held_out_seed + index) for index in range(pictures))


def constant_guess(pictures: int) -> Constant:
    """Median canonical depth and mean normal of the first training pictures."""
    recipe = MetricNanoRecipe()
    depths, normal_3 = [], np.zeros(3)
    for index in range(pictures):
        view = metric_view(recipe, recipe.seed + index)
        surface_HW = view.depth_m_HW > 0
        size_hw = view.depth_m_HW.shape[0], view.depth_m_HW.shape[1]
        # Every 16th pixel is enough for a median.
        depths.append(view.depth_m_HW[surface_HW][::16] * canonical_per_m(size_hw, view.camera.focal_px))
        normal_3 += view.normals_HW3[surface_HW].sum(axis=0)
    return Constant(canonical_m=float(np.median(np.concatenate(depths))), normal_3=normal_3 / np.linalg.norm(normal_3))


def evaluate(predict: Predict, pictures: int = 400) -> dict[str, dict[str, float]]:
    """Measure -> {"nano": value, "constant": value} over held-out pictures.

    Args:
        predict: what is measured.
        pictures: how many; the guess is made of 300 training pictures at most.
    """
    ways: dict[str, Predict] = {NANO_COLUMN: predict, CONSTANT_COLUMN: constant_guess(min(300, pictures))}
    tallies = {name: Tally() for name in ways}
    for view in held_out_views(pictures):
        for name, way in ways.items():
            tallies[name].add(view, *way(view.image_HW3, view.camera.focal_px))
    numbers = {name: tally.numbers() for name, tally in tallies.items()}
    return {measure: {name: numbers[name][measure] for name in ways} for measure in numbers[NANO_COLUMN]}


def of_model(model: Model) -> Predict:
    """A loaded metric model as what is measured."""

    def predict(image_HW3: np.ndarray, focal_px: float) -> tuple[np.ndarray, np.ndarray]:
        (result,) = model(image_HW3, focal_px=focal_px)
        assert isinstance(result, MetricDepth)
        assert result.normals_HW3 is not None
        return result.depth_m_HW, result.normals_HW3

    return predict


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(prog="python -m vitruvian.evaluation.metric_nano", description=__doc__)
    parser.add_argument("--pictures", type=int, default=400)
    parser.add_argument("--model", default=DEFAULT_MODELS["depth"])
    arguments = parser.parse_args()
    found = evaluate(of_model(load(arguments.model)), arguments.pictures)
    print("| measure | nano | constant |\n|---|---|---|")
    for measure, values in found.items():
        print(f"| {measure} | {values[NANO_COLUMN]:.3f} | {values[CONSTANT_COLUMN]:.3f} |")


if __name__ == "__main__":
    main()
