"""Losses of metric depth and normals against loops over pixels, and where they must stay finite."""

from __future__ import annotations

import math

import pytest
import torch

from tolerances import LOSS_REL
from vitruvian.training.losses import LossSum
from vitruvian.training.metric.losses import (
    confidence_l1,
    depth_l1,
    depth_log_l1,
    normal_likelihood,
    step_weights,
)

B, H, W = 2, 3, 5


def maps(seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    """Depth from below 0 to 150 m, and targets of which some are missing."""
    generator = torch.Generator().manual_seed(seed)
    depth_BHW = torch.rand(B, H, W, generator=generator) * 60 - 2
    target_BHW = torch.rand(B, H, W, generator=generator) * 150 + 0.2
    target_BHW[torch.rand(B, H, W, generator=generator) < 0.3] = 0
    return depth_BHW, target_BHW


def vectors(seed: int) -> torch.Tensor:
    raw_B3HW = torch.randn(B, 3, H, W, generator=torch.Generator().manual_seed(seed))
    return raw_B3HW / raw_B3HW.norm(dim=1, keepdim=True)


def pixels(target_BHW: torch.Tensor) -> list[tuple[int, int, int]]:
    return [(b, h, w) for b in range(B) for h in range(H) for w in range(W) if target_BHW[b, h, w] > 0]


def check(term: LossSum, errors: list[float]) -> None:
    assert 0 < len(errors) < B * H * W
    assert term.count.item() == len(errors)
    assert term.total.item() == pytest.approx(sum(errors), rel=LOSS_REL)


def log_with_a_foot(depth_m: float) -> float:
    return math.log(depth_m) if depth_m >= 1 else depth_m - 1


def test_depth_errors_are_those_of_a_loop() -> None:
    depth_BHW, target_BHW = maps()
    assert depth_BHW.min() < 0
    pairs = [(depth_BHW[at].item(), target_BHW[at].item()) for at in pixels(target_BHW)]
    check(depth_l1(depth_BHW, target_BHW), [abs(p - t) for p, t in pairs])
    check(depth_log_l1(depth_BHW, target_BHW), [abs(log_with_a_foot(p) - log_with_a_foot(t)) for p, t in pairs])


def test_confidence_is_compared_with_the_relative_error() -> None:
    depth_BHW, target_BHW = maps()
    depth_BHW.requires_grad_()
    confidence_BHW = torch.rand(B, H, W, generator=torch.Generator().manual_seed(9), requires_grad=True)
    term = confidence_l1(confidence_BHW, depth_BHW, target_BHW)
    expected = []
    for at in pixels(target_BHW):
        wanted = max(0.0, 1 - abs(depth_BHW[at].item() - target_BHW[at].item()) / target_BHW[at].item())
        expected.append(abs(confidence_BHW[at].item() - wanted))
    check(term, expected)
    term.total.backward()
    assert depth_BHW.grad is None, "confidence does not teach depth"
    assert confidence_BHW.grad is not None


def test_normal_likelihood_is_that_of_a_loop() -> None:
    normal_B3HW, target_B3HW = vectors(1), vectors(2)
    target_B3HW[:, :, 0] = 0
    kappa_BHW = torch.rand(B, H, W, generator=torch.Generator().manual_seed(3)) * 8 + 0.02
    expected = []
    for b in range(B):
        for h in range(1, H):
            for w in range(W):
                k = kappa_BHW[b, h, w].item()
                cosine = float(normal_B3HW[b, :, h, w].double() @ target_B3HW[b, :, h, w].double())
                angle = math.acos(max(-1.0, min(1.0, cosine)))
                expected.append(-math.log(k * k + 1) + k * angle + math.log(1 + math.exp(-k * math.pi)))
    check(normal_likelihood(normal_B3HW, kappa_BHW, target_B3HW), expected)


@pytest.mark.parametrize("sign", [1.0, -1.0], ids=["right", "opposite"])
def test_normals_that_are_exactly_right_or_wrong_have_finite_gradients(sign: float) -> None:
    target_B3HW = vectors(4)
    normal_B3HW = (sign * target_B3HW).requires_grad_()
    kappa_BHW = torch.full((B, H, W), 5.0, requires_grad=True)
    term = normal_likelihood(normal_B3HW, kappa_BHW, target_B3HW)
    term.total.backward()
    angle = 0.0 if sign > 0 else math.pi
    each = -math.log(26) + 5 * angle + math.log(1 + math.exp(-5 * math.pi))
    assert term.mean.item() == pytest.approx(each, abs=2e-5)
    for leaf in (normal_B3HW, kappa_BHW):
        assert leaf.grad is not None
        assert leaf.grad.isfinite().all()


def test_depth_beyond_the_range_still_learns() -> None:
    """A network's raw depth may be negative or 1000 m; each has a slope toward its target."""
    depth_BHW = torch.tensor([[[-50.0, 0.0, 1e-9, 1000.0]]], requires_grad=True)
    term = depth_log_l1(depth_BHW, torch.full((1, 1, 4), 10.0))
    assert term.total.isfinite()
    term.total.backward()
    assert depth_BHW.grad is not None
    assert (depth_BHW.grad.sign() == torch.tensor([-1.0, -1.0, -1.0, 1.0])).all()


def test_targets_that_are_missing_teach_nothing() -> None:
    depth_BHW = torch.full((B, H, W), 3.0, requires_grad=True)
    normal_B3HW = vectors(5).requires_grad_()
    nothing_BHW, nothing_B3HW = torch.zeros(B, H, W), torch.zeros(B, 3, H, W)
    terms = (
        depth_l1(depth_BHW, nothing_BHW),
        depth_log_l1(depth_BHW, nothing_BHW),
        confidence_l1(depth_BHW, depth_BHW, nothing_BHW),
        normal_likelihood(normal_B3HW, depth_BHW, nothing_B3HW),
    )
    for term in terms:
        assert (term.total.item(), term.count.item(), term.mean.item()) == (0, 0, 0)
    torch.stack([term.total for term in terms]).sum().backward()
    assert depth_BHW.grad is not None
    assert not depth_BHW.grad.any()


def test_step_weights() -> None:
    assert step_weights(1) == (1.0,)
    assert step_weights(2) == pytest.approx((0.9**15, 1.0))
    assert step_weights(4) == pytest.approx((0.9**15, 0.9**10, 0.9**5, 1.0))
