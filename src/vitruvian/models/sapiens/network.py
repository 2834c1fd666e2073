"""The whole network: encoder and head. In: normalised RGB (B,3,H,W). Out: {output name: raw float map}."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from vitruvian.models.sapiens.backbone import Backbone
from vitruvian.models.sapiens.config import BackboneConfig, HeadConfig, SapiensConfig
from vitruvian.models.sapiens.heads import HEAD_PREFIX, OUTPUT_NAME, Head


class TaskNetwork(nn.Module):
    """Encoder plus one head; the head sits under its official name so that state dicts match published files."""

    def __init__(self, backbone: BackboneConfig, head: HeadConfig) -> None:
        super().__init__()
        self.head_name = HEAD_PREFIX[head.kind]
        self.output_name = OUTPUT_NAME[head.kind]
        self.backbone = Backbone(backbone)
        self.add_module(self.head_name, Head(head, backbone.width))

    def forward(self, x_B3HW: Tensor) -> dict[str, Tensor]:
        head = getattr(self, self.head_name)  # get_submodule() stops torch 2.6 from capturing the network
        return {self.output_name: head(self.backbone(x_B3HW))}


class FeatureNetwork(Backbone):
    """The encoder alone; its state dict has the bare keys of the published pretrained files."""

    def forward(self, x_B3HW: Tensor) -> dict[str, Tensor]:  # type: ignore[override]
        return {"features": super().forward(x_B3HW)}


def build_network(config: SapiensConfig, device: str | torch.device = "meta") -> nn.Module:
    """A network in evaluation mode; on meta by default: no memory, no initial values."""
    with torch.device(device):
        if config.head is None:
            network: nn.Module = FeatureNetwork(config.backbone)
        else:
            network = TaskNetwork(config.backbone, config.head)
    return network.eval()
