"""Points lie on the rays of their pixels; gaps stay gaps; clouds are thinned evenly."""

from __future__ import annotations

import statistics

import numpy as np
import pytest

from vitruvian.errors import UsageError
from vitruvian.tasks.cameras import Camera
from vitruvian.tasks.unprojection import cloud, median_5x5, unproject

CAMERA = Camera(fx_px=50.0, fy_px=40.0, cx_px=3.5, cy_px=2.0, source="file")


def picture(hw: tuple[int, int]) -> np.ndarray:
    """Each pixel's red and green are its column and row."""
    rows, columns = np.mgrid[: hw[0], : hw[1]]
    return np.stack((columns, rows, np.full(hw, 7)), axis=2).astype(np.uint8)


def slow_median(depth: np.ndarray) -> np.ndarray:
    """The rule, pixel by pixel: the lower middle of the known depths among 25, borders repeated."""
    height, width = depth.shape
    result = np.full(depth.shape, np.nan, np.float32)
    for row in range(height):
        for column in range(width):
            around = [
                depth[min(max(row + down, 0), height - 1), min(max(column + across, 0), width - 1)].item()
                for down in range(-2, 3)
                for across in range(-2, 3)
            ]
            if 0 < depth[row, column] < np.inf:
                result[row, column] = statistics.median_low(value for value in around if 0 < value < np.inf)
    return result


def test_points_lie_on_the_rays_of_their_pixels() -> None:
    depth = np.array([[2.0, 4.0, 8.0], [1.0, 3.0, 5.0]], np.float32)
    points = unproject(depth, 2.0, 4.0, 1.0, 0.5)
    assert points.dtype == np.float32
    assert points.tolist() == [
        [[-1.0, -0.25, 2.0], [0.0, -0.5, 4.0], [4.0, -1.0, 8.0]],
        [[-0.5, 0.125, 1.0], [0.0, 0.375, 3.0], [2.5, 0.625, 5.0]],
    ]


def test_projecting_points_gives_their_pixels_back() -> None:
    depth = np.random.default_rng(0).uniform(0.5, 30, (40, 60)).astype(np.float32)
    points = unproject(depth, 71.3, 69.9, 31.7, 18.2).astype(np.float64)
    rows, columns = np.mgrid[:40, :60]
    np.testing.assert_allclose(71.3 * points[..., 0] / points[..., 2] + 31.7, columns, atol=1e-5)
    np.testing.assert_allclose(69.9 * points[..., 1] / points[..., 2] + 18.2, rows, atol=1e-5)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_no_depth_gives_no_point(value: float) -> None:
    points = unproject(np.full((3, 3), value, np.float32), 2.0, 2.0, 1.0, 1.0)
    assert not np.isfinite(points).any()


@pytest.mark.parametrize("hw", [(1, 1), (1, 9), (3, 2), (17, 23)], ids=str)
@pytest.mark.parametrize("gaps", [0.0, 0.02, 0.3, 1.0])
def test_the_median_is_that_of_the_known_neighbours(hw: tuple[int, int], gaps: float) -> None:
    random = np.random.default_rng(5)
    depth = random.uniform(0.1, 20, hw).astype(np.float32)
    holes = random.random(hw) < gaps
    depth[holes] = random.choice(np.array([np.nan, np.inf, -np.inf, 0, -1], np.float32), int(holes.sum()))
    before = depth.copy()
    np.testing.assert_array_equal(median_5x5(depth), slow_median(depth))
    np.testing.assert_array_equal(depth, before)


def test_a_gap_changes_nothing_farther_than_two_pixels_away() -> None:
    depth = np.random.default_rng(1).uniform(1, 9, (20, 20)).astype(np.float32)
    holed = depth.copy()
    holed[8:11, 8:11] = np.nan
    whole, smooth = median_5x5(depth), median_5x5(holed)
    assert np.array_equal(np.isnan(smooth), np.isnan(holed))
    far = np.ones(depth.shape, bool)
    far[6:13, 6:13] = False
    np.testing.assert_array_equal(smooth[far], whole[far])


def test_many_pixels_next_to_gaps_are_done_in_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("vitruvian.tasks.unprojection._CHUNK", 7)
    depth = np.random.default_rng(2).uniform(1, 9, (12, 11)).astype(np.float32)
    depth[::3, ::4] = np.nan
    np.testing.assert_array_equal(median_5x5(depth), slow_median(depth))


def test_edges_stay_sharp_and_single_wrong_pixels_vanish() -> None:
    depth = np.full((20, 20), 2, np.float32)
    depth[:, 10:] = 6
    depth[5, 3] = 90
    cleaned = median_5x5(depth)
    assert (cleaned[:, :10] == 2).all()
    assert (cleaned[:, 10:] == 6).all()


def test_a_cloud_has_the_points_and_colours_of_kept_pixels() -> None:
    depth = np.full((5, 8), 2, np.float32)
    depth[0, 0], depth[1, 1], depth[2, 2] = np.nan, 0, -3
    keep = np.ones((5, 8), bool)
    keep[4, 7] = False
    found = cloud(depth, picture((5, 8)), CAMERA, keep)
    assert (found.stride, found.points_N3.dtype, found.colours_N3.dtype) == (1, np.float32, np.uint8)
    left_out = {(0, 0), (1, 1), (2, 2), (4, 7)}
    pixels = [(row, column) for row in range(5) for column in range(8) if (row, column) not in left_out]
    assert found.colours_N3.tolist() == [[column, row, 7] for row, column in pixels]
    expected = [((column - 3.5) / 50 * 2, (row - 2) / 40 * 2, 2) for row, column in pixels]
    np.testing.assert_allclose(found.points_N3, expected, rtol=1e-6, atol=1e-7)


def test_the_median_comes_before_the_points_and_sees_what_is_not_kept() -> None:
    depth = np.full((9, 9), 5, np.float32)
    depth[4, 4] = 1
    keep = np.zeros((9, 9), bool)
    keep[4, 4] = True
    found = cloud(depth, picture((9, 9)), CAMERA, keep)
    assert found.points_N3[:, 2].tolist() == [5]


@pytest.mark.parametrize(
    ("max_points", "stride", "count"), [(600, 1, 600), (599, 2, 150), (150, 2, 150), (149, 3, 70), (1, 30, 1)]
)
def test_the_smallest_stride_that_leaves_few_enough(max_points: int, stride: int, count: int) -> None:
    depth = np.full((20, 30), 3, np.float32)
    found = cloud(depth, picture((20, 30)), CAMERA, None, max_points)
    assert (found.stride, len(found.points_N3), len(found.colours_N3)) == (stride, count, count)
    columns, rows = found.colours_N3[:, 0].astype(float), found.colours_N3[:, 1].astype(float)
    assert set(columns) == set(range(0, 30, stride))
    assert set(rows) == set(range(0, 20, stride))
    np.testing.assert_allclose(found.points_N3[:, 0], (columns - 3.5) / 50 * 3, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(found.points_N3[:, 1], (rows - 2) / 40 * 3, rtol=1e-5, atol=1e-6)


def test_only_kept_pixels_count_against_the_limit() -> None:
    keep = np.zeros((20, 30), bool)
    keep[:4, :5] = True
    found = cloud(np.ones((20, 30), np.float32), picture((20, 30)), CAMERA, keep, max_points=20)
    assert (found.stride, len(found.points_N3)) == (1, 20)


@pytest.mark.parametrize("hw", [(0, 0), (0, 4), (4, 6)], ids=str)
def test_nothing_to_see_gives_an_empty_cloud(hw: tuple[int, int]) -> None:
    found = cloud(np.full(hw, np.nan, np.float32), np.zeros((*hw, 3), np.uint8), CAMERA, None)
    assert (found.points_N3.shape, found.colours_N3.shape, found.stride) == ((0, 3), (0, 3), 1)


def test_arrays_that_do_not_belong_together_are_refused() -> None:
    depth, image = np.ones((4, 6), np.float32), picture((4, 6))
    with pytest.raises(ValueError, match="one size"):
        cloud(depth, picture((6, 4)), CAMERA, None)
    with pytest.raises(ValueError, match="one size"):
        cloud(depth, image, CAMERA, np.ones((4, 5), bool))
    with pytest.raises(ValueError, match="depth_HW"):
        cloud(depth.astype(np.float64), image, CAMERA, None)
    with pytest.raises(UsageError, match="at least 1"):
        cloud(depth, image, CAMERA, None, max_points=0)
