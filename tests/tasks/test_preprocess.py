"""Crops and resizes keep their geometry; normalisation keeps its formula."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from vitruvian.errors import InputError
from vitruvian.tasks import preprocess
from vitruvian.tasks.base import Region
from vitruvian.tasks.decode import to_source

CANVAS_HW = (128, 96)


@pytest.mark.parametrize(
    ("box", "size_wh"),
    [
        ((0, 0, 75, 100), (93.75, 125.0)),
        ((10, 20, 110, 70), (125.0, 125 / 0.75)),
        ((-30, 0, -10, 400), (375.0, 500.0)),
    ],
)
def test_crops_are_padded_and_have_the_canvas_ratio(box: tuple[float, ...], size_wh: tuple[float, float]) -> None:
    geometry = preprocess.crop_geometry((300, 400), Region(box_xyxy=box), CANVAS_HW)  # type: ignore[arg-type]
    assert geometry.size_wh == pytest.approx(size_wh)
    assert geometry.centre_xy == pytest.approx(((box[0] + box[2]) / 2, (box[1] + box[3]) / 2))


def test_without_a_region_the_picture_is_the_box() -> None:
    geometry = preprocess.crop_geometry((300, 400), None, CANVAS_HW)
    assert geometry.centre_xy == (200, 150)
    assert geometry.size_wh == pytest.approx((500, 500 / 0.75))


def test_decoded_canvas_points_map_back_through_the_crop() -> None:
    geometry = preprocess.crop_geometry((300, 400), Region(box_xyxy=(33, 21, 210, 190)), CANVAS_HW)
    source_P2 = np.array([[40.0, 30.0], [200.5, 111.25], [120.0, 180.0]])
    matrix_23 = preprocess.crop_matrix(geometry).astype(np.float64)
    canvas_P2 = source_P2 @ matrix_23[:, :2].T + matrix_23[:, 2]
    # The decoder's pixels are the canvas' own times size / (size - 1): see `to_source`.
    height, width = CANVAS_HW
    decoded_P2 = canvas_P2 * (width / (width - 1), height / (height - 1))
    back_P2 = to_source(decoded_P2, geometry.centre_xy, geometry.size_wh, CANVAS_HW)
    np.testing.assert_allclose(back_P2, source_P2, atol=1e-4)


def test_crop_shows_the_box_and_black_outside_the_picture() -> None:
    image_HW3 = np.full((100, 80, 3), 200, np.uint8)
    canvas, geometry = preprocess.crop_person(image_HW3, Region(box_xyxy=(-80, 0, 80, 100)), CANVAS_HW)
    assert canvas.shape == (*CANVAS_HW, 3)
    assert canvas[64, 10].tolist() == [0, 0, 0]
    assert canvas[64, 60].tolist() == [200, 200, 200]
    assert geometry.region is not None


def test_whole_resize_covers_the_picture() -> None:
    image_HW3 = np.zeros((50, 70, 3), np.uint8)
    image_HW3[:, 35:] = 255
    canvas, geometry = preprocess.resize_whole(image_HW3, CANVAS_HW)
    assert canvas.shape == (*CANVAS_HW, 3)
    assert canvas[:, :46].max() == 0
    assert canvas[:, 50:].min() == 255
    assert geometry.centre_xy == (35, 25)
    assert geometry.size_wh == (70, 50)


def test_normalise_is_the_formula_and_leaves_its_input_alone() -> None:
    canvas_BHW3 = torch.randint(0, 256, (2, 5, 4, 3), dtype=torch.uint8)
    before = canvas_BHW3.clone()
    x_B3HW = preprocess.normalise(canvas_BHW3)
    expected = (canvas_BHW3.numpy().astype(np.float64) - preprocess.MEAN_RGB) / preprocess.STD_RGB
    np.testing.assert_allclose(x_B3HW.numpy(), expected.transpose(0, 3, 1, 2), atol=1e-6)
    assert x_B3HW.is_contiguous()
    assert x_B3HW.dtype == torch.float32
    assert torch.equal(canvas_BHW3, before)


@pytest.mark.parametrize("box", [(5, 5, 5, 9), (5, 9, 8, 2), (0, 0, float("nan"), 4), (0, 0, float("inf"), 4)])
def test_unusable_boxes_are_named(box: tuple[float, ...]) -> None:
    with pytest.raises(InputError, match="expected finite left < right"):
        preprocess.crop_person(np.zeros((9, 9, 3), np.uint8), Region(box_xyxy=box), CANVAS_HW)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "image", [np.zeros((9, 9), np.uint8), np.zeros((9, 9, 4), np.uint8), np.zeros((9, 9, 3)), np.zeros((0, 9, 3), "u1")]
)
def test_unusable_pictures_are_named(image: np.ndarray) -> None:
    with pytest.raises(InputError, match="uint8 RGB"):
        preprocess.resize_whole(image, CANVAS_HW)
