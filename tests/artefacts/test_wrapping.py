"""Every backend gets tensors in and a flat table of tensors out."""

from __future__ import annotations

from collections import OrderedDict, namedtuple
from dataclasses import dataclass
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from vitruvian.artefacts.wrapping import FINITE, NamedOutputs, PostInside, named
from vitruvian.errors import UsageError

Pair = namedtuple("Pair", ["first", "second"])


@dataclass
class Output:
    """As some libraries give."""

    logits: Tensor
    states: tuple[Tensor, ...]
    loss: Tensor | None = None


class TableOutput(OrderedDict[str, Any]):
    """As others give: a table whose entries are not all tensors."""


A, B, C = torch.tensor([1.0]), torch.tensor([2.0]), torch.tensor([3.0])


@pytest.mark.parametrize(
    ("outputs", "expected"),
    [
        (A, {"output": A}),
        ({"a": A, "b": B}, {"a": A, "b": B}),
        (OrderedDict(b=B, a=A), {"b": B, "a": A}),
        ({3: A}, {"3": A}),
        ((A, B), {"output_0": A, "output_1": B}),
        ([A], {"output_0": A}),
        ({"a": A, "b": [B, C]}, {"output_a": A, "output_b_0": B, "output_b_1": C}),
        (Pair(A, (B, {"x": C})), {"output_first": A, "output_second_0": B, "output_second_1_x": C}),
        (Output(A, (B, C)), {"output_logits": A, "output_states_0": B, "output_states_1": C}),
        (TableOutput(last=A, states=(B, C)), {"output_last": A, "output_states_0": B, "output_states_1": C}),
        ({"a": A, "none": None, "n": 3, "s": "x"}, {"output_a": A}),
    ],
)
def test_outputs_of_any_nesting_get_names(outputs: Any, expected: dict[str, Tensor]) -> None:
    found = named(outputs)
    assert list(found) == list(expected)
    assert all(found[name] is value for name, value in expected.items())


@pytest.mark.parametrize("outputs", [None, (), {}, 3.0, "x", [None]])
def test_no_tensor_at_all_is_said(outputs: Any) -> None:
    with pytest.raises(UsageError, match="got no tensor as outputs of a module; expected tensors"):
        named(outputs)


@pytest.mark.parametrize("outputs", [{"a_b": A, "a": {"b": B}}, {1: A, "1": B}])
def test_two_of_one_name_are_not_dropped_silently(outputs: Any) -> None:
    with pytest.raises(UsageError, match="each with a name of its own"):
        named(outputs)


@pytest.mark.parametrize("wrapper", [NamedOutputs, lambda part: PostInside(part, lambda x: x, lambda raw: dict(raw))])
def test_weights_keep_their_names_behind_the_prefix(wrapper: Any) -> None:
    inner = nn.Sequential(nn.Linear(2, 3), nn.BatchNorm1d(3))
    wrapped = wrapper(inner)
    assert list(wrapped.state_dict()) == [f"{wrapped.prefix}{name}" for name in inner.state_dict()]


class Two(nn.Module):
    def forward(self, x: Tensor) -> dict[str, Tensor]:
        return {"map": x[:, None].expand(-1, 2, -1), "rows": x.to(torch.bfloat16), "ids": x.isnan().long()}


def finished(raw: Any) -> dict[str, Tensor]:
    return {"points": raw["map"].nan_to_num(0.0, 0.0, 0.0).sum((1, 2))}


def inside(x: Tensor) -> dict[str, Tensor]:
    found: dict[str, Tensor] = PostInside(Two(), lambda canvas: canvas.float() / 2, finished)(x)
    return found


def test_what_is_before_and_after_goes_inside() -> None:
    found = inside(torch.tensor([[2, 4], [6, 8]], dtype=torch.uint8))
    assert found["points"].tolist() == [6.0, 14.0]
    assert found[FINITE].tolist() == [True, True]


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), -float("inf")])
def test_pictures_without_numbers_are_named_though_what_comes_after_hides_them(bad: float) -> None:
    x = torch.ones(4, 3)
    x[2, 1] = bad
    found = inside(x)
    assert found["points"].isfinite().all()
    assert found[FINITE].tolist() == [True, True, False, True]


def test_infinities_that_cancel_are_none() -> None:
    assert inside(torch.tensor([[float("inf"), -float("inf")]]))[FINITE].tolist() == [False]
