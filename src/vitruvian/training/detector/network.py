"""The detector as it is trained: with batch norms and one more output that only teaches."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from vitruvian.models.detectors.nano import DetectorConfig, NanoDetector


class TrainedDetector(NanoDetector):
    """In: RGB (B,3,H,W) in 0..1. Out: `logits`, `boxes` and `owned` (B,N): is any person at the cell's centre."""

    def __init__(self, config: DetectorConfig) -> None:
        super().__init__(config, lambda width: nn.BatchNorm2d(width, momentum=0.03, eps=1e-3))
        self.owned = nn.Conv2d(config.head_width, 1, 1)

    def forward(self, x_B3HW: Tensor) -> dict[str, Tensor]:
        x_BChw = self.features(x_B3HW)
        return {**self.predicted(x_BChw), "owned": self.owned(x_BChw).flatten(1)}


def trainable_detector(config: DetectorConfig) -> TrainedDetector:
    """A network to begin with; initial scores are near 1 %, because nearly all cells answer for nobody."""
    network = TrainedDetector(config)
    nn.init.constant_(network.logit.bias, -4.6)  # type: ignore[arg-type]
    nn.init.normal_(network.box.weight, std=0.01)
    nn.init.zeros_(network.box.bias)  # type: ignore[arg-type]
    return network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
