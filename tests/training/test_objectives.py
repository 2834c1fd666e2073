"""Losses by task from raw outputs and a batch, and the counts that accumulation divides by."""

from __future__ import annotations

import pytest
import torch

from vitruvian.errors import UsageError
from vitruvian.models.sapiens import BackboneConfig, HeadConfig, SapiensConfig
from vitruvian.models.sapiens.config import HeadKind
from vitruvian.tasks.encode import encode_heatmaps
from vitruvian.training.batches import DenseBatch, PoseBatch, blank_batch, on_device, size_of
from vitruvian.training.losses import normal_cosine, normal_l1
from vitruvian.training.objectives import PoseObjective, objective_for

HW = (32, 24)
TRUNK = BackboneConfig(width=8, depth=1, heads=1, mlp_width=8, input_hw=HW, patch_padding="corner", patch=8)
CHANNELS: dict[HeadKind, int] = {"pose": 17, "seg": 28, "depth": 1, "normal": 3}


def config(kind: HeadKind, channels: int | None = None) -> SapiensConfig:
    head = HeadConfig(kind=kind, channels=channels or CHANNELS[kind], deconv_widths=(4,), conv_widths=())
    return SapiensConfig(backbone=TRUNK, head=head)


@pytest.mark.parametrize("kind", CHANNELS)
def test_counts_from_targets_are_what_losses_divide_by(kind: HeadKind) -> None:
    batch = blank_batch(kind, 2, CHANNELS[kind], HW, torch.device("cpu"))
    if kind == "normal":
        assert isinstance(batch, DenseBatch)
        batch.target[0, :, :10] = -1000
    objective = objective_for(config(kind))
    raw_BChw = torch.randn(2, CHANNELS[kind], 8, 6)
    terms = objective.losses({"raw": raw_BChw}, batch)
    assert torch.equal(torch.stack([term.count.float() for term in terms]), objective.counts(batch))
    assert all(torch.isfinite(term.total) for term in terms)


def test_dense_outputs_are_enlarged_to_the_target_in_float32() -> None:
    batch = blank_batch("normal", 1, 3, HW, torch.device("cpu"))
    assert isinstance(batch, DenseBatch)
    raw_B3hw = torch.randn(1, 3, 8, 6).bfloat16()
    large = torch.nn.functional.interpolate(raw_B3hw.float(), size=HW, mode="bilinear", align_corners=False)
    cosine, l1 = objective_for(config("normal")).losses({"normal": raw_B3hw}, batch)
    assert torch.equal(cosine.total, normal_cosine(large, batch.target).total)
    assert torch.equal(l1.total, normal_l1(large, batch.target).total)


def test_classes_weigh_as_published_unless_told_otherwise() -> None:
    published, plain = objective_for(config("seg")), objective_for(config("seg"), weighted=False)
    own = objective_for(config("seg", 5))
    assert published.class_weights is not None  # type: ignore[attr-defined]
    assert plain.class_weights is own.class_weights is None  # type: ignore[attr-defined]


def test_heat_maps_shrink_with_the_network_and_true_ones_cost_nothing() -> None:
    objective = objective_for(config("pose"))
    assert isinstance(objective, PoseObjective)
    batch = PoseBatch(
        canvas_BHW3=torch.zeros(1, *HW, 3, dtype=torch.uint8),
        xy_BK2=torch.full((1, 17, 2), 11.0),
        visible_BK=torch.ones(1, 17),
    )
    sigma = 6 * objective.heat_hw[1] / 192
    true_BKhw, _ = encode_heatmaps(batch.xy_BK2, batch.visible_BK, input_hw=HW, heat_hw=objective.heat_hw, sigma=sigma)
    assert objective.losses({"heat": true_BKhw}, batch)[0].total.item() == 0
    assert objective.losses({"heat": true_BKhw * 0}, batch)[0].total.item() > 0


def test_the_hardest_keypoints_alone_can_count() -> None:
    batch = blank_batch("pose", 2, 17, HW, torch.device("cpu"))
    objective = objective_for(config("pose"), hardest=3)
    (term,) = objective.losses({"heat": torch.randn(2, 17, 8, 6)}, batch)
    assert term.count == 2
    assert torch.equal(objective.counts(batch), torch.tensor([2.0]))
    with pytest.raises(UsageError, match="hardest=18"):
        objective_for(config("pose"), hardest=18)


def test_batches_travel_whole() -> None:
    batch = blank_batch("pose", 3, 17, HW, torch.device("cpu"))
    assert size_of(batch) == 3
    assert on_device(batch, "cpu") is batch
    moved = on_device(batch, "meta")
    assert isinstance(moved, PoseBatch)
    assert {moved.canvas_BHW3.device.type, moved.xy_BK2.device.type} == {"meta"}
