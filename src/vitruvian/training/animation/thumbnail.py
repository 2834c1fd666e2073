"""First values of the image codec that make it a thumbnail: three latents are the colours of 8x8 pixels.

Small codecs normalise groups of few channels, which forgets what is the same everywhere in a picture: its colours. Left
to chance, one of this size learnt to paint in grey. Here three groups of three channels carry a colour and two
constants of opposite sign through all layers, so that a group's spread is that of the constants, and its middle a third
of the colour's; what all three say after the norm gives the colour back. All other weights stay as they were drawn, and
residual branches begin by adding nothing.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

COLOURS, GROUP = 3, 3
OFFSET = 3.0
"""Of the constants; large beside colours from -1 to 1."""
SPREAD = OFFSET * math.sqrt(2 / 3)
"""Of a group: of a number near 0, OFFSET and -OFFSET."""
SLOPE = 0.9277
"""Of SiLU near 1, where the norms' biases bring all three."""


@torch.no_grad()
def begin_as_thumbnail(codec: nn.Module) -> None:
    """Set the first values of a codec with three channels a group at all levels."""
    for name, module in codec.named_modules():
        if name.endswith(("conv2", "to_out.0")) and isinstance(module, (nn.Conv2d, nn.Linear)):
            module.weight.zero_()
            _bias(module).zero_()
        elif name.endswith("downsamplers.0.conv"):
            _carry(module, 0.25, slice(0, 2))
        elif name.endswith("upsamplers.0.conv"):
            _carry(module, 1.0, slice(1, 2))
    quant = codec.get_submodule("quant_conv")
    assert isinstance(quant, nn.Conv2d)
    quant.weight.copy_(torch.eye(quant.out_channels)[:, :, None, None])
    _bias(quant).zero_()
    for half in ("encoder", "decoder"):
        _enter(codec.get_submodule(f"{half}.conv_in"))
        _leave(codec.get_submodule(f"{half}.conv_norm_out"), codec.get_submodule(f"{half}.conv_out"))


def _enter(conv: nn.Module) -> None:
    """Colours into the first channel of each group, constants into the others."""
    assert isinstance(conv, nn.Conv2d)
    conv.weight[: GROUP * COLOURS] = 0
    for colour in range(COLOURS):
        conv.weight[GROUP * colour, colour, 1, 1] = 1
    _bias(conv)[: GROUP * COLOURS] = torch.tensor([0.0, OFFSET, -OFFSET] * COLOURS)


def _carry(conv: nn.Module, weight: float, taps: slice) -> None:
    """The groups pass a change of size: as means of 2x2 pixels, or as copies."""
    assert isinstance(conv, nn.Conv2d)
    conv.weight[: GROUP * COLOURS] = 0
    for channel in range(GROUP * COLOURS):
        conv.weight[channel, channel, taps, taps] = weight
    _bias(conv)[: GROUP * COLOURS] = 0


def _leave(norm: nn.Module, conv: nn.Module) -> None:
    """What a group says after norm and activation, as its colour: the constants tell the middle that the norm took."""
    assert isinstance(norm, nn.GroupNorm)
    assert isinstance(conv, nn.Conv2d)
    normed = OFFSET / SPREAD
    norm.bias[: GROUP * COLOURS] = torch.tensor([1.0, 1 - normed, 1 + normed] * COLOURS)
    conv.weight[:COLOURS] = 0
    for colour in range(COLOURS):
        for place, share in enumerate((1.0, -0.5, -0.5)):
            conv.weight[colour, GROUP * colour + place, 1, 1] = share * SPREAD / SLOPE
    _bias(conv)[:COLOURS] = 0


def _bias(layer: nn.Conv2d | nn.Linear) -> Tensor:
    assert layer.bias is not None
    return layer.bias
