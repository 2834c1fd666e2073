"""The largest batch, against sizes worked out by hand."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from vitruvian.artefacts.capture import capture
from vitruvian.artefacts.contract import Axis, TensorContract
from vitruvian.artefacts.limits import MAX_ELEMENTS, largest_batch

BATCH = Axis(name="batch")


class Module(nn.Module):
    """A function as a module."""

    def __init__(self, function: Callable[..., Any]) -> None:
        super().__init__()
        self.function = function

    def forward(self, *inputs: Tensor) -> dict[str, Tensor]:
        return {"y": self.function(*inputs)}


def limit(function: Callable[..., Tensor], *sides: tuple[int | Axis, ...], sample: int = 2) -> int | None:
    contracts = [
        TensorContract(name=f"x{place}", dtype="float32", shape=(BATCH, *shape)) for place, shape in enumerate(sides)
    ]
    inputs = tuple(
        torch.ones(sample, *(side if isinstance(side, int) else side.multiple * 3 for side in shape)) for shape in sides
    )
    program = capture(Module(function), inputs, contracts)
    return largest_batch(program, str(program.graph_signature.user_inputs[0]))


HEIGHT = Axis(name="height", minimum=32, maximum=64, multiple=16)
ANY_WIDTH = Axis(name="width", minimum=2)

CASES: dict[str, tuple[Callable[..., Tensor], tuple[tuple[int | Axis, ...], ...], int]] = {
    "the input itself": (lambda x: x + 1, ((3, 4),), MAX_ELEMENTS // 12),
    "the widest between": (lambda x: (x @ torch.ones(4, 1000)).sum(-1), ((3, 4),), MAX_ELEMENTS // 3000),
    "the second input": (lambda x, y: x.sum(-1) + y.sum(-1), ((4,), (50,)), MAX_ELEMENTS // 50),
    "the output": (lambda x: x[:, None].expand(-1, 7, -1) * 1, ((4,),), MAX_ELEMENTS // 28),
    "the longest side": (lambda x: nn.functional.interpolate(x, scale_factor=2), ((3, HEIGHT, 5),), 559240),
    "one more a picture": (lambda x: torch.cat([x, torch.ones(5, 4)]), ((4,),), MAX_ELEMENTS // 4 - 5),
    "all pairs": (lambda x: x @ x.T, ((4,),), 46340),
    "all triples": (lambda x: x[:, None, None] * x[None, :, None] * x[None, None], ((),), 1290),
    "pairs of them": (lambda x: x.new_zeros(x.shape[0] // 2 + 1, 4000), ((4,),), 1073739),
    "what nobody knows": (lambda x: x[x > 0] * 2, ((3, 4),), MAX_ELEMENTS // 12),
    "a side without an end": (lambda x: x.sum((-1, -2)), ((3, ANY_WIDTH),), MAX_ELEMENTS),
}


@pytest.mark.parametrize(("function", "sides", "expected"), CASES.values(), ids=CASES)
def test_it_is_that_of_the_largest_tensor(
    function: Callable[..., Tensor], sides: tuple[tuple[int | Axis, ...], ...], expected: int
) -> None:
    assert limit(function, *sides, sample=6) == expected


def test_the_numbers_by_hand() -> None:
    assert 3 * 128 * 10 * 559240 <= MAX_ELEMENTS < 3 * 128 * 10 * 559241
    assert 46340**2 <= MAX_ELEMENTS < 46341**2
    assert 1290**3 <= MAX_ELEMENTS < 1291**3
    assert (1073739 // 2 + 1) * 4000 <= MAX_ELEMENTS < (1073740 // 2 + 1) * 4000


def test_one_picture_that_is_too_large_is_not_zero() -> None:
    assert limit(lambda x: x.expand(-1, 2**16, 2**16), (1, 1)) == 1


def test_where_nothing_grows_there_is_no_limit() -> None:
    program = capture(
        Module(lambda x, t: x),
        (torch.ones(2, 1), torch.ones(2)),
        [
            TensorContract(name="x", dtype="float32", shape=(BATCH, 1)),
            TensorContract(name="t", dtype="float32", shape=(2,)),
        ],
    )
    for node in program.graph.nodes:
        if node.op != "placeholder" or not node.name.endswith("0"):
            node.meta.pop("val", None)
    (name, _) = program.graph_signature.user_inputs
    assert largest_batch(program, str(name)) == MAX_ELEMENTS


def test_a_real_network_is_limited_by_its_attention_or_its_maps() -> None:
    from vitruvian.models.sapiens import BackboneConfig, HeadConfig, SapiensConfig, build_network

    backbone = BackboneConfig(width=32, depth=1, heads=2, mlp_width=64, input_hw=(64, 48), patch_padding="corner")
    head = HeadConfig(kind="seg", channels=20, deconv_widths=(128,), conv_widths=())
    network = build_network(SapiensConfig(backbone=backbone, head=head), "cpu").eval()
    program = capture(
        network, (torch.ones(2, 3, 64, 48),), [TensorContract(name="x", dtype="float32", shape=(BATCH, 3, 64, 48))]
    )
    # 12 tokens; the deconvolution makes 128 channels of 8 x 6, less than the 9216 numbers of the input.
    assert largest_batch(program, str(program.graph_signature.user_inputs[0])) == MAX_ELEMENTS // 9216
