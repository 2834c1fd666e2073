"""Where a picture lies on its canvas: the published arithmetic, and canvases in the picture's own aspect."""

from __future__ import annotations

import math

import numpy as np
import pytest

from vitruvian.tasks.metric_canvas import (
    PAD_RGB,
    Placement,
    canvas_of_pixels,
    fitted_canvas,
    fitted_placement,
    laid_out,
    padded_placement,
)

VIT_HW, CONVNEXT_HW = (616, 1064), (544, 1216)
ODD_SIZES = [(1, 1), (1, 5000), (5000, 1), (3, 4000), (4000, 3), (7, 9), (12000, 9000), (60000, 2)]


@pytest.mark.parametrize(
    ("source_hw", "canvas_hw", "inner_hw", "top_left"),
    [
        ((1080, 1920), VIT_HW, (598, 1064), (9, 0)),
        ((1080, 1920), CONVNEXT_HW, (544, 967), (0, 124)),
        ((480, 640), VIT_HW, (616, 821), (0, 121)),
        ((370, 1226), CONVNEXT_HW, (366, 1216), (89, 0)),
        ((289, 300), VIT_HW, (615, 639), (0, 212)),
        ((575, 800), VIT_HW, (615, 857), (0, 103)),
        ((4032, 3024), VIT_HW, (616, 462), (0, 301)),
        ((100, 1000), CONVNEXT_HW, (121, 1216), (211, 0)),
    ],
)
def test_sizes_are_cut_off_as_published(
    source_hw: tuple[int, int], canvas_hw: tuple[int, int], inner_hw: tuple[int, int], top_left: tuple[int, int]
) -> None:
    placement = padded_placement(source_hw, canvas_hw)
    assert (placement.inner_hw, (placement.top, placement.left)) == (inner_hw, top_left)
    assert placement.scale == pytest.approx(min(canvas_hw[0] / source_hw[0], canvas_hw[1] / source_hw[1]))


@pytest.mark.parametrize("source_hw", ODD_SIZES)
def test_any_size_lies_on_its_canvas(source_hw: tuple[int, int]) -> None:
    for canvas_hw in (VIT_HW, CONVNEXT_HW, (28, 28)):
        placement = padded_placement(source_hw, canvas_hw)
        rows, columns = placement.inside()
        assert 0 <= rows.start < rows.stop <= canvas_hw[0]
        assert 0 <= columns.start < columns.stop <= canvas_hw[1]
        assert abs((rows.start + rows.stop) - canvas_hw[0]) <= 1, "in the middle"
        assert abs((columns.start + columns.stop) - canvas_hw[1]) <= 1, "in the middle"


def test_the_picture_is_laid_on_the_mean_colour() -> None:
    image_HW3 = np.random.default_rng(0).integers(0, 256, (20, 30, 3), np.uint8)
    canvas_HW3 = laid_out(image_HW3, (24, 40), Placement(inner_hw=(20, 30), top=2, left=5, scale=1.0))
    np.testing.assert_array_equal(canvas_HW3[2:22, 5:35], image_HW3)
    canvas_HW3[2:22, 5:35] = PAD_RGB
    assert canvas_HW3.dtype == np.uint8
    assert np.unique(canvas_HW3.reshape(-1, 3), axis=0).tolist() == [list(PAD_RGB)]


@pytest.mark.parametrize(
    ("source_hw", "canvas_hw"),
    [
        ((480, 640), (672, 896)),
        ((640, 480), (896, 672)),
        ((1000, 1000), (784, 784)),
        ((1080, 1920), (588, 1036)),
        ((616, 1064), VIT_HW),
    ],
)
def test_a_fitted_canvas_has_the_pictures_aspect(source_hw: tuple[int, int], canvas_hw: tuple[int, int]) -> None:
    """Common sizes, by hand: 24 x 32 cells are exactly 4:3 and 768 of 836; 25 x 33 would be 1 % off for 7 % more."""
    assert fitted_canvas(source_hw, VIT_HW, 28) == canvas_hw


@pytest.mark.parametrize("source_hw", [(480, 640), (3024, 4032), (370, 1226), (1000, 1000), (2, 3), (5, 4), (3, 9)])
def test_common_aspects_are_met_within_the_budget(source_hw: tuple[int, int]) -> None:
    height, width = fitted_canvas(source_hw, VIT_HW, 28)
    assert height % 28 == width % 28 == 0
    assert 0.85 * 616 * 1064 <= height * width <= 616 * 1064
    assert abs(math.log((width / height) / (source_hw[1] / source_hw[0]))) < 0.012


@pytest.mark.parametrize("source_hw", ODD_SIZES)
@pytest.mark.parametrize("budget_hw", [VIT_HW, (28, 28), (28, 280), (112, 196)])
def test_fitted_canvases_exist_for_any_aspect(source_hw: tuple[int, int], budget_hw: tuple[int, int]) -> None:
    height, width = fitted_canvas(source_hw, budget_hw, 28)
    assert min(height, width) >= 28
    assert height % 28 == width % 28 == 0
    assert height * width <= budget_hw[0] * budget_hw[1]
    placement = fitted_placement(source_hw, (height, width))
    assert placement.inside() == (slice(0, height), slice(0, width))
    across, down = width / source_hw[1], height / source_hw[0]
    assert min(across, down) * 0.999 <= placement.scale <= max(across, down) * 1.001


def test_a_picture_of_another_aspect_than_its_canvas_is_scaled_by_the_mean() -> None:
    assert fitted_placement((100, 100), (200, 50)).scale == pytest.approx(1.0)
    assert fitted_placement((100, 200), (300, 600)).scale == pytest.approx(3.0)


@pytest.mark.parametrize("native_hw", [VIT_HW, CONVNEXT_HW, (112, 196)])
@pytest.mark.parametrize("share", [1e-3, 0.1, 0.25, 0.5, 0.99, 1.0, 4.0])
def test_a_canvas_of_so_many_pixels(native_hw: tuple[int, int], share: float) -> None:
    stride = 32 if native_hw == CONVNEXT_HW else 28
    pixels = max(stride**2, round(share * native_hw[0] * native_hw[1]))
    height, width = canvas_of_pixels(pixels, native_hw, stride)
    assert height % stride == width % stride == 0
    assert height * width <= pixels
    if share == 1:
        assert (height, width) == native_hw
    if pixels >= 100 * stride**2:
        assert height * width >= 0.85 * pixels
        assert abs(math.log((width / height) / (native_hw[1] / native_hw[0]))) < 0.15
