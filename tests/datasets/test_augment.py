"""Random geometry keeps to its recipe and to its generator."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from vitruvian.datasets.augment import (
    DENSE_RECIPES,
    PARSING_RECIPE,
    DenseRecipe,
    PoseRecipe,
    dense_warp,
    person_warp,
    plain_person_warp,
)
from vitruvian.tasks.base import Region
from vitruvian.tasks.labels import keypoint_set
from vitruvian.tasks.preprocess import crop_geometry, crop_matrix

CANVAS = (128, 96)
BOX = (20.0, 10.0, 60.0, 90.0)


def rngs(count: int) -> list[np.random.Generator]:
    return [np.random.default_rng(seed) for seed in range(count)]


def labels() -> np.ndarray:
    """A small person of two classes in much background."""
    array = np.zeros((400, 300), np.uint8)
    array[150:250, 100:150], array[150:250, 150:200] = 1, 2
    return array


@pytest.mark.parametrize("task", ["seg", "depth", "normal"])
def test_the_same_generator_gives_the_same_warp(task: str) -> None:
    recipe = replace(DENSE_RECIPES[task], canvas_hw=CANVAS)  # type: ignore[index]
    first, second, other = (dense_warp(labels(), recipe, np.random.default_rng(seed)) for seed in (5, 5, 6))
    assert np.array_equal(first.matrix_33, second.matrix_33)
    assert not np.array_equal(first.matrix_33, other.matrix_33)
    assert first.canvas_hw == CANVAS


def test_sizes_stay_in_the_range_of_the_recipe() -> None:
    recipe = replace(PARSING_RECIPE, canvas_hw=CANVAS, turn_probability=0.0)
    factors = [abs(np.linalg.det(dense_warp(labels(), recipe, rng).matrix_33)) ** 0.5 for rng in rngs(60)]
    fitting = 96 / 300  # the whole picture just fits the canvas
    assert max(factors) <= fitting * 1.25 * 1.02
    # Pictures smaller than the canvas are enlarged to it at the end.
    assert min(factors) >= fitting * 0.98
    assert max(factors) > fitting * 1.15


def test_crops_of_one_class_are_drawn_again() -> None:
    def dull(tries: int) -> float:
        recipe = DenseRecipe(canvas_hw=CANVAS, crop_tries=tries, resize=(2.0, 2.0), turn_probability=0.0)
        cut = [dense_warp(labels(), recipe, rng).labels(labels(), (), 0) for rng in rngs(40)]
        return float(np.mean([np.bincount(one.ravel()).max() / one.size > 0.76 for one in cut]))

    assert dull(1) > 0.3
    assert dull(10) < 0.05


def test_depth_crops_show_something() -> None:
    depth = np.full((400, 300), np.nan, np.float32)
    depth[:100, :100] = 1
    recipe = DenseRecipe(canvas_hw=CANVAS, resize=(2.0, 2.0), crop_tries=50, turn_probability=0.0)
    assert all(np.isfinite(dense_warp(depth, recipe, rng).values(depth, np.nan)).any() for rng in rngs(20))


def test_turns_and_mirrors_are_as_frequent_as_the_recipe_says() -> None:
    recipe = replace(DENSE_RECIPES["depth"], canvas_hw=CANVAS)
    warps = [dense_warp(labels(), recipe, rng) for rng in rngs(200)]
    turned = [not np.isclose(abs(warp.turn_22[0, 0]), 1) for warp in warps]
    angles = [np.degrees(np.arccos(abs(warp.turn_22[0, 0]))) for warp in warps]
    assert 0.38 < np.mean(turned) < 0.62
    assert 0.38 < np.mean([warp.mirrored for warp in warps]) < 0.62
    assert 50 < max(angles) <= 60


def person(count: int = 17) -> np.ndarray:
    keypoints = np.zeros((count, 3), np.float32)
    keypoints[:, 0] = np.linspace(25, 55, count)
    keypoints[:, 1] = np.linspace(15, 85, count)
    keypoints[:, 2] = 2
    return keypoints


def warp_of(rng: np.random.Generator, **changes: object) -> np.ndarray:
    still = {
        "mirror_probability": 0.0,
        "half_body_probability": 0.0,
        "shift_probability": 0.0,
        "scale": (1.0, 1.0),
        "turn_probability": 0.0,
    }
    recipe = PoseRecipe(canvas_hw=CANVAS, **{**still, **changes})  # type: ignore[arg-type]
    return person_warp((100, 80), BOX, person(), keypoint_set(17), recipe, rng).matrix_33


def test_without_chance_it_is_the_crop_of_the_pose_task() -> None:
    expected = crop_matrix(crop_geometry((100, 80), Region(box_xyxy=BOX), CANVAS))
    plain = plain_person_warp((100, 80), BOX, PoseRecipe(canvas_hw=CANVAS))
    assert np.allclose(plain.matrix_33[:2], expected, atol=1e-4)
    assert np.allclose(warp_of(np.random.default_rng(0))[:2], expected, atol=1e-4)


def test_mirrored_persons_stay_in_the_middle() -> None:
    middle = np.array((40.0, 50.0, 1.0))
    for mirror in (0.0, 1.0):
        matrix = warp_of(np.random.default_rng(0), mirror_probability=mirror)
        assert np.allclose((matrix @ middle)[:2], ((96 - 1) / 2, (128 - 1) / 2), atol=1e-4)
        assert np.sign(np.linalg.det(matrix)) == (-1 if mirror else 1)


def test_scale_shift_and_turn_stay_in_their_ranges() -> None:
    whole = np.linalg.det(warp_of(np.random.default_rng(0))) ** 0.5
    factors = np.array([whole / np.linalg.det(warp_of(rng, scale=(0.5, 1.5))) ** 0.5 for rng in rngs(200)])
    assert 0.5 <= factors.min() < 0.6
    assert 1.4 < factors.max() <= 1.5
    moved = np.array([warp_of(rng, shift_probability=1.0)[:2, 2] for rng in rngs(200)])
    reach = whole * np.array((40, 80)) * 1.25 * 0.16
    still = warp_of(np.random.default_rng(0))[:2, 2]
    assert (np.abs(moved - still) <= reach * 1.01).all()
    assert (np.abs(moved - still).max(axis=0) > reach * 0.9).all()
    angles = [
        np.degrees(np.arctan2(m[1, 0], m[0, 0])) for m in (warp_of(rng, turn_probability=1.0) for rng in rngs(200))
    ]
    assert 70 < max(np.abs(angles)) <= 80.5


def test_half_bodies_show_one_half() -> None:
    upper = list(keypoint_set(17).upper_body)
    whole = np.linalg.det(warp_of(np.random.default_rng(0))) ** 0.5
    seen_upper = []
    for rng in rngs(40):
        matrix = warp_of(rng, half_body_probability=1.0)
        assert np.linalg.det(matrix) ** 0.5 > whole * 1.05
        xy = person()[:, :2] @ matrix[:2, :2].T + matrix[:2, 2]
        inside = ((xy >= 0) & (xy <= (95, 127))).all(axis=1)
        seen_upper.append(bool(inside[upper].all()))
    assert 0.5 < np.mean(seen_upper) < 0.9


def test_a_few_keypoints_are_not_halved() -> None:
    few = person()
    few[8:, 2] = 0
    recipe = PoseRecipe(canvas_hw=CANVAS, half_body_probability=1.0, scale=(1.0, 1.0))
    args = ((100, 80), BOX, few, keypoint_set(17))
    halved, whole = (
        person_warp(*args, replace(recipe, half_body_probability=p), np.random.default_rng(1)) for p in (1.0, 0.0)
    )
    assert np.array_equal(halved.matrix_33, whole.matrix_33)
