"""Measures of metric depth: small pictures done by hand, and what must never count as a hit."""

from __future__ import annotations

import math

import numpy as np
import pytest

from vitruvian.datasets.depth_protocols import AS_STORED, Crop, DepthProtocol
from vitruvian.errors import InputError
from vitruvian.evaluation.metric_accuracy import LEAST_FOUND_M, MetricTally, fitted, metric_errors

FOUND_N, TRUE_N = np.array([1.0, 4.0, 3.0, 2.0]), np.array([1.0, 2.0, 3.0, 4.0])
"""Ratios 1, 2, 1, 1/2."""
LN2 = math.log(2)


def test_measures_by_hand() -> None:
    assert metric_errors(FOUND_N, TRUE_N) == pytest.approx(
        {
            "AbsRel": (2 / 2 + 2 / 4) / 4,
            "SqRel": (4 / 2 + 4 / 4) / 4,
            "RMSE": math.sqrt(8 / 4),
            "RMSE-log (ln)": LN2 / math.sqrt(2),
            "log10": math.log10(2) / 2,
            "SILog (ln)": LN2 / math.sqrt(2),
            "delta1": 0.5,
            "delta2": 0.5,
            "delta3": 0.5,
        }
    )


def test_the_scale_of_all_pixels_is_no_scale_invariant_error() -> None:
    numbers = metric_errors(2 * TRUE_N, TRUE_N)
    assert numbers["SILog (ln)"] == pytest.approx(0, abs=1e-12)
    assert numbers["RMSE-log (ln)"] == pytest.approx(LN2)


def test_base_10_is_named_and_changes_two_measures() -> None:
    natural, common = metric_errors(FOUND_N, TRUE_N), metric_errors(FOUND_N, TRUE_N, "10")
    for name in ("RMSE-log", "SILog"):
        assert common[f"{name} (base 10)"] * math.log(10) == pytest.approx(natural[f"{name} (ln)"])
    for name in ("AbsRel", "log10", "delta1"):
        assert common[name] == natural[name]


def test_the_median_of_an_even_number_is_the_lower_one() -> None:
    assert fitted(np.array([2.0, 8.0]), np.array([3.0, 100.0]), "median").scale == 3 / 2


def test_scale_and_shift_are_found() -> None:
    fit = fitted((TRUE_N - 3) / 2, TRUE_N, "scale-shift")
    assert (fit.scale, fit.shift, fit.fell_back) == (pytest.approx(2), pytest.approx(3), False)


def test_a_negative_scale_falls_back_to_the_medians() -> None:
    tally = MetricTally(alignment="scale-shift")
    tally.add(np.array([[4.0, 3.0, 1.0]]), np.array([[1.0, 2.0, 8.0]]))
    assert tally.fell_back == 1
    assert tally.numbers()["AbsRel"] == pytest.approx((5 / 3 + 0 + (8 - 2 / 3) / 8) / 3)
    assert "of 1 pictures the least-squares scale was below 0" in tally.notes()[0]
    fit = fitted(np.array([4.0, 3.0, 1.0]), np.array([1.0, 2.0, 8.0]), "scale-shift")
    assert (fit.scale, fit.shift, fit.fell_back) == (2 / 3, 0, True)


@pytest.mark.parametrize("alignment", ["none", "median", "scale-shift"])
def test_nothing_found_is_a_miss(alignment: str) -> None:
    tally = MetricTally(alignment=alignment)  # type: ignore[arg-type]
    tally.add(np.array([[2.0, 5.0, np.nan, 0.0, -2.0, np.inf]]), np.array([[2.0, 5.0, 2.0, 2.0, 2.0, 2.0]]))
    numbers = tally.numbers()
    assert numbers["delta3"] == pytest.approx(2 / 6)
    assert numbers["AbsRel"] == pytest.approx(4 / 6 * (2 - LEAST_FOUND_M) / 2, rel=1e-6)
    assert tally.not_found == 4
    assert all(np.isfinite(list(numbers.values())))


def test_pixels_without_truth_do_not_count() -> None:
    tally = MetricTally()
    tally.add(np.array([[3.0, 0.0, 1.0, 1.0]]), np.array([[2.0, 0.0, np.nan, 1e-9]]))
    assert tally.numbers()["AbsRel"] == pytest.approx(0.5)
    assert tally.numbers()["delta1"] == 0


def test_pictures_count_alike_and_blank_ones_not_at_all() -> None:
    tally = MetricTally()
    tally.add(np.full((9, 9), 3.0), np.full((9, 9), 2.0))
    tally.add(np.array([[2.0, 9.0]]), np.array([[2.0, np.nan]]))
    tally.add(np.full((2, 2), 3.0), np.zeros((2, 2)))
    assert tally.numbers()["AbsRel"] == pytest.approx((0.5 + 0) / 2)
    assert (tally.blank, len(tally.rows)) == (1, 2)
    assert "1 pictures have no true depth" in tally.notes()[0]


def test_the_cap_drops_true_depth_and_limits_found_depth() -> None:
    tally = MetricTally(protocol=DepthProtocol(name="near", cap_m=10))
    tally.add(np.array([[40.0, 10.0, 10.0]]), np.array([[8.0, 10.0, 11.0]]))
    assert tally.numbers()["RMSE"] == pytest.approx(math.sqrt(4 / 2))


def test_the_crop_decides_which_pixels_count() -> None:
    crop = Crop(rows=(0.25, 0.75), columns=(0.5, 1.0), of_hw=None)
    tally = MetricTally(protocol=DepthProtocol(name="part", crop=crop))
    true_HW = np.full((8, 6), 2.0)
    found_HW = np.full((8, 6), 99.0)
    found_HW[2:6, 3:] = 2.0
    tally.add(found_HW, true_HW)
    assert tally.numbers()["RMSE"] == 0
    found_HW[2, 3] = 14.0
    tally.add(found_HW, true_HW)
    assert tally.numbers()["RMSE"] == pytest.approx(math.sqrt(144 / 12) / 2)


@pytest.mark.parametrize(
    ("true_HW", "said"), [(np.linspace(0, 1, 500), "looks relative"), (np.linspace(500, 4000, 500), "like millimetres")]
)
def test_truth_that_is_no_metres_is_refused(true_HW: np.ndarray, said: str) -> None:
    with pytest.raises(InputError, match=said):
        MetricTally().check(true_HW.reshape(20, 25))


def test_the_settings_name_base_and_alignment() -> None:
    settings = MetricTally(protocol=AS_STORED, alignment="median", log_base="10").settings()
    assert settings == {
        "protocol": "none: whole pictures, no cap",
        "alignment": "scaled by the ratio of the medians",
        "logarithms": "base 10",
    }
