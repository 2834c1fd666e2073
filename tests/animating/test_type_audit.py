"""The compute type of a clip: measured, remembered, turned down where it is too far from float32."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from vitruvian.animating import type_audit
from vitruvian.animating.type_audit import TypeChoice, audited_type, candidates_of
from vitruvian.animating.wish import AnimateWish
from vitruvian.fit.quality import AuditReport
from vitruvian.fit.verdicts import VerdictStore
from vitruvian.generation.weights import find_weights
from vitruvian.hardware import MACHINES, Device
from vitruvian.models.mimicmotion import NANO, PUBLISHED

GPU = MACHINES["rtx-4090"].accelerators[0]
CPU: Device = MACHINES["cpu-32gb"].cpu


def chosen(tiny_file: Path, store: Path, wish: AnimateWish, device: Device = CPU) -> TypeChoice:
    return audited_type(
        find_weights(tiny_file),
        wish,
        device,
        torch_version="2.13",
        store=VerdictStore(path=store / "verdicts.json"),
        report=lambda line: None,
    )


def test_which_types_are_tried() -> None:
    assert candidates_of(AnimateWish(), GPU) == ("bfloat16", "float16", "float32")
    assert candidates_of(AnimateWish(), MACHINES["t4"].accelerators[0]) == ("float16", "float32")
    assert candidates_of(AnimateWish(quality="exact"), GPU) == ("float32",)
    assert candidates_of(AnimateWish(dtype="fp16"), GPU) == ("float16",)
    assert candidates_of(AnimateWish(), CPU) == ("float32",)


def test_noise_is_looked_at_as_far_as_a_model_reaches() -> None:
    assert type_audit._levels(PUBLISHED["1.1"].scheduler) == [700.0, 20.0, 1.0, 0.05]
    assert type_audit._levels(NANO.scheduler) == [80.0, 20.0, 2.0]


def test_a_type_is_held_against_float32_once(tiny_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    wish = AnimateWish(dtype="bfloat16", quality="fast")
    choice = chosen(tiny_file, tmp_path, wish)
    assert choice.dtype == "bfloat16"
    (decision,) = choice.decisions
    assert decision.measured
    assert decision.because.startswith("relative_l2 0.0")
    monkeypatch.setattr(type_audit, "_compared", None)
    assert chosen(tiny_file, tmp_path, wish) == choice


@pytest.mark.parametrize(
    "report",
    [
        AuditReport(discrepancies={"relative_l2": 0.5}, crops=4),
        AuditReport(discrepancies={"relative_l2": 0.0}, non_finite=3, crops=4),
        AuditReport(error="no kernel for BFloat16"),
    ],
    ids=["far", "no numbers", "error"],
)
def test_types_that_are_too_far_are_turned_down(
    tiny_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, report: AuditReport
) -> None:
    monkeypatch.setattr(type_audit, "_compared", lambda *_: report)
    choice = chosen(tiny_file, tmp_path, AnimateWish(), GPU)
    assert choice.dtype == "float32"
    assert [decision.what for decision in choice.decisions] == ["dtype_turned_down", "dtype_turned_down", "dtype"]
    wanted = chosen(tiny_file, tmp_path / "other", AnimateWish(dtype="float16"), GPU)
    assert wanted.dtype == "float16"
    assert wanted.notes[-1].startswith("warning: float16 was asked for")


def test_float32_needs_no_audit(tiny_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(type_audit, "_compared", None)
    assert chosen(tiny_file, tmp_path, AnimateWish()).dtype == "float32"
    assert chosen(tiny_file, tmp_path, replace(AnimateWish(), quality="exact"), GPU).dtype == "float32"
