"""Stochastic rounding to bfloat16: up or down by chance, so that the mean over many roundings is the value itself.

In: float32 values and a generator. Out: bfloat16. A weight that is rounded to the nearest stands still under steps
smaller than 1/512 of it; rounded by chance it moves by them on average. Memory: three buffers of the values' size.
"""

from __future__ import annotations

import torch
from torch import Tensor

_LOW_BITS = 16
"""What bfloat16 lacks of a float32's mantissa."""


def round_stochastically(values: Tensor, generator: torch.Generator) -> Tensor:
    """To one of the two nearest bfloat16 numbers, with the probability that makes the mean exact.

    Args:
        values: float32, any shape; kept. What bfloat16 holds already, infinities and NaN come out as they are.
        generator: on the values' device.
    """
    noise = torch.randint(0, 1 << _LOW_BITS, values.shape, dtype=torch.int32, device=values.device, generator=generator)
    # Sign and magnitude: a carry out of the low bits moves away from zero, for negative numbers, too.
    rounded = noise.add_(values.view(torch.int32)).bitwise_and_(-1 << _LOW_BITS).view(torch.float32)
    return torch.where(values.isfinite(), rounded, values).to(torch.bfloat16)
