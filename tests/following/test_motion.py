"""The filter learns velocities, and learns less from boxes that are covered."""

from __future__ import annotations

import numpy as np
import pytest

from vitruvian.following.motion import Motion

FRAME_S = 1 / 25


def walker(frame: int, speed_px: float = 4.0) -> np.ndarray:
    x = 100 + speed_px * frame
    return np.array([[x - 20.0, 50, x + 20, 150]])


def after(frames: int, covered: float = 0.0, scale: float = 1.0) -> Motion:
    motion = Motion()
    motion.begin(walker(0) * scale)
    for frame in range(1, frames):
        motion.predict(FRAME_S)
        motion.update(np.array([0]), walker(frame) * scale, np.array([covered]))
    motion.predict(FRAME_S)
    return motion


def test_someone_walking_evenly_is_predicted() -> None:
    np.testing.assert_allclose(after(25).boxes_T4(), walker(25), atol=0.2)


def test_prediction_goes_on_without_measurements() -> None:
    motion = after(25)
    for _ in range(5):
        motion.predict(FRAME_S)
    np.testing.assert_allclose(motion.boxes_T4(), walker(30), atol=0.4)


def test_frames_in_between_do_not_matter_for_the_prediction() -> None:
    one, three = after(10), after(10)
    one.predict(3 * FRAME_S)
    for _ in range(3):
        three.predict(FRAME_S)
    np.testing.assert_allclose(one.boxes_T4(), three.boxes_T4())


def test_resolution_does_not_matter() -> None:
    np.testing.assert_allclose(after(10, scale=4.0).boxes_T4(), 4 * after(10).boxes_T4())


def test_a_covered_box_counts_less() -> None:
    free, covered = after(20), after(20)
    aside = walker(20) + np.array([[15.0, 0, 15, 0]])
    free.update(np.array([0]), aside, np.array([0.0]))
    covered.update(np.array([0]), aside, np.array([1.0]))
    moved = free.boxes_T4()[0, 0] - walker(20)[0, 0]
    assert 0 < covered.boxes_T4()[0, 0] - walker(20)[0, 0] < moved / 2


def test_rows_are_kept_and_appended() -> None:
    motion = Motion()
    motion.begin(np.concatenate([walker(0), walker(10)]))
    motion.keep(np.array([1]))
    motion.begin(walker(20))
    np.testing.assert_allclose(motion.boxes_T4(), np.concatenate([walker(10), walker(20)]))
    motion.keep(np.zeros(0, np.int64))
    motion.predict(FRAME_S)
    assert motion.boxes_T4().shape == (0, 4)
    assert pytest.approx(0) == motion.boxes_T4().sum()
