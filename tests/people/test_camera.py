"""Cameras on finer and coarser grids."""

from __future__ import annotations

import pytest

from vitruvian.people import Camera


@pytest.mark.parametrize("factor", [1, 2, 3])
def test_a_coarser_grid_undoes_a_finer_one(factor: int) -> None:
    camera = Camera(focal_px=80.0, cx=20.3, cy=11.0, height=24, width=40)
    again = camera.scaled(factor).coarsened(factor)
    assert (again.height, again.width) == (24, 40)
    assert (again.focal_px, again.cx, again.cy) == pytest.approx((80.0, 20.3, 11.0))
    assert Camera(focal_px=80.0, cx=0.0, cy=0.0, height=25, width=40).coarsened(3).height == 9
