"""The rim of a mask and which way leads out of it."""

from __future__ import annotations

import numpy as np
import pytest

from vitruvian.datasets.outline import agreement, outline_of


def disc(height: int, width: int, radius: float) -> np.ndarray:
    y_HW, x_HW = np.indices((height, width))
    return np.asarray(np.hypot(x_HW - width / 2, y_HW - height / 2) < radius)


@pytest.mark.parametrize("scale", [1, 6])
def test_out_of_a_disc_leads_away_from_its_middle(scale: int) -> None:
    outline = outline_of(disc(200 * scale, 240 * scale, 70 * scale))
    assert outline is not None
    rows, columns = np.nonzero(outline.rim_HW)
    away_N2 = np.stack((columns * outline.step / scale - 120, rows * outline.step / scale - 100), axis=1)
    radius_N = np.hypot(*away_N2.T)
    assert 60 < radius_N.min() < radius_N.max() < 70
    assert ((away_N2 / radius_N[:, None] * outline.outward_N2).sum(axis=1) > 0.97).all()
    assert outline.thinned(np.zeros((200 * scale, 240 * scale))).shape == outline.rim_HW.shape


def test_the_edge_of_the_picture_is_no_outline() -> None:
    half_HW = np.zeros((200, 200), bool)
    half_HW[:, :100] = True
    outline = outline_of(half_HW)
    assert outline is not None
    assert (np.nonzero(outline.rim_HW)[1] > 80).all()
    assert np.allclose(outline.outward_N2, (1, 0), atol=1e-6)


@pytest.mark.parametrize("mask", [np.zeros((90, 90), bool), np.ones((90, 90), bool), disc(90, 90, 3)])
def test_masks_that_say_nothing(mask: np.ndarray) -> None:
    assert outline_of(mask) is None


def test_agreement() -> None:
    outward_N = np.linspace(-1, 1, 200)
    assert agreement(outward_N * 3, outward_N) == pytest.approx(1)
    assert agreement(-outward_N, outward_N) == pytest.approx(-1)
    assert agreement(np.abs(outward_N), outward_N) == pytest.approx(0, abs=1e-9)
    assert agreement(np.full(200, np.nan), outward_N) is None
    assert agreement(outward_N[:9], outward_N[:9]) is None
