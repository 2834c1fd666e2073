"""Target heat maps: their peak, their window, and which keypoints count."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from vitruvian.tasks.encode import encode_heatmaps

INPUT_HW, HEAT_HW, SIGMA = (161, 121), (41, 31), 2.0


def encode_one(x: float, y: float, visible: float = 1.0) -> tuple[np.ndarray, float]:
    """Map and weight of one keypoint; four network pixels are one step of the map."""
    maps, weights = encode_heatmaps(
        torch.tensor([[[x, y]]]), torch.tensor([[visible]]), input_hw=INPUT_HW, heat_hw=HEAT_HW, sigma=SIGMA
    )
    return maps[0, 0].numpy(), float(weights[0, 0])


@pytest.mark.parametrize(("x", "y"), [(40.0, 60.0), (41.2, 63.9), (0.0, 160.0)])
def test_values_are_a_gaussian_cut_to_three_sigma(x: float, y: float) -> None:
    map_HW, weight = encode_one(x, y)
    cx, cy = x / 4, y / 4
    rows, columns = np.mgrid[: HEAT_HW[0], : HEAT_HW[1]]
    expected = np.exp(-((columns - cx) ** 2 + (rows - cy) ** 2) / (2 * SIGMA**2))
    expected[(abs(rows - round(cy)) > 6) | (abs(columns - round(cx)) > 6)] = 0
    np.testing.assert_allclose(map_HW, expected, atol=1e-5)
    assert weight == 1


@pytest.mark.parametrize(
    ("x", "y", "visible", "weight"),
    [
        (40, 60, 0, 0),
        (-23.9, 60, 1, 1),
        (-27, 60, 1, 0),
        (149, 60, 1, 0),
        (40, 500, 1, 0),
        (float("nan"), 60, 1, 0),
        (float("nan"), float("nan"), 0, 0),
    ],
)
def test_what_does_not_count_has_an_empty_map(x: float, y: float, visible: float, weight: float) -> None:
    map_HW, found = encode_one(x, y, visible)
    assert found == weight
    assert (map_HW.max() > 0) == bool(weight)
    assert np.isfinite(map_HW).all()
