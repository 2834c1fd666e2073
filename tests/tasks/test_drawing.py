"""Drawings have the picture's size, show what they should, and survive odd input."""

from __future__ import annotations

import numpy as np
import pytest

from vitruvian.tasks import drawing
from vitruvian.tasks.labels import KEYPOINT_SETS, keypoint_set, label_set

GREY = np.full((120, 160, 3), 90, np.uint8)
BOX = np.array([[10, 10, 150, 110]], np.float32)


def test_limbs_and_joints_have_their_colours_and_faint_ones_are_left_out() -> None:
    convention = keypoint_set("coco17")
    xy = np.full((1, 17, 2), np.nan, np.float32)
    scores = np.zeros((1, 17), np.float32)
    left_shoulder, left_elbow, right_shoulder = 5, 7, 6
    xy[0, left_shoulder], xy[0, left_elbow], xy[0, right_shoulder] = (40, 60), (120, 60), (40, 20)
    scores[0, [left_shoulder, left_elbow]] = 0.9
    scores[0, right_shoulder] = 0.29
    drawn = drawing.draw_pose(GREY, xy, scores, BOX, convention)
    assert drawn[60, 80].tolist() == [0, 255, 0]
    assert drawn[20, 40].tolist() == [90, 90, 90]
    assert drawn[40, 40].tolist() == [90, 90, 90]
    lower = drawing.draw_pose(GREY, xy, scores, BOX, convention, min_score=0.2)
    assert lower[20, 40].tolist() == list(convention.keypoint_colours[right_shoulder])


@pytest.mark.parametrize("count", KEYPOINT_SETS.values())
def test_poses_far_outside_the_picture_do_not_crash(count: int) -> None:
    xy = np.random.default_rng(0).uniform(-1e6, 1e6, (2, count, 2)).astype(np.float32)
    boxes = np.array([[-1e6, -1e6, 1e6, 1e6], [0, 0, 1, 1]], np.float32)
    drawn = drawing.draw_pose(GREY, xy, np.ones((2, count), np.float32), boxes, keypoint_set(count))
    assert drawn.shape == GREY.shape


def test_the_picture_itself_is_left_alone() -> None:
    before = GREY.copy()
    drawing.draw_pose(GREY, np.full((1, 17, 2), 50, np.float32), np.ones((1, 17)), BOX, keypoint_set(17))
    drawing.draw_labels(GREY, np.ones((120, 160), np.uint8), label_set("lip20"))
    np.testing.assert_array_equal(GREY, before)


def test_labels_are_half_colour_inside_and_dimmed_outside() -> None:
    labels = np.zeros((120, 160), np.uint8)
    labels[20:60, 100:150] = 13
    colours = label_set("body28")
    drawn = drawing.draw_labels(GREY, labels, colours)
    inside = (np.array(colours.palette[13]) + 90) / 2
    np.testing.assert_allclose(drawn[40, 120], inside, atol=1)
    np.testing.assert_allclose(drawn[5, 155], 0.7 * 90, atol=1)
    assert (drawn[40, 149] > drawn[40, 148]).any()


@pytest.mark.parametrize("size", [(1, 1), (3, 200), (2000, 30)])
def test_labels_of_any_size(size: tuple[int, int]) -> None:
    labels = np.random.default_rng(0).integers(0, 28, size, np.uint8)
    assert drawing.draw_labels(np.zeros((*size, 3), np.uint8), labels, label_set(28)).shape == (*size, 3)


def test_near_is_bright_and_missing_is_grey() -> None:
    depth = np.tile(np.linspace(0, 1, 100, dtype=np.float32), (10, 1))
    depth[0, 0] = np.nan
    drawn = drawing.draw_depth(depth)
    assert drawn[5, 5].sum() > drawn[5, 50].sum() > drawn[5, 95].sum()
    assert drawn[0, 0].tolist() == [drawing.NO_VALUE_LEVEL] * 3
    masked = drawing.draw_depth(depth, mask_HW=np.zeros((10, 100)))
    assert (masked == drawing.NO_VALUE_LEVEL).all()


def test_normals_show_axes_as_colours() -> None:
    normals = np.array([[[1, 0, 0], [0, -1, 0], [np.nan, 0, 0]]], np.float32)
    drawn = drawing.draw_normals(normals, (1, -1, -1))
    assert drawn[0].tolist() == [[255, 127, 127], [127, 255, 127], [drawing.NO_VALUE_LEVEL] * 3]
    masked = drawing.draw_normals(normals, mask_HW=np.array([[0, 1, 1]]))
    assert masked[0, 0].tolist() == [drawing.NO_VALUE_LEVEL] * 3


def test_feature_colours_separate_two_halves_and_repeat_themselves() -> None:
    features = np.random.default_rng(0).normal(0, 0.1, (30, 6, 8)).astype(np.float32)
    features[:15, :, 4:] += 3
    drawn = drawing.draw_features(GREY, features)
    assert abs(drawn[60, 10].astype(int) - drawn[60, 150]).max() > 100
    np.testing.assert_array_equal(drawn, drawing.draw_features(GREY, features))


def test_contact_sheets() -> None:
    tall = np.full((300, 100, 3), 200, np.uint8)
    one_row = drawing.side_by_side([GREY, tall], ["picture", "a caption that does not fit at all"], height=120)
    assert one_row.shape[1] > 160 + 40
    assert one_row.shape[0] < 170
    assert (one_row == 200).all(axis=2).any()
    sheet = drawing.side_by_side([GREY, tall, GREY], height=60, columns=2)
    assert sheet.shape[0] > 2 * 60
    with pytest.raises(ValueError, match="captions"):
        drawing.side_by_side([GREY], ["a", "b"])
