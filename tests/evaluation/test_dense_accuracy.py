"""Sums over pictures against the same numbers of one large picture, and cases that can be done in the head."""

from __future__ import annotations

import numpy as np
import pytest

from vitruvian.evaluation.dense_accuracy import DepthTally, LabelTally, NormalTally, text_table
from vitruvian.tasks import metrics
from vitruvian.tasks.labels import label_set

LABELS = label_set(28)
RNG = np.random.default_rng(7)


def test_labels_add_up_to_one_large_picture() -> None:
    true = RNG.integers(0, 5, (4, 20, 30)).astype(np.uint8)
    found = np.where(RNG.random(true.shape) < 0.7, true, RNG.integers(0, 5, true.shape)).astype(np.uint8)
    true[:, :3] = 255
    tally = LabelTally(labels=LABELS)
    for one, other in zip(found, true, strict=True):
        tally.add(one, other)
    whole = metrics.confusion_matrix(found.reshape(80, 30), true.reshape(80, 30), LABELS.count)
    assert np.array_equal(tally.confusion_CC, whole)
    numbers = tally.numbers()
    counted = true != 255
    assert numbers["aAcc"] == pytest.approx((found == true)[counted].mean())
    assert numbers["mIoU"] == pytest.approx(metrics.mean_iou(whole))
    assert set(tally.by_class()) == set(LABELS.names[:5])


def test_label_numbers_by_hand() -> None:
    tally = LabelTally(labels=LABELS)
    tally.add(np.array([[0, 0, 1, 1]], np.uint8), np.array([[0, 0, 0, 1]], np.uint8))
    assert tally.numbers() == {
        "mIoU": pytest.approx((2 / 3 + 1 / 2) / 2),
        "mAcc": pytest.approx((2 / 3 + 1) / 2),
        "aAcc": pytest.approx(0.75),
    }


def test_depth_is_measured_as_it_comes_and_fitted() -> None:
    true_HW = RNG.uniform(1, 5, (20, 30))
    tally = DepthTally()
    tally.add(2 * true_HW, true_HW)
    numbers = tally.numbers()
    assert numbers["AbsRel"] == pytest.approx(1)
    assert numbers["AbsRel, scale fitted"] == pytest.approx(0, abs=1e-12)
    assert numbers["RMSE, scale and shift fitted"] == pytest.approx(0, abs=1e-9)
    assert (numbers["delta1"], numbers["delta3, scale fitted"]) == (0, 1)
    tally = DepthTally()
    tally.add(0.1 * true_HW + 7, true_HW)
    numbers = tally.numbers()
    assert numbers["AbsRel, scale fitted"] > 0.1
    assert numbers["AbsRel, scale and shift fitted"] == pytest.approx(0, abs=1e-9)


def test_pictures_count_alike_and_invalid_pixels_do_not() -> None:
    true_HW = np.full((4, 4), 2.0)
    tally = DepthTally()
    tally.add(np.full((4, 4), 3.0), true_HW)
    holed_HW = true_HW.copy()
    holed_HW[1:] = np.nan
    tally.add(np.full((4, 4), 2.0), holed_HW)
    tally.add(np.full((4, 4), 2.0), np.full((4, 4), np.nan))
    assert tally.numbers()["AbsRel"] == pytest.approx((0.5 + 0) / 2)


def test_normals_add_up_to_one_large_picture() -> None:
    true, found = (RNG.normal(size=(3, 20, 30, 3)) for _ in range(2))
    true[0, :4] = np.nan
    tally = NormalTally()
    for one, other in zip(found, true, strict=True):
        tally.add(one, other)
    angles = metrics.angles_deg(found, true)
    angles = angles[np.isfinite(angles)]
    numbers = tally.numbers()
    assert numbers["mean deg"] == pytest.approx(angles.mean())
    assert numbers["median deg"] == pytest.approx(np.median(angles), abs=0.2)
    assert numbers["RMSE deg"] == pytest.approx(np.sqrt((angles**2).mean()))
    assert numbers["below 30 deg"] == pytest.approx((angles < 30).mean())


@pytest.mark.parametrize("tally", [LabelTally(labels=LABELS), DepthTally(), NormalTally()])
def test_nothing_seen_gives_no_numbers(tally: LabelTally | DepthTally | NormalTally) -> None:
    assert tally.numbers() == {}


def test_the_table_has_a_line_for_each_number() -> None:
    assert text_table({"mIoU": 0.51236, "aAcc": 1.0}).splitlines()[2:] == ["| mIoU | 0.5124 |", "| aAcc | 1 |"]
