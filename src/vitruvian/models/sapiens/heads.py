"""The four task heads: one construction, different stage counts.

In: feature map (B,C,h,w). Out: raw linear maps (B,channels,h*2^D,w*2^D). The last stages dominate memory: 604 MB (seg)
to 1.2 GB (depth) of float32 per 1024x768 picture for one activation. The plain path holds three of these for every
picture of the batch, the chunked one a single one for all.
"""

from __future__ import annotations

from itertools import pairwise
from typing import TypeVar

import torch
from torch import Tensor, nn

from vitruvian.errors import UsageError
from vitruvian.models.sapiens.config import HeadConfig, HeadKind
from vitruvian.models.sapiens.streaming import stream_head

OUTPUT_NAME: dict[HeadKind, str] = {"pose": "heatmaps", "seg": "logits", "depth": "depth", "normal": "normal"}
"""Key of each head's output in the network's result."""

HEAD_PREFIX: dict[HeadKind, str] = {
    "pose": "head",
    "seg": "decode_head",
    "depth": "decode_head",
    "normal": "decode_head",
}
"""Module name of each head in the official checkpoints."""

FINAL_NAME: dict[HeadKind, str] = {
    "pose": "final_layer",
    "seg": "conv_seg",
    "depth": "conv_seg",
    "normal": "conv_seg",
}
"""Name of the last convolution in the official checkpoints."""

DROPOUT = 0.1
"""Channel dropout before the last convolution of the dense heads, training only (published configuration)."""


Convolution = TypeVar("Convolution", nn.ConvTranspose2d, nn.Conv2d)


class Head(nn.Module):
    """[deconv, norm, SiLU] x D, [1x1 conv, norm, SiLU] x E, linear 1x1 conv.

    The instance norm has neither parameters nor running statistics: it always uses the picture's own, so a pixel's
    value depends on the whole crop and tiling a picture changes results.

    With `chunked_head` set, evaluation without gradients goes item by item and strip by strip (`streaming`): the same
    result up to rounding, contiguous, in the type of the last convolution's weight. Training, compiling and exporting
    keep to the plain path. It reads the convolutions' weights without calling them, so their hooks do not run.
    """

    def __init__(self, config: HeadConfig, in_width: int) -> None:
        super().__init__()
        self.chunked_head = False
        self.final_name = FINAL_NAME[config.kind]
        widths = (in_width, *config.deconv_widths, *config.conv_widths)
        pairs = list(pairwise(widths))
        deconvs: list[nn.Module] = []
        for before, after in pairs[: len(config.deconv_widths)]:
            deconvs += [nn.ConvTranspose2d(before, after, 4, stride=2, padding=1, bias=False), *_norm_act(after)]
        convs: list[nn.Module] = []
        for before, after in pairs[len(config.deconv_widths) :]:
            convs += [nn.Conv2d(before, after, 1), *_norm_act(after)]
        self.deconv_layers = nn.Sequential(*deconvs)
        self.conv_layers = nn.Sequential(*convs)
        self.dropout = nn.Identity() if config.kind == "pose" else nn.Dropout2d(DROPOUT)
        self.add_module(self.final_name, nn.Conv2d(widths[-1], config.channels, 1))

    def forward(self, x_BChw: Tensor) -> Tensor:
        recorded = self.training or torch.is_grad_enabled() or torch.compiler.is_compiling()
        if self.chunked_head and not recorded:
            return self._stream(x_BChw)
        x_BChw = self.conv_layers(self.deconv_layers(x_BChw))
        return self.get_submodule(self.final_name)(self.dropout(x_BChw))

    def _stream(self, x_BChw: Tensor) -> Tensor:
        deconvs = [_own(layer, nn.ConvTranspose2d) for layer in list(self.deconv_layers)[::3]]
        convs = [_own(layer, nn.Conv2d) for layer in list(self.conv_layers)[::3]]
        return stream_head(deconvs, convs, _own(self.get_submodule(self.final_name), nn.Conv2d), x_BChw)


def _own(layer: nn.Module, kind: type[Convolution]) -> Convolution:
    """The layer, if it is what it was built as: only then its weight says all."""
    if type(layer) is kind:
        return layer
    raise UsageError(
        f"got a {type(layer).__name__} in a head that is to work in strips; expected the {kind.__name__} it was built "
        "with; merge what wraps it into its weight, or switch chunked_head off"
    )


def _norm_act(width: int) -> tuple[nn.Module, nn.Module]:
    return nn.InstanceNorm2d(width, eps=1e-5), nn.SiLU()
