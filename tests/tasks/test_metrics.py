"""Measures on hand-made cases whose answers are known."""

from __future__ import annotations

import numpy as np
import pytest

from vitruvian.tasks import metrics


def test_distances_of_missing_keypoints() -> None:
    a = np.array([[[0, 0], [np.nan, 1], [np.nan, np.nan]]], np.float32)
    b = np.array([[[3, 4], [1, 1], [np.nan, np.nan]]], np.float32)
    np.testing.assert_array_equal(metrics.distances_px(a, b), [[5, np.inf, 0]])


def test_pck_counts_visible_keypoints_within_the_fraction() -> None:
    true = np.zeros((1, 4, 2))
    found = np.array([[[0, 0], [9, 0], [11, 0], [np.nan, 0]]])
    box = np.array([[0, 0, 50, 100]])
    assert metrics.pck(found, true, np.ones((1, 4)), box, 0.1) == pytest.approx(2 / 4)
    assert metrics.pck(found, true, np.array([[1, 1, 0, 0]]), box, 0.1) == 1
    assert np.isnan(metrics.pck(found, true, np.zeros((1, 4)), box))


def test_iou_leaves_out_ignored_pixels_and_absent_classes() -> None:
    true = np.array([[0, 0, 1, 1, 255]], np.uint8)
    found = np.array([[0, 1, 1, 1, 2]], np.uint8)
    confusion = metrics.confusion_matrix(found, true, 4)
    assert confusion.sum() == 4
    assert confusion[0, 1] == 1
    np.testing.assert_allclose(metrics.iou_per_class(confusion), [1 / 2, 2 / 3, np.nan, np.nan])
    assert metrics.mean_iou(confusion) == pytest.approx((1 / 2 + 2 / 3) / 2)
    assert np.isnan(metrics.mean_iou(np.zeros((3, 3), np.int64)))


def test_labels_beyond_the_set_are_refused() -> None:
    with pytest.raises(ValueError, match=r"expected 0\.\.2"):
        metrics.confusion_matrix(np.array([[3]]), np.array([[0]]), 3)


def test_aligned_depth_of_the_right_shape_has_no_error() -> None:
    true = np.linspace(1, 3, 100).reshape(10, 10)
    errors = metrics.depth_errors(true * 0.25 - 4, true, np.ones((10, 10)), align=True)
    assert errors["abs_rel"] == pytest.approx(0, abs=1e-12)
    assert errors["delta1"] == 1


def test_metric_depth_errors() -> None:
    true, found = np.full((2, 2), 2.0), np.array([[2.0, 2.2], [3.0, np.nan]])
    errors = metrics.depth_errors(found, true, np.ones((2, 2)), align=False)
    assert errors["abs_rel"] == pytest.approx((0 + 0.1 + 0.5) / 3)
    assert errors["rmse"] == pytest.approx(np.sqrt((0 + 0.04 + 1) / 3))
    assert (errors["delta1"], errors["delta2"]) == pytest.approx((2 / 3, 1))
    assert np.isnan(metrics.depth_errors(found, true, np.zeros((2, 2)), align=True)["rmse"])


def test_relative_depth_difference_ignores_scale_and_shift() -> None:
    rng = np.random.default_rng(0)
    depth = rng.random((20, 20))
    assert metrics.relative_depth_difference(depth * 3 + 1, depth) == pytest.approx(0, abs=1e-12)
    assert metrics.relative_depth_difference(rng.random((20, 20)), depth) > 0.1
    assert metrics.relative_depth_difference(np.ones((2, 2)), np.ones((2, 2))) == 0
    assert np.isnan(metrics.relative_depth_difference(np.full((2, 2), np.nan), np.ones((2, 2))))


def test_angles_are_exact_when_small() -> None:
    angle = np.radians([0, 1e-4, 60, 180])
    a = np.tile([0.0, 0, 1], (1, 4, 1))
    b = np.stack([np.sin(angle), np.zeros(4), np.cos(angle)], -1)[None]
    np.testing.assert_allclose(metrics.angles_deg(a, b)[0], [0, 1e-4, 60, 180], rtol=1e-6)


def test_angle_errors_leave_out_what_has_no_direction() -> None:
    a = np.array([[[0, 0, 1], [1, 0, 0], [0, 0, 0]]])
    b = np.array([[[0, 0, 1], [0, 1, 0], [1, 0, 0]]])
    errors = metrics.angle_errors(a, b)
    assert errors["deg_mean"] == pytest.approx(45)
    assert errors["share_11"] == 0.5
    assert metrics.angle_errors(a, b, np.array([[1, 0, 0]]))["deg_mean"] == 0
    assert np.isnan(metrics.angle_errors(a, b, np.zeros((1, 3)))["deg_median"])


@pytest.mark.parametrize(("a", "b", "expected"), [([3, 4], [0, 0], np.inf), ([0, 0], [0, 0], 0), ([1, 1], [1, 0], 1)])
def test_relative_l2(a: list[float], b: list[float], expected: float) -> None:
    assert metrics.relative_l2(np.array(a), np.array(b)) == expected
