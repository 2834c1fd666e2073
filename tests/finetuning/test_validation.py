"""What is measured during a training, and what its picture shows."""

from __future__ import annotations

import math
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from torch import Tensor, nn

from tiny_trainings import views
from vitruvian.datasets.preparing import Prepared, PreparedPerson, relative_depth
from vitruvian.datasets.targets import IGNORE
from vitruvian.finetuning.score import Score
from vitruvian.finetuning.validation import FITTED_RMSE, NEAR_KEYPOINTS, Validation
from vitruvian.models.sapiens.config import HeadConfig, HeadKind
from vitruvian.tasks.encode import encode_heatmaps
from vitruvian.tasks.normal import CAMERA
from vitruvian.training.batches import Batch, stacked
from vitruvian.training.objectives import DenseObjective, Objective, PoseObjective

HW = (256, 192)
HEAT_HW = (64, 48)
CHANNELS = {"pose": 17, "seg": 28, "depth": 1, "normal": 3}


class Oracle(nn.Module):
    """Says what it was told, picture after picture."""

    def __init__(self, answers: Tensor) -> None:
        super().__init__()
        self.answers, self.at, self.modes = answers, 0, list[bool]()

    def forward(self, x_B3HW: Tensor) -> dict[str, Tensor]:
        self.modes.append(self.training)
        self.at += len(x_B3HW)
        return {"answer": self.answers[self.at - len(x_B3HW) : self.at]}


def samples(kind: HeadKind) -> list[Prepared | PreparedPerson]:
    found: list[Prepared | PreparedPerson] = []
    for view in views()[:4]:
        person_HW = view.part_labels_HW > 0
        if kind == "pose":
            keypoints_K3 = np.nan_to_num(view.keypoints_PK3[0])
            inside_K = (keypoints_K3[:, 2] > 0) & (keypoints_K3[:, :2] >= 0).all(axis=1)
            inside_K &= (keypoints_K3[:, :2] < (HW[1] - 1, HW[0] - 1)).all(axis=1)
            xy_K2 = keypoints_K3[:, :2].astype(np.float32)
            visible_K = inside_K.astype(np.float32)
            found.append(PreparedPerson(image_HW3=view.image_HW3, xy_K2=xy_K2, visible_K=visible_K))
            continue
        targets = {
            "seg": np.where(view.part_labels_HW == 3, IGNORE, view.part_labels_HW).astype(np.uint8),
            "depth": relative_depth(np.where(person_HW, view.depth_m_HW, np.nan)),
            "normal": np.where(person_HW[..., None], view.normals_HW3, -1000).astype(np.float32),
        }
        found.append(Prepared(image_HW3=view.image_HW3, target=targets[kind]))
    return found


def truth(kind: HeadKind, batch: Batch) -> Tensor:
    """What a perfect network gives."""
    if kind == "pose":
        options = {"input_hw": HW, "heat_hw": HEAT_HW, "sigma": 2.0}
        return encode_heatmaps(batch.xy_BK2, batch.visible_BK, **options)[0]  # type: ignore[union-attr, arg-type]
    target = batch.target  # type: ignore[union-attr]
    if kind == "seg":
        labels = torch.where(target == IGNORE, 0, target).long()
        return 20 * nn.functional.one_hot(labels, CHANNELS["seg"]).permute(0, 3, 1, 2).float()
    return target[:, None] if kind == "depth" else torch.where(target == -1000, 0.5, target)


def validation(kind: HeadKind) -> Validation:
    objective: Objective[Batch] = (
        PoseObjective(input_hw=HW, heat_hw=HEAT_HW) if kind == "pose" else DenseObjective(kind=kind)
    )
    head = HeadConfig(kind=kind, channels=CHANNELS[kind], deconv_widths=(8,), conv_widths=())
    return Validation(kind=kind, head=head, objective=objective, frame=CAMERA, shown=3)


@pytest.mark.parametrize(
    ("kind", "leading", "perfect"),
    [("pose", NEAR_KEYPOINTS, 1.0), ("seg", "mIoU", 1.0), ("depth", FITTED_RMSE, 0.0), ("normal", "mean deg", 0.0)],
)
def test_the_truth_scores_best_and_noise_worse(kind: HeadKind, leading: str, perfect: float, tmp_path: Path) -> None:
    batches = [stacked(samples(kind)[:3]), stacked(samples(kind)[3:])]
    answers = torch.cat([truth(kind, batch) for batch in batches])
    oracle = Oracle(answers)
    score = validation(kind).score(oracle, batches, tmp_path / "v.png")
    assert oracle.modes == [False, False]
    assert oracle.training
    assert score.leading == leading
    assert score.value == pytest.approx(perfect, abs=1e-3)
    noise = Oracle(torch.rand(answers.shape, generator=torch.Generator().manual_seed(1)))
    worse = validation(kind).score(noise, batches)
    assert score.is_better_than(worse.value)
    assert not worse.is_better_than(score.value)
    assert worse.loss > score.loss
    picture_HW3 = cv2.imread(str(tmp_path / "v.png"))
    assert picture_HW3 is not None
    assert picture_HW3.shape[0] > 2 * HW[0]  # three rows of two samples would be one row and a half
    assert picture_HW3.std() > 10


def test_the_loss_is_that_of_all_samples_however_they_are_split() -> None:
    rows = samples("normal")
    answers = truth("normal", stacked(rows)) * 0.7 + 0.1
    whole = validation("normal").score(Oracle(answers), [stacked(rows)])
    split = validation("normal").score(Oracle(answers), [stacked(rows[:1]), stacked(rows[1:])])
    assert whole.loss == pytest.approx(split.loss, rel=1e-5)


def test_nothing_to_measure_on_is_no_score() -> None:
    score = validation("seg").score(Oracle(torch.zeros(0)), [])
    assert not score.numbers
    assert math.isnan(score.value)
    assert not score.is_better_than(None)


@pytest.mark.parametrize(
    ("more", "value", "best", "better"),
    [(True, 0.5, None, True), (True, 0.5, 0.4, True), (True, 0.5, 0.5, False), (False, 0.5, 0.6, True)],
)
def test_what_is_better_depends_on_the_number(more: bool, value: float, best: float | None, better: bool) -> None:
    score = Score(loss=1.0, numbers={"x": value}, leading="x", more_is_better=more)
    assert score.is_better_than(best) is better
