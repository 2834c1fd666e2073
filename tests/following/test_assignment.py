"""Pairings are the best there are, whatever the shape and however many gains are equal."""

from __future__ import annotations

from itertools import permutations

import numpy as np
import pytest

from vitruvian.following.assignment import best_pairs


def best_sum(gain_RC: np.ndarray) -> float:
    """By trying all pairings."""
    gain_RC = gain_RC if gain_RC.shape[0] <= gain_RC.shape[1] else gain_RC.T
    rows = np.arange(gain_RC.shape[0])
    return max(float(gain_RC[rows, list(some)].sum()) for some in permutations(range(gain_RC.shape[1]), len(rows)))


@pytest.mark.parametrize("shape", [(1, 1), (2, 5), (5, 2), (4, 4), (5, 6)])
@pytest.mark.parametrize("levels", [2, 1000])
def test_no_pairing_gains_more(shape: tuple[int, int], levels: int) -> None:
    rng = np.random.default_rng(shape[0] * 100 + levels)
    for _ in range(20):
        gain_RC = rng.integers(0, levels + 1, shape) / levels
        gain_RC[rng.random(shape) < 0.3] = 0
        rows, columns = best_pairs(gain_RC)
        assert gain_RC[rows, columns].sum() == pytest.approx(best_sum(gain_RC))
        assert sorted(set(rows.tolist())) == rows.tolist()
        assert len(set(columns.tolist())) == len(columns)


def test_the_largest_sum_beats_the_largest_gain() -> None:
    rows, columns = best_pairs(np.array([[0.9, 0.8], [0.7, 0.1]]))
    assert (rows.tolist(), columns.tolist()) == ([0, 1], [1, 0])


def test_gains_below_the_least_are_not_taken() -> None:
    rows, columns = best_pairs(np.array([[0.2, 0.0], [0.0, 0.6]]), least=0.3)
    assert (rows.tolist(), columns.tolist()) == ([1], [1])


@pytest.mark.parametrize("shape", [(0, 0), (0, 3), (3, 0)])
def test_nothing_pairs_with_nothing(shape: tuple[int, int]) -> None:
    rows, columns = best_pairs(np.zeros(shape))
    assert len(rows) == len(columns) == 0
