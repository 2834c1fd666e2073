"""Traces made ahead of being asked for."""

from __future__ import annotations

from pathlib import Path

import pytest

from vitruvian.fit.footprint import footprints_of, store
from vitruvian.fit.footprint.ahead import Ahead
from vitruvian.fit.knobs import Knobs, TrainingKnobs
from vitruvian.fit.workload import Workload
from vitruvian.training.workload import trainable_spec, training_workload

FUSED, FOREACH = (
    Knobs(training=TrainingKnobs()),
    Knobs(training=TrainingKnobs(optimizer="adamw-foreach", parallel="ddp")),
)


@pytest.fixture
def workload(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Workload:
    monkeypatch.setenv("VITRUVIAN_CACHE", str(tmp_path))
    return training_workload(trainable_spec("sapiens-nano"), "normal")


def test_what_was_traced_ahead_is_remembered_and_not_traced_again(
    workload: Workload, monkeypatch: pytest.MonkeyPatch
) -> None:
    ahead = Ahead(workload, [FUSED, FOREACH], "cpu")
    for knobs in (FUSED, FOREACH):
        ahead.wait(knobs)
    assert len(store.entries()) == 2
    monkeypatch.setattr("vitruvian.fit.footprint.predict._traced", None)
    footprints = footprints_of(workload, "cpu")
    assert footprints(FOREACH).peak_bytes(1) > footprints(FUSED).peak_bytes(1)


def test_what_is_remembered_starts_nothing(workload: Workload, monkeypatch: pytest.MonkeyPatch) -> None:
    footprints_of(workload, "cpu")(FUSED)
    monkeypatch.setattr("vitruvian.fit.footprint.ahead.Child.call", None)
    Ahead(workload, [FUSED], "cpu").wait(FUSED)


def test_a_failure_ahead_is_left_to_whoever_asks(
    workload: Workload, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("VITRUVIAN_CACHE", str(tmp_path / "file"))
    ahead = Ahead(workload, [FUSED, FOREACH], "cpu")
    ahead.wait(FOREACH)
    assert footprints_of(workload, "cpu")(FUSED).parameters > 0


def test_other_knobs_are_not_waited_for(workload: Workload) -> None:
    Ahead(workload, [], "cpu").wait(FUSED)
