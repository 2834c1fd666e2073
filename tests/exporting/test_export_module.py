"""Any module becomes an artefact; what is wrong with it is told in a sentence, and the next rung is tried."""

from __future__ import annotations

import copy
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

import failing_modules as failing
from vitruvian.artefacts import aoti
from vitruvian.errors import UsageError
from vitruvian.exporting import export


class TwoInputs(nn.Module):
    """Two tensors and a number in, several outputs out."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(8, 5)
        self.register_buffer("shift", torch.full((5,), 0.5), persistent=False)

    def forward(self, x_BD: Tensor, y_BD: Tensor, scale: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        return self.linear(x_BD) * scale, {"sum": self.linear(x_BD) + self.linear(y_BD) + self.shift}


def test_several_inputs_and_nested_outputs(tmp_path: Path, without_compiler: None) -> None:
    torch.manual_seed(0)
    module = TwoInputs()
    before = copy.deepcopy(module.state_dict())
    given = (torch.randn(3, 8), torch.randn(3, 8), torch.tensor(2.0))
    made = export(module, given, out=tmp_path / "made", backend="export", max_batch=5)
    assert all(torch.equal(before[key], value) for key, value in module.state_dict().items())
    run = made.open()
    for batch in (1, 4, 13):
        inputs = (torch.randn(batch, 8), torch.randn(batch, 8), torch.tensor(3.0))
        first, second = module(*inputs)
        found = run(*inputs)
        torch.testing.assert_close(found["output_0"], first.detach(), atol=1e-5, rtol=1e-5)
        torch.testing.assert_close(found["output_1_sum"], second["sum"].detach(), atol=1e-5, rtol=1e-5)


class Odd(nn.Module):
    """One weight under two names, and outputs of which one alone has a row for each input."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(8, 8), nn.Linear(8, 8)
        self.second.weight = self.first.weight

    def forward(self, x_BD: Tensor) -> dict[str, Tensor]:
        y_BD = self.second(self.first(x_BD).relu())
        return {"y": y_BD, "mean": y_BD.mean(), "table": self.first.weight * 2, "pairs": torch.cat([y_BD, -y_BD])}


@pytest.mark.parametrize("backend", ["eager", "export", "torchscript"])
def test_shared_weights_and_outputs_without_a_row_for_each_input(
    backend: str, tmp_path: Path, without_compiler: None
) -> None:
    torch.manual_seed(0)
    module = Odd().eval()
    made = export(module, (torch.randn(3, 8),), out=tmp_path / "made", backend=backend)
    shapes = {
        one.name: [str(side) if not isinstance(side, int) else side for side in one.shape]
        for one in made.manifest.outputs
    }
    assert (shapes["mean"], shapes["table"]) == ([], [8, 8])
    assert shapes["y"][0] != shapes["pairs"][0], "as many rows as inputs, and another number"
    run = made.open(module=module)
    for batch in (1, 5):
        x_BD = torch.randn(batch, 8)
        found = run(x_BD)
        for name, value in module(x_BD).items():
            torch.testing.assert_close(found[name], value.detach(), atol=1e-5, rtol=1e-5)


def test_another_module_than_the_exported_one_is_told_by_name(tmp_path: Path) -> None:
    made = export(nn.Linear(8, 5), (torch.randn(2, 8),), out=tmp_path / "made", backend="eager")
    made.open(module=nn.Linear(8, 5))
    with pytest.raises(UsageError, match=r"whose bias has the shape \(6,\), beside weights of \(5,\).*2 differ"):
        made.open(module=nn.Linear(8, 6))
    with pytest.raises(UsageError, match=r"whose bias has the shape of nothing.*the module that was exported"):
        made.open(module=nn.Linear(8, 5, bias=False))


@pytest.mark.parametrize(
    ("module", "said"),
    [
        (failing.BranchOnValue, "torch.where"),
        (failing.ItemAsLength, "failing_modules.py"),
        (failing.OperatorWithoutShape, "failing_modules.py"),
        (failing.CallsCompiledCode, "failing_modules.py"),
    ],
)
def test_what_cannot_be_a_graph_is_explained_and_shipped_as_weights(
    module: type[nn.Module], said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(aoti, "compiler_works", lambda device: True)
    made = export(module(), (torch.randn(2, 8),), out=tmp_path / "made")
    assert made.backend == "eager"
    failed = made.attempts[0]
    assert (failed.backend, failed.state) == ("aoti", "failed")
    assert said in failed.because
    assert (made.folder / "logs" / "aoti.log").read_text(encoding="utf-8")
    given = torch.randn(3, 8)
    with torch.no_grad():
        true = made.open(module=module())
    assert true(given)["output"].shape[0] == 3


def test_weights_alone_want_the_module_they_belong_to(tmp_path: Path) -> None:
    torch.manual_seed(1)
    module = failing.Plain()
    made = export(module, (torch.randn(2, 8),), out=tmp_path / "made", backend="eager")
    with pytest.raises(UsageError, match="expected the module they belong to"):
        made.open()
    given = torch.randn(4, 8)
    torch.testing.assert_close(made.open(module=failing.Plain())(given)["output"], module(given).detach())


def test_a_range_that_overflows_is_named_and_left_or_kept_in_float32(tmp_path: Path, without_compiler: None) -> None:
    module, given = failing.Overflows(), torch.randn(2, 8)
    with torch.no_grad():
        while module.half()(given.half()).isfinite().all():
            given = given * 4
    module.float()
    made = export(module, (given,), out=tmp_path / "made", dtype="float16", backend="export")
    assert made.manifest.precision.dtype == "float16"
    assert made.manifest.precision.islands
    assert "float16 overflows in" in made.attempts[0].because
    assert made.open()(given)["output"].isfinite().all()


def test_a_module_that_is_another_graph_for_every_batch_is_explained_and_shipped_as_weights(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(aoti, "compiler_works", lambda device: True)  # the trial takes longer than the test
    made = export(failing.FixedReshape(), (torch.randn(2, 8),), out=tmp_path / "made")
    assert [attempt.state for attempt in made.attempts] == ["failed", "failed", "verified"]
    assert "length of batch" in made.attempts[0].because
    assert made.backend == "eager"


class Vectors(nn.Module):
    """Loses an axis where the batch is one."""

    def forward(self, x_BD: Tensor) -> Tensor:
        return x_BD.squeeze(0)


def test_a_module_with_other_axes_for_a_batch_of_one_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="other outputs for a batch of two than for one"):
        export(Vectors(), (torch.randn(2, 8),), out=tmp_path / "made")
    assert not (tmp_path / "made").exists()


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"with_post": True}, "got with_post for a module"),
        ({"size": (4, 4)}, "got size for a module"),
        ({"check_on": "pictures"}, "got check_on for a module"),
    ],
)
def test_options_of_the_catalogue_are_refused(options: dict, said: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=said):
        export(failing.Plain(), (torch.randn(2, 8),), out=tmp_path / "made", **options)


def test_examples_are_required_and_must_share_a_batch(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="example_inputs"):
        export(failing.Plain(), out=tmp_path / "made")
    with pytest.raises(UsageError, match="batch sizes"):
        export(TwoInputs(), (torch.randn(2, 8), torch.randn(3, 8), torch.tensor(1.0)), out=tmp_path / "made")
