"""Losses as sums and counts: micro-batches add up to the big batch, and gradients stay finite in every corner."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import pytest
import torch
from torch import Tensor

from tolerances import LOSS_REL
from vitruvian.training.losses import (
    LossSum,
    depth_silog,
    normal_cosine,
    normal_l1,
    pose_hard_mse,
    pose_mse,
    seg_cross_entropy,
)

Loss = Callable[..., LossSum]
PICTURES, CLASSES = 5, 6
CLASS_WEIGHTS = torch.tensor([0.1, 1.0, 3.0, 10.0, 2.0, 4.0])


def pose_batch() -> list[Tensor]:
    heat, target = torch.randn(PICTURES, 4, 6, 5), torch.rand(PICTURES, 4, 6, 5)
    weight = (torch.rand(PICTURES, 4) > 0.4).float()
    weight[1] = 0
    return [heat, target, weight]


def seg_batch() -> list[Tensor]:
    labels = torch.randint(0, CLASSES, (PICTURES, 7, 4))
    labels[torch.rand(labels.shape) < 0.3] = 255
    labels[2] = 255
    return [3 * torch.randn(PICTURES, CLASSES, 7, 4), labels.to(torch.uint8)]


def depth_batch() -> list[Tensor]:
    target = torch.rand(PICTURES, 7, 4)
    target[torch.rand(target.shape) < 0.4] = -1
    target[0, 0, 0] = 0  # the nearest point
    target[3] = -1
    return [torch.rand(PICTURES, 7, 4) - 0.2, target]


def normal_batch() -> list[Tensor]:
    target = torch.nn.functional.normalize(torch.randn(PICTURES, 3, 7, 4), dim=1)
    for picture in range(PICTURES):  # uneven shares, so that a mean of means would differ
        target[picture, :, : 2 * picture] = -1000
    return [torch.randn(PICTURES, 3, 7, 4), target]


LOSSES: dict[str, tuple[Loss, Callable[[], list[Tensor]]]] = {
    "pose": (pose_mse, pose_batch),
    "pose hard": (partial(pose_hard_mse, hardest=2), pose_batch),
    "seg": (seg_cross_entropy, seg_batch),
    "seg weighted": (partial(seg_cross_entropy, class_weights_C=CLASS_WEIGHTS), seg_batch),
    "depth": (depth_silog, depth_batch),
    "normal cosine": (normal_cosine, normal_batch),
    "normal l1": (normal_l1, normal_batch),
}


@pytest.fixture(params=LOSSES, autouse=False)
def case(request: pytest.FixtureRequest) -> tuple[str, Loss, list[Tensor]]:
    torch.manual_seed(3)
    loss, make = LOSSES[request.param]
    return request.param, loss, make()


@pytest.mark.parametrize("sizes", [(1, 1, 1, 1, 1), (2, 2, 1), (4, 1)], ids=str)
def test_micro_batches_add_up_to_the_big_batch(case: tuple[str, Loss, list[Tensor]], sizes: tuple[int, ...]) -> None:
    _, loss, given = case
    prediction = given[0].requires_grad_()
    whole = loss(*given)
    (expected,) = torch.autograd.grad(whole.mean, prediction)

    parts = [loss(*pieces) for pieces in zip(*(part.split(list(sizes)) for part in given), strict=True)]
    together = sum(parts[1:], start=parts[0])
    torch.testing.assert_close(together.mean, whole.mean, rtol=LOSS_REL, atol=0)
    assert together.count == whole.count
    # Training accumulates one gradient after the other and divides once.
    accumulated = torch.zeros_like(prediction)
    for part in parts:
        accumulated += torch.autograd.grad(part.total, prediction, retain_graph=True)[0]
    torch.testing.assert_close(accumulated / together.count, expected, rtol=1e-4, atol=1e-8)


def nothing_valid(name: str, given: list[Tensor]) -> list[Tensor]:
    empty = {"pose": 0.0, "seg": 255, "depth": -1.0, "normal": -1000.0}[name.split()[0]]
    return [*given[:-1], torch.full_like(given[-1], empty)]


def perfect(name: str, given: list[Tensor]) -> list[Tensor]:
    if name.startswith("seg"):
        labels = given[1].long().clamp(max=CLASSES - 1)
        return [40 * torch.nn.functional.one_hot(labels, CLASSES).permute(0, 3, 1, 2).float(), given[1]]
    return [given[1].clone(), *given[1:]]


@pytest.mark.parametrize("change", [nothing_valid, perfect])
def test_nothing_to_learn_is_a_zero_loss_with_finite_gradient(
    case: tuple[str, Loss, list[Tensor]], change: Callable[[str, list[Tensor]], list[Tensor]]
) -> None:
    name, loss, given = case
    given = change(name, given)
    prediction = given[0].requires_grad_()
    found = loss(*given).mean
    (gradient,) = torch.autograd.grad(found, prediction)
    assert found.item() == pytest.approx(0, abs=1e-6)
    assert torch.isfinite(gradient).all()


@pytest.mark.parametrize("value", [-5.0, 0.0, 1e-9, float("1e30")])
def test_depth_of_any_sign_has_a_finite_loss_and_gradient(value: float) -> None:
    torch.manual_seed(0)
    prediction = torch.full((2, 3, 4), value, requires_grad=True)
    found = depth_silog(prediction, torch.rand(2, 3, 4).clamp_min(0.1)).mean
    (gradient,) = torch.autograd.grad(found, prediction)
    assert torch.isfinite(found)
    assert torch.isfinite(gradient).all()


def test_depth_at_or_below_zero_counts_as_the_floor() -> None:
    target = torch.tensor([[[0.5, 0.25]]])
    negative, floor = (depth_silog(torch.tensor([[[0.5, low]]]), target).mean for low in (-3.0, 1e-6))
    d = torch.tensor(0.25).log() - torch.tensor(1e-6).log()
    assert negative.item() == floor.item() == pytest.approx((d**2 / 2 - 0.5 * (d / 2) ** 2).sqrt().item(), rel=LOSS_REL)


@pytest.mark.parametrize("loss", [normal_cosine, normal_l1])
def test_a_zero_normal_has_a_finite_gradient(loss: Loss) -> None:
    prediction = torch.zeros(1, 3, 2, 2, requires_grad=True)
    target = torch.tensor([0.0, 0.0, -1.0]).reshape(1, 3, 1, 1).expand(1, 3, 2, 2)
    found = loss(prediction, target).mean
    (gradient,) = torch.autograd.grad(found, prediction)
    assert found.item() == pytest.approx(1)
    assert torch.isfinite(gradient).all()


@pytest.mark.parametrize("name", ["seg", "seg weighted", "depth", "normal cosine", "normal l1"])
def test_pixels_without_a_target_decide_nothing(name: str) -> None:
    torch.manual_seed(5)
    loss, make = LOSSES[name]
    prediction, target = make()
    invalid = {"seg": target == 255, "dep": target <= 1e-6, "nor": target <= -100}[name[:3]]
    invalid = invalid.unsqueeze(1).expand_as(prediction) if name.startswith("seg") else invalid
    other = torch.where(invalid, prediction + 7.0, prediction).requires_grad_()
    before, after = loss(prediction, target).mean, loss(other, target).mean
    assert before.item() == after.item() > 0
    (gradient,) = torch.autograd.grad(after, other)
    assert not gradient[invalid].any()
    assert gradient[~invalid].any()


def test_denominators_count_what_the_published_recipe_counts() -> None:
    heat = torch.ones(1, 2, 2, 2)
    assert pose_mse(heat, 0 * heat, torch.tensor([[1.0, 0.0]])).mean.item() == 0.5, "all keypoints count"
    logits, labels = torch.zeros(1, 4, 1, 2), torch.tensor([[[1, 255]]])
    uniform = torch.log(torch.tensor(4.0)).item()
    assert seg_cross_entropy(logits, labels).mean.item() == pytest.approx(uniform / 2), "ignored pixels count"
    weighted = seg_cross_entropy(logits, labels, torch.tensor([1.0, 8.0, 1.0, 1.0])).mean.item()
    assert weighted == pytest.approx(8 * uniform / 2), "class weights are not renormalised"
    up, wall = torch.tensor([0.0, 1.0, 0.0]), torch.tensor([-1000.0, 0.0, 0.0])
    target = torch.stack([up, wall, wall, wall], dim=1).reshape(1, 3, 2, 2)
    sideways = torch.tensor([2.0, 0.0, 0.0]).reshape(1, 3, 1, 1).expand(1, 3, 2, 2)
    assert normal_cosine(sideways, target).mean.item() == pytest.approx(1), "valid pixels alone"
    assert normal_l1(sideways, target).mean.item() == pytest.approx(3), "the sum over channels, not normalised"


@pytest.mark.parametrize(("hardest", "expected"), [(1, 9.0), (2, 6.5), (3, 14 / 3)])
def test_the_hard_variant_takes_the_worst_keypoints_of_each_picture(hardest: int, expected: float) -> None:
    heat = torch.tensor([[1.0, 2.0, 3.0], [3.0, 1.0, 2.0]])[..., None, None].expand(2, 3, 2, 2)
    found = pose_hard_mse(heat, torch.zeros(2, 3, 2, 2), torch.ones(2, 3), hardest=hardest)
    assert found.mean.item() == pytest.approx(expected)
    assert found.count == 2


def test_reduced_precision_is_computed_in_float32(case: tuple[str, Loss, list[Tensor]]) -> None:
    _, loss, given = case
    rounded = given[0].to(torch.bfloat16)
    found = loss(rounded, *given[1:]).mean
    assert found.dtype == torch.float32
    assert found.item() == loss(rounded.float(), *given[1:]).mean.item()
