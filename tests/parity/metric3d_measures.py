"""The golden measures of Metric3D: errors of depth, the two alignments, errors of normals.

`rmse_log` and `silog` there are to base 10; normal figures lie 1e-6 below the plain ones (a guard in a denominator).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest
from torch import Tensor

from tolerances import METRIC_MEASURES_REL
from vitruvian.evaluation.dense_accuracy import NormalTally
from vitruvian.evaluation.metric_accuracy import LEAST_TRUE_M, MetricTally, fitted
from vitruvian.tasks import metrics

NAMES = {
    "abs_rel": "AbsRel",
    "sq_rel": "SqRel",
    "rmse": "RMSE",
    "rmse_log": "RMSE-log (base 10)",
    "log10": "log10",
    "silog": "SILog (base 10)",
    **{name: name for name in ("delta1", "delta2", "delta3")},
}
NORMAL_NAMES = {"normal_mean": "mean deg", "normal_rmse": "RMSE deg"}
SHARES = {"normal_a1": 5.0, "normal_a2": 7.5, "normal_a3": 11.25, "normal_a4": 22.5, "normal_a5": 30.0}


def check_measures(document: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> None:
    """Every number of the case."""
    found_BHW, true_BHW = (tensors[name][:, 0].numpy() for name in ("pred", "target"))
    _check_depth(document["depth"], found_BHW, true_BHW)
    valid_BHW = true_BHW > LEAST_TRUE_M
    found_N, true_N = found_BHW[valid_BHW], true_BHW[valid_BHW]
    median, least = fitted(found_N, true_N, "median"), fitted(found_N, true_N, "scale-shift")
    _near(median.scale, document["median_scale"])
    _near(least.scale, document["least_squares_scale"])
    for fit, name in ((median, "aligned_median"), (least, "aligned_scale_shift")):
        aligned = fit.scale * found_BHW + fit.shift
        np.testing.assert_allclose(aligned, tensors[name][:, 0].numpy(), rtol=METRIC_MEASURES_REL)
    mask_BHW1 = tensors["normal_mask"].permute(0, 2, 3, 1).numpy() > 0
    found_BHW3, true_BHW3 = (tensors[f"{name}_normal"].permute(0, 2, 3, 1).numpy() for name in ("pred", "target"))
    _check_normals(document["normal"], found_BHW3, np.where(mask_BHW1, true_BHW3, np.nan))


def _check_depth(expected: Mapping[str, float], found_BHW: np.ndarray, true_BHW: np.ndarray) -> None:
    tally = MetricTally(log_base="10")
    for found_HW, true_HW in zip(found_BHW, true_BHW, strict=True):
        tally.check(true_HW)
        tally.add(found_HW, true_HW)
    numbers = tally.numbers()
    assert expected.keys() == NAMES.keys()
    for name, value in expected.items():
        _near(numbers[NAMES[name]], value)


def _check_normals(expected: Mapping[str, float], found_BHW3: np.ndarray, true_BHW3: np.ndarray) -> None:
    tally = NormalTally()
    for found_HW3, true_HW3 in zip(found_BHW3, true_BHW3, strict=True):
        tally.add(found_HW3, true_HW3)
    numbers = tally.numbers()
    for name, ours in NORMAL_NAMES.items():
        _near(numbers[ours], expected[name])
    for name, limit_deg in SHARES.items():
        _near(100 * numbers[f"below {limit_deg:g} deg"], expected[name])
    # The tally's median is to a hundredth of a degree.
    assert numbers["median deg"] == pytest.approx(expected["normal_median"], abs=0.005 + 1e-4)
    _near(metrics.angle_errors(found_BHW3, true_BHW3)["deg_median"], expected["normal_median"])
    assert expected.keys() == {*NORMAL_NAMES, *SHARES, "normal_median"}


def _near(found: float, expected: float) -> None:
    assert found == pytest.approx(expected, rel=METRIC_MEASURES_REL)
