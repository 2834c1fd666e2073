"""Keypoints: steadier at rest, not late in motion, the same at any size and frame rate; forgets what it should."""

from __future__ import annotations

import numpy as np
import pytest

from vitruvian.errors import UsageError
from vitruvian.following.smoothing import KeypointSmoother, KeypointSmoothing

RATE = 25.0
HEIGHT_PX = 200.0


def smoothed(points_TK2: np.ndarray, rate: float = RATE, height_px: float = HEIGHT_PX) -> np.ndarray:
    """One person's keypoints through a new smoother."""
    smoother = KeypointSmoother()
    return np.array(
        [smoother.update(p[None], np.array([1]), np.array([height_px]), t / rate)[0] for t, p in enumerate(points_TK2)]
    )


def noise(frames: int, keypoints: int = 17, sigma_px: float = 2.0) -> np.ndarray:
    return np.random.default_rng(0).normal(0, sigma_px, (frames, keypoints, 2))


def test_someone_at_rest_is_steadier_and_nearer_the_truth() -> None:
    shaken_TK2 = noise(100) + 50
    calm_TK2 = smoothed(shaken_TK2)
    assert np.abs(np.diff(calm_TK2[20:], axis=0)).mean() < 0.5 * np.abs(np.diff(shaken_TK2[20:], axis=0)).mean()
    assert (calm_TK2[20:] - 50).std() < 0.7 * (shaken_TK2[20:] - 50).std()


def test_quick_motion_is_late_by_less_than_half_a_frame() -> None:
    """A hand that moves two heights a second, which is 16 px a frame."""
    line_TK2 = np.arange(40.0)[:, None, None] * np.array([16.0, 0.0])
    late_px = line_TK2[-1, 0, 0] - smoothed(line_TK2)[-1, 0, 0]
    assert 0 < late_px < 8


def test_the_first_frame_comes_back_as_it_is() -> None:
    points_TK2 = noise(1)
    np.testing.assert_array_equal(smoothed(points_TK2), points_TK2)


def test_resolution_does_not_matter() -> None:
    points_TK2 = noise(30).cumsum(axis=0)
    np.testing.assert_allclose(smoothed(4 * points_TK2, height_px=4 * HEIGHT_PX), 4 * smoothed(points_TK2))


def test_directions_do_not_matter() -> None:
    points_TK2 = noise(30).cumsum(axis=0)
    turn_22 = np.array([[0.8, -0.6], [0.6, 0.8]])
    np.testing.assert_allclose(smoothed(points_TK2 @ turn_22), smoothed(points_TK2) @ turn_22)


@pytest.mark.parametrize("rate", [10.0, 50.0, 100.0])
def test_the_frame_rate_hardly_matters(rate: float) -> None:
    """A step of 5 % of the height has come through by about as much after half a second."""
    step = np.where(np.arange(round(1.6 * rate)) / rate >= 0.5, 10.0, 0.0)[:, None, None] * np.ones((1, 2))
    reached = smoothed(step, rate)[round(1.0 * rate), 0, 0]
    reference = smoothed(np.where(np.arange(40) / RATE >= 0.5, 10.0, 0.0)[:, None, None] * np.ones((1, 2)))[25, 0, 0]
    assert 8.0 < reached < 10.0
    assert abs(reached - reference) < 0.6


def test_invalid_keypoints_stay_invalid_and_begin_anew() -> None:
    points_TK2 = noise(10, keypoints=3)
    points_TK2[5, 1] = np.nan
    points_TK2[6:, 1] += 40
    calm_TK2 = smoothed(points_TK2)
    assert np.isnan(calm_TK2[5, 1]).all()
    np.testing.assert_array_equal(calm_TK2[6, 1], points_TK2[6, 1])
    np.testing.assert_array_equal(np.delete(calm_TK2, 1, axis=1), smoothed(np.delete(points_TK2, 1, axis=1)))


@pytest.mark.parametrize(("away_s", "anew"), [(0.6, False), (1.4, True)])
def test_who_was_away_long_begins_anew(away_s: float, anew: bool) -> None:
    smoother = KeypointSmoother()
    at = (np.array([1]), np.array([HEIGHT_PX]))
    smoother.update(np.zeros((1, 2, 2)), *at, 0.0)
    nobody = np.zeros((0, 2, 2))
    smoother.update(nobody, np.zeros(0, int), np.zeros(0), 0.2)
    back_K2 = smoother.update(np.full((1, 2, 2), 10.0), *at, away_s)
    assert (back_K2 == 10.0).all() == anew


def test_people_are_told_apart_by_id_not_by_place_in_the_list() -> None:
    points_TPK2 = np.random.default_rng(1).normal(0, 2, (20, 2, 5, 2)) + np.array([0, 300])[:, None, None]
    smoother, heights = KeypointSmoother(), np.array([HEIGHT_PX, HEIGHT_PX])
    for t, points_PK2 in enumerate(points_TPK2):
        order = [0, 1] if t % 2 else [1, 0]
        calm_PK2 = smoother.update(points_PK2[order], np.array([7, 3])[order], heights, t / RATE)[order]
    np.testing.assert_allclose(calm_PK2[0], smoothed(points_TPK2[:, 0])[-1])
    np.testing.assert_allclose(calm_PK2[1], smoothed(points_TPK2[:, 1])[-1])


def test_nobody_in_particular_comes_back_as_given() -> None:
    smoother = KeypointSmoother()
    for t in range(3):
        points_PK2 = noise(2)[t % 2][None].astype(np.float32)
        same_PK2 = smoother.update(points_PK2, np.array([-1]), np.array([HEIGHT_PX]), t / RATE)
        np.testing.assert_array_equal(same_PK2, points_PK2)
        assert same_PK2.dtype == np.float32


def test_it_goes_on_from_a_snapshot() -> None:
    points_TK2, at = noise(20), (np.array([1]), np.array([HEIGHT_PX]))
    one, other = KeypointSmoother(), KeypointSmoother()
    for t in range(10):
        one.update(points_TK2[t][None], *at, t / RATE)
    kept = one.snapshot()
    assert all(isinstance(array, np.ndarray) for array in kept.values())
    one.update(points_TK2[10][None], *at, 10 / RATE)
    other.restore(kept)
    again = other.update(points_TK2[10][None], *at, 10 / RATE)
    np.testing.assert_array_equal(again[0], smoothed(points_TK2[:11])[-1])


def test_a_frame_without_anyone_may_have_no_keypoints_at_all() -> None:
    smoother, at = KeypointSmoother(), (np.array([1]), np.array([HEIGHT_PX]))
    smoother.update(np.zeros((1, 17, 2)), *at, 0.0)
    assert smoother.update(np.zeros((0, 0, 2)), np.zeros(0, int), np.zeros(0), 0.1).shape == (0, 0, 2)
    assert smoother.update(np.ones((1, 17, 2)), *at, 0.2).shape == (1, 17, 2)


@pytest.mark.parametrize(
    ("shape", "ids", "time_s"),
    [((1, 3), [1], 1.0), ((2, 3, 2), [1], 1.0), ((2, 3, 2), [1, 1], 1.0), ((1, 3, 2), [1], 0.0), ((1, 4, 2), [1], 1.0)],
)
def test_wrong_calls_are_refused(shape: tuple[int, ...], ids: list[int], time_s: float) -> None:
    smoother = KeypointSmoother(KeypointSmoothing())
    smoother.update(np.zeros((1, 3, 2)), np.array([1]), np.array([HEIGHT_PX]), 0.0)
    with pytest.raises(UsageError, match="expected"):
        smoother.update(np.zeros(shape), np.array(ids), np.full(len(ids), HEIGHT_PX), time_s)
