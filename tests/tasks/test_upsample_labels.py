"""Labels by cells equal upsampling all logits and arg-max, bit for bit, on every kind of logits and size."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from vitruvian.tasks import upsample_labels as module
from vitruvian.tasks.upsample_labels import upsample_labels

SIZES = [
    (28, 64, 48, 101, 77),
    (28, 64, 48, 301, 277),
    (28, 128, 96, 127, 95),
    (28, 64, 48, 64, 48),
    (28, 33, 47, 10, 300),
    (20, 50, 40, 20, 19),
    (19, 40, 40, 40, 170),
    (5, 31, 17, 97, 211),
    (2, 9, 7, 90, 110),
    (3, 1, 1, 5, 7),
    (1, 6, 5, 30, 31),
]


def smooth(classes: int, height: int, width: int) -> Tensor:
    coarse = torch.randn(1, classes, max(1, height // 8), max(1, width // 8))
    return functional.interpolate(coarse, (height, width), mode="bicubic")[0] * 5


LOGITS = {
    "random": torch.randn,
    "smooth": smooth,
    "half": lambda *shape: smooth(*shape).bfloat16(),
    "whole-numbers": lambda *shape: torch.randint(-3, 3, shape).float(),
    "flat": torch.zeros,
    "one-class": lambda *shape: torch.arange(shape[0], 0.0, -1)[:, None, None].expand(shape),
}


def reference(logits_Chw: Tensor, source_hw: tuple[int, int]) -> Tensor:
    upsampled = functional.interpolate(logits_Chw.float()[None], source_hw, mode="bilinear", align_corners=False)
    return upsampled[0].argmax(0).to(torch.uint8)


@pytest.mark.parametrize("kind", LOGITS)
@pytest.mark.parametrize("size", SIZES, ids=lambda size: "x".join(map(str, size)))
def test_equal_to_upsampling_all_classes(size: tuple[int, int, int, int, int], kind: str) -> None:
    torch.manual_seed(sum(size))
    classes, height, width, *source = size
    logits_Chw, source_hw = LOGITS[kind](classes, height, width), (source[0], source[1])
    labels_HW = upsample_labels(logits_Chw, source_hw)
    assert labels_HW.dtype == torch.uint8
    assert torch.equal(labels_HW, reference(logits_Chw, source_hw))


@pytest.mark.parametrize("kind", LOGITS)
def test_the_way_of_other_devices_agrees(kind: str) -> None:
    torch.manual_seed(0)
    logits_Chw = LOGITS[kind](12, 40, 30).float().contiguous()
    assert torch.equal(module._labels_by_classes(logits_Chw, (97, 131)), reference(logits_Chw, (97, 131)))


def test_small_chunks_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(1)
    logits_Chw = torch.randn(7, 24, 18)
    expected = upsample_labels(logits_Chw, (100, 90))
    monkeypatch.setattr(module, "CHUNK_ELEMENTS", 100)
    assert torch.equal(upsample_labels(logits_Chw, (100, 90)), expected)


def test_near_ties_across_a_cell_are_computed_not_copied() -> None:
    """A lead that rounding can undo must not be copied: class 1 leads class 0 by one unit in the last place."""
    logits_Chw = torch.ones(2, 64, 64)
    logits_Chw[1] = torch.nextafter(torch.ones(()), torch.tensor(2.0))
    labels_HW = upsample_labels(logits_Chw, (500, 500))
    assert torch.equal(labels_HW, reference(logits_Chw, (500, 500)))


def test_the_input_is_left_alone() -> None:
    logits_Chw = torch.randn(4, 8, 8)
    before = logits_Chw.clone()
    upsample_labels(logits_Chw, (31, 17))
    assert torch.equal(logits_Chw, before)
