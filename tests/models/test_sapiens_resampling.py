"""Kernels of another patch size: tokens of resized patches against the old tokens of the patches themselves."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

import tolerances
from vitruvian.errors import UsageError
from vitruvian.models.sapiens.resampling import resample_patch_kernel


def resized(patches: Tensor, side: int) -> Tensor:
    return F.interpolate(patches, size=(side, side), mode="bilinear", align_corners=False, antialias=True)


def tokens(patches: Tensor, kernel: Tensor) -> Tensor:
    return torch.einsum("bcpq,dcpq->bd", patches.double(), kernel.double())


def assert_alike(found: Tensor, expected: Tensor) -> None:
    assert (found - expected).abs().max() <= tolerances.STREAMED_REL * expected.abs().max()


def pair(side: int) -> tuple[Tensor, Tensor]:
    torch.manual_seed(0)
    return torch.randn(20, 3, side, side), torch.randn(7, 3, side, side)


@pytest.mark.parametrize(("before", "after"), [(16, 32), (16, 24), (8, 16), (16, 17)])
def test_an_enlarged_patch_gives_the_same_token(before: int, after: int) -> None:
    patches, kernel = pair(before)
    larger = resample_patch_kernel(kernel, after)
    assert larger.shape == (7, 3, after, after)
    assert_alike(tokens(resized(patches, after), larger), tokens(patches, kernel))


@pytest.mark.parametrize(("before", "after"), [(16, 8), (16, 14)])
def test_a_shrunk_patch_gives_the_same_token_where_shrinking_loses_nothing(before: int, after: int) -> None:
    """Patches out of the rows of the resize matrix are those of which it keeps everything."""
    small = torch.randn(20, 3, after, after, generator=torch.Generator().manual_seed(1))
    blank = torch.zeros(20, 3, before, before, requires_grad=True)
    (patches,) = torch.autograd.grad((resized(blank, after) * small).sum(), blank)
    kernel = pair(before)[1]
    assert_alike(tokens(resized(patches, after), resample_patch_kernel(kernel, after)), tokens(patches, kernel))


def test_the_type_is_kept_and_the_same_side_changes_nothing() -> None:
    kernel = pair(16)[1]
    assert resample_patch_kernel(kernel.bfloat16(), 8).dtype == torch.bfloat16
    assert torch.equal(resample_patch_kernel(kernel, 16), kernel)


@pytest.mark.parametrize(("shape", "side"), [((2, 3, 16, 16), 0), ((2, 3, 16, 8), 8)])
def test_impossible_kernels_are_refused(shape: tuple[int, ...], side: int) -> None:
    with pytest.raises(UsageError, match="patch size"):
        resample_patch_kernel(torch.zeros(shape), side)
