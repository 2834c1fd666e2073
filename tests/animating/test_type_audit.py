"""The compute types of a clip: measured, remembered, turned down where they are too far from float32."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from vitruvian.animating import type_audit
from vitruvian.animating.type_audit import ClipTypes, audited_types, candidates_of
from vitruvian.animating.type_calls import CODEC, levels_of
from vitruvian.animating.wish import AnimateWish
from vitruvian.audit import NO_REFERENCE
from vitruvian.errors import UsageError
from vitruvian.fit.quality import AuditReport
from vitruvian.fit.verdicts import VerdictStore
from vitruvian.generation.weights import find_weights
from vitruvian.hardware import MACHINES, Device
from vitruvian.models.mimicmotion import NANO, PUBLISHED

GPU = MACHINES["rtx-4090"].accelerators[0]
CPU: Device = MACHINES["cpu-32gb"].cpu
BF16_CPU = replace(CPU, bf16="native", rates=None)


def chosen(tiny_file: Path, store: Path, wish: AnimateWish, device: Device = CPU) -> ClipTypes:
    return audited_types(
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
    assert candidates_of(AnimateWish(), BF16_CPU) == ("bfloat16", "float32")


def test_the_codec_follows_where_the_device_has_instructions() -> None:
    assert candidates_of(AnimateWish(dtype="fp16"), GPU, CODEC) == ("float16", "float32")
    assert candidates_of(AnimateWish(dtype="fp16"), CPU, CODEC) == ("float32",)
    assert candidates_of(AnimateWish(dtype="fp32"), GPU, CODEC) == ("float32",)
    assert candidates_of(AnimateWish(knobs={"codec": "bfloat16"}), CPU, CODEC) == ("bfloat16",)
    with pytest.raises(UsageError):
        candidates_of(AnimateWish(dtype="int3"), GPU, CODEC)


def test_noise_is_looked_at_as_far_as_a_model_reaches() -> None:
    assert levels_of(PUBLISHED["1.1"].scheduler) == [700.0, 20.0, 1.0, 0.05]
    assert levels_of(NANO.scheduler) == [80.0, 20.0, 2.0]


def test_types_are_held_against_float32_once(tiny_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    wish = AnimateWish(quality="fast")
    choice = chosen(tiny_file, tmp_path, wish, BF16_CPU)
    assert (choice.dtype, choice.codec) == ("bfloat16", "bfloat16")
    assert [decision.what for decision in choice.decisions] == ["dtype", "codec"]
    assert all(decision.measured for decision in choice.decisions)
    denoiser, codec = (decision.because for decision in choice.decisions)
    assert denoiser.startswith("relative_l2 0.0")
    assert codec.startswith("levels_mean ")
    assert not codec.startswith("levels_mean 0 ")
    monkeypatch.setattr(type_audit, "_compared", None)
    assert chosen(tiny_file, tmp_path, wish, BF16_CPU) == choice


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
    monkeypatch.setattr(type_audit, "free_memory_now", lambda device: (1 << 40, 1 << 40))
    choice = chosen(tiny_file, tmp_path, AnimateWish(), GPU)
    assert (choice.dtype, choice.codec) == ("float32", "float32")
    assert [decision.what for decision in choice.decisions] == [
        *["dtype_turned_down"] * 2,
        "dtype",
        *["codec_turned_down"] * 2,
        "codec",
    ]
    wanted = chosen(tiny_file, tmp_path / "other", AnimateWish(dtype="float16"), GPU)
    assert (wanted.dtype, wanted.codec) == ("float16", "float32")
    assert wanted.notes[-1].startswith("warning: dtype float16 was asked for")
    wanted = chosen(tiny_file, tmp_path / "third", AnimateWish(knobs={"codec": "bfloat16"}), CPU)
    assert (wanted.dtype, wanted.codec) == ("float32", "bfloat16")


def test_float32_needs_no_audit(tiny_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(type_audit, "_compared", None)
    assert chosen(tiny_file, tmp_path, AnimateWish()).dtype == "float32"
    exact = chosen(tiny_file, tmp_path, AnimateWish(quality="exact"), GPU)
    assert (exact.dtype, exact.codec) == ("float32", "float32")


@pytest.mark.parametrize("free_bytes", [1000, 1 << 40], ids=["seen before", "seen by running out"])
def test_where_float32_has_no_room_a_type_is_taken_unmeasured(
    tiny_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, free_bytes: int
) -> None:
    def full(*_: object) -> AuditReport:
        assert free_bytes > 1000
        raise torch.OutOfMemoryError("out of memory")

    monkeypatch.setattr(type_audit, "_compared", full)
    monkeypatch.setattr(type_audit, "free_memory_now", lambda device: (free_bytes, free_bytes))
    choice = chosen(tiny_file, tmp_path, AnimateWish(), BF16_CPU)
    assert choice.dtype == "bfloat16"
    assert not choice.decisions[0].measured
    assert NO_REFERENCE in choice.decisions[0].because
