"""What float32 means on cards with a shorter one; no card is needed to say so."""

from __future__ import annotations

import pytest
import torch

from vitruvian.hardware import compute_exact_float32
from vitruvian.weights import find_weights


@pytest.fixture
def allowed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.backends.cuda.matmul, "allow_tf32", True)
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", True)


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
