"""The detector's objective: who answers for whom, and that right answers cost least."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from vitruvian.training.detector.batches import IGNORED, PERSON, DetectorBatch
from vitruvian.training.detector.objective import CELLS_A_PERSON, assign, cell_centres, detector_loss, overlaps
from vitruvian.training.detector.recipe import DetectorRecipe

SIDE = 128
CENTRES_N2 = cell_centres(SIDE, SIDE, device=torch.device("cpu"))


def batch_of(
    boxes: list[tuple[float, float, float, float]], kinds: list[int], owner_BN: Tensor | None = None
) -> DetectorBatch:
    return DetectorBatch(
        owner_BN=torch.zeros(1, len(CENTRES_N2), dtype=torch.int64) if owner_BN is None else owner_BN,
        canvas_BHW3=torch.zeros(1, SIDE, SIDE, 3, dtype=torch.uint8),
        boxes_BG4=torch.tensor([boxes]),
        kind_BG=torch.tensor([kinds]),
    )


class Fixed(nn.Module):
    """A network that says the same about every picture."""

    def __init__(self, logits_BN: Tensor, boxes_BN4: Tensor) -> None:
        super().__init__()
        self.logits, self.boxes = nn.Parameter(logits_BN), nn.Parameter(boxes_BN4)

    def forward(self, x_B3HW: Tensor) -> dict[str, Tensor]:
        return {"logits": self.logits, "boxes": self.boxes, "owned": torch.full_like(self.logits, -20.0)}


def guesses(width: float = 0.3, height: float = 0.5) -> tuple[Tensor, Tensor]:
    """Equal scores, and boxes of one size around each cell."""
    sizes_N2 = torch.tensor([width, height]).expand(len(CENTRES_N2), 2)
    return torch.full((1, len(CENTRES_N2)), -2.0), torch.cat([CENTRES_N2, sizes_N2], dim=1)[None].clone()


def test_persons_that_overlap_get_different_cells_near_them() -> None:
    batch = batch_of([(0.4, 0.5, 0.3, 0.5), (0.55, 0.5, 0.3, 0.5)], [PERSON, PERSON])
    chosen = assign(*guesses(), batch, CENTRES_N2)
    taught = chosen.score_BN[0] > 0
    for person, x in enumerate((0.4, 0.55)):
        own = taught & (chosen.person_BN[0] == person)
        assert 1 <= own.sum() <= CELLS_A_PERSON
        assert abs(CENTRES_N2[own, 0].mean() - x) < 0.06


def test_the_best_cell_is_taught_its_overlap() -> None:
    logits_BN, boxes_BN4 = guesses()
    batch = batch_of([(0.5, 0.5, 0.3, 0.5)], [PERSON])
    chosen = assign(logits_BN, boxes_BN4, batch, CENTRES_N2)
    overlap_N = overlaps(batch.boxes_BG4[0], boxes_BN4[0])[0]
    assert chosen.score_BN.max() == pytest.approx(overlap_N.max().item())


def test_a_person_smaller_than_a_cell_is_taught_to_one_near_it() -> None:
    corner_between_cells = (0.5, 0.5, 0.03, 0.04)
    chosen = assign(*guesses(0.05, 0.05), batch_of([corner_between_cells], [PERSON]), CENTRES_N2)
    assert (chosen.score_BN > 0).any()


def test_hidden_persons_silence_their_cells_except_those_of_others() -> None:
    batch = batch_of([(0.5, 0.5, 0.3, 0.5), (0.5, 0.5, 0.2, 0.2)], [PERSON, IGNORED])
    chosen = assign(*guesses(), batch, CENTRES_N2)
    assert chosen.silent_BN.any()
    assert not (chosen.silent_BN & (chosen.score_BN > 0)).any()
    inside = ((CENTRES_N2 - 0.5).abs() < 0.1).all(dim=1)
    assert not chosen.silent_BN[0, ~inside].any()


@pytest.mark.parametrize("kinds", [[0], [IGNORED]], ids=["nothing", "hidden"])
def test_pictures_without_persons_teach_low_scores_only(kinds: list[int]) -> None:
    network = Fixed(*guesses())
    loss, parts = detector_loss(network, batch_of([(0.5, 0.5, 0.2, 0.2)], kinds), DetectorRecipe(), autocast_bf16=False)
    loss.backward()
    assert parts["box"] == 0
    assert network.logits.grad is not None
    assert (network.logits.grad >= 0).all()
    assert network.logits.grad.max() > 0


def test_right_answers_cost_least() -> None:
    true_box = (0.5, 0.5, 0.3, 0.5)
    batch = batch_of([true_box], [PERSON])
    logits_BN, boxes_BN4 = guesses()
    near = (CENTRES_N2 - 0.5).abs().sum(dim=1).topk(CELLS_A_PERSON, largest=False).indices
    right_logits, right_boxes = torch.full_like(logits_BN, -9.0), boxes_BN4.clone()
    right_logits[0, near], right_boxes[0, near] = 9.0, torch.tensor(true_box)
    cost = [
        detector_loss(Fixed(*answer), batch, DetectorRecipe(), autocast_bf16=False)[0].item()
        for answer in ((right_logits, right_boxes), (right_logits, boxes_BN4), (logits_BN, right_boxes))
    ]
    assert cost[0] < 0.01
    assert min(cost[1:]) > 10 * cost[0]


def test_every_cell_on_a_person_is_taught_its_box_hidden_persons_are_not() -> None:
    owner_BN = torch.zeros(1, len(CENTRES_N2), dtype=torch.int64)
    owner_BN[0, 10:14], owner_BN[0, 30:40] = 1, 2
    batch = batch_of([(0.3, 0.2, 0.2, 0.3), (0.6, 0.6, 0.2, 0.2)], [PERSON, IGNORED], owner_BN)
    network = Fixed(*guesses())
    recipe = DetectorRecipe(class_weight=0.0, box_weight=0.0, owned_weight=0.0)
    detector_loss(network, batch, recipe, autocast_bf16=False)[0].backward()
    assert network.boxes.grad is not None
    assert torch.nonzero(network.boxes.grad[0].any(dim=1)).flatten().tolist() == [10, 11, 12, 13]


@pytest.mark.parametrize(
    ("other", "overlap", "generalised"),
    [
        ((0.5, 0.5, 0.2, 0.2), 1.0, 1.0),
        ((0.6, 0.5, 0.2, 0.2), 1 / 3, 1 / 3),
        ((0.9, 0.5, 0.2, 0.2), 0.0, -1 / 3),
    ],
)
def test_overlaps(other: tuple[float, ...], overlap: float, generalised: float) -> None:
    plain, general = overlaps(torch.tensor((0.5, 0.5, 0.2, 0.2)), torch.tensor(other))
    assert plain.item() == pytest.approx(overlap, abs=1e-5)
    assert general.item() == pytest.approx(generalised, abs=1e-5)
