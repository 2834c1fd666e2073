"""Heat maps to sub-pixel keypoints, for all persons and keypoints at once, on the device that made them.

heat (B,K,h,w) -> (B,K,3): x, y in network pixels and the peak value. The method is DARK ("Distribution-aware coordinate
representation", 2020) with the unbiased coordinates of UDP ("The devil is in the details", 2020), as published: blur,
logarithm, one Newton step from the peak. Reading the maps once for their peaks dominates; only the 13x13 window round a
peak is blurred, since the step looks at nothing else. No data-dependent control flow, so it can be exported.
"""

# Shape suffixes: B persons, K keypoints, N = B*K maps, H W heat-map size, S = 13 window side, T = S*S, 3 = the peak
# and its neighbours.

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

BLUR_TAPS = 11
BLUR_SIGMA = 2.0
"""0.3 * ((11 - 1) / 2 - 1) + 0.8, the customary width for 11 taps."""

CLIP = (1e-3, 50.0)
"""Bounds of the blurred map before the logarithm."""

MAX_SHIFT = 2.0
"""Longest refinement per axis, in heat-map pixels.

The published step has no bound: on maps of pure noise the curvature vanishes and the step leaves the picture (hundreds
of pixels were measured). A real peak lies within one pixel of its arg-max; noise and blurring add less than another.
"""

_EPS = 1.1920928955078125e-07
"""Added to the diagonal of the Hessian: the spacing of float32 at one."""

_SIDE = BLUR_TAPS + 2


def decode_heatmaps(
    heat_BKHW: Tensor,
    input_hw: tuple[int, int],
    *,
    rescale: Literal["window", "map"] = "window",
    max_shift: float = MAX_SHIFT,
) -> Tensor:
    """Return float32 (B,K,3): x and y in network pixels (`input_hw` / heat-map size apart), and the raw peak value.

    The location is NaN where the peak is not above zero (or not a number): such a map shows no keypoint.

    `rescale` says which maximum the blurred map is scaled to the peak with before clipping. The scale cancels in the
    derivatives of a logarithm, so it decides nothing unless a value within one pixel of the peak is clipped: a peak
    that is faint, needle-sharp or above 50. "window" takes the maximum next to the peak, which is the map's own
    whenever the map has one blob. "map" blurs whole maps for their true maximum, as published, at many times the cost;
    it is there to compare with the published method on arbitrary maps. `max_shift` is in heat-map pixels.
    """
    keypoints, height, width = heat_BKHW.shape[1:]
    heat_NHW = heat_BKHW.to(torch.float32).flatten(0, 1)
    score_N, y_N, x_N = _peaks(heat_NHW)
    near_N33 = _blur_near(heat_NHW, y_N, x_N)
    top_N = near_N33.amax(dim=(1, 2)).clamp_min(0) if rescale == "window" else _blurred_maximum(heat_NHW)
    shift_N2 = _newton_shift(_log_scaled(near_N33, score_N, top_N), max_shift)
    peak_N2 = torch.stack([x_N, y_N], dim=1).to(shift_N2.dtype)
    to_input = torch.tensor(
        [input_hw[1] / (width - 1), input_hw[0] / (height - 1)], dtype=shift_N2.dtype, device=heat_NHW.device
    )
    xy_N2 = ((peak_N2 + shift_N2) * to_input).to(torch.float32)
    xy_N2 = torch.where((score_N > 0)[:, None], xy_N2, torch.nan)
    return torch.cat([xy_N2, score_N[:, None]], dim=1).unflatten(0, (-1, keypoints))


def flip_average(heat_BKHW: Tensor, heat_of_mirrored_BKHW: Tensor, flip_indices: Sequence[int]) -> Tensor:
    """Mean of the heat maps and those of the mirrored input: un-mirrored, left and right traded, no pixel shift."""
    order_K = torch.as_tensor(flip_indices, dtype=torch.int64, device=heat_BKHW.device)
    unmirrored_BKHW = heat_of_mirrored_BKHW.to(torch.float32).flip(-1).index_select(1, order_K)
    return (heat_BKHW.to(torch.float32) + unmirrored_BKHW) * 0.5


def to_source(
    xy_K2: np.ndarray, centre_xy: Sequence[float], size_wh: Sequence[float], input_hw: Sequence[int]
) -> np.ndarray:
    """Network pixels -> source pixels in float64: p / (w, h) * size + centre - size / 2.

    Together with the scaling by size / (map - 1) of the decoder this is the exact inverse of the crop, whose formula
    counts size - 1 steps; neither may be "corrected" alone.
    """
    input_wh, size, centre = (np.asarray(v, np.float64) for v in ((input_hw[1], input_hw[0]), size_wh, centre_xy))
    return np.asarray(xy_K2, np.float64) / input_wh * size + centre - size / 2


def _peaks(heat_NHW: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Value, row and column of each map's first maximum in row-major order.

    Row maxima first: they reduce contiguous memory without carrying indices, which a flat arg-max cannot.
    """
    row_top_NH = heat_NHW.amax(dim=2)
    y_N = row_top_NH.argmax(dim=1)
    row_NW = heat_NHW.gather(1, y_N[:, None, None].expand(-1, 1, heat_NHW.shape[2]))[:, 0]
    x_N = row_NW.argmax(dim=1)
    return row_NW.gather(1, x_N[:, None])[:, 0], y_N, x_N


def _taps(device: torch.device) -> Tensor:
    offsets = torch.arange(BLUR_TAPS, dtype=torch.float64, device="cpu") - (BLUR_TAPS - 1) / 2
    taps = torch.exp(-(offsets**2) / (2 * BLUR_SIGMA**2))
    return (taps / taps.sum()).to(device=device, dtype=torch.float32)


def _blur_near(heat_NHW: Tensor, y_N: Tensor, x_N: Tensor) -> Tensor:
    """Blurred values at the peak and its eight neighbours (N,3,3); zeros outside the map, edges repeated outward."""
    height, width = heat_NHW.shape[1:]
    device = heat_NHW.device
    reach = torch.arange(_SIDE, device=device) - _SIDE // 2
    offset_T = (reach[:, None] * width + reach).flatten()
    flat_NT = ((y_N * width + x_N)[:, None] + offset_T).clamp(0, height * width - 1)
    row_inside_NS = _inside(height, reach).index_select(0, y_N)
    column_inside_NS = _inside(width, reach).index_select(0, x_N)
    inside_NSS = row_inside_NS[:, :, None] & column_inside_NS[:, None, :]
    window_NT = torch.where(inside_NSS.flatten(1), heat_NHW.flatten(1).gather(1, flat_NT), 0.0)
    # Both passes of the separable blur in one small matrix product over all maps.
    band_3S = torch.stack([functional.pad(_taps(device), (i, 2 - i)) for i in range(3)])
    near_N33 = (window_NT @ torch.kron(band_3S, band_3S).T).unflatten(1, (3, 3))
    near_N33 = _repeat_edge(near_N33, y_N, height, dim=1)
    return _repeat_edge(near_N33, x_N, width, dim=2)


def _inside(length: int, reach: Tensor) -> Tensor:
    """Which places of a window lie on the map, for every position of its middle: (length,S)."""
    index_LS = torch.arange(length, device=reach.device)[:, None] + reach
    return (index_LS >= 0) & (index_LS < length)


def _repeat_edge(near_N33: Tensor, position_N: Tensor, length: int, dim: int) -> Tensor:
    """Neighbours beyond the map's edge take the value of the edge itself."""
    before, here, after = near_N33.unbind(dim)
    at_start, at_end = (position_N == 0)[:, None], (position_N == length - 1)[:, None]
    return torch.stack([torch.where(at_start, here, before), here, torch.where(at_end, here, after)], dim)


def _log_scaled(near_N33: Tensor, score_N: Tensor, top_N: Tensor) -> Tensor:
    """Logarithm of the blurred values after scaling `top_N` to the peak's value and clipping; float64 where it exists.

    A maximum of zero (no positive blurred value next to the peak) clips all values to the lower bound, as the published
    method does when the map has a positive one elsewhere: the step is zero.
    """
    # One device family has no float64; there the step is taken in float32.
    wide = torch.float32 if near_N33.device.type == "mps" else torch.float64
    scale_N = torch.where(top_N != 0, score_N / top_N, 0.0)
    return (near_N33 * scale_N[:, None, None]).clamp(*CLIP).log().to(wide)


def _newton_shift(log_N33: Tensor, max_shift: float) -> Tensor:
    """-(H + eps I)^-1 g at the middle of each 3x3 patch, (N,2) as x, y; each axis within +-`max_shift`."""
    (nw, n, _), (w, c, e), (_, s, se) = ([log_N33[:, i, j] for j in range(3)] for i in range(3))
    gx, gy = (e - w) / 2, (s - n) / 2
    hxx, hyy = e - 2 * c + w + _EPS, s - 2 * c + n + _EPS
    hxy = (se - e - s + 2 * c - w - n + nw) / 2
    determinant = hxx * hyy - hxy * hxy
    dx = (hxy * gy - hyy * gx) / determinant
    dy = (hxy * gx - hxx * gy) / determinant
    shift_N2 = torch.stack([dx, dy], dim=1)
    return torch.where(shift_N2.isfinite(), shift_N2, 0.0).clamp(-max_shift, max_shift)


def _blurred_maximum(heat_NHW: Tensor) -> Tensor:
    """Maximum of each whole blurred map, by two banded matrix products, a few maps at a time."""
    height, width = heat_NHW.shape[1:]
    down_HH, across_WW = (_band(size, heat_NHW.device) for size in (height, width))
    tops = [(down_HH @ maps @ across_WW).amax(dim=(1, 2)) for maps in heat_NHW.split(32)]
    return torch.cat(tops) if tops else heat_NHW.new_zeros(0)


def _band(size: int, device: torch.device) -> Tensor:
    """Square matrix that blurs a line of this length, zeros beyond its ends."""
    padded = torch.stack([functional.pad(_taps(device), (i, size - 1 - i)) for i in range(size)])
    return padded[:, BLUR_TAPS // 2 : BLUR_TAPS // 2 + size]
