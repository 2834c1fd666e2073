"""The published renderings on hand-made maps (their exact pixels are compared in tests/parity)."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from vitruvian.tasks import published_drawing

DEPTH = np.tile(np.linspace(2, 4, 40, dtype=np.float32), (30, 1))
MASK = np.zeros((30, 40), np.uint8)
MASK[5:25, 10:31] = 1


def test_nearness_spans_the_mask() -> None:
    near = published_drawing.nearness(DEPTH, MASK)
    assert (near[10, 10], near[10, 30]) == (1, 0)
    assert np.isinf(near[0, 0])


def test_depth_picture_colours_and_background() -> None:
    picture = published_drawing.depth_picture(DEPTH, MASK)
    brightest = cv2.applyColorMap(np.full((1, 1), 255, np.uint8), cv2.COLORMAP_INFERNO)[0, 0, ::-1]
    np.testing.assert_array_equal(picture[10, 10], brightest)
    assert picture[0, 0].tolist() == [100, 100, 100]


def test_slope_to_the_right_shows_in_the_first_channel() -> None:
    picture = published_drawing.normals_from_depth_picture(DEPTH, MASK)
    assert picture[15, 20, 0] > 127
    assert abs(int(picture[15, 20, 1]) - 127) <= 1
    assert picture[0, 0].tolist() == [0, 0, 0]


@pytest.mark.parametrize(("depth", "mask"), [(DEPTH, MASK * 0), (DEPTH * 0, MASK), (DEPTH * 0, MASK * 0 + 1)])
def test_flat_maps_and_empty_masks_do_not_crash(depth: np.ndarray, mask: np.ndarray) -> None:
    assert published_drawing.depth_picture(depth, mask).shape == (30, 40, 3)
    assert published_drawing.normals_from_depth_picture(depth, mask).shape == (30, 40, 3)


def test_normals_outside_the_mask_are_black() -> None:
    normals = np.tile(np.array([0, 0, 1], np.float32), (30, 40, 1))
    picture = published_drawing.normals_picture(normals, MASK)
    assert picture[10, 20].tolist() == [127, 127, 255]
    assert picture[0, 0].tolist() == [0, 0, 0]
