"""Votes about left and right."""

from __future__ import annotations

import numpy as np
import pytest

from vitruvian.datasets.sides import CONTRADICT, SWAPPED, keypoint_sides, label_sides
from vitruvian.tasks.labels import keypoint_set, label_set

BOX = (0.0, 0.0, 100.0, 200.0)


def from_the_front(*swapped: str, visibility: float = 2.0) -> np.ndarray:
    convention = keypoint_set(17)
    keypoints = np.zeros((17, 3))
    places = {"eye": (5, 20), "shoulder": (30, 60), "hip": (20, 120)}
    keypoints[0] = (50, 25, visibility)
    for part, (aside, y) in places.items():
        for side, sign in (("left", 1), ("right", -1)):
            if part in swapped:
                sign = -sign
            keypoints[convention.names.index(f"{side}_{part}")] = (50 + sign * aside, y, visibility)
    return keypoints


@pytest.mark.parametrize(
    ("swapped", "expected"),
    [
        ((), {CONTRADICT: 1, SWAPPED: 1}),
        (("eye",), {CONTRADICT: -1, SWAPPED: -1}),
        (("eye", "shoulder", "hip"), {CONTRADICT: 1, SWAPPED: -1}),
        (("shoulder", "hip"), {CONTRADICT: -1, SWAPPED: 1}),
        (("shoulder",), {SWAPPED: 1}),
    ],
)
def test_keypoints(swapped: tuple[str, ...], expected: dict[str, float]) -> None:
    assert keypoint_sides(from_the_front(*swapped), keypoint_set(17), BOX) == expected


def test_covered_faces_say_nothing_about_the_front() -> None:
    from_behind = from_the_front("eye", "shoulder", "hip", visibility=1.0)
    assert keypoint_sides(from_behind, keypoint_set(17), BOX) == {CONTRADICT: 1}
    assert keypoint_sides(np.zeros((17, 3)), keypoint_set(17), BOX) == {}


@pytest.mark.parametrize(
    ("on_the_right", "face", "expected"),
    [
        (("Left-arm", "Left-leg"), True, {CONTRADICT: 1, SWAPPED: 1}),
        (("Right-arm", "Right-leg"), True, {CONTRADICT: 1, SWAPPED: -1}),
        (("Right-arm", "Right-leg"), False, {CONTRADICT: 1}),
        (("Left-arm", "Right-leg"), False, {CONTRADICT: -1}),
    ],
)
def test_labels(on_the_right: tuple[str, str], face: bool, expected: dict[str, float]) -> None:
    classes = label_set(20)
    labels_HW = np.zeros((300, 200), np.uint8)
    for part, rows in zip(on_the_right, (slice(100, 180), slice(180, 280)), strict=True):
        other = part.replace("Left", "?").replace("Right", "Left").replace("?", "Right")
        labels_HW[rows, 110:150] = classes.names.index(part)
        labels_HW[rows, 50:90] = classes.names.index(other)
    if face:
        labels_HW[40:80, 80:120] = classes.names.index("Face")
    assert label_sides(labels_HW, classes) == expected
