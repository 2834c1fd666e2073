"""Maps: steadier where nothing moves, new where something does, and no averages of what has no value."""

from __future__ import annotations

import numpy as np
import pytest

from vitruvian.errors import UsageError
from vitruvian.following.dense_smoothing import DenseSmoother

RATE = 25.0
SHAPE_HW = (48, 64)
PICTURE_HW3 = np.random.default_rng(0).integers(60, 190, (*SHAPE_HW, 3)).astype(np.uint8)
RAMP_HW = np.broadcast_to(np.linspace(0, 1, SHAPE_HW[1]), SHAPE_HW).astype(np.float32)


def unit(normals_HW3: np.ndarray) -> np.ndarray:
    return (normals_HW3 / np.linalg.norm(normals_HW3, axis=2, keepdims=True)).astype(np.float32)


def flat_normals() -> np.ndarray:
    return np.broadcast_to(np.array([0, 0, -1], np.float32), (*SHAPE_HW, 3))


def test_flicker_of_a_still_picture_is_averaged() -> None:
    rng, smoother = np.random.default_rng(1), DenseSmoother("values")
    found = [(RAMP_HW + rng.normal(0, 0.01, SHAPE_HW)).astype(np.float32) for _ in range(20)]
    calm = [smoother.update(depth, PICTURE_HW3, t / RATE) for t, depth in enumerate(found)]
    assert (calm[-1] - RAMP_HW).std() < 0.6 * (found[-1] - RAMP_HW).std()
    assert calm[-1].dtype == np.float32


def test_directions_keep_length_one() -> None:
    rng, smoother = np.random.default_rng(1), DenseSmoother("directions")
    for t in range(10):
        found_HW3 = unit(flat_normals() + rng.normal(0, 0.05, (*SHAPE_HW, 3)))
        calm_HW3 = smoother.update(found_HW3, PICTURE_HW3, t / RATE)
    np.testing.assert_allclose(np.linalg.norm(calm_HW3, axis=2), 1.0, atol=1e-5)
    assert np.linalg.norm(calm_HW3 - flat_normals()) < 0.7 * np.linalg.norm(found_HW3 - flat_normals())


def test_where_the_picture_changes_the_new_value_is_taken() -> None:
    smoother = DenseSmoother("values")
    smoother.update(RAMP_HW, PICTURE_HW3, 0.0)
    moved_HW3 = PICTURE_HW3.copy()
    moved_HW3[:, :30] = 255 - (255 - moved_HW3[:, :30]) // 4
    shifted_HW = RAMP_HW + np.float32(0.02)
    calm_HW = smoother.update(shifted_HW, moved_HW3, 1 / RATE)
    np.testing.assert_array_equal(calm_HW[:, :24], shifted_HW[:, :24])
    assert (calm_HW[:, 40:] < shifted_HW[:, 40:] - 0.01).all()


def test_where_the_map_jumps_the_new_value_is_taken() -> None:
    """Parts of one colour that move leave no trace in the picture."""
    values, directions = DenseSmoother("values"), DenseSmoother("directions")
    values.update(RAMP_HW, PICTURE_HW3, 0.0)
    directions.update(flat_normals(), PICTURE_HW3, 0.0)
    jumped_HW = RAMP_HW.copy()
    jumped_HW[:20, :20] += 0.4
    np.testing.assert_allclose(values.update(jumped_HW, PICTURE_HW3, 1 / RATE), jumped_HW, atol=1e-6)
    turned_HW3 = unit(flat_normals() + np.array([0.5, 0, 0]))
    np.testing.assert_allclose(directions.update(turned_HW3, PICTURE_HW3, 1 / RATE), turned_HW3, atol=1e-6)


@pytest.mark.parametrize("rate", [10.0, 50.0])
def test_the_frame_rate_does_not_matter(rate: float) -> None:
    """63 % of a small change have come through after the memory's 0.12 s, here seen after 0.4 s."""
    smoother = DenseSmoother("values")
    smoother.update(RAMP_HW, PICTURE_HW3, 0.0)
    for t in range(1, round(0.4 * rate) + 1):
        calm_HW = smoother.update(RAMP_HW + np.float32(0.02), PICTURE_HW3, t / rate)
    np.testing.assert_allclose((calm_HW - RAMP_HW) / 0.02, 1 - np.exp(-0.4 / 0.12), atol=1e-3)


def test_what_has_no_value_is_not_averaged() -> None:
    smoother = DenseSmoother("values")
    some_HW = RAMP_HW.copy()
    some_HW[:10], some_HW[10:20] = np.nan, np.inf
    smoother.update(some_HW, PICTURE_HW3, 0.0)
    later_HW = RAMP_HW + np.float32(0.01)
    later_HW[40:] = np.nan
    calm_HW = smoother.update(later_HW, PICTURE_HW3, 1 / RATE)
    np.testing.assert_array_equal(calm_HW[:20], later_HW[:20])
    assert np.isnan(calm_HW[40:]).all()
    assert (calm_HW[20:40] < later_HW[20:40]).all()


@pytest.mark.parametrize("time_s", [0.5, 1.5])
def test_after_a_gap_or_another_size_all_begins_anew(time_s: float) -> None:
    smoother = DenseSmoother("values")
    smoother.update(RAMP_HW, PICTURE_HW3, 0.0)
    half_HW = RAMP_HW[::2] + np.float32(0.02)
    full_HW = RAMP_HW + np.float32(0.02)
    assert (smoother.update(full_HW, PICTURE_HW3, time_s) == full_HW).all() == (time_s > 1)
    np.testing.assert_array_equal(smoother.update(half_HW, PICTURE_HW3[::2].copy(), time_s + 0.1), half_HW)


def test_it_goes_on_from_a_snapshot() -> None:
    rng = np.random.default_rng(1)
    found = [(RAMP_HW + rng.normal(0, 0.01, SHAPE_HW)).astype(np.float32) for _ in range(6)]
    one, other = DenseSmoother("values"), DenseSmoother("values")
    other.restore(one.snapshot())
    for t in range(3):
        one.update(found[t], PICTURE_HW3, t / RATE)
    other.restore(one.snapshot())
    for t in range(3, 6):
        expected, got = (s.update(found[t], PICTURE_HW3, t / RATE) for s in (one, other))
        np.testing.assert_array_equal(got, expected)


def test_what_comes_back_is_the_callers() -> None:
    smoother = DenseSmoother("values")
    smoother.update(RAMP_HW, PICTURE_HW3, 0.0)[:] = 99
    assert smoother.update(RAMP_HW, PICTURE_HW3, 1 / RATE).max() <= 1


def test_wrong_calls_are_refused() -> None:
    smoother = DenseSmoother("values")
    smoother.update(RAMP_HW, PICTURE_HW3, 0.0)
    for some_map, picture, time_s in (
        (flat_normals(), PICTURE_HW3, 1.0),
        (RAMP_HW[1:], PICTURE_HW3, 1.0),
        (RAMP_HW, PICTURE_HW3.astype(np.float32), 1.0),
        (RAMP_HW, PICTURE_HW3, 0.0),
    ):
        with pytest.raises(UsageError, match="expected"):
            smoother.update(some_map, picture, time_s)
