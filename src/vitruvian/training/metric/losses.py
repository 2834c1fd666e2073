"""Losses of metric depth, its confidence, and normals, each returned as (sum, count) over valid pixels alone.

In: maps in any float type (computed in float32) and targets. Depth is canonical, in metres; a target of 0 says that
there is none. Normals are unit vectors; a target of zeros says that there is none. Out: `LossSum`. Time and memory: a
few passes over the maps.
"""

# Shape suffixes: B pictures, H W map, 3 = x y z.

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional as F

from vitruvian.training.losses import LossSum

FOOT_M = 1.0
"""Canonical depth below which the logarithm goes on as its tangent: nothing is ever outside its range, where it would
have no gradient, and the gradient never exceeds that of metres."""
LEAST_SQUARE = 1e-12
"""Of the length of a difference of normals, whose root has no gradient at zero."""
DECAY, DECAY_STEPS = 0.9, 15
"""The first of all predictions weighs 0.9 ** 15, whatever their number."""


def step_weights(predictions: int) -> tuple[float, ...]:
    """Weight of each prediction, first to last: geometric, the last one 1 (Hu et al. 2024); of one alone 1."""
    if predictions == 1:
        return (1.0,)
    factor = DECAY ** (DECAY_STEPS / (predictions - 1))
    return tuple(factor ** (predictions - 1 - index) for index in range(predictions))


def depth_l1(depth_BHW: Tensor, target_BHW: Tensor) -> LossSum:
    """Mean absolute error in metres."""
    return _over(_known(target_BHW), (depth_BHW.float() - target_BHW).abs())


def depth_log_l1(depth_BHW: Tensor, target_BHW: Tensor) -> LossSum:
    """Mean absolute error of the logarithm, that is of the ratio; below `FOOT_M` of its tangent there."""
    return _over(_known(target_BHW), (footed_log(depth_BHW.float()) - footed_log(target_BHW)).abs())


def footed_log(depth_m: Tensor) -> Tensor:
    """log(x) from `FOOT_M` on, its tangent below: defined, increasing and smooth for all numbers."""
    return depth_m.clamp_min(FOOT_M).log() + (depth_m.clamp_max(FOOT_M) - FOOT_M) / FOOT_M


def confidence_l1(confidence_BHW: Tensor, depth_BHW: Tensor, target_BHW: Tensor) -> LossSum:
    """Mean distance of the confidence from 1 less the relative error of depth, 0 at least; depth learns nothing."""
    known_BHW = _known(target_BHW)
    safe_BHW = torch.where(known_BHW, target_BHW, 1.0)
    relative_BHW = (depth_BHW.detach().float() - safe_BHW).abs() / safe_BHW
    return _over(known_BHW, (confidence_BHW.float() - (1 - relative_BHW).clamp_min(0)).abs())


def normal_likelihood(normal_B3HW: Tensor, kappa_BHW: Tensor, target_B3HW: Tensor) -> LossSum:
    """Mean negative log-likelihood of the angle (angular von Mises-Fisher, Bae et al. 2021), constants left out.

    The published training leaves out pixels that are right to 2.6 degrees, where an arc cosine has no slope. Here
    angles come from differences and sums of the vectors, which have one everywhere, so all pixels count, and how many
    depends on targets alone.

    Args:
        normal_B3HW: unit vectors.
        kappa_BHW: concentration, above 0.
        target_B3HW: unit vectors, or zeros.
    """
    kappa_BHW = kappa_BHW.float()
    angle_BHW = angles_rad(normal_B3HW.float(), target_B3HW.float())
    error_BHW = -(kappa_BHW.square() + 1).log() + kappa_BHW * angle_BHW + F.softplus(-math.pi * kappa_BHW)
    return _over(has_normal(target_B3HW), error_BHW)


def angles_rad(a_B3HW: Tensor, b_B3HW: Tensor) -> Tensor:
    """Angle between unit vectors (B,H,W), exact at 0 and pi, too (Kahan)."""
    apart_BHW, together_BHW = (
        side_B3HW.square().sum(dim=1).clamp_min(LEAST_SQUARE).sqrt() for side_B3HW in (a_B3HW - b_B3HW, a_B3HW + b_B3HW)
    )
    return 2 * torch.atan2(apart_BHW, together_BHW)


def has_normal(target_B3HW: Tensor) -> Tensor:
    """bool (B,H,W): where there is a normal to learn."""
    return target_B3HW.square().sum(dim=1) > 0.25


def _known(target_BHW: Tensor) -> Tensor:
    return target_BHW > 0


def _over(valid_BHW: Tensor, error_BHW: Tensor) -> LossSum:
    return LossSum(total=torch.where(valid_BHW, error_BHW, 0.0).sum(), count=valid_BHW.sum())
