"""Measures of the denoising network change what memory holds, not what comes out."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from tiny_animation import TINY, tiny_tensors
from tolerances import ANIMATION_CALL_ABS
from vitruvian.errors import UsageError
from vitruvian.fit.precision import Precision, apply_precision
from vitruvian.generation.measures import Measures, apply_measures, attention_kernel, in_parts, largest_layer_weights
from vitruvian.generation.stages import ISLANDS
from vitruvian.models.mimicmotion import PosedUnet, build_network, constant_cross_attention, load_network

FRAMES, SIDE = 3, 8


def network() -> nn.Module:
    return load_network("unet", TINY, tiny_tensors("unet")).network


def arguments(rows: int = 2) -> tuple[Tensor, ...]:
    generator = torch.Generator().manual_seed(2)

    def noise(*shape: int) -> Tensor:
        return torch.randn(shape, generator=generator)

    return (
        noise(rows, FRAMES, 8, SIDE, SIDE),
        torch.tensor(0.5),
        noise(rows, 1, TINY.unet.cross_attention_dim),
        noise(rows, 3),
        noise(rows, FRAMES, TINY.pose_features, SIDE, SIDE),
    )


@torch.no_grad()
def called(unet: nn.Module, *given: Tensor) -> Tensor:
    return PosedUnet(unet)(*given)  # type: ignore[no-any-return]


@pytest.mark.parametrize(
    "measures",
    [Measures(feed_forward_parts=5), Measures(streamed=True), Measures(feed_forward_parts=16, streamed=True)],
    ids=str,
)
def test_numbers_stay_the_same(measures: Measures) -> None:
    expected = called(network(), *arguments())
    measured = apply_measures(network(), measures, device="cpu", dtype="float32")
    torch.testing.assert_close(called(measured, *arguments()), expected, atol=ANIMATION_CALL_ABS, rtol=0)


def test_attention_of_a_kernel_gives_the_same() -> None:
    expected = called(network(), *arguments())
    with attention_kernel("flash"):
        found = called(network(), *arguments())
    torch.testing.assert_close(found, expected, atol=ANIMATION_CALL_ABS, rtol=0)


@pytest.mark.skipif(torch.cuda.is_available(), reason="needs a device without this kernel")
def test_a_kernel_that_the_device_lacks_is_said() -> None:
    with pytest.raises(UsageError, match="got attention=cudnn"), attention_kernel("cudnn"):
        called(network(), *arguments())
    with pytest.raises(RuntimeError, match="of something else"), attention_kernel("flash"):
        raise RuntimeError("of something else")


def test_parts_hold_less_at_once() -> None:
    widest = 0

    def heard(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        nonlocal widest
        widest = max(widest, output.numel())

    sizes = []
    for parts in (1, 8):
        unet = network()
        in_parts(unet, parts)
        for module in unet.modules():
            if type(module).__name__ == "GEGLU":
                module.register_forward_hook(heard)
        widest = 0
        called(unet, *arguments())
        sizes.append(widest)
    assert sizes[1] <= sizes[0] / 8


def test_eight_bits_are_stored_but_where_they_would_hurt() -> None:
    if not hasattr(torch, "float8_e4m3fn"):
        pytest.skip("this torch has no eight-bit floats")
    expected = called(network(), *arguments())
    unet = apply_measures(network(), Measures(storage="float8"), device="cpu", dtype="float32", islands=ISLANDS)
    types = {name: weight.dtype for name, weight in unet.named_parameters()}
    assert types["time_embedding.linear_1.weight"] == torch.float32
    assert types["conv_in.weight"] == torch.float32
    assert sum(dtype == torch.float8_e4m3fn for dtype in types.values()) > len(types) / 3
    found = called(unet, *arguments())
    apart = (found - expected).norm() / expected.norm()
    assert 0 < apart < 0.5


def test_attention_to_one_token_is_computed_once_for_each_branch() -> None:
    sample, timestep, context, ids, pose = arguments()
    unet = network()
    posed = PosedUnet(unet)
    with torch.no_grad():
        expected = posed(sample, timestep, context, ids, pose)
        with constant_cross_attention(unet, context) as constants:
            torch.testing.assert_close(
                posed(sample, timestep, torch.zeros_like(context), ids, pose), expected, atol=ANIMATION_CALL_ABS, rtol=0
            )
            for row in (0, 1):
                one = slice(row, row + 1)
                constants.rows = one
                found = posed(sample[one], timestep, context[1 - row : 2 - row], ids[one], pose[one])
                torch.testing.assert_close(found[0], expected[row], atol=ANIMATION_CALL_ABS, rtol=0)
        torch.testing.assert_close(posed(sample, timestep, context, ids, pose), expected)
    with (
        pytest.raises(ValueError, match="a context of 2 tokens"),
        constant_cross_attention(unet, context.repeat(1, 2, 1)),
    ):
        pass


def test_measures_and_types_go_together() -> None:
    precision = Precision(dtype="bfloat16", islands=ISLANDS)
    wide = called(network(), *arguments())
    unet = apply_precision(
        load_network("unet", TINY, tiny_tensors("unet"), dtype_of=precision.dtype_of).network, precision
    )
    given: Any = Measures(feed_forward_parts=4, streamed=True)
    unet = apply_measures(unet, given, device="cpu", dtype="bfloat16", islands=ISLANDS)
    found = called(unet, *arguments()).float()
    assert 0 < (found - wide).norm() / wide.norm() < 0.1


def test_the_largest_layer_is_small_beside_the_network() -> None:
    unet = build_network("unet", TINY)
    whole = sum(weight.numel() for weight in unet.parameters())
    largest = largest_layer_weights(unet)
    assert 0 < largest < whole / 4
