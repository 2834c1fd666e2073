"""Measures of following on hand-made cases with known answers."""

from __future__ import annotations

import numpy as np
import pytest

from vitruvian.errors import UsageError
from vitruvian.evaluation.following import (
    FollowingCounts,
    Persons,
    following_counts,
    jitter_per_frame2,
    lag_frames,
)


def frames(*rows: dict[int, float]) -> list[Persons]:
    """Each frame is ids with the left edge of a box 10 wide and 20 high."""
    return [
        Persons(ids_P=np.array(list(row), int), boxes_P4=np.array([[x, 0, x + 10, 20] for x in row.values()]))
        for row in rows
    ]


STILL = frames(*[{1: 0.0, 2: 100.0}] * 4)


def test_the_truth_is_perfect_under_any_names() -> None:
    counts = following_counts(STILL, frames(*[{8: 0.0, 5: 100.0}] * 4))
    assert (counts.idf1, counts.recall, counts.precision) == (1.0, 1.0, 1.0)
    assert (counts.switches, counts.fragmentations, counts.matched) == (0, 0, 8)


def test_a_swap_costs_two_switches_and_half_the_identities() -> None:
    """8 boxes each; the best pairing of whole trajectories agrees in 4: IDF1 = 2 * 4 / 16."""
    swapped = frames({1: 0.0, 2: 100.0}, {1: 0.0, 2: 100.0}, {2: 0.0, 1: 100.0}, {2: 0.0, 1: 100.0})
    counts = following_counts(STILL, swapped)
    assert (counts.switches, counts.identity_matched, counts.idf1) == (2, 4, 0.5)
    assert counts.recall == counts.precision == 1.0


def test_a_new_id_after_a_miss_is_a_switch_and_a_fragmentation() -> None:
    """Person 2: found as 2, missed, found as 3 twice. Person 1: always 1. IDTP = 4 + 2; IDF1 = 12 / (8 + 7)."""
    counts = following_counts(STILL, frames({1: 0.0, 2: 100.0}, {1: 0.0}, {1: 0.0, 3: 100.0}, {1: 0.0, 3: 100.0}))
    assert (counts.switches, counts.fragmentations, counts.matched) == (1, 1, 7)
    assert counts.idf1 == pytest.approx(12 / 15)
    assert (counts.recall, counts.precision) == (7 / 8, 1.0)


def test_a_miss_under_the_same_id_is_a_fragmentation_only() -> None:
    counts = following_counts(STILL, frames({1: 0.0, 2: 100.0}, {1: 0.0}, {1: 0.0, 2: 100.0}, {1: 0.0, 2: 100.0}))
    assert (counts.switches, counts.fragmentations) == (0, 1)


def test_who_leaves_the_picture_and_comes_back_is_not_fragmented() -> None:
    away = frames({1: 0.0, 2: 100.0}, {1: 0.0}, {1: 0.0, 2: 100.0})
    counts = following_counts(away, away)
    assert (counts.switches, counts.fragmentations, counts.idf1) == (0, 0, 1.0)


def test_a_pair_that_is_still_valid_stays_though_another_overlaps_more() -> None:
    truth = frames({1: 0.0}, {1: 0.0})
    counts = following_counts(truth, frames({4: 0.0}, {4: 2.0, 9: 0.0}))
    assert (counts.switches, counts.matched, counts.precision) == (0, 2, 2 / 3)


@pytest.mark.parametrize(("shift", "matched"), [(3.0, 1), (4.0, 0)])
def test_boxes_pair_from_an_overlap_of_a_half_on(shift: float, matched: int) -> None:
    """Shifted by 3 of 10, boxes overlap by 7 / 13; by 4, 6 / 14."""
    assert following_counts(frames({1: 0.0}), frames({1: shift})).matched == matched


def test_false_boxes_lower_precision_and_idf1() -> None:
    counts = following_counts(STILL, frames(*[{1: 0.0, 2: 100.0, 3: 200.0}] * 4))
    assert (counts.precision, counts.recall, counts.idf1) == (8 / 12, 1.0, 16 / 20)


def test_boxes_of_nobody_do_not_count() -> None:
    found = frames(*[{1: 0.0, -1: 100.0}] * 4)
    counts = following_counts(STILL, found)
    assert (counts.finds, counts.recall, counts.precision) == (4, 0.5, 1.0)


def test_counts_of_clips_add_up() -> None:
    one = following_counts(STILL, STILL)
    both = one + following_counts(STILL, frames({}, {}, {}, {}))
    assert (both.truths, both.finds, both.matched, both.recall) == (16, 8, 8, 0.5)
    assert np.isnan(FollowingCounts().idf1)


def test_clips_that_do_not_fit_are_refused() -> None:
    with pytest.raises(UsageError, match="frames"):
        following_counts(STILL, STILL[:3])
    twice = Persons(ids_P=np.array([1, 1]), boxes_P4=np.array([[0.0, 0, 1, 1], [0, 0, 2, 2]]))
    with pytest.raises(UsageError, match="once"):
        following_counts([twice], [twice])


def test_jitter_of_a_keypoint_that_alternates() -> None:
    """An error of +1, -1, +1 ... px has second differences of 4 px; the person is 200 px high."""
    moving_TK2 = (np.arange(10.0) ** 2)[:, None, None] * np.ones((1, 3, 2))
    found_TK2 = moving_TK2.copy()
    found_TK2[::2, :, 0] += 1
    found_TK2[1::2, :, 0] -= 1
    assert jitter_per_frame2(moving_TK2, found_TK2, 200.0) == pytest.approx(4 / 200)
    assert jitter_per_frame2(moving_TK2, moving_TK2 + 5, 200.0) == pytest.approx(0)
    found_TK2[3, 0] = np.nan
    assert jitter_per_frame2(moving_TK2, found_TK2, 200.0) == pytest.approx(4 / 200)
    assert np.isnan(jitter_per_frame2(moving_TK2, np.full_like(moving_TK2, np.nan), 200.0))


@pytest.mark.parametrize("lag", [-1.0, 0.0, 0.4, 2.0])
def test_lag_of_a_shifted_movement(lag: float) -> None:
    def swing(times: np.ndarray) -> np.ndarray:
        return np.stack([np.sin(times / 5), np.cos(times / 3)], axis=1)[:, None]

    times = np.arange(60.0)
    assert lag_frames(swing(times), swing(times - lag)) == pytest.approx(lag, abs=0.06)


def test_lag_of_what_does_not_move_is_unknown() -> None:
    still_TK2 = np.ones((40, 2, 2))
    assert np.isnan(lag_frames(still_TK2, still_TK2 + np.random.default_rng(0).normal(size=(40, 2, 2))))
    assert np.isnan(lag_frames(still_TK2[:8], still_TK2[:8]))
