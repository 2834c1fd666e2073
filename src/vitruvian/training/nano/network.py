"""The joint training network: one Sapiens encoder, four Sapiens heads."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from vitruvian.models.sapiens.backbone import Backbone
from vitruvian.models.sapiens.config import NANO_BACKBONE, NANO_HEADS
from vitruvian.models.sapiens.heads import Head


class JointNetwork(nn.Module):
    """In: normalised RGB (B,3,256,192). Out: raw maps by head kind."""

    def __init__(self) -> None:
        super().__init__()
        self.backbone = Backbone(NANO_BACKBONE)
        self.heads = nn.ModuleDict({kind: Head(config, NANO_BACKBONE.width) for kind, config in NANO_HEADS.items()})
        self.apply(_initialise)
        self.backbone.pos_embed.data.copy_(sine_table(*NANO_BACKBONE.grid_hw(), NANO_BACKBONE.width))
        for head in self.heads.values():
            # Channel dropout, as published, holds back a network that is far too small to overfit.
            head.dropout = nn.Identity()
        # The scale-invariant depth loss sees nothing below 1e-6: start inside its range.
        final = self.heads["depth"].get_submodule("conv_seg")
        nn.init.constant_(final.bias, 0.7)  # type: ignore[arg-type]

    def forward(self, x_B3HW: Tensor) -> dict[str, Tensor]:
        features_BChw = self.backbone(x_B3HW)
        return {kind: head(features_BChw) for kind, head in self.heads.items()}


def _initialise(module: nn.Module) -> None:
    if isinstance(module, nn.Linear):
        nn.init.trunc_normal_(module.weight, std=0.02)
        nn.init.zeros_(module.bias)


def sine_table(rows: int, columns: int, width: int) -> Tensor:
    """Fixed 2-D sine/cosine start of the learned position table, (1, rows*columns, width)."""
    omega = 10000.0 ** (-torch.arange(width // 4, dtype=torch.float64) / (width // 4))
    y, x = torch.meshgrid(torch.arange(rows), torch.arange(columns), indexing="ij")
    angles = [position.reshape(-1, 1) * omega for position in (x, y)]
    return torch.cat([part for angle in angles for part in (angle.sin(), angle.cos())], dim=1)[None].float()
