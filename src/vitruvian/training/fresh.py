"""First values of a task head that nobody has trained.

In: a network with a head, a seeded generator. Out: the head's weights, set in place on the CPU; drawing normal numbers
dominates time (0.2 s for the largest head).
"""

from __future__ import annotations

import math

import torch
from torch import nn

from vitruvian.models.sapiens.heads import FINAL_NAME, HEAD_PREFIX, OUTPUT_NAME
from vitruvian.models.sapiens.network import TaskNetwork

FINAL_STD = {"pose": 0.001, "seg": 0.01, "depth": 0.01, "normal": 0.01}
"""Deviation of the last convolution's weights: heat maps are almost empty at first, as their targets are (Xiao et al.
2018); dense outputs begin as noise much smaller than their targets."""
DEPTH_BIAS = 0.7
"""The scale-invariant log loss sees nothing below 1e-6: outputs begin inside its range, which ends at 1."""


@torch.no_grad()
def initialise_head(network: TaskNetwork, generator: torch.Generator, *, final_only: bool = False) -> None:
    """Draw first values for the head, or for its last convolution alone; the same seed gives the same values.

    Layers before a norm are drawn as He et al. 2015 (normal, fan out, gain of a rectifier); the norm has no parameters,
    so their scale hardly matters. Biases are 0, but for the last one of depth.

    Args:
        network: on the CPU; its encoder is left alone.
        generator: of the CPU.
        final_only: keep everything before the last convolution.
    """
    kind = next(kind for kind, name in OUTPUT_NAME.items() if name == network.output_name)
    head = network.get_submodule(HEAD_PREFIX[kind])
    final = head.get_submodule(FINAL_NAME[kind])
    for layer in head.modules():
        if not isinstance(layer, (nn.Conv2d, nn.ConvTranspose2d)) or (final_only and layer is not final):
            continue
        std = FINAL_STD[kind] if layer is final else math.sqrt(2 / (layer.out_channels * math.prod(layer.kernel_size)))
        layer.weight.normal_(std=std, generator=generator)
        if layer.bias is not None:
            layer.bias.fill_(DEPTH_BIAS if layer is final and kind == "depth" else 0.0)
