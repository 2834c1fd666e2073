"""Class labels at source size from small logits, without the logits of all classes at source size.

logits (C,h,w) -> uint8 labels (H,W), equal to bilinear upsampling (half-pixel centres) followed by arg-max. Bilinear
interpolation is a convex mix of four corners: where all four agree on the winning class it wins in between, and a class
that another one beats at all four corners cannot win there. On the CPU whole cells are copied and only the classes that
can win are interpolated, in the border cells alone, a bounded number at a time; the labels themselves and two copies of
the small maps dominate the memory. Elsewhere a running maximum over classes holds a handful of one-class maps.
"""

# Shape suffixes: C classes, h w logits size, H W source size, N border cells (between four neighbouring logits),
# Q = 4 corners (upper left, upper right, lower left, lower right), M candidate classes of a cell, R S pixels of a cell.

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

CHUNK_ELEMENTS = 1 << 19
"""Interpolated values held at a time: 2 MiB each for values and temporaries, which stays in a core's cache."""

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
    logits_PC = logits_Chw.flatten(1).T.contiguous()
    for cells_N in cell_N.split(max(1, CHUNK_ELEMENTS // (4 * classes))):
        row_N, column_N = cells_N // width, cells_N % width
        right_N, lower_N = (column_N + 1).clamp_max(width - 1), (row_N + 1).clamp_max(height - 1)
        corner_NQ = torch.stack(
            [cells_N, row_N * width + right_N, lower_N * width + column_N, lower_N * width + right_N], dim=1
        )
        corners_NQC = logits_PC[corner_NQ]
        possible_NC = _possible_winners(corners_NQC, label_hw.flatten()[corner_NQ])
        count_N = possible_NC.sum(dim=1)
        for lowest, highest in _candidate_groups(classes):
            chosen = ((count_N >= lowest) & (count_N <= highest)).nonzero()[:, 0]
            if len(chosen):
                _fill_cells(
                    labels_HW,
                    corners_NQC[chosen],
                    possible_NC[chosen],
                    highest,
                    row_N[chosen],
                    column_N[chosen],
                    down,
                    across,
                )


def _candidate_groups(classes: int) -> list[tuple[int, int]]:
    """Ranges of candidate counts that are computed together: 1, 2, 3-4, 5-8, ... up to all classes."""
    groups, highest = [(1, 1)], 1
    while highest < classes:
        lowest, highest = highest + 1, min(2 * highest, classes)
        groups.append((lowest, highest))
    return groups


def _possible_winners(corners_NQC: Tensor, label_NQ: Tensor) -> Tensor:
    """Which classes (N,C) can have the arg-max somewhere in the cell.

    A class is out when the winner of some corner beats it at all four corners: by any margin or none if the winner has
    the lower number (ties go to it), by more than rounding can undo otherwise.
    """
    classes = corners_NQC.shape[2]
    margin_N11 = _SAFETY * corners_NQC.abs().amax(dim=(1, 2), keepdim=True)
    number_C = torch.arange(classes)
    possible_NC = torch.ones(corners_NQC.shape[0], classes, dtype=torch.bool)
    for corner in range(4):
        winner_N = label_NQ[:, corner]
        lead_NQC = corners_NQC.gather(2, winner_N[:, None, None].expand(-1, 4, 1)) - corners_NQC
        smallest_NC = lead_NQC.amin(dim=1)
        beaten_NC = smallest_NC > margin_N11[:, 0]
        beaten_NC |= (smallest_NC >= 0) & (number_C > winner_N[:, None])
        possible_NC &= ~beaten_NC
    return possible_NC


def _fill_cells(
    labels_HW: Tensor,
    corners_NQC: Tensor,
    possible_NC: Tensor,
    candidates: int,
    row_N: Tensor,
    column_N: Tensor,
    down: _Axis,
    across: _Axis,
) -> None:
    """Interpolate the possible classes of these cells at all their pixels and write the winners in place."""
    # A stable sort puts the possible classes first, in ascending order, so that ties fall to the lower class.
    class_NM = possible_NC.logical_not().to(torch.uint8).sort(dim=1, stable=True).indices[:, :candidates]
    if candidates == 1:
        value_NQM = torch.zeros(len(row_N), 4, 1)
    else:
        value_NQM = corners_NQC.gather(2, class_NM[:, None, :].expand(-1, 4, -1))
    rows, columns = int(down.count_l[row_N].max()), int(across.count_l[column_N].max())
    step = max(1, CHUNK_ELEMENTS // (candidates * rows * columns))
    for part in torch.arange(len(row_N)).split(step):
        y_NR = _pixels(down, row_N[part], rows)
        x_NS = _pixels(across, column_N[part], columns)
        label_NRS = class_NM[part].gather(1, _winner(value_NQM[part], down.weight_L[y_NR], across.weight_L[x_NS]))
        flat_NRS = y_NR[:, :, None] * labels_HW.shape[1] + x_NS[:, None, :]
        labels_HW.view(-1)[flat_NRS.flatten()] = label_NRS.flatten().to(torch.uint8)


def _pixels(axis: _Axis, cell_N: Tensor, longest: int) -> Tensor:
    """Output pixels of each cell along one axis, (N,longest); short cells repeat their last pixel."""
    offset_NR = torch.arange(longest).minimum(axis.count_l[cell_N][:, None] - 1)
    return axis.start_l[cell_N][:, None] + offset_NR


def _winner(value_NQM: Tensor, weight_y_NR: Tensor, weight_x_NS: Tensor) -> Tensor:
    """Index (N,R*S) of the winning candidate at each pixel; operations and their order are those of torch's kernel.

    Columns first, then rows: (a * (1-u) + b * u) * (1-v) + (c * (1-u) + d * u) * v. Whether a product and a sum round
    once or twice depends on the processor torch picked its kernels for; `addcmul` is compiled the same way, so it
    follows. (Torch's kernels for one thread, few channels and small maps differ among each other in the last bit;
    where the two best classes are that close, so do their labels.)
    """
    u_NS1, v_NR11 = weight_x_NS[:, :, None], weight_y_NR[:, :, None, None]
    a, b, c, d = (value_NQM[:, corner, None, :] for corner in range(4))
    upper_NSM = torch.addcmul(b * u_NS1, a, 1 - u_NS1)
    lower_NSM = torch.addcmul(d * u_NS1, c, 1 - u_NS1)
    value_NRSM = (lower_NSM[:, None] * v_NR11).addcmul_(upper_NSM[:, None], 1 - v_NR11)
    if value_NRSM.shape[-1] == 2:
        return (value_NRSM[..., 1] > value_NRSM[..., 0]).to(torch.int64).flatten(1)
    return value_NRSM.argmax(dim=-1).flatten(1)
