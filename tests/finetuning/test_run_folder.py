"""The folder of a training: whose it is, what may happen to it, and a log that goes back."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from vitruvian.errors import RefusedError, UsageError
from vitruvian.finetuning.folder import LOG, open_run

MINE = {"task": "normal", "recipe.lr": 5e-4, "samples": [3, 1]}


def begun(path: Path) -> None:
    with open_run(path, "new", MINE) as folder:
        folder.write_state(lambda file: file.write(b"state") and None)
        folder.log({"step": 1})


def test_a_new_training_wants_a_folder_of_its_own(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("mine")
    with pytest.raises(UsageError, match="files of something else"):
        open_run(tmp_path, "new", MINE)
    with pytest.raises(UsageError, match="files of something else"):
        open_run(tmp_path, "overwrite", MINE)
    assert (tmp_path / "thesis.txt").read_text() == "mine"


def test_what_is_there_is_resumed_or_overwritten(tmp_path: Path) -> None:
    begun(tmp_path)
    with pytest.raises(UsageError, match="--resume"):
        open_run(tmp_path, "new", MINE)
    with open_run(tmp_path, "resume", MINE) as folder:
        assert folder.state.read_bytes() == b"state"
    (tmp_path / "notes.txt").write_text("mine")
    with open_run(tmp_path, "overwrite", {**MINE, "recipe.lr": 1.0}) as folder:
        assert not folder.state.exists()
    assert (tmp_path / "notes.txt").exists()


def test_resuming_another_training_is_refused_with_what_differs(tmp_path: Path) -> None:
    begun(tmp_path)
    with pytest.raises(RefusedError, match=r"recipe\.lr: 0\.0005 before, 1\.0 now; samples: \[3,1\] before, null now"):
        open_run(tmp_path, "resume", {"task": "normal", "recipe.lr": 1.0})


def test_resuming_nothing_begins(tmp_path: Path) -> None:
    with open_run(tmp_path / "run", "resume", MINE) as folder:
        assert not folder.state.exists()
    assert json.loads((tmp_path / "run" / ".vitruvian" / "training.json").read_text())["task"] == "normal"


def test_two_trainings_exclude_each_other(tmp_path: Path) -> None:
    with open_run(tmp_path, "new", MINE), pytest.raises(UsageError, match="another run"):
        open_run(tmp_path, "resume", MINE)
    with open_run(tmp_path, "resume", MINE):
        pass


def test_the_log_goes_back_to_a_step_and_loses_a_torn_row(tmp_path: Path) -> None:
    with open_run(tmp_path, "new", MINE) as folder:
        for step in range(4):
            folder.log({"step": step, "loss": float("nan") if step == 1 else 1 / 3})
        with (tmp_path / LOG).open("a") as log:
            log.write('{"step": 4, "lo')
        folder.rewind_log(2)
    rows = [json.loads(line) for line in (tmp_path / LOG).read_text().splitlines()]
    assert [row["step"] for row in rows] == [0, 1, 2]
    assert [row["loss"] for row in rows] == [0.333333, None, 0.333333]


def test_what_a_killed_run_left_half_written_is_swept(tmp_path: Path) -> None:
    begun(tmp_path)
    (tmp_path / ".vitruvian-0123456789abcdef.tmp").write_bytes(b"half")
    with open_run(tmp_path, "resume", MINE):
        assert not list(tmp_path.glob("*.tmp"))


def test_a_write_that_fails_leaves_the_state_before(tmp_path: Path) -> None:
    begun(tmp_path)
    with open_run(tmp_path, "resume", MINE) as folder:

        def breaking(file: object) -> None:
            file.write(b"half")  # type: ignore[attr-defined]
            raise RuntimeError("killed")

        with pytest.raises(RuntimeError, match="killed"):
            folder.write_state(breaking)
        assert folder.state.read_bytes() == b"state"


def test_weights_are_files_of_their_own(tmp_path: Path) -> None:
    with open_run(tmp_path, "new", MINE) as folder:
        folder.write_weights("model.safetensors", {"a": torch.arange(6.0).reshape(2, 3).T}, {"licence": "mine"})
    assert torch.equal(load_file(tmp_path / "model.safetensors")["a"], torch.arange(6.0).reshape(2, 3).T)
