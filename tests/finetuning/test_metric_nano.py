"""The small metric network through the fine-tuning command: what is left, resumed, refused."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from command import Command
from tiny_trainings import same_bits
from training.metric.tiny_metric import TINY
from vitruvian.errors import RefusedError, UsageError
from vitruvian.finetuning.metric_nano import METRIC_NANO, METRIC_TRAINING, metric_kind
from vitruvian.finetuning.nano import train_nano
from vitruvian.finetuning.nano_kinds import NANO_KINDS
from vitruvian.finetuning.nano_plan import plan_nano
from vitruvian.finetuning.progress import TrainingProgress
from vitruvian.fit.footprint.isolate import CHILD
from vitruvian.models.metric3d import NANO, build_network, load_network
from vitruvian.models.weight_files import read_weights
from vitruvian.training.metric.nano_recipe import MetricNanoRecipe
from vitruvian.training.metric.workload import metric_workload
from vitruvian.zoo import spec_of_file

SETTINGS = (
    *("pictures=4", "steps=3", "batch_size=2", "validation_limit=2", "validate_every=2", "log_every=1", "warmup=0"),
    *("checkpoint_every=1", "precision=float32", "checkpointing=none", "attention=fused"),
)
WEIGHTS = "weights/metric.safetensors"


class Stopped(Exception):
    """Ends a training from outside, as nothing inside it would."""


@pytest.fixture(scope="module", autouse=True)
def tiny() -> Iterator[None]:
    """A network of 56x84 pixels and pictures of 1200 in the small one's place.

    Plans are made without a child process, which takes seconds to start.
    """

    def pictures(**asked: Any) -> MetricNanoRecipe:
        return MetricNanoRecipe(pixels=1200, **asked)

    kind = replace(metric_kind(TINY), pictures=pictures)
    threads = torch.get_num_threads()
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(NANO_KINDS, kind.task, kind)
        patch.setattr(CHILD, "call", lambda what, function, *arguments: function(*arguments))
        yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("metric") / "whole"
    train_nano(folder, SETTINGS, kind=NANO_KINDS["metric-nano"], device="cpu")
    return folder


def log_of(run: Path) -> list[dict[str, Any]]:
    rows = [json.loads(line) for line in (run / "log.jsonl").read_text(encoding="utf-8").splitlines()]
    unsteady = ("images_per_s", "waited_share", "memory_bytes", "peak_bytes")
    return [{key: value for key, value in row.items() if key not in unsteady} for row in rows]


@pytest.mark.parametrize("name", [WEIGHTS, "model.safetensors"])
def test_the_files_are_networks_to_run(whole: Path, name: str) -> None:
    path = whole / name
    file = read_weights(path)
    spec = spec_of_file(path, file.tensors, file.metadata)
    assert (spec.config, spec.family.name, spec.licence) == (TINY, "metric3d", "apache-2.0")
    network = load_network(TINY, file.tensors).network
    with torch.no_grad():
        found = network(torch.zeros(1, 3, *TINY.input_hw))
    assert all(value.isfinite().all() for value in found.values())


def test_the_weights_of_the_end_are_the_average_in_float16(whole: Path) -> None:
    last, half = load_file(whole / "last.safetensors"), load_file(whole / WEIGHTS)
    assert last.keys() == half.keys() == build_network(TINY).state_dict().keys()
    assert all(torch.equal(value.half(), half[key]) for key, value in last.items())
    state = torch.load(whole / "state.pt", weights_only=True)
    assert same_bits(last, state["average"])
    assert not same_bits(last, state["weights"])


def test_the_log_has_losses_and_errors_in_usual_terms(whole: Path) -> None:
    rows = log_of(whole)
    assert [row["step"] for row in rows if "lr" in row] == [1, 2, 3]
    measured = [row for row in rows if "validation_loss" in row]
    assert [row["step"] for row in measured] == [0, 2, 3]
    for row in measured:
        parts = sum(row[name] for name in ("depth", "confidence", "normal"))
        assert parts == pytest.approx(row["loss"], rel=1e-4, abs=1e-5)
        assert row["AbsRel"] > 0
        assert 0 <= row["delta1"] <= 1
        assert 0 < row["mean deg"] < 180
    document = json.loads((whole / "run.json").read_text(encoding="utf-8"))
    assert (document["task"], document["finished"], document["nano"]["pictures"]) == ("metric-nano", True, 4)


def test_a_resumed_training_ends_with_the_same_bits(whole: Path, tmp_path: Path, command: Command) -> None:
    def on_progress(progress: TrainingProgress) -> None:
        if progress.step == 2:
            raise Stopped

    run = tmp_path / "run"
    with pytest.raises(Stopped):
        train_nano(run, SETTINGS, kind=NANO_KINDS["metric-nano"], device="cpu", on_progress=on_progress)
    ran = command("finetune", "--task", "metric-nano", "-o", run, "--device", "cpu", "--resume", *SETTINGS)
    assert ran.code == 0, ran.err
    assert "4 synthetic pictures" in ran.out
    for name in ("last.safetensors", "model.safetensors", WEIGHTS):
        assert same_bits(load_file(run / name), load_file(whole / name)), name
    assert log_of(run) == log_of(whole)
    with pytest.raises(RefusedError, match="task"):
        train_nano(run, SETTINGS, device="cpu", mode="resume")


@pytest.mark.parametrize("setting", ["drop_path=0.1", "channels=2", "augment=false", "trainable=lora", "pictures=0"])
def test_keys_without_meaning_are_refused(setting: str) -> None:
    with pytest.raises(UsageError, match=setting.partition("=")[0]):
        plan_nano([setting], kind=METRIC_NANO, device="cpu")


@pytest.mark.parametrize(
    "option", [("--data", "folder"), ("--model", "sapiens-1b"), ("--random-weights",)], ids=" ".join
)
def test_options_without_meaning_are_refused(command: Command, tmp_path: Path, option: tuple[str, ...]) -> None:
    ran = command("finetune", "--task", "metric-nano", "-o", tmp_path / "run", *option)
    assert ran.code == 2
    assert option[0] in ran.err
    assert "metric-nano" in ran.err
    assert not (tmp_path / "run").exists()


def test_the_workload_is_the_network_on_meta() -> None:
    module = metric_workload(NANO).build()
    assert {parameter.device.type for parameter in module.parameters()} == {"meta"}
    assert module.state_dict().keys() == build_network(NANO).state_dict().keys()


def test_the_recipe_sees_every_picture_several_times() -> None:
    assert METRIC_TRAINING.steps is not None
    assert METRIC_TRAINING.steps * METRIC_TRAINING.batch_size >= 5 * MetricNanoRecipe().pictures
