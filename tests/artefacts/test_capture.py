"""One graph for the whole range that was asked for, or an error; never one for the sample alone."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.export import Dim

import vitruvian
from vitruvian.artefacts.capture import CaptureError, capture
from vitruvian.artefacts.contract import Axis, TensorContract
from vitruvian.artefacts.wrapping import NamedOutputs

BATCH = Axis(name="batch", maximum=8)
FREE = Axis(name="batch")


class Module(nn.Module):
    """A function as a module."""

    def __init__(self, function: Callable[..., Any]) -> None:
        super().__init__()
        self.function = function

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        return {"y": self.function(x)}


def contract(*shape: int | Axis, name: str = "x") -> TensorContract:
    return TensorContract(name=name, dtype="float32", shape=shape)


def captured(function: Callable[[Tensor], Tensor], axis: Axis = BATCH) -> torch.export.ExportedProgram:
    return capture(Module(function), (torch.ones(2, 6),), [contract(axis, 6)])


@pytest.mark.parametrize("axis", [BATCH, FREE, Axis(name="batch", maximum=2), Axis(name="batch", maximum=3)], ids=str)
def test_every_batch_of_the_range_runs_and_one_is_no_special_case(axis: Axis) -> None:
    program = captured(lambda x: x.reshape(x.shape[0], 2, 3).mean(1), axis)
    ((_, found),) = program.range_constraints.items()
    assert found.lower <= 1
    assert found.upper == axis.maximum if axis.maximum else not found.upper.is_Integer
    module = program.module()
    for batch in (1, 2, axis.maximum or 100):
        x = torch.rand(batch, 6)
        torch.testing.assert_close(module(x)["y"], x.reshape(batch, 2, 3).mean(1))
    if axis.maximum:
        with pytest.raises(AssertionError, match="Guard failed"):
            module(torch.rand(axis.maximum + 1, 6))


def test_a_sample_of_one_is_refused() -> None:
    with pytest.raises(ValueError, match="got a sample of batch 1 for x; expected at least 2"):
        capture(Module(lambda x: x), (torch.ones(1, 6),), [contract(BATCH, 6)])


def compares(x: Tensor) -> Tensor:
    return x * 2 if x.shape[0] > 4 else x * 3


def ends_at_five(x: Tensor) -> Tensor:
    torch._check(x.shape[0] <= 5)
    return x


def becomes_a_number(x: Tensor) -> Tensor:
    return x.reshape(int(x.shape[0]) * 6) if int(x.shape[0]) == 2 else x


def two_at_a_time(x: Tensor) -> Tensor:
    return x.reshape(x.shape[0] // 2, 2, 6)


@pytest.mark.parametrize("axis", [BATCH, FREE], ids=str)
@pytest.mark.parametrize("function", [compares, ends_at_five, becomes_a_number, two_at_a_time])
def test_what_looks_at_the_batch_does_not_pass_for_general(function: Callable[[Tensor], Tensor], axis: Axis) -> None:
    with pytest.raises(Exception, match=r"batch|shape") as error:
        captured(function, axis)
    assert isinstance(error.value, CaptureError) or type(error.value).__module__.startswith("torch")


class Fixed(nn.Module):
    """Only its graph is looked at."""

    def forward(self, x: Tensor) -> Tensor:
        return x * 2


@pytest.mark.parametrize(
    ("given", "wanted", "said"),
    [
        (None, BATCH, "axis 0 of x is fixed at 4; expected batch 1 to 8"),
        (Dim("batch", min=1, max=4), BATCH, "for 1 to 4 on axis 0 of x; expected batch 1 to 8"),
        (Dim("batch", min=2, max=8), BATCH, "for 2 to 8 on axis 0"),
        (Dim("batch", min=1, max=1000), FREE, "for 1 to 1000 on axis 0 of x; expected batch 1 to any"),
        (2 * Dim("half", min=1, max=3), BATCH, "for 4 to 6 on axis 0"),
        (Dim.AUTO, BATCH, "for 2 to"),
    ],
)
def test_a_narrower_graph_is_an_error_whoever_made_it(
    given: Any, wanted: Axis, said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """torch may hand back another range than it was asked for; here it is asked for another one on purpose."""
    export = torch.export.export

    def other(module: nn.Module, sample: Any, *, dynamic_shapes: Any, strict: bool) -> Any:
        return export(module, sample, dynamic_shapes={"x": {0: given}} if given is not None else None)

    monkeypatch.setattr(torch.export, "export", other)
    with pytest.raises(CaptureError, match=said):
        capture(Fixed(), (torch.ones(4, 6),), [contract(wanted, 6)])


def test_a_wider_graph_will_do(monkeypatch: pytest.MonkeyPatch) -> None:
    export = torch.export.export
    monkeypatch.setattr(
        torch.export,
        "export",
        lambda module, sample, **options: export(module, sample, dynamic_shapes={"x": {0: Dim("batch")}}),
    )
    capture(Fixed(), (torch.ones(2, 6),), [contract(BATCH, 6)])


def test_height_and_width_change_in_steps() -> None:
    sides = (Axis(name="height", minimum=32, maximum=96, multiple=16), Axis(name="width", minimum=32, multiple=16))
    program = capture(
        Module(lambda x: nn.functional.avg_pool2d(x, 16)), (torch.ones(2, 3, 64, 48),), [contract(BATCH, 3, *sides)]
    )
    module = program.module()
    for height, width in ((32, 32), (96, 480)):
        x = torch.rand(1, 3, height, width)
        torch.testing.assert_close(module(x)["y"], nn.functional.avg_pool2d(x, 16))
    with pytest.raises(AssertionError, match="Guard failed"):
        module(torch.rand(1, 3, 112, 32))


class Several(nn.Module):
    def forward(self, x: Tensor, *more: Tensor) -> Tensor:
        return x + sum(more)


@pytest.mark.parametrize(
    "module",
    [Several(), NamedOutputs(Several()), NamedOutputs(NamedOutputs(Several()))],
    ids=["plain", "once", "twice"],
)
@pytest.mark.parametrize("count", [1, 2, 3])
def test_any_number_of_inputs_shares_one_batch(module: nn.Module, count: int) -> None:
    sample = (*(torch.ones(2, 6) for _ in range(count)), torch.tensor(2.0))
    contracts = [*(contract(BATCH, 6, name=f"x{index}") for index in range(count)), contract(name="scale")]
    program = capture(module, sample, contracts)
    assert len(program.graph_signature.user_inputs) == count + 1
    found = program.module()(*(torch.full((7, 6), 1.0) for _ in range(count)), torch.tensor(3.0))
    value = found if isinstance(found, Tensor) else found["output"]
    assert torch.equal(value, torch.full((7, 6), count + 3.0))
    assert len(program.range_constraints) == 1


def test_a_branch_on_values_is_named_with_its_line(capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(Exception, match=r"test_capture\.py"):
        captured(lambda x: x if x.sum() > 0 else -x)
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("forbidden", ["Dim.AUTO", "Dim.DYNAMIC", "backed_size_oblivious", "prefer_deferred_runtime"])
def test_ranges_are_never_left_to_torch(forbidden: str) -> None:
    sources = Path(vitruvian.__file__).parent.rglob("*.py")
    assert [path.name for path in sources if re.search(re.escape(forbidden), path.read_text(encoding="utf-8"))] == []
