"""Losses of the published recipes, each returned as (sum, count) so that accumulated micro-batches equal the big batch.

In: raw network outputs and targets, any float dtype (computed in float32). Out: `LossSum`. Time and memory: one pass
over the outputs.
"""

# Shape suffixes: B pictures, K keypoints, C classes, H W output size.

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

SILOG_EPS = 1e-6
"""Floor of predicted relative depth before the logarithm; targets at or below it are not valid."""
NORMAL_VALID_ABOVE = -100.0
"""Target normals whose x lies at or below this mark pixels without a target (the published files hold -1000)."""

NORM_FLOOR = 1e-6
"""Least length of a vector in the cosine."""


@dataclass(frozen=True, kw_only=True, slots=True)
class LossSum:
    """A loss before its division: add several, then take `mean`."""

    total: Tensor
    """Differentiable sum, scalar."""
    count: Tensor
    """What it is divided by, scalar, no gradient."""

    @property
    def mean(self) -> Tensor:
        """total / count; zero when nothing was counted."""
        return self.total / self.count.clamp_min(1)

    def __add__(self, other: LossSum) -> LossSum:
        return LossSum(total=self.total + other.total, count=self.count + other.count)


def pose_mse(heat_BKHW: Tensor, target_BKHW: Tensor, weight_BK: Tensor) -> LossSum:
    """Mean over all elements of w (p - t)^2; keypoints of weight 0 count in the denominator."""
    error_BKHW = (heat_BKHW.float() - target_BKHW).square() * weight_BK[..., None, None]
    return _sum_of(error_BKHW, heat_BKHW.numel())


def pose_hard_mse(heat_BKHW: Tensor, target_BKHW: Tensor, weight_BK: Tensor, *, hardest: int) -> LossSum:
    """Mean over pictures of the mean of the `hardest` largest per-keypoint errors (128 of 308 in the recipe)."""
    difference_BKHW = (heat_BKHW.float() - target_BKHW) * weight_BK[..., None, None]
    error_BK = difference_BKHW.square().mean(dim=(2, 3))
    worst_B = error_BK.topk(hardest, dim=1).values.mean(dim=1)
    return _sum_of(worst_B, len(worst_B))


def seg_cross_entropy(
    logits_BCHW: Tensor, labels_BHW: Tensor, class_weights_C: Tensor | None = None, *, ignore: int = 255
) -> LossSum:
    """Class-weighted cross-entropy, mean over ALL pixels: ignored ones count, class weights are not renormalised."""
    error_BHW = F.cross_entropy(
        logits_BCHW.float(), labels_BHW.long(), weight=class_weights_C, ignore_index=ignore, reduction="none"
    )
    return _sum_of(error_BHW, labels_BHW.numel())


def depth_silog(depth_BHW: Tensor, target_BHW: Tensor) -> LossSum:
    """Scale-invariant log error, sqrt(mean d^2 - 0.5 (mean d)^2) per picture, mean over pictures.

    Valid pixels have a target above 1e-6, so the nearest point of a min-max normalised person is left out with the
    background, as published.
    """
    valid_BHW = target_BHW > SILOG_EPS
    count_B = valid_BHW.sum(dim=(1, 2)).clamp_min(1)
    safe_BHW = torch.where(valid_BHW, target_BHW.float(), 1.0)
    d_BHW = torch.where(valid_BHW, safe_BHW.log() - depth_BHW.float().clamp_min(SILOG_EPS).log(), 0.0)
    mean_B = d_BHW.sum(dim=(1, 2)) / count_B
    square_B = d_BHW.square().sum(dim=(1, 2)) / count_B
    inner_B = square_B - 0.5 * mean_B.square()
    # The square root has no gradient at zero, where a perfect or empty picture sits.
    error_B = torch.where(inner_B > 0, inner_B.clamp_min(1e-20).sqrt(), 0.0)
    return _sum_of(error_B, len(error_B))


def normal_cosine(normal_B3HW: Tensor, target_B3HW: Tensor) -> LossSum:
    """Mean over valid pixels of 1 - cos(prediction, target); lengths are floored at 1e-6."""
    valid_BHW = target_B3HW[:, 0] > NORMAL_VALID_ABOVE
    cosine_BHW = _cosine(normal_B3HW.float(), target_B3HW.float())
    return LossSum(total=torch.where(valid_BHW, 1 - cosine_BHW, 0.0).sum(), count=valid_BHW.sum())


def normal_l1(normal_B3HW: Tensor, target_B3HW: Tensor) -> LossSum:
    """Mean over valid pixels of the sum over channels of |p - t|; the prediction is not normalised."""
    valid_BHW = target_B3HW[:, 0] > NORMAL_VALID_ABOVE
    error_BHW = (normal_B3HW.float() - target_B3HW.float()).abs().sum(dim=1)
    return LossSum(total=torch.where(valid_BHW, error_BHW, 0.0).sum(), count=valid_BHW.sum())


def _cosine(a_B3HW: Tensor, b_B3HW: Tensor) -> Tensor:
    """Cosine of the angle at each pixel; torch's own function took 20 to 60 times as long on a CPU."""
    length_a_BHW, length_b_BHW = (one.square().sum(dim=1).clamp_min(NORM_FLOOR**2).sqrt() for one in (a_B3HW, b_B3HW))
    return (a_B3HW * b_B3HW).sum(dim=1) / (length_a_BHW * length_b_BHW)


def _sum_of(values: Tensor, count: int) -> LossSum:
    return LossSum(total=values.sum(), count=torch.tensor(float(count), device=values.device))
