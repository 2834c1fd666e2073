"""The loop: an interruption leaves no trace in the result, and bad numbers never reach a checkpoint."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.optim import AdamW

from vitruvian.errors import CheckFailedError
from vitruvian.training.loop import Loop, LoopConfig
from vitruvian.training.parameter_groups import parameter_groups
from vitruvian.training.schedules import Cosine

STEPS, CHECKPOINT_EVERY, LOG_EVERY = 10, 4, 2


def batch_of(step: int) -> Tensor:
    return torch.randn(6, 3, generator=torch.Generator().manual_seed(step))


def loss_of(module: nn.Module, batch: Tensor) -> tuple[Tensor, Mapping[str, float]]:
    loss = (module(batch)[:, 0] - batch.sum(dim=1)).square().mean()
    return loss, {"doubled": 2 * loss.item()}


def loop_in(run: Path, *, seed: int = 0, batches: Callable[[int], Tensor] = batch_of, loss: Any = loss_of) -> Loop:
    """A network with everything that a checkpoint must hold: batch statistics and dropout's random numbers too."""
    torch.manual_seed(seed)
    module = nn.Sequential(nn.Linear(3, 8), nn.BatchNorm1d(8), nn.Dropout(0.5), nn.Linear(8, 1))
    return Loop(
        config=LoopConfig(steps=STEPS, lr=1e-2, log_every=LOG_EVERY, checkpoint_every=CHECKPOINT_EVERY),
        module=module,
        optimizer=AdamW(parameter_groups(module, (), weight_decay=0.1), lr=1e-2, fused=True),
        batch_of=batches,
        loss_of=loss,
        rate_of=Cosine(steps=STEPS, warmup=2),
        run=run,
    )


def quiet(line: str) -> None:
    pass


def stop_before(step: int) -> Callable[[int], Tensor]:
    def batches(asked: int) -> Tensor:
        if asked == step:
            raise KeyboardInterrupt
        return batch_of(asked)

    return batches


def outcome(loop: Loop, average: dict[str, Tensor]) -> tuple[dict[str, Tensor], list[dict[str, Any]]]:
    """Every tensor at the end, and the log without the pace."""
    tensors = {f"average.{name}": value for name, value in average.items()} | loop.module.state_dict()
    rows = [json.loads(line) for line in (loop.run / "log.jsonl").read_text(encoding="utf-8").splitlines()]
    return tensors, [{key: value for key, value in row.items() if key != "steps_per_s"} for row in rows]


def assert_same(found: tuple[dict[str, Tensor], Any], expected: tuple[dict[str, Tensor], Any]) -> None:
    assert found[0].keys() == expected[0].keys()
    for name, value in expected[0].items():
        assert torch.equal(found[0][name], value), name
    assert found[1] == expected[1]


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, Tensor], list[dict[str, Any]]]:
    loop = loop_in(tmp_path_factory.mktemp("whole"))
    return outcome(loop, loop.train(quiet))


def interrupted_at(run: Path, step: int) -> None:
    with pytest.raises(KeyboardInterrupt):
        loop_in(run, batches=stop_before(step)).train(quiet)


# Before the first checkpoint, right after one, between two, and with rows logged that the checkpoint does not know.
@pytest.mark.parametrize("step", [3, 4, 5, 7, 8, 9])
def test_a_resumed_run_equals_an_uninterrupted_one(
    tmp_path: Path, uninterrupted: tuple[dict[str, Tensor], Any], step: int
) -> None:
    interrupted_at(tmp_path, step)
    loop = loop_in(tmp_path, seed=0 if step < CHECKPOINT_EVERY else 99)
    found = outcome(loop, loop.train(quiet))
    assert [row["step"] for row in found[1]] == [2, 4, 6, 8, 10]
    assert_same(found, uninterrupted)


def test_two_interruptions_are_no_worse_than_one(tmp_path: Path, uninterrupted: tuple[dict[str, Tensor], Any]) -> None:
    interrupted_at(tmp_path, 6)
    interrupted_at(tmp_path, 9)
    loop = loop_in(tmp_path, seed=99)
    assert_same(outcome(loop, loop.train(quiet)), uninterrupted)


@pytest.mark.parametrize("step", [3, 6])
def test_torn_files_do_no_harm(tmp_path: Path, uninterrupted: tuple[dict[str, Tensor], Any], step: int) -> None:
    interrupted_at(tmp_path, step)
    (tmp_path / "state.pt.partial").write_bytes(b"PK\x03\x04 the first half of a checkp")
    with (tmp_path / "log.jsonl").open("a", encoding="utf-8") as log:
        log.write('{"step": 6, "lo')
    loop = loop_in(tmp_path)
    assert_same(outcome(loop, loop.train(quiet)), uninterrupted)


def test_a_full_disk_while_saving_keeps_the_last_checkpoint(
    tmp_path: Path, uninterrupted: tuple[dict[str, Tensor], Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    save = torch.save

    def torn(state: dict[str, Any], path: Path) -> None:
        if state["step"] == CHECKPOINT_EVERY:
            save(state, path)
            return
        path.write_bytes(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(torch, "save", torn)
    with pytest.raises(OSError, match="space"):
        loop_in(tmp_path).train(quiet)
    monkeypatch.undo()
    loop = loop_in(tmp_path, seed=99)
    assert_same(outcome(loop, loop.train(quiet)), uninterrupted)


def nan_loss(module: nn.Module, batch: Tensor) -> tuple[Tensor, Mapping[str, float]]:
    loss, numbers = loss_of(module, batch)
    return loss * torch.nan, numbers


def infinite_gradient(module: nn.Module, batch: Tensor) -> tuple[Tensor, Mapping[str, float]]:
    return (0 * module(batch)).sum().abs().sqrt(), {}


@pytest.mark.parametrize(
    ("bad", "what"), [(nan_loss, "loss of nan"), (infinite_gradient, "gradient norm of nan")], ids=["loss", "gradient"]
)
def test_bad_numbers_stop_the_run_before_they_are_saved(tmp_path: Path, bad: Any, what: str) -> None:
    last = 2 * CHECKPOINT_EVERY - 1  # the step whose end would be saved
    seen: list[int] = []

    def batches(step: int) -> Tensor:
        seen.append(step)
        return batch_of(step)

    def loss(module: nn.Module, batch: Tensor) -> tuple[Tensor, Mapping[str, float]]:
        return (bad if seen[-1] == last else loss_of)(module, batch)

    loop = loop_in(tmp_path, batches=batches, loss=loss)
    with pytest.raises(CheckFailedError, match=rf"{what} at step {last}.*lower learning rate"):
        loop.train(quiet)
    assert all(torch.isfinite(value).all() for value in loop.module.state_dict().values())
    state = torch.load(tmp_path / "state.pt", weights_only=True)
    assert state["step"] == CHECKPOINT_EVERY
    assert all(torch.isfinite(value).all() for value in state["average"].values())


def test_a_finished_run_trains_no_more(tmp_path: Path, uninterrupted: tuple[dict[str, Tensor], Any]) -> None:
    loop_in(tmp_path).train(quiet)
    loop = loop_in(tmp_path, seed=99, batches=stop_before(STEPS - 1))
    assert_same(outcome(loop, loop.train(quiet)), uninterrupted)
    assert not loop.module.training


@pytest.mark.parametrize(("step", "decay"), [(0, 0.1), (8, 0.5), (10**6, 0.999)])
def test_a_young_average_follows_closely(tmp_path: Path, step: int, decay: float) -> None:
    loop = loop_in(tmp_path)
    average = {name: torch.zeros_like(value) for name, value in loop.module.state_dict().items()}
    loop._update_average(average, step)
    for name, value in loop.module.state_dict().items():
        expected = value * (1 - decay) if value.is_floating_point() else value
        torch.testing.assert_close(average[name], expected, msg=name)


def test_every_log_row_is_reported(tmp_path: Path) -> None:
    lines: list[str] = []
    loop_in(tmp_path).train(lines.append)
    assert len(lines) == STEPS // LOG_EVERY
    assert lines[0].startswith("step 2  steps_per_s ")
    assert "doubled " in lines[0]
