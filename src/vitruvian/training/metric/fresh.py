"""First values of a whole Metric3D v2 network that nobody has trained.

In: a network on the CPU, a seeded generator. Out: its weights, set in place. The original leaves most of them to a
checkpoint; these are ours. Drawing normal numbers dominates time.
"""

# Shape suffixes: K anchors.

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from torch import Tensor, nn

from vitruvian.models.metric3d import Metric3dNetwork
from vitruvian.models.metric3d.refiner import CANVAS_FACTOR, MASK_SCALE, NEIGHBOURS, ConvGru, Refiner
from vitruvian.models.metric3d.vit import VitEncoder

TOKEN_STD = 0.02
POSITION = 0.3
"""Amplitude of the sines that the position table begins with: depth follows the row so closely that positions must not
have to be found first."""
LAYER_SCALE = 0.5
DEPTH_M, DEPTH_SPREAD = 12.0, 1.0
"""Expected depth of a first estimate, canonical metres, and the spread of the anchors behind it in their logarithm."""
LAST_STD = 1e-4
"""Of what a step adds to the state, whose unit is 100 m."""
SLOW_STEPS: Mapping[str, float] = {"*.update_block.flow_head.conv2d.*": 0.05}
"""Factor on the learning rate of the layer that changes depth by steps. Adam moves each of its weights by about the
rate, and all of them together would move depth by metres at each update, where much lies 1 to 10 m away."""
CENTRE_LOGIT = 6.0
"""Logit that a pixel has beyond its eight neighbours when it is brought to the canvas: shares begin at 0.98 and 0.0024.
Equal ones would draw in a third of what lies beyond the border, which stands for the farthest depth: 67 m."""


@torch.no_grad()
def initialise_metric(network: Metric3dNetwork, generator: torch.Generator, *, depth_m: float = DEPTH_M) -> None:
    """Draw first values for all of a v2 network; the same seed gives the same values.

    Matrices are drawn for their inputs (truncated normal, deviation 1 / sqrt(inputs)), convolutions before rectifiers
    as He et al. 2015, those of gates by their inputs alone; biases are 0. Steps begin as the identity, and the first
    estimate as a plane of `depth_m` that faces the camera.

    Args:
        network: on the CPU.
        generator: of the CPU.
        depth_m: canonical depth to begin with, about the middle of the data.
    """
    encoder, decoder = network.depth_model.encoder, network.depth_model.decoder
    assert isinstance(encoder, VitEncoder)
    assert isinstance(decoder, Refiner)
    gates = {layer for gru in decoder.modules() if isinstance(gru, ConvGru) for layer in gru.children()}
    for module in network.modules():
        if isinstance(module, nn.LayerNorm):
            module.reset_parameters()
        elif isinstance(module, (nn.Linear, nn.Conv2d, nn.ConvTranspose2d)):
            _draw(module, generator, gain=1.0 if isinstance(module, nn.Linear) or module in gates else 2.0)
    _draw(encoder.patch_embed.proj, generator, gain=1.0)
    for token in (encoder.cls_token, encoder.register_tokens):
        nn.init.trunc_normal_(token, std=TOKEN_STD, a=-2 * TOKEN_STD, b=2 * TOKEN_STD, generator=generator)
    encoder.pos_embed.zero_()
    encoder.pos_embed[:, 1:] = POSITION * sine_table(encoder.config.grid, encoder.config.width)
    for name, parameter in encoder.named_parameters():
        if name.endswith(".gamma"):
            parameter.fill_(LAYER_SCALE)
    _quiet(decoder, generator, depth_m)


def sine_table(side: int, width: int) -> Tensor:
    """Sines and cosines of rows and columns in a square grid, (1, side * side, width); columns left over are 0.

    Waves are from four sides to two and a half entries long.
    """
    waves = width // 4
    turns = torch.logspace(math.log10(0.25), math.log10(side / 2 / 1.25), waves, dtype=torch.float64)
    place = (torch.arange(side, dtype=torch.float64) + 0.5) / side
    y, x = torch.meshgrid(place, place, indexing="ij")
    angles = [2 * math.pi * axis.reshape(-1, 1) * turns for axis in (x, y)]
    table = torch.cat([part for angle in angles for part in (angle.sin(), angle.cos())], dim=1).float()
    return nn.functional.pad(table, (0, width - 4 * waves))[None]


def _draw(layer: nn.Linear | nn.Conv2d | nn.ConvTranspose2d, generator: torch.Generator, *, gain: float) -> None:
    inputs = layer.weight[0].numel()
    if isinstance(layer, nn.ConvTranspose2d):  # each output pixel sees one kernel entry of every input channel
        inputs = layer.in_channels
    std = math.sqrt(gain / inputs)
    nn.init.trunc_normal_(layer.weight, std=std, a=-2 * std, b=2 * std, generator=generator)
    if layer.bias is not None:
        nn.init.zeros_(layer.bias)


def _quiet(decoder: Refiner, generator: torch.Generator, depth_m: float) -> None:
    """Last layers that begin with what is likely."""
    config = decoder.config
    for layer in (decoder.update_block.flow_head.conv2d, decoder.update_block.flow_head.conv2n):
        layer.weight.normal_(std=LAST_STD, generator=generator)
    anchors = decoder.depth_regressor[-1]
    assert isinstance(anchors, nn.Conv2d)
    anchors.weight.mul_(0.1)
    log_K = torch.linspace(math.log(config.near_m), math.log(config.far_m), config.anchors)
    # The mean of a log-normal spread lies above its middle by half its variance.
    middle = math.log(depth_m) - DEPTH_SPREAD**2 / 2
    anchors.bias.copy_(-(((log_K - middle) / DEPTH_SPREAD) ** 2) / 2)  # type: ignore[union-attr]
    facing = decoder.normal_predictor[-1]
    assert isinstance(facing, nn.Conv2d)
    facing.weight.mul_(0.01)
    facing.bias.copy_(torch.tensor([0.0, 0.0, -1.0]))  # type: ignore[union-attr]
    shared = decoder.decoder_mono.upconv_1.out_conv
    shared.weight[config.shared_width :] *= 0.01  # both confidences
    mask = decoder.update_block.mask[-1]
    assert isinstance(mask, nn.Conv2d)
    mask.weight.mul_(0.1)
    logits = mask.bias.view(NEIGHBOURS, CANVAS_FACTOR**2)  # type: ignore[union-attr]
    logits[NEIGHBOURS // 2] = CENTRE_LOGIT / MASK_SCALE
