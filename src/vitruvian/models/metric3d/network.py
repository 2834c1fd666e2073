"""The whole network: encoder and decoder.

In: normalised RGB (B,3,H,W). Out, on the canvas: `depth` (B,1,H,W) in metres of a camera whose focal length is 1000
pixels of the canvas, `confidence` (B,1,H,W), about 1 where sure and about 0 where not, unbounded; v2 also `normal`
(B,3,H,W), unit vectors in the camera's frame (x right, y down, z forward) toward the camera, and `kappa` (B,1,H,W) > 0,
larger where the normal is surer.
"""

# Shape suffixes: B images, H W canvas.

from __future__ import annotations

import torch
from torch import Tensor, nn

from vitruvian.models.metric3d.config import ConvNextConfig, HourglassConfig, Metric3dConfig, RefinerConfig, VitConfig
from vitruvian.models.metric3d.convnext import ConvNextEncoder
from vitruvian.models.metric3d.hourglass import Hourglass
from vitruvian.models.metric3d.refiner import Refiner
from vitruvian.models.metric3d.vit import VitEncoder

ISLANDS = (
    "depth_model.encoder.pos_embed",
    "depth_model.decoder.decoder_mono.resize",
    "depth_model.decoder.decoder_mono.upconv_1.out_conv",
    "depth_model.decoder.depth_regressor.2",
    "depth_model.decoder.depth_regressor_2.3",
    "depth_model.decoder.expectation",
    "depth_model.decoder.normal_predictor.6",
    "depth_model.decoder.update_block.resize",
    "depth_model.decoder.update_block.flow_head.conv2?",
    "depth_model.decoder.update_block.mask.2",
    "depth_model.decoder.upsample",
    "depth_model.decoder.conv_out_2.prob",
    "depth_model.decoder.conv_up_2",
)
"""Stays in float32: the position table, which makes the whole residual stream float32; everything that makes or changes
the recurrent state, whose unit is 100 m; interpolation, as the original has it; of v1 what makes logits, and the
residual, which reads pixel indices beyond 256. For random weights of v2 small, bfloat16 costs 0.11 m on average with
these and 0.38 m without any."""


class DepthModel(nn.Module):
    """Encoder and decoder under their official names."""

    def __init__(self, config: Metric3dConfig) -> None:
        super().__init__()
        if isinstance(config.encoder, VitConfig) and isinstance(config.decoder, RefinerConfig):
            self.encoder: nn.Module = VitEncoder(config.encoder)
            self.decoder: nn.Module = Refiner(config.decoder, config.encoder)
        elif isinstance(config.encoder, ConvNextConfig) and isinstance(config.decoder, HourglassConfig):
            self.encoder = ConvNextEncoder(config.encoder)
            self.decoder = Hourglass(config.decoder, config.encoder)

    def forward(self, x_B3HW: Tensor) -> dict[str, Tensor]:
        return self.decoder(*self.encoder(x_B3HW))


class Metric3dNetwork(nn.Module):
    """One level more, so that a state dict of ours is an official file."""

    def __init__(self, config: Metric3dConfig) -> None:
        super().__init__()
        self.config = config
        self.depth_model = DepthModel(config)

    def forward(self, x_B3HW: Tensor) -> dict[str, Tensor]:
        return self.depth_model(x_B3HW)


def build_network(config: Metric3dConfig, device: str | torch.device = "meta") -> Metric3dNetwork:
    """A network in evaluation mode; on meta by default: no memory, no initial values."""
    with torch.device(device):
        network = Metric3dNetwork(config)
    return network.eval()
