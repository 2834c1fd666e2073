"""`vitruvian finetune --task nano`: what the command takes and refuses."""

from __future__ import annotations

from pathlib import Path

import pytest

from command import Command


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--task", "seg"], "--data"),
        (["--task", "nano", "--data", "folder"], "--data"),
        (["--task", "nano", "--model", "sapiens-1b"], "--model"),
        (["--task", "nano", "--frame", "camera"], "--frame"),
        (["--task", "nano", "--random-weights"], "--random-weights"),
        (["--task", "nano", "--resume", "--overwrite"], "--resume"),
        (["--task", "nano", "pictures=none"], "pictures"),
    ],
    ids=lambda value: value if isinstance(value, str) else " ".join(value),
)
def test_what_cannot_be_is_refused(command: Command, tmp_path: Path, arguments: list[str], said: str) -> None:
    ran = command("finetune", *arguments, "-o", tmp_path / "run")
    assert ran.code == 2
    assert said in ran.err
    assert not (tmp_path / "run").exists()


def test_the_plan_alone_leaves_nothing(command: Command, tmp_path: Path) -> None:
    ran = command("finetune", "--task", "nano", "-o", tmp_path / "run", "--device", "cpu", "--plan-only", "steps=7")
    assert ran.code == 0, ran.err
    assert "16000 synthetic pictures" in ran.out
    assert "7 steps of 32 crops" in ran.out
    assert "fits" in ran.out
    assert not (tmp_path / "run").exists()
