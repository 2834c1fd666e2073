"""The nano networks through the fine-tuning command: what is left, resumed, refused, and shared by processes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from vitruvian.errors import RefusedError, UsageError
from vitruvian.finetuning import nano_plan
from vitruvian.finetuning.joint_nano import JOINT, NANO_TRAINING, joint_workload
from vitruvian.finetuning.nano import NanoTrained, train_nano
from vitruvian.finetuning.nano_plan import plan_nano
from vitruvian.finetuning.progress import TrainingProgress
from vitruvian.fit.knobs import Knobs
from vitruvian.models.sapiens import load_network, nano_config
from vitruvian.models.sapiens.config import NANO_HEADS
from vitruvian.models.weight_files import read_weights
from vitruvian.training.nano.network import JointNetwork
from vitruvian.zoo import spec_of_file

SETTINGS = (
    *("pictures=6", "steps=3", "batch_size=2", "validation_limit=2", "validate_every=2", "log_every=1"),
    *("checkpoint_every=1", "precision=float32", "checkpointing=none", "attention=fused"),
)


TWO_PROCESSES_REL = 2e-5
"""The log has six digits; sums are taken in another order."""


class Stopped(Exception):
    """Ends a training from outside, as nothing inside it would."""


@pytest.fixture(scope="module", autouse=True)
def remembered_plans() -> Iterator[None]:
    """Tracing the network takes seconds, and equal questions have equal answers."""
    plain, known = nano_plan.make_plan, dict[str, Any]()

    def make_plan(**asked: Any) -> Any:
        key = repr(sorted((name, value) for name, value in asked.items() if name != "workload"))
        if key not in known:
            known[key] = plain(**asked)
        return known[key]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(nano_plan, "make_plan", make_plan)
        yield


@pytest.fixture(scope="module", autouse=True)
def threads() -> Iterator[None]:
    """A training takes the cores that it wants; other tests get theirs back."""
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> NanoTrained:
    return train_nano(tmp_path_factory.mktemp("nano") / "whole", SETTINGS, device="cpu")


def stopped_at(step: int) -> Any:
    def on_progress(progress: TrainingProgress) -> None:
        if progress.step == step:
            raise Stopped

    return on_progress


def log_of(run: Path) -> list[dict[str, Any]]:
    rows = [json.loads(line) for line in (run / "log.jsonl").read_text(encoding="utf-8").splitlines()]
    unsteady = ("images_per_s", "waited_share", "memory_bytes", "peak_bytes")
    return [{key: value for key, value in row.items() if key not in unsteady} for row in rows]


def same_bits(a: dict[str, Tensor], b: dict[str, Tensor]) -> bool:
    return a.keys() == b.keys() and all(torch.equal(value, b[key]) for key, value in a.items())


def test_the_files_of_the_end_are_the_networks_of_the_package(whole: NanoTrained) -> None:
    joint = load_file(whole.folder / "last.safetensors")
    assert joint.keys() == JointNetwork().state_dict().keys()
    trunk = load_file(whole.folder / "weights" / "trunk.safetensors")
    assert all(torch.equal(value, joint[key].half()) for key, value in trunk.items())
    for kind in NANO_HEADS:
        path = whole.folder / "weights" / f"{kind}.safetensors"
        file = read_weights(path)
        assert spec_of_file(path, file.tensors, file.metadata).config == nano_config(kind)
        assert load_network(nano_config(kind), {**read_weights(path).tensors, **trunk}).notes == ()


def test_the_weights_are_the_average(whole: NanoTrained) -> None:
    state = torch.load(whole.folder / "state.pt", weights_only=True)
    last = load_file(whole.folder / "last.safetensors")
    learnt = {name: last[name] for name in state["average"]}
    assert same_bits(learnt, state["average"])
    assert not same_bits(learnt, state["weights"])


def test_the_log_has_steps_and_validations_by_task(whole: NanoTrained) -> None:
    rows = log_of(whole.folder)
    assert [row["step"] for row in rows if "lr" in row] == [1, 2, 3]
    measured = [row for row in rows if "validation_loss" in row]
    assert [row["step"] for row in measured] == [0, 2, 3]
    for row in measured:
        assert row["loss"] == pytest.approx(row["validation_loss"])
        assert sum(row[kind] for kind in NANO_HEADS) == pytest.approx(row["loss"], rel=1e-4)
    assert (whole.folder / JOINT).is_file()
    assert not (whole.folder / "model.safetensors").exists(), "no model to run"
    document = json.loads((whole.folder / "run.json").read_text(encoding="utf-8"))
    assert (document["task"], document["finished"], document["nano"]["pictures"]) == ("nano", True, 6)


def test_a_resumed_training_ends_with_the_same_bits(whole: NanoTrained, tmp_path: Path) -> None:
    with pytest.raises(Stopped):
        train_nano(tmp_path / "run", SETTINGS, device="cpu", on_progress=stopped_at(2))
    drawn = tmp_path / "run" / "pictures-rendered" / "image_NSS3.npy"
    stamp = drawn.stat().st_mtime_ns
    done = train_nano(tmp_path / "run", SETTINGS, device="cpu", mode="resume")
    assert done.outcome.steps == 3
    for name in ("last.safetensors", JOINT, "weights/pose.safetensors", "weights/trunk.safetensors"):
        assert same_bits(load_file(done.folder / name), load_file(whole.folder / name)), name
    assert log_of(done.folder) == log_of(whole.folder)
    with pytest.raises(RefusedError, match=r"recipe\.lr"):
        train_nano(tmp_path / "run", [*SETTINGS, "lr=1e-3"], device="cpu", mode="resume")
    fewer = [*SETTINGS, "steps=1", "validation_limit=0"]
    again = train_nano(tmp_path / "run", fewer, device="cpu", mode="overwrite")
    assert [row["step"] for row in log_of(again.folder)] == [1]
    assert drawn.stat().st_mtime_ns == stamp, "pictures outlast an overwritten training"
    # Without anything to measure on, the weights of the end are the best.
    assert same_bits(load_file(again.folder / JOINT), load_file(again.folder / "last.safetensors"))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (["pictures=0"], "pictures"),
        (["pictures=many"], "pictures"),
        (["channels=133"], "channels"),
        (["trainable=lora"], "trainable"),
        (["crop=128x96"], "one size"),
        (["augment=false"], "augment"),
        (["augment.turn_deg=3"], "augment"),
        (["hardest=8"], "hardest"),
        (["heat_sigma=3"], "heat_sigma"),
        (["validation_share=0.1"], "validation_share"),
        (["nonsense=1"], "nonsense"),
        (["steps=0"], "steps"),
    ],
    ids=lambda value: str(value),
)
def test_keys_without_meaning_are_refused(settings: list[str], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        plan_nano(settings, device="cpu")


def test_wishes_change_the_training_and_the_pictures() -> None:
    planned = plan_nano([*SETTINGS, "lr=1e-3", "average=0"], more={"pictures": 12}, device="cpu")
    assert (planned.nano.pictures, planned.recipe.lr, planned.recipe.average, planned.steps) == (12, 1e-3, 0.0, 3)
    assert planned.recipe.schedule == NANO_TRAINING.schedule
    passes = plan_nano(
        [pair for pair in SETTINGS if not pair.startswith("steps")], more={"epochs": 5.0, "pictures": 12}, device="cpu"
    )
    assert passes.steps == 5 * 12 // 2
    assert "12 synthetic pictures" in passes.text()


def test_several_processes_share_a_step(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(nano_plan, "announced_ranks", lambda: (1, 2))
    planned = plan_nano([*SETTINGS, "batch_size=8"], device="cpu")
    knobs: Knobs = planned.plan.knobs
    assert knobs.micro_batch == 4
    assert knobs.training is not None
    assert (knobs.training.gpus, knobs.training.parallel, knobs.training.accumulation) == (2, "ddp", 1)
    with pytest.raises(UsageError, match="multiple"):
        plan_nano([*SETTINGS, "batch_size=3"], device="cpu")


def test_a_small_budget_does_not_freeze_a_network_that_knows_nothing() -> None:
    planned = plan_nano(SETTINGS[:3], device="cpu", budget_bytes=300_000_000)
    assert not planned.plan.fits
    assert planned.plan.knobs.training is not None
    assert planned.plan.knobs.training.trainable == "all"


def test_the_workload_is_the_network_on_meta() -> None:
    module = joint_workload().build()
    assert {parameter.device.type for parameter in module.parameters()} == {"meta"}
    assert module.state_dict().keys() == JointNetwork().state_dict().keys()


@pytest.mark.slow
def test_two_processes_learn_what_one_does(tmp_path: Path) -> None:
    """At a rate so low that rounding is not blown up from step to step, and still a hundredfold of what is compared.

    Gradient norms are left out: the logarithm of a young network's depths, some of them near 0, makes much of rounding.
    """
    settings = [*SETTINGS, "batch_size=4", "lr=1e-6"]
    alone = train_nano(tmp_path / "one", settings, device="cpu")
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    command += ["-m", "vitruvian", "finetune", "--task", "nano", "-o", str(tmp_path / "two"), "--device", "cpu"]
    subprocess.run([*command, *settings], check=True, env=os.environ | {"OMP_NUM_THREADS": "1"})
    rows = [
        [{key: value for key, value in row.items() if key != "grad_norm"} for row in log_of(tmp_path / run)]
        for run in ("one", "two")
    ]
    for one, two in zip(*rows, strict=True):
        assert two == pytest.approx(one, rel=TWO_PROCESSES_REL)
    first, last = (row["validation_loss"] for row in (rows[0][0], rows[0][-1]))
    assert abs(first - last) > 50 * TWO_PROCESSES_REL * first
    assert alone.outcome.steps == 3
