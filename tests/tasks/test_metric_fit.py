"""Relative depth of persons in metres: the fit belongs to each person and is not drawn off by the background."""

from __future__ import annotations

import numpy as np
import pytest

from tasks.sinks import PROVENANCE
from vitruvian.errors import InputError
from vitruvian.tasks.base import Region
from vitruvian.tasks.cameras import Camera
from vitruvian.tasks.depth import Depth
from vitruvian.tasks.metric_fit import in_metres
from vitruvian.tasks.metric_result import MetricDepth, Protocol
from vitruvian.tasks.persons import Persons

CAMERA = Camera(fx_px=100.0, fy_px=100.0, cx_px=39.5, cy_px=29.5, source="focal length")
RNG = np.random.default_rng(3)


def metric_of(depth_m_HW: np.ndarray) -> MetricDepth:
    return MetricDepth(
        provenance=PROVENANCE,
        depth_m_HW=depth_m_HW.astype(np.float32),
        confidence_HW=np.ones(depth_m_HW.shape, np.float32),
        normals_HW3=None,
        camera=CAMERA,
        reach_m=100.0,
        protocol=Protocol(fit=False, canvas_hw=(112, 196), published=True),
    )


def two_persons() -> tuple[np.ndarray, Depth, np.ndarray]:
    """True metres, relative depth by person, and the owners: persons at 2 m and 6 m before a wall at 9 m."""
    true_HW = np.full((60, 80), 9.0)
    owner_HW = np.zeros((60, 80), np.uint16)
    owner_HW[5:55, 4:36], owner_HW[5:55, 44:76] = 1, 2
    body_HW = RNG.uniform(-0.2, 0.2, (60, 80))
    true_HW[8:52, 8:32] = 2.0 + body_HW[8:52, 8:32]
    true_HW[8:52, 48:72] = 6.0 + body_HW[8:52, 48:72]
    relative_HW = np.full((60, 80), np.nan, np.float32)
    # Each person's own scale and shift; what is behind a person is farther by an amount that means nothing.
    relative_HW[5:55, 4:36], relative_HW[5:55, 44:76] = 1.4, 1.3
    relative_HW[8:52, 8:32] = (true_HW[8:52, 8:32] - 1.5) / 0.8
    relative_HW[8:52, 48:72] = (true_HW[8:52, 48:72] - 5.0) / 1.7
    regions = (Region(box_xyxy=(4, 5, 36, 55)), Region(box_xyxy=(44, 5, 76, 55)))
    persons = Persons(regions=regions, owner_HW=owner_HW)
    return true_HW, Depth(provenance=PROVENANCE, depth_HW=relative_HW, persons=persons), owner_HW


def test_each_person_gets_a_scale_and_a_shift_of_its_own() -> None:
    true_HW, relative, owner_HW = two_persons()
    noisy_HW = true_HW * RNG.normal(1, 0.01, true_HW.shape)
    found = in_metres(relative, metric_of(noisy_HW))
    for rows, columns in ((slice(8, 52), slice(8, 32)), (slice(8, 52), slice(48, 72))):
        np.testing.assert_allclose(found.depth_HW[rows, columns], true_HW[rows, columns], atol=0.03)
    assert found.metric
    assert np.isnan(found.depth_HW[owner_HW == 0]).all()
    about = found.about()
    assert about["unit"].startswith("metres")
    assert about["metric"] is True
    assert about["camera"]["fx_px"] == 100.0
    assert "scale" not in about


def test_sky_and_pixels_without_a_value_do_not_count() -> None:
    true_HW, relative, _ = two_persons()
    spoilt_HW = true_HW.copy()
    spoilt_HW[8:20, 8:32], spoilt_HW[20:24, 8:32] = 150.0, 0.0
    found = in_metres(relative, metric_of(spoilt_HW))
    np.testing.assert_allclose(found.depth_HW[8:52, 8:32], true_HW[8:52, 8:32], atol=0.02)


def test_without_persons_the_whole_picture_has_one_scale() -> None:
    true_HW = np.linspace(1, 20, 60 * 80).reshape(60, 80)
    relative = Depth(provenance=PROVENANCE, depth_HW=((true_HW - 1) / 19).astype(np.float32))
    found = in_metres(relative, metric_of(true_HW))
    np.testing.assert_allclose(found.depth_HW, true_HW, rtol=1e-4)


@pytest.mark.parametrize(("case", "words"), [("against", "run against each other"), ("nothing", "shows too little")])
def test_what_cannot_be_fitted_is_said(case: str, words: str) -> None:
    true_HW, relative, _ = two_persons()
    metric_HW = 8.0 - true_HW * 0.5 if case == "against" else np.full_like(true_HW, 200.0)
    with pytest.raises(InputError, match=words):
        in_metres(relative, metric_of(metric_HW))


def test_a_flat_relative_map_says_nothing() -> None:
    flat = Depth(provenance=PROVENANCE, depth_HW=np.ones((60, 80), np.float32))
    with pytest.raises(InputError, match="run against each other"):
        in_metres(flat, metric_of(np.linspace(1, 9, 4800).reshape(60, 80)))
