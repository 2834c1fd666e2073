"""A task head at inference, item by item and strip by strip: one full map alive instead of three.

In: feature map (B,C,h,w) and the head's convolutions. Out: what the head's plain path gives, up to rounding.

An instance norm needs the statistics of a whole map before any of it can be used. So every stage reads the map before
it strip by strip, normalises and activates the strip, multiplies it, and writes the product where that map was; the
product's mean and variance are taken while it is in cache. All maps lie at the end of one buffer, which serves every
stage and every item. Matrix products dominate time, the last map memory.
"""

# Shape suffixes: B items, C D input and output width, K output channels, H W output size, h w input size, P pixels in
# row order, N pixels of a strip, S strips; 4 taps of a 2x2 neighbourhood, a upper and lower output rows.

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import reduce

import torch
from torch import Tensor, nn
from torch.nn import functional as F

NORM_EPS = 1e-5
"""Of the instance norms (published configuration)."""

CPU_STRIP_BYTES = 8 * 2**20
"""Float32 bytes of a strip on a CPU: few enough to stay in cache from one pass over it to the next, enough rows for
matrix products at their full rate. Between 2 and 16 MiB the time hardly changes; a prediction on fake tensors takes the
longer the smaller strips are."""

DEVICE_STRIP_BYTES = 64 * 2**20
"""The same elsewhere: a strip must fill the device, and every pass costs a launch. Not measured."""


class _Work:
    """Float32 scratch for one strip, shared by everything that takes turns."""

    def __init__(self, like: Tensor) -> None:
        self._flat = like.new_empty(0, dtype=torch.float32)
        self._strip_bytes = CPU_STRIP_BYTES if like.device.type == "cpu" else DEVICE_STRIP_BYTES

    def pixels(self, channels: int) -> int:
        """How many pixels of this width make a strip."""
        return max(1, self._strip_bytes // (4 * channels))

    def block(self, pixels: int, channels: int) -> Tensor:
        """Undefined float32 (pixels, channels), until the next call."""
        if pixels * channels > self._flat.numel():
            self._flat = self._flat.new_empty(pixels * channels)
        return self._flat[: pixels * channels].view(pixels, channels)


@dataclass(frozen=True, kw_only=True, slots=True)
class _Map:
    """A stage's output before its norm, or the head's input; normalised and activated only where it is read."""

    pixels_PC: Tensor
    height: int
    width: int
    mean_C: Tensor | None = None
    """Float32, as `rstd_C`; None: to be read as it is."""
    rstd_C: Tensor | None = None

    @property
    def channels(self) -> int:
        """Width of a pixel."""
        return self.pixels_PC.shape[1]

    def read(self, first: int, out_NC: Tensor, work: _Work) -> None:
        """Fill `out_NC` with the pixels from `first` on, normalised and activated in float32."""
        strip_NC = self.pixels_PC[first : first + out_NC.shape[0]]
        if self.mean_C is None or self.rstd_C is None:
            out_NC.copy_(strip_NC)
            return
        exact_NC = out_NC if out_NC.dtype == torch.float32 else work.block(*out_NC.shape)
        torch.sub(_float32(strip_NC, exact_NC), self.mean_C, out=exact_NC).mul_(self.rstd_C)
        F.silu(exact_NC, inplace=True)
        if exact_NC is not out_NC:
            out_NC.copy_(exact_NC)


class _Moments:
    """Mean and variance of a map whose pixels come strip by strip, in any order; float32."""

    def __init__(self, work: _Work) -> None:
        self._work = work
        self._counts: list[int] = []
        self._means: list[Tensor] = []
        self._squares: list[Tensor] = []

    def add(self, pixels_PC: Tensor) -> None:
        """Take in finished pixels."""
        for strip_NC in pixels_PC.split(self._work.pixels(pixels_PC.shape[1])):
            work_NC = self._work.block(*strip_NC.shape)
            exact_NC = _float32(strip_NC, work_NC)
            mean_C = exact_NC.mean(0)
            self._counts.append(strip_NC.shape[0])
            self._means.append(mean_C)
            self._squares.append(torch.sub(exact_NC, mean_C, out=work_NC).mul_(work_NC).sum(0))

    def merged(self) -> tuple[Tensor, Tensor]:
        """Mean and reciprocal deviation (C) of all pixels, by the formula of Chan, Golub and LeVeque for many parts."""
        mean_SC = torch.stack(self._means)
        count_S1 = torch.tensor(self._counts, dtype=torch.float32, device=mean_SC.device)[:, None]
        total = sum(self._counts)
        mean_C = (mean_SC * (count_S1 / total)).sum(0)
        between_C = ((mean_SC - mean_C).square() * count_S1).sum(0)
        variance_C = (torch.stack(self._squares).sum(0) + between_C) / total
        return mean_C, (variance_C + NORM_EPS).rsqrt()


@torch.no_grad()
def stream_head(
    deconvs: Sequence[nn.ConvTranspose2d], convs: Sequence[nn.Conv2d], final: nn.Conv2d, x_BChw: Tensor
) -> Tensor:
    """Deconvolutions (4x4, stride 2, padding 1), then 1x1 convolutions, each with norm and SiLU; a linear 1x1 last.

    Every product is computed in its weight's type, maps are kept in the widest of those (the last convolution's
    excepted), statistics, norm and SiLU are float32. Biases before a norm are left out: it would subtract them again.
    Only weights are read; hooks of these modules do not run.

    Returns:
        (B,K,h*2^D,w*2^D) for D deconvolutions, contiguous, in the type of the last weight, without gradients.
    """
    batch, _, height, width = x_BChw.shape
    scale = 2 ** len(deconvs)
    out_hw = (height * scale, width * scale)
    out_shape = (batch, final.out_channels, *out_hw)
    grown = [layer.out_channels * 4**stage * height * width for stage, layer in enumerate(deconvs, start=1)]
    mixed = [layer.out_channels * math.prod(out_hw) for layer in convs]
    dtypes = [layer.weight.dtype for layer in (*deconvs, *convs)] or [final.weight.dtype]
    room = x_BChw.new_empty(max((*grown, *mixed, 0)), dtype=reduce(torch.promote_types, dtypes))
    work = _Work(x_BChw)
    out_BKHW: Tensor | None = None
    for item in range(batch):
        part = _Map(pixels_PC=x_BChw[item].permute(1, 2, 0).flatten(0, 1), height=height, width=width)
        for deconv in deconvs:
            part = _deconvolve(deconv, part, room, work)
        for conv in convs:
            part = _mix(conv, part, room, work)
        if out_BKHW is None:  # not before it is needed: the stages' own scratch is gone by now
            out_BKHW = x_BChw.new_empty(out_shape, dtype=final.weight.dtype)
        _finish(final, part, out_BKHW[item].flatten(1), work)
    return x_BChw.new_empty(out_shape, dtype=final.weight.dtype) if out_BKHW is None else out_BKHW


def _deconvolve(layer: nn.ConvTranspose2d, source: _Map, room: Tensor, work: _Work) -> _Map:
    """A deconvolution as matrix products.

    Input rows r, r+1 and columns j, j+1 are all that the outputs at rows 2r+1, 2r+2 and columns 2j+1, 2j+2 see. These
    neighbourhoods, r and j from -1 on, are gathered once and multiplied twice: for the upper and the lower output rows.
    Input rows that are still to be read lie after the output rows made so far, so both maps may end at the same place.
    """
    height, width, wide, narrow = source.height, source.width, source.channels, layer.out_channels
    if wide > 4 * narrow:  # the output would overtake what is still to be read
        source = replace(source, pixels_PC=source.pixels_PC.clone())
    weight_4CaD = _quad_weight(layer.weight)
    target_PD = _tail(room, 4 * height * width, narrow)
    target_rows = target_PD.view(2 * height, 2 * width * narrow)
    # A neighbourhood holds four pixels, so half a strip of them is still much.
    rows = min(height + 1, max(1, work.pixels(2 * max(wide, narrow)) // (width + 1)))
    quads = _Quads(source, rows, weight_4CaD)
    made = weight_4CaD.new_empty(rows * (width + 1), 2 * narrow)
    moments = _Moments(work)
    for first in range(-1, height, rows):
        count = min(rows, height - first)
        quads_N4C = quads.gather(first, count, work)
        for lower in (0, 1):
            made_ND = made[: quads_N4C.shape[0]]
            _multiply(quads_N4C, weight_4CaD[:, lower], made_ND)
            top = 2 * first + 1 + lower
            skip, keep = int(top < 0), count - int(top + 2 * count > 2 * height + 1)
            inner = made_ND.view(count, 2 * (width + 1) * narrow)[skip:keep, narrow:-narrow]
            target_rows[top + 2 * skip : top + 2 * keep : 2].copy_(inner)
        done = max(0, 2 * first + 1), min(2 * height, 2 * (first + count) + 1)
        moments.add(target_PD[done[0] * 2 * width : done[1] * 2 * width])
    mean_C, rstd_C = moments.merged()
    return _Map(pixels_PC=target_PD, height=2 * height, width=2 * width, mean_C=mean_C, rstd_C=rstd_C)


class _Quads:
    """2x2 neighbourhoods of a map, zeros outside it, some rows at a time from the top to the bottom."""

    def __init__(self, source: _Map, rows: int, like: Tensor) -> None:
        self._source, self._rows = source, rows
        self._lines = like.new_zeros(rows + 1, source.width, source.channels)
        self._quads = like.new_zeros(rows, source.width + 1, 2, 2, source.channels)

    def gather(self, first: int, count: int, work: _Work) -> Tensor:
        """Rows first .. first+count-1, columns -1 .. w-1: (count*(w+1), 4C), C within (row r+1 or r, column j+1 or j).

        The row `first`, which the neighbourhoods before saw, too, is kept from there: in the map it may be overwritten.
        """
        lines, quads, width = self._lines, self._quads, self._source.width
        if first >= 0:
            lines[0].copy_(lines[self._rows])
        inside = min(count, self._source.height - 1 - first)
        if inside > 0:
            self._source.read((first + 1) * width, lines[1 : inside + 1].flatten(0, 1), work)
        if inside < count:
            lines[inside + 1].zero_()
        for below in (0, 1):
            quads[:count, :width, 1 - below, 0].copy_(lines[below : below + count])
            quads[:count, 1:, 1 - below, 1].copy_(lines[below : below + count])
        return quads[:count].view(count * (width + 1), 4 * self._source.channels)


def _quad_weight(weight_CD44: Tensor) -> Tensor:
    """(C,D,4,4) -> (4C,2,2D): rows as `_Quads` has its columns, then the lower output row or not, then (right, D).

    Output row 2r+1+a takes input row r+i through tap 2(1-i)+a, so the taps split into (1-i, a) in their own order.
    """
    wide, narrow = weight_CD44.shape[:2]
    taps = weight_CD44.unflatten(3, (2, 2)).unflatten(2, (2, 2))
    return taps.permute(2, 4, 0, 3, 5, 1).reshape(4 * wide, 2, 2 * narrow)


def _mix(layer: nn.Conv2d, source: _Map, room: Tensor, work: _Work) -> _Map:
    """A 1x1 convolution in place: from the first pixel on where maps widen, else from the last, none is overtaken."""
    pixels, wide, narrow = source.height * source.width, source.channels, layer.out_channels
    weight_CD = layer.weight.flatten(1).t()
    target_PD = _tail(room, pixels, narrow)
    count = min(pixels, work.pixels(max(wide, narrow)))
    strip_NC = weight_CD.new_empty(count, wide)
    moments = _Moments(work)
    starts = range(0, pixels, count)
    for first in starts if narrow > wide else reversed(starts):
        held_NC = strip_NC[: min(count, pixels - first)]
        source.read(first, held_NC, work)
        made_ND = target_PD[first : first + held_NC.shape[0]]
        _multiply(held_NC, weight_CD, made_ND)
        moments.add(made_ND)
    mean_C, rstd_C = moments.merged()
    return _Map(pixels_PC=target_PD, height=source.height, width=source.width, mean_C=mean_C, rstd_C=rstd_C)


def _finish(layer: nn.Conv2d, source: _Map, out_KP: Tensor, work: _Work) -> None:
    """The last, linear 1x1 convolution, channels first."""
    weight_KC = layer.weight.flatten(1)
    bias_K1 = weight_KC.new_zeros(weight_KC.shape[0], 1) if layer.bias is None else layer.bias[:, None]
    count = min(out_KP.shape[1], work.pixels(max(weight_KC.shape)))
    strip_NC = weight_KC.new_empty(count, source.channels)
    for first in range(0, out_KP.shape[1], count):
        held_NC = strip_NC[: min(count, out_KP.shape[1] - first)]
        source.read(first, held_NC, work)
        torch.addmm(bias_K1, weight_KC, held_NC.t(), out=out_KP[:, first : first + held_NC.shape[0]])


def _tail(room: Tensor, pixels: int, channels: int) -> Tensor:
    return room[room.numel() - pixels * channels :].view(pixels, channels)


def _float32(strip_NC: Tensor, work_NC: Tensor) -> Tensor:
    """The strip itself, or its float32 copy in `work_NC`: subtracting across types is slower than copying first."""
    return strip_NC if strip_NC.dtype == torch.float32 else work_NC.copy_(strip_NC)


def _multiply(a_NC: Tensor, b_CD: Tensor, out_ND: Tensor) -> None:
    if out_ND.dtype == b_CD.dtype:
        torch.mm(a_NC, b_CD, out=out_ND)
    else:
        out_ND.copy_(torch.mm(a_NC, b_CD))
