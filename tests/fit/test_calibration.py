"""What was measured corrects what is estimated, and only that."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from vitruvian.fit import calibration as module
from vitruvian.fit.calibration import (
    Calibration,
    CalibrationPoint,
    calibrations,
    clear_calibration,
    load_calibration,
    remember,
)
from vitruvian.fit.footprint.values import Breakdown
from vitruvian.fit.knobs import Knobs, TrainingKnobs

GB = 10**9
PREDICTED = Breakdown(
    weights_bytes=2 * GB, activations_bytes=3 * GB, workspace_bytes=GB, results_bytes=GB // 2, process_bytes=GB // 2
)
TRAINING = Knobs(training=TrainingKnobs())


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VITRUVIAN_CACHE", str(tmp_path))


def point(measured_gb: float, *, knobs: Knobs = TRAINING, batch: int = 1, predicted: Breakdown = PREDICTED) -> Any:
    return CalibrationPoint.of(predicted, round(measured_gb * GB), replace(knobs, micro_batch=batch), "net")


def of(*points: CalibrationPoint) -> Calibration:
    return Calibration(device="paper card", torch_version=torch.__version__, points=points)


def test_a_factor_is_what_the_estimated_part_was_off_by() -> None:
    # 3 GB are counted, 4 estimated; 8 measured means that 5 were really there.
    assert point(8).factor == pytest.approx(1.25)
    corrected = of(point(8)).corrected(PREDICTED, TRAINING)
    assert corrected.total_bytes == 8 * GB
    assert (corrected.activations_bytes, corrected.workspace_bytes) == (3.75 * GB, 1.25 * GB)
    assert replace(corrected, activations_bytes=0, workspace_bytes=0) == replace(
        PREDICTED, activations_bytes=0, workspace_bytes=0
    )


@pytest.mark.parametrize(
    "other", [Knobs(), Knobs(dtype="bfloat16", training=TrainingKnobs(precision="autocast"))], ids=["infer", "bfloat16"]
)
def test_other_modes_and_types_are_not_touched(other: Knobs) -> None:
    assert of(point(8)).corrected(PREDICTED, other) == PREDICTED


def test_one_odd_run_does_not_decide() -> None:
    made = of(point(7, batch=1), point(7, batch=2), point(30, batch=3))
    assert made.factor(TRAINING) == 1.0


@pytest.mark.parametrize(("measured_gb", "factor"), [(100, module.LARGEST), (0.1, module.SMALLEST)])
def test_factors_are_bounded(measured_gb: float, factor: float) -> None:
    assert of(point(measured_gb)).factor(TRAINING) == factor


def test_small_networks_say_nothing() -> None:
    small = replace(PREDICTED, activations_bytes=10_000_000, workspace_bytes=0)
    made = of(point(9, predicted=small))
    assert made.factor(TRAINING) is None
    assert made.factors() == {}
    assert made.corrected(PREDICTED, TRAINING) == PREDICTED


def test_a_newer_run_of_the_same_kind_takes_the_place_of_an_older() -> None:
    made = of().updated(point(7)).updated(point(7, batch=2)).updated(point(8))
    assert [(one.batch, one.measured_bytes) for one in made.points] == [(2, 7 * GB), (1, 8 * GB)]


def test_what_is_kept_is_found_again_by_device_and_version(monkeypatch: pytest.MonkeyPatch) -> None:
    assert load_calibration("paper card") is None
    first = remember(point(8), "paper card")
    remember(point(7), "another card")
    second = remember(point(7, batch=2), "paper card")
    assert load_calibration("paper card") == second
    assert len(first.points) == 1
    assert {one.device: len(one.points) for one in calibrations()} == {"paper card": 2, "another card": 1}
    assert second.factors() == {"train float32": 1.125}
    monkeypatch.setattr(torch, "__version__", "99.0")
    assert load_calibration("paper card") is None


def test_the_default_device_is_this_machines() -> None:
    from vitruvian.hardware import probe

    remember(point(8), probe().device(probe().default_device).name)
    found = load_calibration()
    assert found is not None
    assert found.points == (point(8),)


@pytest.mark.parametrize(
    "damage",
    [
        "",
        "{",
        "[]",
        '{"calibrations": [{}]}',
        '{"calibrations": [{"device": "x", "torch_version": "1", "points": [{}]}]}',
    ],
)
def test_a_damaged_file_counts_as_none_and_is_replaced(tmp_path: Path, damage: str) -> None:
    (tmp_path / module.FILE).write_text(damage, encoding="utf-8")
    assert load_calibration("paper card") is None
    remember(point(8), "paper card")
    assert load_calibration("paper card") == of(point(8))


def test_text_for_bytes_is_damage(tmp_path: Path) -> None:
    remember(point(8), "paper card")
    path = tmp_path / module.FILE
    path.write_text(path.read_text().replace(str(8 * GB), '"8 GB"'), encoding="utf-8")
    assert calibrations() == ()


def test_everything_can_be_forgotten() -> None:
    assert clear_calibration() is False
    remember(point(8), "paper card")
    assert clear_calibration() is True
    assert calibrations() == ()
