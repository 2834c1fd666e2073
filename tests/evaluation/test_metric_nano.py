"""Accuracy of metric depth in rendered places: a perfect answer, wrong ones by hand, the guess without looking."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from vitruvian.evaluation import metric_nano
from vitruvian.evaluation.metric_nano import Constant, Tally, canonical_per_m, constant_guess, evaluate, held_out_views
from vitruvian.people import View
from vitruvian.training.metric.nano_pictures import metric_view
from vitruvian.training.metric.nano_recipe import MetricNanoRecipe

SMALL = MetricNanoRecipe(pixels=1200)
PICTURES = 4


@pytest.fixture(autouse=True)
def small_pictures(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(metric_nano, "MetricNanoRecipe", lambda: SMALL)


def truth_of(views: list[View]) -> metric_nano.Predict:
    """An oracle that knows pictures by their bytes."""
    known = {view.image_HW3.tobytes(): view for view in views}

    def predict(image_HW3: np.ndarray, focal_px: float) -> tuple[np.ndarray, np.ndarray]:
        view = known[image_HW3.tobytes()]
        assert focal_px == view.camera.focal_px
        return view.depth_m_HW, view.normals_HW3

    return predict


def test_the_truth_has_no_error_and_the_guess_has_one() -> None:
    found = evaluate(truth_of(list(held_out_views(PICTURES))), PICTURES)
    assert found["AbsRel"]["nano"] == 0
    assert found["delta1"]["nano"] == 1
    assert found["mean angle in degrees"]["nano"] == pytest.approx(0, abs=0.05)
    assert found["AbsRel"]["constant"] > 0.05
    assert found["delta1"]["constant"] < 0.9
    assert found["mean angle in degrees"]["constant"] > 10


def test_held_out_pictures_are_of_seeds_that_are_never_trained_on(monkeypatch: pytest.MonkeyPatch) -> None:
    seeds: list[int] = []

    def view(recipe: MetricNanoRecipe, seed: int) -> View:
        seeds.append(seed)
        return metric_view(SMALL, seed)

    monkeypatch.setattr(metric_nano, "metric_view", view)
    list(held_out_views(2))
    constant_guess(2)
    assert seeds == [90_000_000, 90_000_001, SMALL.seed, SMALL.seed + 1]


def test_errors_by_hand() -> None:
    view = metric_view(SMALL, 3)
    surface = view.depth_m_HW > 0
    flat = replace(view, depth_m_HW=np.where(surface, np.float32(2), np.float32(0)))
    tally = Tally()
    tally.add(flat, np.full(surface.shape, 2.4), view.normals_HW3)
    tally.add(flat, np.full(surface.shape, 3.0), -view.normals_HW3)
    found = tally.numbers()
    assert found["AbsRel"] == pytest.approx((0.2 + 0.5) / 2)
    assert found["delta1"] == pytest.approx(0.5)
    assert found["mean angle in degrees"] == pytest.approx(90, abs=0.1)


def test_a_pixel_without_an_answer_is_a_miss() -> None:
    view = metric_view(SMALL, 3)
    tally = Tally()
    tally.add(view, np.full(view.depth_m_HW.shape, np.nan), np.full(view.normals_HW3.shape, np.nan))
    found = tally.numbers()
    assert (found["AbsRel"], found["delta1"], found["mean angle in degrees"]) == (1.0, 0.0, 180.0)


def test_the_guess_is_scaled_by_the_camera() -> None:
    guess = Constant(canonical_m=10.0, normal_3=np.array([0.0, 0.0, -1.0]))
    # A picture of twice the canvas: half the focal length on it, 250 px, of a camera that is taught 1000.
    depth_m, normals = guess(np.zeros((280, 504, 3), np.uint8), 500.0)
    assert canonical_per_m((280, 504), 500.0) == pytest.approx(4.0)
    assert depth_m == pytest.approx(2.5)
    assert (normals == (0, 0, -1)).all()
