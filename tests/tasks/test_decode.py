"""The windowed decoder against a plain whole-map rendering of the same formula, and its behaviour on bad maps."""

from __future__ import annotations

from math import inf

import cv2
import numpy as np
import pytest
import torch

from tolerances import DECODE_PX
from vitruvian.tasks.decode import MAX_SHIFT, decode_heatmaps, flip_average, to_source
from vitruvian.tasks.encode import encode_heatmaps

HEAT_HW, INPUT_HW = (40, 30), (160, 120)
STEP_XY = np.array([INPUT_HW[1] / (HEAT_HW[1] - 1), INPUT_HW[0] / (HEAT_HW[0] - 1)])


def whole_map_decode(heat_HW: np.ndarray) -> np.ndarray:
    """Location in network pixels by blurring the whole map, without any bound."""
    blurred_HW = cv2.GaussianBlur(heat_HW, (11, 11), 0, borderType=cv2.BORDER_CONSTANT)
    blurred_HW = blurred_HW * (heat_HW.max() / blurred_HW.max())
    y, x = np.unravel_index(heat_HW.argmax(), heat_HW.shape)
    log_33 = np.pad(np.log(np.clip(blurred_HW, 1e-3, 50)), 1, mode="edge")[y : y + 3, x : x + 3].astype(np.float64)
    gradient = np.array([log_33[1, 2] - log_33[1, 0], log_33[2, 1] - log_33[0, 1]]) / 2
    middle = log_33[1, 1]
    hxx, hyy = (line[0] - 2 * middle + line[2] for line in (log_33[1], log_33[:, 1]))
    neighbours = log_33[1, 0] + log_33[1, 2] + log_33[0, 1] + log_33[2, 1]
    hxy = (log_33[2, 2] + log_33[0, 0] + 2 * middle - neighbours) / 2
    hessian = np.array([[hxx, hxy], [hxy, hyy]]) + np.eye(2) * np.finfo(np.float32).eps
    return (np.array([x, y]) - np.linalg.solve(hessian, gradient)) * STEP_XY


def blob(x: float, y: float, height: float = 0.9, sigma: float = 2.5) -> np.ndarray:
    rows, columns = np.mgrid[: HEAT_HW[0], : HEAT_HW[1]]
    return (height * np.exp(-((columns - x) ** 2 + (rows - y) ** 2) / (2 * sigma**2))).astype(np.float32)


def decode_one(heat_HW: np.ndarray, **options: object) -> np.ndarray:
    return decode_heatmaps(torch.from_numpy(heat_HW)[None, None], INPUT_HW, **options)[0, 0].numpy()  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "centre", [(12.3, 20.8), (0.2, 0.3), (29.0, 39.0), (0.0, 17.4), (28.7, 3.1), (14.0, 38.6), (5.5, 5.5)]
)
def test_blobs_anywhere_agree_with_whole_map_blurring(centre: tuple[float, float]) -> None:
    rng = np.random.default_rng(3)
    heat_HW = blob(*centre) + rng.uniform(0.01, 0.03, HEAT_HW).astype(np.float32)
    expected = whole_map_decode(heat_HW)
    for options in ({}, {"rescale": "map", "max_shift": inf}):
        np.testing.assert_allclose(decode_one(heat_HW, **options)[:2], expected, atol=DECODE_PX)


def test_encoded_keypoints_come_back() -> None:
    xy_BK2 = torch.tensor([[[30.0, 50.0], [61.7, 99.2], [100.4, 20.1]]])
    heat_BKHW, _ = encode_heatmaps(xy_BK2, torch.ones(1, 3), input_hw=INPUT_HW, heat_hw=HEAT_HW, sigma=2.0)
    points_BK3 = decode_heatmaps(heat_BKHW, INPUT_HW)
    # Encoding counts size - 1 steps, decoding size: undo it before comparing (see `to_source`).
    ratio = torch.tensor([(INPUT_HW[1] - 1) / INPUT_HW[1], (INPUT_HW[0] - 1) / INPUT_HW[0]])
    torch.testing.assert_close(points_BK3[..., :2] * ratio, xy_BK2, atol=0.02, rtol=0)


def test_first_maximum_in_row_major_order_wins() -> None:
    heat_HW = np.zeros(HEAT_HW, np.float32)
    heat_HW[[8, 8, 20], [25, 4, 1]] = 0.5
    x, y, score = decode_one(heat_HW)
    np.testing.assert_allclose((x, y, score), (4 * STEP_XY[0], 8 * STEP_XY[1], 0.5), rtol=1e-5)


@pytest.mark.parametrize("value", [-0.25, 0.0, float("nan")])
def test_maps_without_a_positive_value_carry_no_location(value: float) -> None:
    x, y, score = decode_one(np.full(HEAT_HW, value, np.float32))
    assert np.isnan(x)
    assert np.isnan(y)
    np.testing.assert_equal(score, np.float32(value))


def test_noise_stays_within_the_bound() -> None:
    rng = np.random.default_rng(0)
    heat_BKHW = torch.from_numpy(rng.normal(0, 2e-3, (4, 50, *HEAT_HW)).astype(np.float32))
    bounded = decode_heatmaps(heat_BKHW, INPUT_HW)
    flat = heat_BKHW.flatten(2).argmax(2)
    peak_xy = torch.stack([flat % HEAT_HW[1], flat // HEAT_HW[1]], dim=2) * torch.from_numpy(STEP_XY)
    moved = (bounded[..., :2] - peak_xy).abs() / torch.from_numpy(STEP_XY)
    assert bounded.isfinite().all()
    assert moved.max() <= MAX_SHIFT + 1e-4


def test_the_bound_holds_back_a_step_that_would_run_away() -> None:
    heat_HW = blob(15, 20, 0.4, 9) + blob(19, 20, 0.4, 9)
    heat_HW[20, 8] = 1.0
    free, held = (decode_one(heat_HW, max_shift=bound) for bound in (inf, MAX_SHIFT))
    assert abs(free[0] / STEP_XY[0] - 8) > MAX_SHIFT
    assert held[0] / STEP_XY[0] == pytest.approx(8 + MAX_SHIFT)


def test_where_the_windowed_rescaling_matters_and_where_not() -> None:
    needle = np.full(HEAT_HW, 1e-5, np.float32)
    needle[5, 5], needle[5, 6] = 0.02, 0.004
    broad = needle + blob(21, 31, 0.019, 6)
    broad[5, 5] = 0.02
    # The needle's blurred values lie around the lower clip: scaled by their own maximum they stay above it.
    np.testing.assert_allclose(decode_one(needle)[:2], decode_one(needle, rescale="map")[:2], atol=1e-4)
    # With a higher blurred blob elsewhere the true scale is smaller and clipping sets in: the two differ there...
    assert not np.allclose(decode_one(broad)[:2], decode_one(broad, rescale="map")[:2], atol=1e-3)
    np.testing.assert_allclose(decode_one(broad, rescale="map")[:2], whole_map_decode(broad), atol=DECODE_PX)
    # ... and nowhere else: ten times higher nothing is clipped and the same shape decodes alike.
    high = broad * 10
    np.testing.assert_allclose(decode_one(high)[:2], decode_one(high, rescale="map")[:2], atol=1e-4)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_low_precision_maps_are_decoded_in_float32(dtype: torch.dtype) -> None:
    heat = torch.from_numpy(blob(12.3, 20.8))[None, None].to(dtype)
    torch.testing.assert_close(decode_heatmaps(heat, INPUT_HW), decode_heatmaps(heat.float(), INPUT_HW))


def test_decoding_exports_with_any_batch() -> None:
    class Decoder(torch.nn.Module):
        def forward(self, heat_BKHW: torch.Tensor) -> torch.Tensor:
            return decode_heatmaps(heat_BKHW, INPUT_HW)

    rng = np.random.default_rng(1)
    heat = torch.from_numpy(rng.uniform(-0.1, 1, (5, 3, *HEAT_HW)).astype(np.float32))
    batch = torch.export.Dim("batch", min=1, max=64)
    program = torch.export.export(Decoder(), (heat[:2],), dynamic_shapes=({0: batch},))
    for count in (1, 2, 5):
        torch.testing.assert_close(program.module()(heat[:count]), decode_heatmaps(heat[:count], INPUT_HW))


def test_flip_average_undoes_mirroring_and_trades_channels() -> None:
    heat = torch.rand(2, 3, 4, 5)
    order = [0, 2, 1]
    mirrored = heat[:, order].flip(-1)
    torch.testing.assert_close(flip_average(heat, mirrored, order), heat)
    other = torch.rand(2, 3, 4, 5)
    averaged = flip_average(heat, other, order)
    torch.testing.assert_close(averaged[0, 1, 2, 0], (heat[0, 1, 2, 0] + other[0, 2, 2, 4]) / 2)


def test_to_source_maps_corners_of_the_crop() -> None:
    xy = to_source(np.array([[0, 0], [120, 160]]), (50, 40), (30, 20), INPUT_HW)
    np.testing.assert_allclose(xy, [[35, 30], [65, 50]])
