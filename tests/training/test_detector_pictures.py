"""The detector's rendered set: what is stored is what was rendered; visible shares are exact where they are known."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from vitruvian.people import random_scene, render
from vitruvian.training.detector.pictures import (
    MAX_PERSONS,
    Pictures,
    rendered_pictures,
    shaped_scene,
    training_scene,
    visible_shares,
)
from vitruvian.training.detector.recipe import DetectorRecipe

RECIPE = DetectorRecipe(pictures=3, longer_side=48)


def check_stored(pictures: Pictures, recipe: DetectorRecipe) -> None:
    assert len(pictures) == recipe.pictures
    for index in range(len(pictures)):
        scene = training_scene(recipe, recipe.seed + index)
        view = render(scene)
        assert np.array_equal(pictures.image_HW3(index), view.image_HW3)
        assert np.array_equal(pictures.ids_HW(index), view.person_ids_HW)
        pixels_P, share_P = visible_shares(scene, view)
        persons = len(scene.persons)
        assert np.array_equal(pictures.pixels_NP[index, :persons], pixels_P)
        np.testing.assert_allclose(pictures.share_NP[index, :persons], share_P, rtol=1e-6)
        assert not pictures.pixels_NP[index, persons:].any()


def test_pictures_come_back_as_rendered(tmp_path: Path) -> None:
    check_stored(rendered_pictures(RECIPE, tmp_path, workers=1, report=lambda line: None), RECIPE)


def test_another_recipe_is_rendered_anew(tmp_path: Path) -> None:
    other = replace(RECIPE, seed=RECIPE.seed + 50, longer_side=40)
    rendered_pictures(RECIPE, tmp_path, workers=1, report=lambda line: None)
    check_stored(rendered_pictures(other, tmp_path, workers=1, report=lambda line: None), other)


def test_the_note_in_the_folder_is_that_of_earlier_versions(tmp_path: Path) -> None:
    """Rendering takes minutes; a folder is kept as long as its pictures would be the same."""
    rendered_pictures(RECIPE, tmp_path, workers=1, report=lambda line: None)
    assert (tmp_path / "drawn_by.json").read_text(encoding="utf-8") == (
        '{"pictures": 3, "longer_side": 48, "aspects": [0.5625, 0.6666666666666666, 0.75, 1.0, 1.3333333333333333, '
        '1.5, 1.7777777777777777], "empty_share": 0.05, "single_share": 0.15, "crowd_share": 0.1, "seed": 31000000}'
    )


@pytest.mark.parametrize(("aspect", "size_hw"), [(16 / 9, (27, 48)), (1.0, (48, 48)), (9 / 16, (48, 27))])
def test_scenes_have_the_wanted_shape(aspect: float, size_hw: tuple[int, int]) -> None:
    camera = shaped_scene(RECIPE, 5, 1, aspect).camera
    assert (camera.height, camera.width) == size_hw


def test_scenes_of_the_set_differ_in_persons() -> None:
    counts = [len(training_scene(RECIPE, RECIPE.seed + index).persons) for index in range(60)]
    assert min(counts) == 0
    assert 8 < max(counts) <= MAX_PERSONS


def test_a_person_alone_is_seen_whole_and_one_behind_another_is_not() -> None:
    scene = replace(random_scene(11, persons=2, height=96, width=96, framing="full"), props=())
    front = scene.persons[0]
    alone = replace(scene, persons=(front,))
    _, share_P = visible_shares(alone, render(alone))
    assert share_P[0] > 0.9
    # The same body a step behind itself.
    behind = replace(front, position_m_3=(front.position_m_3[0], 0.0, front.position_m_3[2] + 0.3))
    crowd = replace(scene, persons=(front, behind))
    pixels_P, share_P = visible_shares(crowd, render(crowd))
    assert share_P[0] > 0.8
    assert share_P[1] < 0.6
    assert pixels_P.shape == (2,)
