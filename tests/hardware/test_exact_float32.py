"""What float32 means on cards with a shorter one; no card is needed to say so."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch

from vitruvian.hardware import compute_exact_float32
from vitruvian.weights import find_weights


@pytest.fixture
def allowed() -> Iterator[None]:
    """Torch keeps these switches outside Python, where patching would not find them."""
    before = shorter_float32()
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = True
    yield
    torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32 = before


def shorter_float32() -> tuple[bool, bool]:
    return torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32


@pytest.mark.usefixtures("allowed")
def test_nothing_is_rounded_once_that_was_said() -> None:
    assert shorter_float32() == (True, True)
    compute_exact_float32()
    assert shorter_float32() == (False, False)


@pytest.mark.usefixtures("allowed")
def test_networks_are_built_for_it() -> None:
    find_weights("sapiens-pretrain-nano").build()
    assert shorter_float32() == (False, False)
