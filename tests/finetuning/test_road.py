"""Whole trainings through the Python door: what they leave, what they resume, what they survive."""

from __future__ import annotations

import json
import math
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import vitruvian as vt
from tiny_trainings import SETTINGS, log_of, same_bits, tiny_base, tiny_data, train, views, wait_for_steps, weights
from vitruvian.errors import CheckFailedError, DoesNotFitError, InterruptedRunError, RefusedError, UsageError
from vitruvian.finetuning.progress import TrainingProgress
from vitruvian.finetuning.training import Training
from vitruvian.training.step import StepResult, TrainingStep


class Stopped(Exception):
    """Ends a training from outside, as nothing inside it would."""


def stopping_at(step: int) -> Any:
    def on_progress(progress: TrainingProgress) -> None:
        if progress.step == step:
            raise Stopped

    return on_progress


@pytest.mark.parametrize(
    "kind", ["normal", *(pytest.param(kind, marks=pytest.mark.slow) for kind in ("pose", "seg", "depth"))]
)
def test_a_training_leaves_weights_that_run_at_once(kind: str, tmp_path: Path) -> None:
    done = train(tmp_path, kind=kind)
    assert done.outcome.steps == 6
    assert done.outcome.first is not None
    assert math.isfinite(done.outcome.last.loss)  # type: ignore[union-attr]
    before, after = weights(tmp_path / "base", f"{kind}.safetensors"), weights(done.folder)
    assert before.keys() == after.keys()
    assert not same_bits(before, after)
    model = vt.load(done.folder, detector="none")
    (result,) = model(views()[0].image_HW3)
    assert result.kind == kind
    document = json.loads((done.folder / "run.json").read_text())
    assert document["finished"]
    assert document["data"] == {
        "name": f"data-{kind}",
        "layout": document["data"]["layout"],
        "train": done.planned.data.train.__len__(),
        "validation": len(done.planned.data.validation),
        "left_out": [],
    }
    assert str(tmp_path) not in (done.folder / "run.json").read_text()


def test_the_log_has_every_step_and_every_validation(tmp_path: Path) -> None:
    done = train(tmp_path)
    rows = log_of(done.folder)
    assert [row["step"] for row in rows if "lr" in row] == [1, 2, 3, 4, 5, 6]
    assert [row["step"] for row in rows if "validation_loss" in row] == [0, 3, 6]
    assert {path.name for path in (done.folder / "pictures").iterdir()} == {
        f"step-{step:07d}.png" for step in (0, 3, 6)
    }
    assert list((done.folder / "tensorboard").iterdir())


def test_learning_lowers_the_loss(tmp_path: Path) -> None:
    done = train(tmp_path, "steps=60", "augment=false", "lr=0.01", "layer_decay=1", "validate_every=60")
    rows = [row["loss"] for row in log_of(done.folder) if "lr" in row]
    assert np.mean(rows[-5:]) < 0.8 * np.mean(rows[:5])


@pytest.mark.parametrize(
    "more",
    [
        (),
        pytest.param(("trainable=lora",), marks=pytest.mark.slow),
        ("precision=pure", "dtype=bfloat16", "average=0.9"),
    ],
)
def test_a_resumed_training_ends_with_the_same_bits(more: tuple[str, ...], tmp_path: Path) -> None:
    train(tmp_path, *more, run="whole")
    with pytest.raises(Stopped):
        train(tmp_path, *more, on_progress=stopping_at(5))
    train(tmp_path, *more, mode="resume")
    for name in ("last.safetensors", "model.safetensors"):
        assert same_bits(weights(tmp_path / "whole", name), weights(tmp_path / "run", name))
    kept = ("step", "loss", "grad_norm", "lr", "validation_loss")
    whole, resumed = (
        [{key: row.get(key) for key in kept} for row in log_of(tmp_path / run)] for run in ("whole", "run")
    )
    assert whole == resumed


def test_a_training_that_was_killed_resumes_to_the_same_bits(tmp_path: Path) -> None:
    more = ("steps=40", "checkpoint_every=1", "validate_every=40")
    train(tmp_path, *more, run="whole")
    base, data = tmp_path / "base" / "normal.safetensors", tmp_path / "data-normal"
    arguments = ["--task", "normal", "--model", base, "--data", data, "-o", tmp_path / "run", *SETTINGS, *more]
    child = subprocess.Popen([sys.executable, "-m", "vitruvian", "finetune", *map(str, arguments), "-q"])
    state = tmp_path / "run" / "state.pt"
    wait_for_steps(tmp_path / "run", 5)
    child.send_signal(signal.SIGKILL)
    assert child.wait() == -signal.SIGKILL
    assert torch.load(state, weights_only=True)["step"] < 40
    train(tmp_path, *more, mode="resume")
    assert same_bits(weights(tmp_path / "whole"), weights(tmp_path / "run"))


def test_resume_refuses_another_training(tmp_path: Path) -> None:
    with pytest.raises(Stopped):
        train(tmp_path, on_progress=stopping_at(3))
    with pytest.raises(RefusedError, match=r"recipe\.lr: 0\.0005 before, 0\.001 now"):
        train(tmp_path, "lr=1e-3", mode="resume")


def test_a_folder_that_holds_a_training_is_not_begun_again(tmp_path: Path) -> None:
    train(tmp_path)
    with pytest.raises(UsageError, match="--resume"):
        train(tmp_path)
    train(tmp_path, mode="overwrite")


def test_an_interrupted_training_says_how_to_go_on(tmp_path: Path) -> None:
    def interrupt(progress: TrainingProgress) -> None:
        if progress.step == 3:
            signal.raise_signal(signal.SIGINT)

    before = signal.getsignal(signal.SIGINT)
    train(tmp_path, "checkpoint_every=100", run="whole")
    with pytest.raises(InterruptedRunError, match="stopped at step 3 of 6; step 3 is saved"):
        train(tmp_path, "checkpoint_every=100", on_progress=interrupt)
    assert signal.getsignal(signal.SIGINT) is before
    train(tmp_path, "checkpoint_every=100", mode="resume")
    assert same_bits(weights(tmp_path / "whole"), weights(tmp_path / "run"))


def test_a_second_interrupt_stops_at_once_and_keeps_what_was_saved(tmp_path: Path) -> None:
    def interrupt(progress: TrainingProgress) -> None:
        if progress.step == 5:
            signal.raise_signal(signal.SIGINT)
            signal.raise_signal(signal.SIGINT)

    train(tmp_path, run="whole")
    with pytest.raises(InterruptedRunError, match="stopped at step 5 of 6; step 4 is saved"):
        train(tmp_path, on_progress=interrupt)
    train(tmp_path, mode="resume")
    assert same_bits(weights(tmp_path / "whole"), weights(tmp_path / "run"))


def test_a_training_that_is_over_is_left_as_it_is(tmp_path: Path) -> None:
    done = train(tmp_path)
    before, log = weights(done.folder), (done.folder / "log.jsonl").read_text()
    said: list[str] = []
    again = train(tmp_path, mode="resume", report=said.append)
    assert same_bits(weights(again.folder), before)
    assert (done.folder / "log.jsonl").read_text() == log
    assert "all 6 steps were taken already" in said
    assert again.outcome.images_per_s == done.outcome.images_per_s
    assert again.outcome.last == done.outcome.last


def test_a_training_that_was_killed_at_its_very_end_is_finished(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stop(self: Training) -> None:
        raise Stopped

    train(tmp_path, run="whole")
    with monkeypatch.context() as patch:
        patch.setattr(Training, "_finish", stop)
        with pytest.raises(Stopped):
            train(tmp_path, "checkpoint_every=1")
    assert torch.load(tmp_path / "run" / "state.pt", weights_only=True)["step"] == 6
    train(tmp_path, "checkpoint_every=1", mode="resume")
    for name in ("last.safetensors", "model.safetensors"):
        assert same_bits(weights(tmp_path / "whole", name), weights(tmp_path / "run", name))


@pytest.mark.slow
def test_8_bit_state_resumes_to_the_same_bits(tmp_path: Path) -> None:
    more = ("optimizer=adamw-8bit", "trainable=head", "steps=4", "validate_every=4")
    train(tmp_path, *more, run="whole")
    with pytest.raises(Stopped):
        train(tmp_path, *more, on_progress=stopping_at(3))
    train(tmp_path, *more, mode="resume")
    assert same_bits(weights(tmp_path / "whole"), weights(tmp_path / "run"))


def failing_steps(monkeypatch: pytest.MonkeyPatch, error: Exception, *, at: set[int], late: bool = False) -> list[int]:
    """Lets calls of the training step fail, before anything is updated or in the middle of it."""
    calls: list[int] = []
    plain, applying = TrainingStep.__call__, TrainingStep._apply

    def step(self: Any, batches: Any) -> StepResult:
        calls.append(len(batches))
        if len(calls) in at and not late:
            torch.rand(5)  # a step that breaks off has used up chance
            raise error
        return plain(self, batches)

    def apply(self: Any, tally: Any, skipped: Any) -> None:
        if len(calls) in at and late:
            raise error
        applying(self, tally, skipped)

    monkeypatch.setattr(TrainingStep, "__call__", step)
    monkeypatch.setattr(TrainingStep, "_apply", apply)
    return calls


OOM = RuntimeError("[enforce fail at alloc_cpu.cpp:124] DefaultCPUAllocator: can't allocate memory: you tried to ...")


def test_out_of_memory_goes_on_from_the_same_step_with_less(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    more = ("augment=false", "micro_batch=4")
    train(tmp_path, *more, run="whole")
    calls = failing_steps(monkeypatch, OOM, at={4, 5})
    done = train(tmp_path, *more)
    assert calls == [1, 1, 1, 1, 2, 4, 4, 4]  # micro-batches of 4, 2 and 1 make the same four samples
    assert done.outcome.steps == 6
    knobs = [one for one in json.loads((done.folder / "run.json").read_text())["decisions"] if one["what"] == "knobs"]
    assert [one["value"] for one in knobs] == [
        "micro_batch 4 -> 2, accumulation 1 -> 2",
        "micro_batch 2 -> 1, accumulation 2 -> 4",
    ]
    for row, other in zip(log_of(tmp_path / "whole"), log_of(done.folder), strict=True):
        if "loss" in row:
            assert other["loss"] == pytest.approx(row["loss"], rel=1e-3)


def test_out_of_memory_in_an_update_goes_back_to_the_last_state(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    failing_steps(monkeypatch, OOM, at={4}, late=True)
    done = train(tmp_path, "micro_batch=4")
    assert [row["step"] for row in log_of(done.folder) if "lr" in row] == [1, 2, 3, 4, 5, 6]


def test_out_of_memory_with_nothing_left_ends_with_a_plan(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    failing_steps(monkeypatch, OOM, at=set(range(3, 20)))
    with pytest.raises(DoesNotFitError, match="every measure"):
        train(tmp_path)
    assert (tmp_path / "run" / "state.pt").exists()


def test_other_errors_are_not_taken_for_a_shortage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    failing_steps(monkeypatch, RuntimeError("mat1 and mat2 shapes cannot be multiplied"), at={2})
    with pytest.raises(RuntimeError, match="mat1"):
        train(tmp_path)


def with_losses(monkeypatch: pytest.MonkeyPatch, change: Any) -> None:
    """Lets results of steps look otherwise than they are."""
    plain = Training._step

    def step(self: Training) -> StepResult:
        return change(self, plain(self))

    monkeypatch.setattr(Training, "_step", step)


def skipped(result: StepResult) -> StepResult:
    return StepResult(loss=math.nan, grad_norm=math.nan, skipped="a loss of nan", items=4, seconds=0.1)


def test_numbers_that_stay_bad_roll_back_once_with_a_lower_rate(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    state = {"bad": True}

    def change(training: Training, result: StepResult) -> StepResult:
        if training.done >= 10 and state["bad"]:
            state["bad"] = training.rig.optimizer.param_groups[0]["lr"] == 0 or training._rollbacks == 0
            return skipped(result) if state["bad"] else result
        return result

    with_losses(monkeypatch, change)
    said: list[str] = []
    done = train(
        tmp_path, "steps=20", "validate_every=20", "checkpoint_every=5", "schedule=constant", report=said.append
    )
    assert any("rollback: back to step 15, 0.5 of the learning rate" in line for line in said)
    rates = {row["step"]: row["lr"] for row in log_of(done.folder) if "lr" in row}
    assert rates[5] == pytest.approx(2 * rates[20])


def test_numbers_that_never_settle_end_the_training(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with_losses(monkeypatch, lambda training, result: skipped(result) if training.done >= 4 else result)
    with pytest.raises(CheckFailedError, match="6 steps in a row"):
        train(tmp_path, "steps=40", "validate_every=40", "checkpoint_every=4")
    assert json.loads((tmp_path / "run" / "run.json").read_text())["ended_by"].startswith("CheckFailedError")


def test_samples_that_are_no_use_are_named_and_skipped(tmp_path: Path) -> None:
    data = tiny_data(tmp_path / "data-normal")
    (data / "images" / "0003.png").write_bytes(b"no picture")
    done = train(tmp_path)
    assert list(done.outcome.corrupt) == ["images/0003.png"]
    assert json.loads((done.folder / "run.json").read_text())["outcome"]["corrupt"]
    for number in (1, 2, 4, 5, 6, 7):
        (data / "images" / f"{number:04d}.png").write_bytes(b"")
    with pytest.raises(CheckFailedError, match="expected 2 at most"):
        train(tmp_path, "corrupt_limit=2", run="other")


@pytest.mark.slow
def test_only_what_is_to_learn_learns(tmp_path: Path) -> None:
    base = weights(tiny_base(tmp_path / "base").parent, "normal.safetensors")
    heads = weights(train(tmp_path, "trainable=head", run="head").folder)
    changed = {key for key in base if not torch.equal(base[key], heads[key])}
    assert changed
    assert all(key.startswith("decode_head.") for key in changed)
    adapted = weights(train(tmp_path, "trainable=lora", run="lora").folder)
    changed = {key for key in base if not torch.equal(base[key], adapted[key])}
    assert adapted.keys() == base.keys()
    assert "backbone.layers.0.attn.qkv.weight" in changed
    assert "backbone.pos_embed" not in changed


@pytest.mark.parametrize(("setting", "grid"), [("patch_size=8", 48), ("crop=96x80", 30), ("patch_size=32", None)])
def test_another_crop_or_patch_makes_a_network_that_runs(setting: str, grid: int | None, tmp_path: Path) -> None:
    said: list[str] = []
    if grid is None:
        with pytest.raises(UsageError, match="multiple"):
            train(tmp_path, setting)
        return
    done = train(tmp_path, setting, report=said.append)
    assert weights(done.folder)["backbone.pos_embed"].shape[1] == grid
    assert any(("resampled the patch kernel" in line) == setting.startswith("patch") for line in said if "note" in line)
    (result,) = vt.load(done.folder)(views()[0].image_HW3)
    assert result.kind == "normal"


@pytest.mark.slow
def test_own_classes_make_a_last_layer_of_their_own(tmp_path: Path) -> None:
    data = tiny_data(tmp_path / "data-seg", "seg")
    with pytest.raises(CheckFailedError, match="holds the label"):
        train(tmp_path, "channels=3", kind="seg", run="few")
    from training_folders import put_png

    for number, view in enumerate(views()):
        put_png(data / "labels" / f"{number:04d}.png", (view.part_labels_HW > 0).astype(np.uint8) * 4)
    done = train(tmp_path, "channels=5", kind="seg")
    assert weights(done.folder)["decode_head.conv_seg.weight"].shape[0] == 5
    (result,) = vt.load(done.folder)(views()[0].image_HW3)
    assert result.labels_HW.max() < 5
    assert result.label_set.names[4] == "class 4"


def test_a_budget_that_nothing_fits_is_refused_before_anything_is_made(tmp_path: Path) -> None:
    with pytest.raises(DoesNotFitError, match="the smallest way takes"):
        train(tmp_path, budget="300MB")
    assert not (tmp_path / "run").exists()


def test_released_gradients_train_without_clipping(tmp_path: Path) -> None:
    done = train(tmp_path, "gradients=released")
    document = json.loads((done.folder / "run.json").read_text())
    assert document["recipe"]["clip_norm"] == 0
    assert document["knobs"]["accumulation"] == 1
    assert any(one["what"] == "clip_norm" for one in document["decisions"])
