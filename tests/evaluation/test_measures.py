"""Measures against truth: the truth itself is perfect, and errors count as they should."""

from __future__ import annotations

import numpy as np
import pytest

from vitruvian.evaluation import measures
from vitruvian.people import View


@pytest.fixture(scope="module")
def views() -> list[View]:
    return measures.held_out_views(3)


def true_keypoints(view: View) -> np.ndarray:
    return np.array([keypoints_K3[:, :2] for keypoints_K3, _ in measures.persons(view)])


def test_the_truth_is_perfect(views: list[View]) -> None:
    assert measures.pck(views, [true_keypoints(view) for view in views]) == 1.0
    assert measures.miou(views, [view.part_labels_HW for view in views]) == 1.0
    assert measures.depth_errors(views, [2 * view.depth_m_HW + 1 for view in views])["rmse"] == pytest.approx(
        0, abs=1e-5
    )
    assert measures.normal_angles(views, [view.normals_HW3 for view in views])["mean"] == pytest.approx(0, abs=1e-3)


def test_errors_are_seen(views: list[View]) -> None:
    assert measures.pck(views, [true_keypoints(view) + 1000 for view in views]) == 0.0
    assert measures.miou(views, [np.zeros_like(view.part_labels_HW) for view in views]) < 0.2
    assert measures.depth_errors(views, [np.ones_like(view.depth_m_HW) for view in views])["rmse"] > 0.01
    assert measures.normal_angles(views, [-view.normals_HW3 for view in views])["mean"] == pytest.approx(180, abs=1e-3)


def test_half_the_keypoints_missing_halve_the_share(views: list[View]) -> None:
    found = []
    for view in views:
        keypoints_PK2 = true_keypoints(view)
        visible_PK = np.array([keypoints_K3[:, 2] > 0 for keypoints_K3, _ in measures.persons(view)])
        order_PK = np.cumsum(visible_PK, axis=1) * visible_PK
        keypoints_PK2[order_PK % 2 == 1] = np.nan
        found.append(keypoints_PK2)
    assert 0.3 < measures.pck(views, found) < 0.6


def test_persons_have_regions(views: list[View]) -> None:
    for view in views:
        boxes = [region.box_xyxy for region in measures.person_regions(view)]
        assert len(boxes) == sum(1 for _ in measures.persons(view)) >= 1
        assert all(x1 > x0 and y1 > y0 for x0, y0, x1, y1 in boxes)


def test_held_out_pictures_are_not_those_of_training() -> None:
    held_out, training = measures.held_out_views(1)[0], measures.training_views(1)[0]
    assert not np.array_equal(held_out.image_HW3, training.image_HW3)
