"""Numbers on drawings: stable colours, beside the head, inside the picture."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest

from vitruvian.tasks.conventions import Points
from vitruvian.tasks.id_drawing import draw_ids, id_colour
from vitruvian.tasks.labels import keypoint_set

GREY = np.full((240, 320, 3), 90, np.uint8)


def someone(xy: tuple[float, float]) -> Points:
    """A person of whom the nose alone is seen."""
    xy_PK2 = np.full((1, 17, 2), np.nan, np.float32)
    xy_PK2[0, 0] = xy
    seen_PK = np.arange(17)[None] == 0
    return Points(convention=keypoint_set(17), xy_PK2=xy_PK2, scores_PK=seen_PK.astype(np.float32), valid_PK=seen_PK)


def tag_of(number: int, xy: tuple[float, float], box: tuple[float, float, float, float]) -> np.ndarray:
    """bool (H,W): where the tag or frame is in its colour."""
    canvas = GREY.copy()
    draw_ids(canvas, np.array([number]), someone(xy), np.array([box], np.float32))
    return (canvas == id_colour(number)).all(axis=-1)


def test_colours_are_stable_and_apart() -> None:
    colours = [id_colour(number) for number in range(30)]
    assert colours == [id_colour(number) for number in range(30)]
    assert len(set(colours)) == 30
    assert all(np.abs(np.subtract(a, b)).sum() > 60 for a, b in pairwise(colours))


def test_the_tag_is_beside_the_head_and_the_frame_round_the_box() -> None:
    tag = tag_of(3, (100, 60), (80, 40, 140, 200))
    assert tag[120, 80]
    assert tag[200, 110]
    assert tag[58:62, 106:126].mean() > 0.3
    assert not tag[90:190, 90:130].any()


def test_numbers_differ_on_the_picture() -> None:
    box = (80, 40, 140, 200)
    assert (tag_of(1, (100, 60), box) != tag_of(7, (100, 60), box)).any()


@pytest.mark.parametrize("xy", [(-50, -50), (318, 2), (1e9, 1e9), (5, 239)])
def test_the_tag_stays_inside(xy: tuple[float, float]) -> None:
    tag = tag_of(123456, xy, (-1e9, -1e9, -1e8, -1e8))
    assert tag.sum() > 100


def test_without_a_head_the_tag_is_at_the_box() -> None:
    canvas = GREY.copy()
    nobody = Points(
        convention=keypoint_set(17),
        xy_PK2=np.full((1, 17, 2), np.nan, np.float32),
        scores_PK=np.zeros((1, 17), np.float32),
        valid_PK=np.zeros((1, 17), bool),
    )
    draw_ids(canvas, np.array([2]), nobody, np.array([[80, 100, 140, 200]], np.float32))
    assert (canvas[85:100, 82:100] == id_colour(2)).all(axis=-1).any()


def test_who_has_no_number_is_left_alone() -> None:
    canvas = GREY.copy()
    draw_ids(canvas, np.array([-1]), someone((100, 60)), np.array([[80, 40, 140, 200]], np.float32))
    np.testing.assert_array_equal(canvas, GREY)


def test_tiny_pictures() -> None:
    canvas = np.zeros((1, 1, 3), np.uint8)
    draw_ids(canvas, np.array([5]), someone((0, 0)), np.array([[0, 0, 1, 1]], np.float32))
    assert canvas.any()
