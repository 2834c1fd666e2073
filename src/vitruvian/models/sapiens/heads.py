"""The four task heads: one construction, different stage counts.

In: feature map (B,C,h,w). Out: raw linear maps (B,channels,h*2^D,w*2^D). The last stages dominate memory: 604 MB (seg)
to 1.2 GB (depth) of float32 per 1024x768 picture for one activation.
"""

from __future__ import annotations

from itertools import pairwise

from torch import Tensor, nn

from vitruvian.models.sapiens.config import HeadConfig, HeadKind

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


class Head(nn.Module):
    """[deconv, norm, SiLU] x D, [1x1 conv, norm, SiLU] x E, linear 1x1 conv.

    The instance norm has neither parameters nor running statistics: it always uses the picture's own, so a pixel's
    value depends on the whole crop and tiling a picture changes results.
    """

    def __init__(self, config: HeadConfig, in_width: int) -> None:
        super().__init__()
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
        x_BChw = self.conv_layers(self.deconv_layers(x_BChw))
        return self.get_submodule(self.final_name)(self.dropout(x_BChw))


def _norm_act(width: int) -> tuple[nn.Module, nn.Module]:
    return nn.InstanceNorm2d(width, eps=1e-5), nn.SiLU()
