"""Any module becomes an artefact; what is wrong with it is told in a sentence, and the next rung is tried."""

from __future__ import annotations

import copy
import sys
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from vitruvian.errors import CheckFailedError, UsageError
from vitruvian.exporting import export

sys.path.insert(0, str(Path(__file__).parents[1] / "export"))
import failing_modules as failing


class TwoInputs(nn.Module):
    """Two tensors and a number in, several outputs out."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(8, 5)
        self.register_buffer("shift", torch.full((5,), 0.5), persistent=False)

    def forward(self, x_BD: Tensor, y_BD: Tensor, scale: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        return self.linear(x_BD) * scale, {"sum": self.linear(x_BD) + self.linear(y_BD) + self.shift}


def test_several_inputs_and_nested_outputs(tmp_path: Path) -> None:
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
    from vitruvian.artefacts import aoti

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


def test_a_range_that_overflows_is_named_and_left_or_kept_in_float32(tmp_path: Path) -> None:
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


def test_a_module_that_gives_something_else_at_every_batch_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CheckFailedError, match="length of batch"):
        export(failing.FixedReshape(), (torch.randn(2, 8),), out=tmp_path / "made")
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
