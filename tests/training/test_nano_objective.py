"""The joint objective: its parts add up, perfect outputs cost nothing, and every weight learns from it."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from training import dots
from vitruvian.training.nano.batches import Batch, make_batch
from vitruvian.training.nano.network import JointNetwork
from vitruvian.training.nano.objective import joint_loss
from vitruvian.training.nano.recipe import NanoRecipe

RECIPE = NanoRecipe(batch=2)


@pytest.fixture(scope="module")
def batch() -> Batch:
    return make_batch(dots.pictures(), RECIPE, 0)


class Oracle(nn.Module):
    """Says what the batch wants to hear."""

    def __init__(self, batch: Batch) -> None:
        super().__init__()
        background = batch.depth_BHW < 0
        self.raw = {
            "pose": batch.heat_BKhw,
            "seg": 60 * F.one_hot(batch.labels_Bhw.long(), 28).permute(0, 3, 1, 2).float(),
            "depth": torch.where(background, RECIPE.background_depth, batch.depth_BHW)[:, None],
            "normal": F.normalize(batch.normals_B3hw, dim=1),
        }

    def forward(self, x_B3HW: Tensor) -> dict[str, Tensor]:
        return self.raw


def test_perfect_outputs_cost_nothing_and_each_part_notices_its_own_error(batch: Batch) -> None:
    oracle = Oracle(batch)
    loss, parts = joint_loss(oracle, batch, RECIPE, autocast_bf16=False)
    assert parts.keys() == {"pose", "seg", "depth", "normal"}
    assert loss.item() == pytest.approx(0, abs=0.01)  # stored normals have 8 bits
    for kind in parts:
        worse = Oracle(batch)
        worse.raw[kind] = worse.raw[kind].roll(9, dims=-1)
        loss, changed = joint_loss(worse, batch, RECIPE, autocast_bf16=False)
        assert loss.item() == pytest.approx(sum(changed.values()))
        assert {name for name in parts if changed[name] > parts[name] + 0.01} == {kind}


def test_depth_of_the_background_is_taught_too(batch: Batch) -> None:
    wrong = Oracle(batch)
    background = (batch.depth_BHW < 0)[:, None]
    wrong.raw["depth"] = torch.where(background, wrong.raw["depth"] + 1, wrong.raw["depth"])
    found = joint_loss(wrong, batch, RECIPE, autocast_bf16=False)[1]["depth"]
    assert found == pytest.approx(2 * 0.3 * background.float().mean().item(), rel=1e-3)


def test_normals_of_the_background_count_less_than_those_of_persons(batch: Batch) -> None:
    errors = {}
    for where, mask in {"person": batch.person_Bhw, "elsewhere": ~batch.person_Bhw}.items():
        wrong = Oracle(batch)
        wrong.raw["normal"] = torch.where(mask[:, None], -wrong.raw["normal"], wrong.raw["normal"])
        errors[where] = joint_loss(wrong, batch, RECIPE, autocast_bf16=False)[1]["normal"]
    share = RECIPE.background_normal_weight
    # Turned round, one minus the cosine is 2 everywhere; the sum of channels depends on the direction.
    assert errors["elsewhere"] == pytest.approx(share * (2 + 2), rel=0.02)
    assert errors["person"] > (1 - share) * (2 + 2)


@pytest.mark.parametrize("autocast_bf16", [False, True])
def test_every_weight_learns(batch: Batch, autocast_bf16: bool) -> None:
    torch.manual_seed(0)
    network = JointNetwork().train()
    loss, _ = joint_loss(network, batch, RECIPE, autocast_bf16=autocast_bf16)
    assert loss.dtype == torch.float32
    loss.backward()
    for name, parameter in network.named_parameters():
        assert parameter.grad is not None, name
        assert torch.isfinite(parameter.grad).all(), name
        assert parameter.grad.any(), name
