"""Two processes on a CPU: the losses of one, sharded or not, and states that any number of processes takes up."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from tiny_trainings import SETTINGS, log_of, same_bits, tiny_base, tiny_data, train, wait_for_steps, weights
from tolerances import SHARDED_LOSS_REL

STEPS = 8
MORE = (f"steps={STEPS}", "checkpoint_every=1", "validate_every=4")


def command(tmp_path: Path, run: str, *settings: str) -> list[str]:
    """A pose training, which has no dropout, by two processes; its base and data are made where they are missing."""
    base, data = tmp_path / "base" / "pose.safetensors", tmp_path / "data-pose"
    if not base.exists():
        tiny_base(base.parent, "pose")
        tiny_data(data, "pose")
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    what = ["--task", "pose", "--model", str(base), "--data", str(data), "-o", str(tmp_path / run)]
    return [*launcher, "-m", "vitruvian", "finetune", *what, *SETTINGS, *MORE, *settings, "-q"]


def run_two(tmp_path: Path, run: str, *settings: str) -> None:
    done = subprocess.run(command(tmp_path, run, *settings), capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == 0, done.stderr


def children_of(process: int) -> list[int]:
    """The launcher starts its workers in sessions of their own."""
    return [int(one) for one in Path(f"/proc/{process}/task/{process}/children").read_text().split()]


def losses(folder: Path) -> list[float]:
    return [row.get("loss", row.get("validation_loss")) for row in log_of(folder)]


@pytest.mark.slow
@pytest.mark.parametrize("parallel", ["fsdp", "ddp"])
def test_two_processes_learn_what_one_learns(parallel: str, tmp_path: Path) -> None:
    train(tmp_path, *MORE, kind="pose", run="one")
    run_two(tmp_path, "two", f"parallel={parallel}")
    assert losses(tmp_path / "two") == pytest.approx(losses(tmp_path / "one"), rel=SHARDED_LOSS_REL)
    one, two = weights(tmp_path / "one"), weights(tmp_path / "two")
    assert one.keys() == two.keys()
    assert all(value.shape == two[key].shape for key, value in one.items())


@pytest.mark.slow
def test_sharded_bfloat16_weights_keep_their_islands(tmp_path: Path) -> None:
    run_two(tmp_path, "two", "parallel=fsdp", "dtype=bfloat16", "precision=pure", "checkpointing=blocks")
    found = {key: value.dtype for key, value in weights(tmp_path / "two").items()}
    assert found["backbone.pos_embed"] == found["head.final_layer.weight"] == torch.float32
    assert found["backbone.layers.0.attn.qkv.weight"] == torch.bfloat16


@pytest.mark.slow
@pytest.mark.parametrize("parallel", ["fsdp", "ddp"])
def test_adapters_begin_alike_and_averages_are_kept(parallel: str, tmp_path: Path) -> None:
    settings = ("trainable=lora", "average=0.5")
    train(tmp_path, *MORE, *settings, kind="pose", run="one")
    run_two(tmp_path, "two", f"parallel={parallel}", *settings)
    assert losses(tmp_path / "two") == pytest.approx(losses(tmp_path / "one"), rel=SHARDED_LOSS_REL)
    key = "backbone.layers.1.attn.qkv.weight"
    one, two = (weights(tmp_path / run)[key] for run in ("one", "two"))
    base = weights(tmp_path / "base", "pose.safetensors")[key]
    assert torch.nn.functional.cosine_similarity((one - base).flatten(), (two - base).flatten(), dim=0) > 0.99


@pytest.mark.skipif(sys.platform != "linux", reason="finds the workers by /proc")
@pytest.mark.slow
@pytest.mark.parametrize("to_the_bit", [False, True])
def test_a_sharded_training_that_was_killed_goes_on(to_the_bit: bool, tmp_path: Path) -> None:
    """With two processes and, as well, with one alone; the losses are those of a training that was never stopped."""
    child = subprocess.Popen(command(tmp_path, "run", "parallel=fsdp"))
    state = tmp_path / "run" / "state.pt"
    wait_for_steps(tmp_path / "run", 3)
    workers = children_of(child.pid)
    assert len(workers) == 2
    for process in (child.pid, *workers):
        os.kill(process, signal.SIGKILL)
    child.wait()
    assert torch.load(state, weights_only=True)["step"] < STEPS
    one = tmp_path / "one"
    subprocess.run(["cp", "-r", str(tmp_path / "run"), str(one)], check=True)
    run_two(tmp_path, "run", "parallel=fsdp", "--resume")
    train(tmp_path, *MORE, kind="pose", run="one", mode="resume")
    train(tmp_path, *MORE, kind="pose", run="never stopped")
    for run in ("run", "one"):
        assert losses(tmp_path / run) == pytest.approx(losses(tmp_path / "never stopped"), rel=SHARDED_LOSS_REL)
    if to_the_bit:
        run_two(tmp_path, "whole", "parallel=fsdp")
        assert same_bits(weights(tmp_path / "whole"), weights(tmp_path / "run"))
    assert torch.load(one / "state.pt", weights_only=True)["step"] == STEPS
