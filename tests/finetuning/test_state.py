"""States of a training: whole, inert, and refused where they do not belong."""

from __future__ import annotations

import io
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import nn

from vitruvian.errors import RefusedError
from vitruvian.finetuning.state import (
    FORMAT,
    learnt_weights,
    put_weights,
    random_states,
    read_document,
    set_random_states,
    write_document,
)
from vitruvian.training.ranks import Ranks


def saved(path: Path, document: dict[str, object]) -> Path:
    with path.open("wb") as file:
        write_document(document, file)
    return path


def test_what_is_written_is_read(tmp_path: Path) -> None:
    network = nn.Linear(3, 2)
    network.bias.requires_grad_(False)
    path = saved(tmp_path / "state.pt", {"format": FORMAT, "weights": learnt_weights(network), "best": (3, 0.5)})
    found = read_document(path)
    assert list(found["weights"]) == ["weight"]
    other = nn.Linear(3, 2)
    other.bias.requires_grad_(False)
    put_weights(other, found["weights"])
    assert torch.equal(other.weight, network.weight)
    assert not torch.equal(other.bias, network.bias)


def test_weights_of_other_parameters_are_refused() -> None:
    with pytest.raises(RefusedError, match="bias"):
        put_weights(nn.Linear(3, 2), {"weight": torch.zeros(2, 3)})


@pytest.mark.parametrize("damage", ["cut", "flipped", "empty", "text"])
def test_damaged_states_are_refused(damage: str, tmp_path: Path) -> None:
    path = saved(tmp_path / "state.pt", {"format": FORMAT, "weights": {"a": torch.rand(500)}})
    data = path.read_bytes()
    path.write_bytes(
        {"cut": data[: len(data) // 2], "flipped": b"X" + data[1:], "empty": b"", "text": b"hello"}[damage]
    )
    with pytest.raises(RefusedError, match="cannot be read"):
        read_document(path)


def test_states_of_other_versions_are_refused(tmp_path: Path) -> None:
    with pytest.raises(RefusedError, match="of version 99"):
        read_document(saved(tmp_path / "state.pt", {"format": 99}))


class Evil:
    def __reduce__(self) -> tuple[object, tuple[str]]:
        return (print, ("code ran",))


def test_code_in_a_state_does_not_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    buffer = io.BytesIO()
    torch.save({"format": FORMAT, "weights": Evil()}, buffer)
    path = tmp_path / "state.pt"
    path.write_bytes(buffer.getvalue())
    with pytest.raises(RefusedError):
        read_document(path)
    assert "code ran" not in capsys.readouterr().out


def test_chance_goes_on_where_it_was() -> None:
    states = random_states(Ranks(), "cpu")
    first = torch.rand(3)
    assert set_random_states(states, Ranks(), "cpu")
    assert torch.equal(torch.rand(3), first)
    assert not set_random_states(states, Ranks(rank=1, count=2), "cpu")


def test_moments_in_8_bits_are_read_by_a_process_that_never_made_any(tmp_path: Path) -> None:
    from torchao.optim.subclass_8bit import OptimState8bit

    moments = OptimState8bit.zeros((64, 128), signed=True, block_size=256, device="cpu")
    path = saved(tmp_path / "state.pt", {"format": FORMAT, "optimizer": {"state": {0: {"exp_avg": moments}}}})
    code = (
        "import sys; from pathlib import Path; from vitruvian.finetuning.state import read_document\n"
        "assert 'torchao' not in sys.modules\n"
        f"print(type(read_document(Path({str(path)!r}))['optimizer']['state'][0]['exp_avg']).__name__)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "OptimState8bit"
