"""Relative depth of persons in metres, by a metric map of the same picture.

A relative map, the persons it is of, and a metric map -> the relative map with a scale and a shift of each person's
own, fitted where the metric map shows that person and not what is behind. The relative network knows the body's shape,
the metric one how far away it is.
"""

# Shape suffixes: H W picture, N pixels.

from __future__ import annotations

from dataclasses import replace

import numpy as np

from vitruvian.errors import InputError
from vitruvian.tasks.depth import Depth
from vitruvian.tasks.metric_result import MetricDepth

BODY_M, BODY_SHARE = 0.75, 0.1
"""Half the depth that a person takes, limbs stretched out, and the share of the distance that the metric map may be
wrong by from pixel to pixel: farther from the middle is background."""
ROUNDS = 12
LEAST_PIXELS = 50
MOST_PIXELS = 40_000
"""Enough for two numbers."""


def in_metres(relative: Depth, metric: MetricDepth) -> Depth:
    """The relative depth of a picture in metres; without persons, one scale and shift for all of it.

    Raises:
        InputError: a person of whom too little is seen, or whose two maps say nothing about each other.
    """
    depth_m_HW = np.full_like(relative.depth_HW, np.nan)
    persons = relative.persons
    if persons is None:
        everywhere_HW = np.isfinite(relative.depth_HW)
        depth_m_HW[everywhere_HW] = _fitted(relative, metric, everywhere_HW, "the picture", body=False)
    for code in range(1, 1 + (0 if persons is None else len(persons.regions))):
        assert persons is not None
        own_HW = (persons.owner_HW == code) & np.isfinite(relative.depth_HW)
        if own_HW.any():
            depth_m_HW[own_HW] = _fitted(relative, metric, own_HW, f"person {code}", body=True)
    return replace(
        relative, depth_HW=depth_m_HW, metric=True, camera=metric.camera, metric_model=metric.provenance.model
    )


def _fitted(relative: Depth, metric: MetricDepth, own_HW: np.ndarray, whom: str, *, body: bool) -> np.ndarray:
    """float32 (N) metres of the pixels of one person."""
    found_N, true_N = relative.depth_HW[own_HW], metric.depth_m_HW[own_HW]
    scale, shift = _robust_fit(found_N, true_N, metric.reach_m, whom, body=body)
    return (scale * found_N + shift).astype(np.float32)


def _robust_fit(
    found_N: np.ndarray, true_N: np.ndarray, reach_m: float, whom: str, *, body: bool
) -> tuple[float, float]:
    """Scale above 0 and shift with the least absolute error, by reweighted least squares."""
    usable_N = np.isfinite(true_N) & (true_N > 0) & (true_N < reach_m)
    if body and usable_N.any():
        # The box holds background, too; the person is what most of its near half is.
        middle_m = float(np.percentile(true_N[usable_N], 35))
        usable_N &= np.abs(true_N - middle_m) <= BODY_M + BODY_SHARE * middle_m
    a_N, b_N = found_N[usable_N].astype(np.float64), true_N[usable_N].astype(np.float64)
    if len(a_N) < LEAST_PIXELS:
        raise InputError(f"shows too little of {whom} to find out how far away it is; expected {LEAST_PIXELS} pixels")
    step = -(-len(a_N) // MOST_PIXELS)
    a_N, b_N = a_N[::step], b_N[::step]
    weight_N = np.ones_like(a_N)
    scale = shift = 0.0
    for _ in range(ROUNDS):
        mean_a, mean_b = np.average(a_N, weights=weight_N), np.average(b_N, weights=weight_N)
        spread = float((weight_N * (a_N - mean_a) ** 2).sum())
        scale = float((weight_N * (a_N - mean_a) * (b_N - mean_b)).sum()) / spread if spread > 0 else 0.0
        shift = float(mean_b - scale * mean_a)
        rest_N = np.abs(scale * a_N + shift - b_N)
        weight_N = 1 / np.maximum(rest_N, 1e-3 * max(1e-6, abs(float(mean_b))))
    if scale <= 0:
        raise InputError(
            f"has relative and metric depth of {whom} that run against each other; expected both to grow with "
            "distance; take the metric model alone"
        )
    return scale, shift
