"""`vitruvian finetune` as a newcomer types it."""

from __future__ import annotations

import json
import signal
from pathlib import Path

import pytest

from command import Command, start
from tiny_trainings import SETTINGS, tiny_base, tiny_data

BUDGET = "300MB"


@pytest.fixture
def arguments(tmp_path: Path) -> list[object]:
    base, data = tiny_base(tmp_path / "base"), tiny_data(tmp_path / "data")
    return ["--task", "normal", "--model", base, "--data", data, "-o", tmp_path / "run", *SETTINGS]


def test_it_plans_trains_and_says_how_to_use_the_result(
    command: Command, arguments: list[object], tmp_path: Path
) -> None:
    ran = command("finetune", *arguments)
    assert ran.code == 0, ran.err
    assert ran.out.index("->") < ran.out.index("use it: vitruvian normal PICTURES")
    assert "6 steps of 4 samples" in ran.out
    assert "step 6 of 6, loss" in ran.err
    assert "predicted" in ran.err
    used = command("normal", tmp_path / "data" / "images", "-o", tmp_path / "out", "--model", tmp_path / "run")
    assert used.code == 0, used.err
    measured = command("eval", tmp_path / "run", tmp_path / "data", "--task", "normal", "--json")
    assert json.loads(measured.out)["pictures"] == 10


def test_a_plan_alone_touches_nothing(command: Command, arguments: list[object], tmp_path: Path) -> None:
    ran = command("finetune", *arguments, "--plan-only")
    assert ran.code == 0
    assert "fits:" in ran.out
    assert not (tmp_path / "run").exists()


def test_what_does_not_fit_is_exit_code_4(command: Command, arguments: list[object], tmp_path: Path) -> None:
    for more in ([], ["--plan-only"]):
        ran = command("finetune", *arguments, "--budget", BUDGET, *more)
        assert ran.code == 4
        assert "does not fit" in ran.out
        assert "more than the budget of 300 MB" in ran.err
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("more", "code", "message"),
    [
        (["--task", "dancing"], 2, "expected one of"),
        (["--model", "sapiens-9b"], 2, "sapiens"),
        (["--resume", "--overwrite"], 2, "one of them"),
        (["learning_rate=3"], 2, "got the key 'learning_rate'"),
        (["channels=4"], 2, "channels"),
        (["crop=70x50"], 2, "multiple"),
        (["--frame", "upside-down"], 2, "camera"),
        (["--recipe", "nowhere.toml"], 2, "nowhere.toml"),
        (["--device", "cuda:7"], 2, "cuda:7"),
        (["hardest=3", "batch_size=0"], 2, "batch_size"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_mistakes_are_explained(
    command: Command, arguments: list[object], more: list[str], code: int, message: str, tmp_path: Path
) -> None:
    ran = command("finetune", *arguments, *more)
    assert ran.code == code
    assert message in ran.err
    assert not (tmp_path / "run").exists()


def test_a_folder_without_samples_is_named(command: Command, arguments: list[object], tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    at = arguments.index("--data") + 1
    ran = command("finetune", *arguments[:at], tmp_path / "empty", *arguments[at + 1 :])
    assert ran.code == 2
    assert "layouts" in ran.err


def test_ctrl_c_ends_with_130_and_goes_on(command: Command, arguments: list[object], tmp_path: Path) -> None:
    child = start("finetune", *arguments, "steps=400", "validate_every=400", "checkpoint_every=1000")
    log = tmp_path / "run" / "log.jsonl"
    while child.poll() is None and not (log.exists() and log.read_text().count("\n") > 5):
        pass
    child.send_signal(signal.SIGINT)
    _, err = child.communicate(timeout=120)
    assert child.returncode == 130, err
    assert "go on with --resume" in err
    first = log.read_text().count("\n")
    again = command("finetune", *arguments, "steps=400", "validate_every=400", "--plan-only", "--resume")
    assert again.code == 0
    assert first > 5


def test_a_budget_holds_the_process(command: Command, arguments: list[object]) -> None:
    ran = command("finetune", *arguments, "--budget", "3GB")
    assert ran.code == 0
    assert "held to about 3.0 GB" in ran.err


def test_quiet_prints_nothing(command: Command, arguments: list[object]) -> None:
    ran = command("finetune", *arguments, "-q")
    assert (ran.code, ran.out, ran.err) == (0, "", "")
