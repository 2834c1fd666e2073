"""The rendered set of the small metric network: what is stored is what was rendered, and nothing held out is in it."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from vitruvian.errors import UsageError
from vitruvian.training.metric import nano_pictures
from vitruvian.training.metric.nano_pictures import (
    ASPECTS,
    NORMAL_SCALE,
    metric_view,
    picture_of,
    rendered_metric_pictures,
)
from vitruvian.training.metric.nano_recipe import MetricNanoRecipe

RECIPE = MetricNanoRecipe(pictures=3, pixels=1200)


def test_pictures_come_back_as_rendered(tmp_path: Path) -> None:
    pictures = rendered_metric_pictures(RECIPE, tmp_path, workers=1, report=lambda line: None)
    assert len(pictures) == 3
    for index in range(3):
        stored, drawn = pictures[index], picture_of(metric_view(RECIPE, RECIPE.seed + index))
        assert np.array_equal(stored.image_HW3, drawn.image_HW3)
        assert stored.focal_px == pytest.approx(drawn.focal_px)
        np.testing.assert_allclose(stored.depth_m_HW, drawn.depth_m_HW, rtol=1e-3)
        assert stored.normals_HW3 is not None
        assert drawn.normals_HW3 is not None
        np.testing.assert_allclose(stored.normals_HW3, drawn.normals_HW3, atol=1 / NORMAL_SCALE)
        length_HW = np.linalg.norm(stored.normals_HW3, axis=2)
        np.testing.assert_allclose(length_HW, drawn.depth_m_HW > 0, atol=1e-5)


def test_another_recipe_is_rendered_anew(tmp_path: Path) -> None:
    one = replace(RECIPE, pictures=1)
    first = rendered_metric_pictures(one, tmp_path, workers=1, report=lambda line: None)[0].image_HW3
    other = replace(one, seed=one.seed + 1)
    second = rendered_metric_pictures(other, tmp_path, workers=1, report=lambda line: None)[0].image_HW3
    assert first.shape != second.shape or not np.array_equal(first, second)


def test_aspects_and_lenses_are_drawn_apart_from_the_place(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[tuple[int, int, float]] = []

    def random_place(seed: int, height: int, width: int, focal_px: float) -> None:
        seen.append((height, width, focal_px))

    monkeypatch.setattr(nano_pictures, "random_place", random_place)
    monkeypatch.setattr(nano_pictures, "render", lambda scene: scene)
    recipe = MetricNanoRecipe()
    for seed in range(300):
        metric_view(recipe, seed)
    views_deg = [2 * math.degrees(math.atan(max(h, w) / (2 * focal))) for h, w, focal in seen]
    low_deg, high_deg = recipe.view_deg
    assert low_deg <= min(views_deg) < low_deg + 3
    assert high_deg - 3 < max(views_deg) <= high_deg
    aspects = [w / h for h, w, _ in seen]
    assert sum(ASPECTS.values()) == pytest.approx(1)
    assert {min(ASPECTS, key=lambda known: abs(known - one)) for one in aspects} == set(ASPECTS)
    assert all(h * w <= recipe.pixels for h, w, _ in seen)
    assert abs(np.corrcoef(aspects, views_deg)[0, 1]) < 0.2


def test_held_out_seeds_are_never_trained_on() -> None:
    recipe = MetricNanoRecipe()
    assert recipe.seed + recipe.pictures <= recipe.held_out_seed == 90_000_000
    most = recipe.held_out_seed - recipe.seed
    assert MetricNanoRecipe(pictures=most).pictures == most
    with pytest.raises(UsageError, match="pictures"):
        MetricNanoRecipe(pictures=most + 1)
    assert replace(recipe, seed=recipe.held_out_seed + 5, pictures=9).pictures == 9, (
        "held-out pictures have a recipe, too"
    )
