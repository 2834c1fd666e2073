"""Percentiles in constant memory."""

from __future__ import annotations

import math

import numpy as np
import pytest

from vitruvian.videos.latency import Latencies


@pytest.mark.parametrize("percent", [50, 95])
def test_percentiles_are_within_one_percent(percent: int) -> None:
    durations_s = np.random.default_rng(3).lognormal(-3, 0.7, 2001)
    latencies = Latencies()
    for seconds in durations_s:
        latencies.add(float(seconds))
    wanted = np.percentile(durations_s, percent, method="inverted_cdf")
    assert latencies.percentile_s(percent) == pytest.approx(wanted, rel=0.01)
    assert (latencies.count, latencies.longest_s) == (2001, durations_s.max())


def test_what_lies_outside_counts_as_the_nearest() -> None:
    latencies = Latencies()
    assert math.isnan(latencies.percentile_s(50))
    latencies.add(0.0)
    assert latencies.percentile_s(50) == 0.0
    latencies.add(1e6)
    assert latencies.percentile_s(95) > 900
