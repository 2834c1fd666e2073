"""Another patch size for trained weights: the kernel of the patch convolution resampled, so that tokens change least.

In: the kernel of a patch embedding and a new side. Out: a kernel of that side. A few small matrix products.
"""

# Shape suffixes: C token width, 3 = RGB, p side of the patch before, q side after.

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from vitruvian.errors import UsageError


def resample_patch_kernel(weight_C3pp: Tensor, side: int) -> Tensor:
    """The kernel for patches of another side, by the pseudo-inverse resize of FlexiViT (Beyer et al. 2023).

    With B the bilinear resize of a patch, the new kernel is pinv(B^T) w: of all kernels the one whose tokens of resized
    patches come closest to the old tokens of the patches themselves. Where patches are enlarged, the two are equal.
    B is separable, so its pseudo-inverse is that of one axis, applied to both.

    Args:
        weight_C3pp: square kernels, any floating type.
        side: of the new patch in pixels.

    Returns:
        (C,3,side,side) in the type of the old kernel, computed in float32 or better; itself where the side is the same.

    Raises:
        UsageError: a side below 1, or kernels that are not square.
    """
    before, across = weight_C3pp.shape[-2:]
    if side < 1 or before != across:
        raise UsageError(
            f"got a patch of {side} pixels for a kernel of {before}x{across}; expected 1 pixel or more and a square "
            "kernel; correct the patch size"
        )
    if side == before:
        return weight_C3pp
    inverse_qp = torch.linalg.pinv(_resize_matrix(before, side).T)
    kernel = inverse_qp @ weight_C3pp.double() @ inverse_qp.T
    return kernel.to(weight_C3pp.dtype)


def _resize_matrix(before: int, after: int) -> Tensor:
    """One axis of the bilinear resize (align_corners false, antialiased where it shrinks), float64 (after, before)."""
    unit_11pp = torch.eye(before, dtype=torch.float64)[None, None]
    resized = F.interpolate(unit_11pp, size=(before, after), mode="bilinear", align_corners=False, antialias=True)
    return resized[0, 0].T
