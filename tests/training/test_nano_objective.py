"""The joint objective: its terms add up, perfect outputs cost nothing, and every weight learns from it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from functools import partial

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from training import dots
from vitruvian.tasks.labels import label_set
from vitruvian.tasks.preprocess import normalise
from vitruvian.training.nano.batches import Batch, joint_batch, sample_of
from vitruvian.training.nano.network import JointNetwork
from vitruvian.training.nano.objective import TASK_OF_TERM, JointObjective, by_task
from vitruvian.training.nano.recipe import NanoRecipe

RECIPE = NanoRecipe()
OBJECTIVE = JointObjective(recipe=RECIPE)
Outputs = dict[str, Tensor]


@pytest.fixture(scope="module")
def batch() -> Batch:
    pictures, rng = dots.pictures(), np.random.default_rng(1)
    return joint_batch([sample_of(pictures[index], rng, RECIPE) for index in (0, 3)])


def perfect(batch: Batch) -> Outputs:
    """What the batch wants to hear."""
    background = batch.depth_BHW < 0
    return {
        "pose": batch.heat_BKhw,
        "seg": 60 * F.one_hot(batch.labels_Bhw.long(), 28).permute(0, 3, 1, 2).float(),
        "depth": torch.where(background, RECIPE.background_depth, batch.depth_BHW)[:, None],
        "normal": F.normalize(batch.normals_B3hw, dim=1),
    }


def random_outputs(batch: Batch) -> Outputs:
    draw = partial(torch.randn, generator=torch.Generator().manual_seed(3))
    raw = {kind: value + draw(value.shape) for kind, value in perfect(batch).items()}
    return {**raw, "depth": raw["depth"].abs() + 0.1}


def parts_of(outputs: Outputs, batch: Batch) -> dict[str, float]:
    terms = OBJECTIVE.losses(outputs, batch)
    return by_task(torch.stack([term.total for term in terms]), torch.stack([term.count.float() for term in terms]))


def by_hand(raw: Outputs, batch: Batch) -> dict[str, float]:
    """The published losses written out, with means instead of sums and counts."""
    person, share = batch.person_Bhw, RECIPE.background_normal_weight
    pose = ((raw["pose"] - batch.heat_BKhw) ** 2 * batch.heat_weight_BK[:, :, None, None]).mean()
    log_p = raw["seg"].log_softmax(dim=1).gather(1, batch.labels_Bhw.long()[:, None])[:, 0]
    seg = -(log_p * torch.tensor(label_set(28).class_weights).sqrt()[batch.labels_Bhw.long()]).mean()
    depth = raw["depth"][:, 0]
    silog = []
    for found, true in zip(depth, batch.depth_BHW, strict=True):
        d = true[true > 1e-6].log() - found[true > 1e-6].log()
        silog.append(((d**2).mean() - 0.5 * d.mean() ** 2).sqrt())
    empty = batch.depth_BHW < 0
    error = torch.where(empty, 0.3 * (depth - RECIPE.background_depth).abs(), (depth - batch.depth_BHW).abs())
    cosine = 1 - F.cosine_similarity(raw["normal"], batch.normals_B3hw, dim=1)
    both = cosine + (raw["normal"] - batch.normals_B3hw).abs().sum(dim=1)
    normal = (1 - share) * both[person].mean() + share * both[~person].mean()
    parts = {
        "pose": RECIPE.pose_weight * pose,
        "seg": RECIPE.seg_weight * seg,
        "depth": RECIPE.depth_weight * (torch.stack(silog).mean() + 2 * error.mean()),
        "normal": RECIPE.normal_weight * normal,
    }
    return {name: value.item() for name, value in parts.items()}


def test_terms_are_the_losses_written_out(batch: Batch) -> None:
    raw = random_outputs(batch)
    assert parts_of(raw, batch) == pytest.approx(by_hand(raw, batch), rel=1e-5)


def test_sums_of_parts_of_a_batch_are_those_of_the_batch(batch: Batch) -> None:
    raw = random_outputs(batch)
    whole = by_task(*_sums([(raw, batch)]))
    assert by_task(*_sums([(_rows(raw, at), _row_batch(batch, at)) for at in range(2)])) == pytest.approx(whole)


def test_counts_come_from_targets_alone(batch: Batch) -> None:
    counted = torch.stack([term.count.float() for term in OBJECTIVE.losses(random_outputs(batch), batch)])
    assert OBJECTIVE.counts(batch).tolist() == counted.tolist()
    assert len(counted) == len(TASK_OF_TERM)


def test_perfect_outputs_cost_nothing_and_each_part_notices_its_own_error(batch: Batch) -> None:
    parts = parts_of(perfect(batch), batch)
    assert parts.keys() == {"pose", "seg", "depth", "normal"}
    assert sum(parts.values()) == pytest.approx(0, abs=0.01)  # stored normals have 8 bits
    for kind in parts:
        worse = perfect(batch)
        worse[kind] = worse[kind].roll(9, dims=-1)
        changed = parts_of(worse, batch)
        assert {name for name in parts if changed[name] > parts[name] + 0.01} == {kind}


def test_depth_of_the_background_is_taught_too(batch: Batch) -> None:
    wrong = perfect(batch)
    background = (batch.depth_BHW < 0)[:, None]
    wrong["depth"] = torch.where(background, wrong["depth"] + 1, wrong["depth"])
    assert parts_of(wrong, batch)["depth"] == pytest.approx(2 * 0.3 * background.float().mean().item(), rel=1e-3)


def test_normals_of_the_background_count_less_than_those_of_persons(batch: Batch) -> None:
    errors = {}
    for where, mask in {"person": batch.person_Bhw, "elsewhere": ~batch.person_Bhw}.items():
        wrong = perfect(batch)
        wrong["normal"] = torch.where(mask[:, None], -wrong["normal"], wrong["normal"])
        errors[where] = parts_of(wrong, batch)["normal"]
    share = RECIPE.background_normal_weight
    # Turned round, one minus the cosine is 2 everywhere; the sum of channels depends on the direction.
    assert errors["elsewhere"] == pytest.approx(share * (2 + 2), rel=0.02)
    assert errors["person"] > (1 - share) * (2 + 2)


@pytest.mark.parametrize("autocast_bf16", [False, True])
def test_every_weight_learns(batch: Batch, autocast_bf16: bool) -> None:
    torch.manual_seed(0)
    network = JointNetwork().train()
    with torch.autocast("cpu", dtype=torch.bfloat16, enabled=autocast_bf16):
        raw = network(normalise(batch.canvas_BHW3))
    loss = torch.stack([term.mean for term in OBJECTIVE.losses(raw, batch)]).sum()
    assert loss.dtype == torch.float32
    loss.backward()
    for name, parameter in network.named_parameters():
        assert parameter.grad is not None, name
        assert torch.isfinite(parameter.grad).all(), name
        assert parameter.grad.any(), name


def _sums(pieces: list[tuple[Outputs, Batch]]) -> tuple[Tensor, Tensor]:
    terms = [OBJECTIVE.losses(raw, part) for raw, part in pieces]
    totals = torch.stack([torch.stack([term.total for term in row]) for row in terms])
    counts = torch.stack([torch.stack([term.count.float() for term in row]) for row in terms])
    return totals.sum(dim=0), counts.sum(dim=0)


def _rows(raw: Mapping[str, Tensor], at: int) -> Outputs:
    return {kind: value[at : at + 1] for kind, value in raw.items()}


def _row_batch(batch: Batch, at: int) -> Batch:
    return Batch(**{field.name: getattr(batch, field.name)[at : at + 1] for field in fields(batch)})
