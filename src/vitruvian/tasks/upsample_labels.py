"""Class labels at source size from small logits, without the logits of all classes at source size.

logits (C,h,w) -> uint8 labels (H,W), equal to bilinear upsampling (half-pixel centres) followed by arg-max. Bilinear
interpolation is a convex mix of four corners: where all four agree on the winning class it wins in between, and a class
that another one beats at all four corners cannot win there. On the CPU whole cells are copied and only the classes that
can win are interpolated, in the border cells alone, a bounded number at a time; the labels themselves and two copies of
the small maps dominate the memory. Elsewhere a running maximum over classes holds a handful of one-class maps.
"""

# Shape suffixes: C classes, h w logits size, P = h*w, H W source size, L one of them, l one of h and w, N border cells
# (between four neighbouring logits), Q = 4 corners (upper left, upper right, lower left, lower right), M candidate
# classes of a cell, R S rows and columns of its pixels.

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import reduce

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

CHUNK_ELEMENTS = 32_000
"""Values an operation on border cells works on: 128 kB, which stays in a core's cache.

Torch spreads operations on 32768 elements and more over threads. On a busy machine each such spreading waits for a
thread to be scheduled, milliseconds for microseconds of work, and there are thousands of operations here.
"""

_SAFETY = 1e-6
"""Sixteen float32 roundings: rounding cannot close a lead that is larger than this share of the largest logit."""


def upsample_labels(logits_Chw: Tensor, source_hw: tuple[int, int]) -> Tensor:
    """uint8 (H,W) labels, equal to `interpolate(logits, source_hw, mode="bilinear").argmax(0)` in float32.

    Logits must be finite, of at most 256 classes; ties go to the lower class, as in arg-max.
    """
    logits_Chw = logits_Chw.detach().to(torch.float32).contiguous()
    if logits_Chw.device.type == "cpu":
        return _labels_by_cells(logits_Chw, source_hw)
    return _labels_by_classes(logits_Chw, source_hw)


def _labels_by_classes(logits_Chw: Tensor, source_hw: tuple[int, int]) -> Tensor:
    """One class after the other against the best so far: exact on every device, since its own resize is used."""
    best_HW = _upsample_one(logits_Chw[0], source_hw)
    labels_HW = torch.zeros(source_hw, dtype=torch.uint8, device=logits_Chw.device)
    for label in range(1, logits_Chw.shape[0]):
        value_HW = _upsample_one(logits_Chw[label], source_hw)
        labels_HW.masked_fill_(value_HW > best_HW, label)
        torch.maximum(best_HW, value_HW, out=best_HW)
    return labels_HW


def _upsample_one(logits_hw: Tensor, source_hw: tuple[int, int]) -> Tensor:
    return functional.interpolate(logits_hw[None, None], source_hw, mode="bilinear", align_corners=False)[0, 0]


@dataclass(frozen=True, kw_only=True, slots=True)
class _Axis:
    """How one output axis samples its input axis, in the arithmetic of torch's own bilinear kernel."""

    low_L: Tensor
    """Input index left of (above) each output pixel, int64."""
    weight_L: Tensor
    """Weight of the next input index, float32; the low one weighs one minus this."""
    start_l: Tensor
    """First output pixel whose low index is this input index, or a later one."""
    count_l: Tensor
    """How many output pixels have this low index."""


def _axis(input_size: int, output_size: int) -> _Axis:
    if input_size == output_size:
        low_L, weight_L = torch.arange(output_size), torch.zeros(output_size)
    else:
        # float32 throughout, as in the kernel: positions in double would move the weights by 1e-5.
        ratio = torch.tensor(float(input_size)) / torch.tensor(float(output_size))
        centre_L = torch.arange(output_size, dtype=torch.float32) + 0.5
        position_L = torch.addcmul(torch.full_like(centre_L, -0.5), centre_L, ratio).clamp_min(0)
        low_L = position_L.to(torch.int64).clamp_max(input_size - 1)
        weight_L = (position_L - low_L).clamp(0, 1)
    count_l = torch.bincount(low_L, minlength=input_size)
    return _Axis(low_L=low_L, weight_L=weight_L, start_l=count_l.cumsum(0) - count_l, count_l=count_l)


def _labels_by_cells(logits_Chw: Tensor, source_hw: tuple[int, int]) -> Tensor:
    """Copy the label of cells with one possible winner, compute the others."""
    height, width = logits_Chw.shape[1:]
    down, across = _axis(height, source_hw[0]), _axis(width, source_hw[1])
    best_hw, label_hw = logits_Chw.max(dim=0)
    # A corner is settled when no other class comes near its winner; only then is copying certain to be exact.
    lowest, highest = logits_Chw.aminmax()
    margin = _SAFETY * torch.maximum(-lowest, highest)
    near_hw = (logits_Chw >= best_hw - margin).sum(dim=0, dtype=torch.int16)
    settled_hw = torch.where(near_hw == 1, label_hw, -1).to(torch.int16)
    beside_hw = torch.cat([settled_hw[:, 1:], settled_hw[:, -1:]], dim=1)
    row_hw = torch.where(settled_hw == beside_hw, settled_hw, -1)
    below_hw = torch.cat([row_hw[1:], row_hw[-1:]], dim=0)
    copied_hw = torch.where(row_hw == below_hw, row_hw, -1)
    used_hw = (down.count_l > 0)[:, None] & (across.count_l > 0)
    cell_N = ((copied_hw < 0) & used_hw).flatten().nonzero()[:, 0]
    labels_HW = copied_hw.to(torch.uint8).index_select(1, across.low_L).index_select(0, down.low_L)
    _fill_border(labels_HW, logits_Chw, label_hw, cell_N, down, across)
    return labels_HW


def _fill_border(
    labels_HW: Tensor, logits_Chw: Tensor, label_hw: Tensor, cell_N: Tensor, down: _Axis, across: _Axis
) -> None:
    """Compute the labels of these cells in place, grouped by how many classes can win in a cell."""
    classes, height, width = logits_Chw.shape
    logits_CP, label_P = logits_Chw.flatten(1), label_hw.flatten()
    for cells_N in cell_N.split(max(1, CHUNK_ELEMENTS // classes)):
        row_N, column_N = cells_N // width, cells_N % width
        right_N, lower_N = (column_N + 1).clamp_max(width - 1), (row_N + 1).clamp_max(height - 1)
        corner_Q = (cells_N, row_N * width + right_N, lower_N * width + column_N, lower_N * width + right_N)
        value_QCN = [logits_CP.index_select(1, corner_N) for corner_N in corner_Q]
        possible_CN = _possible_winners(value_QCN, [label_P.index_select(0, corner_N) for corner_N in corner_Q])
        count_N = possible_CN.sum(dim=0, dtype=torch.int16)
        for lowest, highest in _candidate_groups(classes):
            chosen_N = ((count_N >= lowest) & (count_N <= highest)).nonzero()[:, 0]
            if len(chosen_N):
                class_MN = _first_true(possible_CN.index_select(1, chosen_N), highest)
                cells = _Cells(
                    class_MN=class_MN,
                    value_QMN=[value_CN.index_select(1, chosen_N).gather(0, class_MN) for value_CN in value_QCN],
                    row_N=row_N.index_select(0, chosen_N),
                    column_N=column_N.index_select(0, chosen_N),
                )
                _fill_cells(labels_HW, cells, down, across)


def _candidate_groups(classes: int) -> list[tuple[int, int]]:
    """Ranges of candidate counts that are computed together: 1, 2, 3-4, 5-8, ... up to all classes."""
    groups, highest = [(1, 1)], 1
    while highest < classes:
        lowest, highest = highest + 1, min(2 * highest, classes)
        groups.append((lowest, highest))
    return groups


def _possible_winners(value_QCN: Sequence[Tensor], label_QN: Sequence[Tensor]) -> Tensor:
    """Which classes (C,N) can have the arg-max somewhere in the cell.

    A class is out when the winner of some corner beats it at all four corners: by any margin or none if the winner has
    the lower number (ties go to it), by more than rounding can undo otherwise.
    """
    margin_N = _SAFETY * reduce(torch.maximum, [value_CN.abs().amax(dim=0) for value_CN in value_QCN])
    number_C1 = torch.arange(value_QCN[0].shape[0])[:, None]
    possible_CN = torch.ones(value_QCN[0].shape, dtype=torch.bool)
    for winner_N in label_QN:
        leads_QCN = [value_CN.gather(0, winner_N[None]) - value_CN for value_CN in value_QCN]
        smallest_CN = reduce(torch.minimum, leads_QCN)
        beaten_CN = (smallest_CN >= 0) & (number_C1 > winner_N)
        possible_CN &= ~(beaten_CN | (smallest_CN > margin_N))
    return possible_CN


def _first_true(flag_CN: Tensor, count: int) -> Tensor:
    """Row numbers (count,N) of each column's true entries in ascending order; short columns end with false ones.

    The ascending order lets ties fall to the lower class. (numpy sorts on one thread, see `CHUNK_ELEMENTS`.)
    """
    order_NC = np.argsort(~flag_CN.numpy().T, axis=1, kind="stable")
    return torch.from_numpy(np.ascontiguousarray(order_NC[:, :count].T))


@dataclass(frozen=True, kw_only=True, slots=True)
class _Cells:
    """Border cells with the same number of candidates (short lists are filled up with classes that cannot win)."""

    class_MN: Tensor
    """Candidate classes of each cell, those that can win first and in ascending order."""
    value_QMN: Sequence[Tensor]
    """Their logits at the cell's corners, (M,N) each."""
    row_N: Tensor
    """Row of the cell's upper left corner in the logits."""
    column_N: Tensor
    """Column of the cell's upper left corner in the logits."""


def _fill_cells(labels_HW: Tensor, cells: _Cells, down: _Axis, across: _Axis) -> None:
    """Interpolate the candidates of these cells at all their pixels and write the winners in place."""
    rows, columns = int(down.count_l[cells.row_N].max()), int(across.count_l[cells.column_N].max())
    # Torch spreads scattered writes over threads however few they are (see CHUNK_ELEMENTS); numpy does not.
    labels_flat = labels_HW.numpy().reshape(-1)
    for part_N in torch.arange(len(cells.row_N)).split(max(1, CHUNK_ELEMENTS // (rows * columns))):
        y_NR = _pixels(down, cells.row_N.index_select(0, part_N), rows)
        x_NS = _pixels(across, cells.column_N.index_select(0, part_N), columns)
        label_NRS = _winner(
            cells.class_MN.index_select(1, part_N).to(torch.uint8),
            [value_MN.index_select(1, part_N) for value_MN in cells.value_QMN],
            down.weight_L.index_select(0, y_NR.flatten()).reshape(y_NR.shape),
            across.weight_L.index_select(0, x_NS.flatten()).reshape(x_NS.shape),
        )
        flat_NRS = y_NR[:, :, None] * labels_HW.shape[1] + x_NS[:, None, :]
        labels_flat[flat_NRS.numpy()] = label_NRS.numpy()


def _pixels(axis: _Axis, cell_N: Tensor, longest: int) -> Tensor:
    """Output pixels of each cell along one axis, (N,longest); short cells repeat their last pixel."""
    offset_NR = torch.arange(longest).minimum(axis.count_l.index_select(0, cell_N)[:, None] - 1)
    return axis.start_l.index_select(0, cell_N)[:, None] + offset_NR


def _winner(class_MN: Tensor, value_QMN: Sequence[Tensor], weight_y_NR: Tensor, weight_x_NS: Tensor) -> Tensor:
    """uint8 winning class (N,R,S) at each pixel; operations and their order are those of torch's kernel.

    Columns first, then rows: (a * (1-u) + b * u) * (1-v) + (c * (1-u) + d * u) * v. Whether a product and a sum round
    once or twice depends on the processor torch picked its kernels for; `addcmul` is compiled the same way, so it
    follows. (Torch's kernels for one thread, few channels and small maps differ among each other in the last bit;
    where the two best classes are that close, so do their labels.)
    """
    label_NRS = class_MN[0][:, None, None].repeat(1, weight_y_NR.shape[1], weight_x_NS.shape[1])
    if len(class_MN) == 1:
        return label_NRS
    v_NR1, rest_y_NR1 = weight_y_NR[:, :, None], 1 - weight_y_NR[:, :, None]
    rest_x_NS = 1 - weight_x_NS
    best_NRS = None
    for candidate, class_N in enumerate(class_MN):
        a, b, c, d = (value_MN[candidate][:, None] for value_MN in value_QMN)
        upper_NS = torch.addcmul(b * weight_x_NS, a, rest_x_NS)
        lower_NS = torch.addcmul(d * weight_x_NS, c, rest_x_NS)
        value_NRS = (lower_NS[:, None] * v_NR1).addcmul_(upper_NS[:, None], rest_y_NR1)
        if best_NRS is None:
            best_NRS = value_NRS
            continue
        better_NRS = value_NRS > best_NRS
        label_NRS = torch.where(better_NRS, class_N[:, None, None], label_NRS)
        best_NRS = torch.maximum(best_NRS, value_NRS)
    return label_NRS
