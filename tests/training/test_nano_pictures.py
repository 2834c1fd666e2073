"""The rendered set: what is stored is what was rendered, by the recipe at hand."""

from __future__ import annotations

from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from vitruvian.training.nano.pictures import MAX_PERSONS, NORMAL_SCALE, Pictures, rendered_pictures, training_view
from vitruvian.training.nano.recipe import NanoRecipe

RECIPE = NanoRecipe(pictures=3, picture_side=40, several_share=0.5)


def check_stored(pictures: Pictures, recipe: NanoRecipe) -> None:
    assert len(pictures) == recipe.pictures
    for index in range(len(pictures)):
        view = training_view(recipe, recipe.seed + index)
        assert np.array_equal(pictures.image_NSS3[index], view.image_HW3)
        assert np.array_equal(pictures.labels_NSS[index], view.part_labels_HW)
        hit = view.depth_m_HW > 0
        np.testing.assert_allclose(pictures.depth_m_NSS[index], np.where(hit, view.depth_m_HW, 0), rtol=1e-3)
        surface = (view.normals_HW3 != 0).any(axis=2)
        assert np.array_equal(pictures.normals_NSS3[index].any(axis=2), surface)
        normals = (pictures.normals_NSS3[index][surface].astype(np.float32) - 128) / NORMAL_SCALE
        np.testing.assert_allclose(normals, view.normals_HW3[surface], atol=0.51 / NORMAL_SCALE)
        persons = len(view.keypoints_PK3)
        assert 1 <= persons <= MAX_PERSONS
        assert np.array_equal(pictures.keypoints_NPK3[index, :persons], view.keypoints_PK3)
        assert np.array_equal(pictures.boxes_NP4[index, :persons], view.boxes_P4, equal_nan=True)
        assert np.isnan(pictures.keypoints_NPK3[index, persons:]).all()
        assert np.isnan(pictures.boxes_NP4[index, persons:]).all()


def test_pictures_come_back_as_rendered(tmp_path: Path) -> None:
    check_stored(rendered_pictures(RECIPE, tmp_path, workers=1, report=lambda line: None), RECIPE)


@pytest.mark.parametrize(
    "change", [{"pictures": 1}, {"picture_side": 32}, {"seed": RECIPE.seed + 1}, {"several_share": 1.0}], ids=str
)
def test_another_recipe_is_rendered_anew(tmp_path: Path, change: dict[str, Any]) -> None:
    recipe = replace(RECIPE, pictures=2)
    rendered_pictures(recipe, tmp_path, workers=1, report=lambda line: None)
    recipe = replace(recipe, **change)
    check_stored(rendered_pictures(recipe, tmp_path, workers=1, report=lambda line: None), recipe)


def test_views_follow_the_recipe() -> None:
    alone, together = replace(RECIPE, several_share=0.0), replace(RECIPE, several_share=1.0)
    for seed in range(4):
        assert len(training_view(alone, seed).boxes_P4) == 1
        assert 2 <= len(training_view(together, seed).boxes_P4) <= MAX_PERSONS
    first, again, other = (training_view(RECIPE, seed).image_HW3 for seed in (5, 5, 6))
    assert first.shape == (40, 40, 3)
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)


def test_one_picture_is_its_row_read_from_the_files(tmp_path: Path) -> None:
    pictures = rendered_pictures(RECIPE, tmp_path, workers=1, report=lambda line: None)
    for index in range(3):
        one = pictures[index]
        for whole, single in zip(fields(pictures), fields(one), strict=True):
            row = getattr(one, single.name)
            assert not isinstance(row, np.memmap)
            assert row.dtype == getattr(pictures, whole.name).dtype
            assert np.array_equal(row, getattr(pictures, whole.name)[index], equal_nan=row.dtype.kind == "f")
