"""The detector's objective: which cells answer for which person, and what they should say.

In: network, batch. Out: one scalar and its parts. Cells are assigned by how well they already do (task-aligned
assignment, Feng et al., "TOOD", ICCV 2021), so that overlapping persons get different cells; scores learn to be the
overlap of their box (varifocal loss, Zhang et al., CVPR 2021). Time: some 10 ms a batch beside the network.
"""

# Shape suffixes: B canvases, G persons at most, N cells, M chosen cells of all canvases,
# 4 = cx cy w h in shares of the canvas, 2 = x y.

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from vitruvian.models.detectors.nano import STRIDE
from vitruvian.training.detector.batches import IGNORED, PERSON, DetectorBatch
from vitruvian.training.detector.recipe import DetectorRecipe

CELLS_A_PERSON = 10
SCORE_POWER, OVERLAP_POWER = 0.5, 6.0
"""Exponents of score and overlap in a cell's fitness."""
_NEGATIVE_WEIGHT = 0.75
_REACH_CELLS = 0.75
"""Cells this near to a box's centre may answer for it even if the box is too small to hold them."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Assignment:
    """What each cell is taught."""

    person_BN: Tensor
    """Index of the person a cell answers for; 0 where none."""
    score_BN: Tensor
    """Target score 0..1; 0 where the cell answers for nobody."""
    silent_BN: Tensor
    """True where a cell's score is not taught at all: on persons that are too hidden."""


def detector_loss(
    network: nn.Module, batch: DetectorBatch, recipe: DetectorRecipe, *, autocast_bf16: bool
) -> tuple[Tensor, dict[str, float]]:
    """Weighted sum of score and box loss, and their values."""
    canvas_B3HW = batch.canvas_BHW3.permute(0, 3, 1, 2)
    with torch.autocast(canvas_B3HW.device.type, dtype=torch.bfloat16, enabled=autocast_bf16):
        raw = network(canvas_B3HW.float() / 255)
    logits_BN, boxes_BN4 = raw["logits"].float(), raw["boxes"].float()
    centres_N2 = cell_centres(*canvas_B3HW.shape[2:], device=canvas_B3HW.device)
    chosen = assign(logits_BN.detach(), boxes_BN4.detach(), batch, centres_N2)
    # A crowd has more cells to teach than a portrait; with full weight it would be nearly all that is learned.
    sum_B = chosen.score_BN.sum(dim=1).clamp_min(1.0)
    weight_B = sum_B.rsqrt() / sum_B.sqrt().sum()
    seen_BN = (batch.owner_BN > 0).float()
    parts = {
        "owned": recipe.owned_weight * F.binary_cross_entropy_with_logits(raw["owned"].float(), seen_BN),
        "every_box": recipe.every_box_weight * _every_box_loss(boxes_BN4, batch),
        "score": recipe.class_weight * (_score_loss(logits_BN, chosen) * weight_B).sum(),
        "box": recipe.box_weight * (_box_loss(boxes_BN4, batch, chosen) * weight_B).sum(),
    }
    return torch.stack(list(parts.values())).sum(), {name: value.item() for name, value in parts.items()}


def cell_centres(height: int, width: int, *, device: torch.device) -> Tensor:
    """Centres (N,2) of the cells of a canvas of this size, shares of the canvas."""
    rows, columns = height // STRIDE, width // STRIDE
    y, x = torch.meshgrid(torch.arange(rows, device=device), torch.arange(columns, device=device), indexing="ij")
    return torch.stack([(x.flatten() + 0.5) / columns, (y.flatten() + 0.5) / rows], dim=1)


@torch.no_grad()
def assign(logits_BN: Tensor, boxes_BN4: Tensor, batch: DetectorBatch, centres_N2: Tensor) -> Assignment:
    """The best cells of each person, by score^0.5 * overlap^6; a cell that several want goes to the best overlap."""
    reach_2 = _REACH_CELLS * 2 * centres_N2[0]
    inside_BGN = _inside(batch.boxes_BG4, centres_N2, torch.zeros_like(reach_2))
    near_BGN = (centres_N2[None, None] - batch.boxes_BG4[:, :, None, :2]).abs().lt(reach_2).all(dim=3)
    candidate_BGN = (inside_BGN | near_BGN) & (batch.kind_BG == PERSON)[..., None]
    overlap_BGN = overlaps(batch.boxes_BG4[:, :, None], boxes_BN4[:, None])[0] * candidate_BGN
    fitness_BGN = logits_BN.sigmoid()[:, None] ** SCORE_POWER * overlap_BGN**OVERLAP_POWER
    # Ranks count candidates only: among equals, cells inside the box come before those that are not.
    ranked_BGN = torch.where(candidate_BGN, fitness_BGN, -1.0)
    best_BGK = ranked_BGN.topk(min(CELLS_A_PERSON, ranked_BGN.shape[2]), dim=2).indices
    taken_BGN = torch.zeros_like(candidate_BGN).scatter_(2, best_BGK, True) & candidate_BGN
    contested_BGN = torch.where(taken_BGN, overlap_BGN, -1.0)
    person_BN = contested_BGN.argmax(dim=1)
    owned_BGN = taken_BGN & F.one_hot(person_BN, taken_BGN.shape[1]).transpose(1, 2).bool()
    fitness_BGN = fitness_BGN * owned_BGN
    # The best cell of a person is taught its best overlap, the others in proportion.
    top_BG1 = fitness_BGN.amax(dim=2, keepdim=True)
    reachable_BG1 = (overlap_BGN * owned_BGN).amax(dim=2, keepdim=True)
    score_BN = (fitness_BGN / top_BG1.clamp_min(1e-9) * reachable_BG1).amax(dim=1)
    ignored_BN = (inside_BGN & (batch.kind_BG == IGNORED)[..., None]).any(dim=1)
    return Assignment(person_BN=person_BN, score_BN=score_BN, silent_BN=ignored_BN & ~owned_BGN.any(dim=1))


def _inside(boxes_BG4: Tensor, centres_N2: Tensor, spare_2: Tensor) -> Tensor:
    away_BGN2 = (centres_N2[None, None] - boxes_BG4[:, :, None, :2]).abs()
    return away_BGN2.lt(boxes_BG4[:, :, None, 2:] / 2 + spare_2).all(dim=3)


def overlaps(a_4: Tensor, b_4: Tensor) -> tuple[Tensor, Tensor]:
    """Intersection over union, and the generalised one (Rezatofighi et al., CVPR 2019), of boxes (...,4)."""
    a_low, a_high = a_4[..., :2] - a_4[..., 2:] / 2, a_4[..., :2] + a_4[..., 2:] / 2
    b_low, b_high = b_4[..., :2] - b_4[..., 2:] / 2, b_4[..., :2] + b_4[..., 2:] / 2
    common = (torch.minimum(a_high, b_high) - torch.maximum(a_low, b_low)).clamp_min(0).prod(dim=-1)
    union = a_4[..., 2:].prod(dim=-1) + b_4[..., 2:].prod(dim=-1) - common
    hull = (torch.maximum(a_high, b_high) - torch.minimum(a_low, b_low)).prod(dim=-1)
    overlap = common / union.clamp_min(1e-9)
    return overlap, overlap - (hull - union) / hull.clamp_min(1e-9)


def _score_loss(logits_BN: Tensor, chosen: Assignment) -> Tensor:
    """Sum of each canvas, (B,)."""
    target_BN = chosen.score_BN
    negative_BN = _NEGATIVE_WEIGHT * logits_BN.detach().sigmoid().square()
    weight_BN = torch.where(target_BN > 0, target_BN, negative_BN).masked_fill(chosen.silent_BN, 0.0)
    return F.binary_cross_entropy_with_logits(logits_BN, target_BN, weight=weight_BN, reduction="none").sum(dim=1)


def _box_loss(boxes_BN4: Tensor, batch: DetectorBatch, chosen: Assignment) -> Tensor:
    """Error of each canvas (B,) over the cells that answer for somebody."""
    b, n = torch.nonzero(chosen.score_BN > 0, as_tuple=True)
    found_M4, true_M4 = boxes_BN4[b, n], batch.boxes_BG4[b, chosen.person_BN[b, n]]
    error_M = _box_errors(found_M4, true_M4) * chosen.score_BN[b, n]
    return error_M.new_zeros(len(boxes_BN4)).index_add(0, b, error_M)


def _every_box_loss(boxes_BN4: Tensor, batch: DetectorBatch) -> Tensor:
    """Error over all cells on persons, each person's cells together as much as another's.

    A few cells a person are little to learn from; that all its cells name its box tells persons apart much earlier.
    """
    persons = batch.boxes_BG4.shape[1]
    taught_BN = (batch.owner_BN > 0) & (batch.kind_BG.gather(1, (batch.owner_BN - 1).clamp_min(0)) == PERSON)
    b, n = torch.nonzero(taught_BN, as_tuple=True)
    g = batch.owner_BN[b, n] - 1
    cells_BG = torch.bincount(b * persons + g, minlength=len(boxes_BN4) * persons).view(-1, persons)
    persons_B = (cells_BG > 0).sum(dim=1).clamp_min(1).float()
    weight_M = persons_B.rsqrt()[b] / cells_BG[b, g] / persons_B.sqrt().sum()
    return (_box_errors(boxes_BN4[b, n], batch.boxes_BG4[b, g]) * weight_M).sum()


def _box_errors(found_M4: Tensor, true_M4: Tensor) -> Tensor:
    """Generalised overlap and distances in units of the true box: far from it, overlaps have hardly a gradient."""
    generalised_M = overlaps(found_M4, true_M4)[1]
    shift_M2 = (found_M4[:, :2] - true_M4[:, :2]) / true_M4[:, 2:]
    growth_M2 = (found_M4[:, 2:] / true_M4[:, 2:]).log()
    distance_M = F.smooth_l1_loss(torch.cat([shift_M2, growth_M2], 1), torch.zeros_like(found_M4), reduction="none")
    return 1 - generalised_M + distance_M.sum(dim=1)
