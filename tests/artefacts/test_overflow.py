"""The module that overflows is named, and the islands that are proposed help."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor, nn

import failing_modules as failing
from vitruvian.artefacts.overflow import NonFinite, first_non_finite, islands_against_overflow
from vitruvian.fit.precision import Precision, apply_precision


def numbers() -> Tensor:
    return torch.randn(3, 8, generator=torch.Generator().manual_seed(1))


def in_float16(*islands: str) -> nn.Module:
    return apply_precision(failing.Overflows(), Precision(dtype="float16", islands=islands))


def test_the_innermost_module_that_overflows_is_named() -> None:
    found = first_non_finite(in_float16(), (numbers(),))
    assert found is not None
    assert (found.name, found.dtype, found.infinite) == ("layers.1.up", "float16", True)
    assert 0 < found.largest_before < torch.finfo(torch.float16).max
    said = found.sentence("float16")
    assert "float16 overflows in `layers.1.up`" in said
    assert "65504" in said
    assert "islands=('layers.1.up',)" in said
    assert "bfloat16" in said


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_types_with_a_wider_range_have_nothing_to_tell(dtype: str) -> None:
    network = apply_precision(failing.Overflows(), Precision(dtype=dtype))  # type: ignore[arg-type]
    assert first_non_finite(network, (numbers(),)) is None


def test_no_hook_stays_behind() -> None:
    network = in_float16("layers.1")
    before = [(len(part._forward_hooks), len(part._forward_pre_hooks)) for part in network.modules()]
    first_non_finite(network, (numbers(),))
    assert [(len(part._forward_hooks), len(part._forward_pre_hooks)) for part in network.modules()] == before


def test_a_cast_that_overflows_belongs_to_the_module_that_casts() -> None:
    """With the first culprit on an island its output is finite, and too large for whoever takes it."""
    found = first_non_finite(in_float16("layers.1.up"), (numbers(),))
    assert found is not None
    assert found.name == "layers.1.down"
    assert found.largest_before > torch.finfo(torch.float16).max


def test_the_proposed_islands_are_enough_and_leave_the_rest() -> None:
    precision = islands_against_overflow(failing.Overflows, Precision(dtype="float16"), (numbers(),))
    assert precision is not None
    assert set(precision.islands) == {"layers.1.up", "layers.1.down"}
    network = apply_precision(failing.Overflows(), precision)
    with torch.no_grad():
        given, reference = network(numbers()).float(), failing.Overflows()(numbers())
    assert float((given - reference).abs().max()) < 0.1 * float(reference.abs().max())


class Divides(nn.Module):
    def forward(self, x_BD: Tensor) -> Tensor:
        return (x_BD - x_BD) / (x_BD - x_BD)


class GivesMany(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.part = Divides()

    def forward(self, x_BD: Tensor) -> dict[str, object]:
        return {"fine": x_BD, "more": [x_BD, (self.part(x_BD), torch.ones(2, dtype=torch.int64), torch.ones(0))]}


def test_no_numbers_at_all_are_told_from_infinities_and_float32_has_no_island() -> None:
    found = first_non_finite(GivesMany(), (numbers(),))
    assert found is not None
    assert (found.name, found.infinite) == ("part", False)
    said = found.sentence("float32")
    assert "no numbers in `part`" in said
    assert "islands" not in said
    assert islands_against_overflow(GivesMany, Precision(), (numbers(),)) is None


def test_inputs_that_are_not_finite_blame_nobody() -> None:
    assert first_non_finite(failing.Overflows(), (numbers() * math.inf,)) is None


def test_input_too_large_for_the_type_blames_the_whole() -> None:
    found = first_non_finite(in_float16(), (numbers() * 1e6,))
    assert found is not None
    assert found.name == ""
    assert "own forward" in found.sentence("float16")


@pytest.mark.parametrize(("name", "shown"), [("module.head", "`head`"), ("module", "own forward"), ("", "own forward")])
def test_the_name_of_a_wrapper_is_left_out(name: str, shown: str) -> None:
    found = NonFinite(name=name, dtype="float16", infinite=True, largest_before=6e4)
    assert shown in found.sentence("float16", "module.")
    assert "module." not in found.sentence("float16", "module.")
