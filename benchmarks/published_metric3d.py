"""The published flow of a Metric3D v2 network, re-implemented from its description, over our modules' weights.

What the original does and we do not: the whole score matrix of attention in memory, repetition and interpolation before
the 1x1 convolutions, and after every refinement step the upsampling mask, the upsampled state and its normalisation.
Same weights, same numbers up to rounding; float32, one picture at a time.
"""

# Shape suffixes: B images, N tokens, C channels, H W a level's rows and columns.

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from vitruvian.models.metric3d.fusion import FuseUnit, Levels
from vitruvian.models.metric3d.network import Metric3dNetwork
from vitruvian.models.metric3d.refiner import DEPTH_UNIT_M, MASK_SCALE, Refinement, Refiner, unit_normals
from vitruvian.models.metric3d.vit import GRID_OFFSET, Block, VitEncoder
from vitruvian.models.sapiens.backbone import Attention


class PublishedFlow(nn.Module):
    """Normalised picture (B,3,H,W) -> the outputs of the last step, every step's having been made."""

    def __init__(self, network: Metric3dNetwork) -> None:
        super().__init__()
        encoder, decoder = network.depth_model.encoder, network.depth_model.decoder
        assert isinstance(encoder, VitEncoder)
        assert isinstance(decoder, Refiner)
        self.encoder, self.decoder = encoder, decoder

    def forward(self, x_B3HW: Tensor) -> dict[str, Tensor]:
        taps, grid_hw = _tokens(self.encoder, x_B3HW)
        decoder = self.decoder
        levels, coarsest = _read(decoder, taps, grid_hw)
        rectified = Levels(levels.quarter, levels.seventh.relu(), levels.fourteenth.relu())
        refinement = _started(decoder, rectified, coarsest)
        outputs: list[dict[str, Tensor]] = []
        for _ in range(decoder.config.steps):
            refinement = decoder.step(refinement)
            outputs.append(_upsampled(decoder, refinement))
        return outputs[-1]


def _tokens(encoder: VitEncoder, x_B3HW: Tensor) -> tuple[tuple[Tensor, ...], tuple[int, int]]:
    patches_BChw = encoder.patch_embed(x_B3HW)
    rows, columns = patches_BChw.shape[2:]
    side = encoder.config.grid
    table = encoder.pos_embed[:, 1:].unflatten(1, (side, side)).permute(0, 3, 1, 2)
    factors = ((rows + GRID_OFFSET) / side, (columns + GRID_OFFSET) / side)
    resized = F.interpolate(table, scale_factor=factors, mode="bicubic").flatten(2).transpose(1, 2)
    first = encoder.cls_token + encoder.pos_embed[:, :1]
    patches = patches_BChw.flatten(2).transpose(1, 2) + resized
    batch = len(x_B3HW)
    registers = encoder.register_tokens.expand(batch, -1, -1)
    tokens = torch.cat([first.expand(batch, -1, -1), registers, patches], dim=1)
    for block in encoder.blocks[0].children():
        assert isinstance(block, Block)
        tokens = tokens + block.ls1(_attention(block.attn, block.norm1(tokens)))
        tokens = tokens + block.ls2(block.mlp(block.norm2(tokens)))
    return (encoder.norm(tokens),) * 4, (rows, columns)


def _attention(layer: Attention, x_BNC: Tensor) -> Tensor:
    """Every score of every head at once."""
    batch, tokens, width = x_BNC.shape
    qkv = layer.qkv(x_BNC).reshape(batch, tokens, 3, layer.heads, width // layer.heads).permute(2, 0, 3, 1, 4)
    q, k, v = qkv.unbind(0)
    scores = ((q * (width // layer.heads) ** -0.5) @ k.transpose(-2, -1)).softmax(dim=-1)
    return layer.proj((scores @ v).transpose(1, 2).reshape(batch, tokens, width))


def _read(decoder: Refiner, taps: tuple[Tensor, ...], grid_hw: tuple[int, int]) -> tuple[Levels, Tensor]:
    """The finest map is repeated before its channels are reduced."""
    reader = decoder.token2feature
    assert reader.read_0.sample is not None
    wide = F.interpolate(reader.read_0.readoper(taps[0], grid_hw), scale_factor=3.5, mode="nearest")
    levels = Levels(reader.read_0.sample(wide), reader.read_1(taps[1], grid_hw), reader.read_2(taps[2], grid_hw))
    return levels, reader.read_3(taps[3], grid_hw)


def _fused(unit: FuseUnit, trunk: Tensor, branch: Tensor | None, size: tuple[int, int] | None) -> Tensor:
    """Interpolated before the channels are changed."""
    if unit.way_branch is not None:
        trunk = trunk + unit.way_branch(branch)
    trunk = unit.way_trunk(F.relu(trunk))
    if size is not None:
        trunk = F.interpolate(trunk, size=size, mode="bilinear", align_corners=True)
    return unit.out_conv(trunk)


def _started(decoder: Refiner, levels: Levels, coarsest: Tensor) -> Refinement:
    fusion, config = decoder.decoder_mono, decoder.config
    x = _fused(fusion.upconv_3, coarsest, None, None)
    x = _fused(fusion.upconv_2, x, levels.fourteenth, (levels.seventh.shape[2], levels.seventh.shape[3]))
    x = _fused(fusion.upconv_1, x, levels.seventh, (levels.quarter.shape[2], levels.quarter.shape[3]))
    shared, confidence, normal_confidence = x.split((config.shared_width, 1, 1), dim=1)
    depth_m = decoder.expectation(decoder.depth_regressor(shared)).clamp(config.near_m, config.far_m)
    normals = unit_normals(torch.cat([decoder.normal_predictor(shared), normal_confidence], dim=1))
    return decoder.refinement(depth_m, confidence, normals, levels)


def _upsampled(decoder: Refiner, refinement: Refinement) -> dict[str, Tensor]:
    """Neighbours, pixels and channels in one tensor, as the original multiplies them."""
    state = refinement.state_BSHW
    mask = MASK_SCALE * decoder.update_block.mask(refinement.hidden.quarter)
    batch, channels, rows, columns = state.shape
    shares = mask.view(batch, 1, 9, 4, 4, rows, columns).softmax(dim=2)
    around = F.unfold(state, 3, padding=1).view(batch, channels, 9, 1, 1, rows, columns)
    mixed = (shares * around).sum(dim=2)
    full = mixed.permute(0, 1, 4, 2, 5, 3).reshape(batch, channels, 4 * rows, 4 * columns)
    config = decoder.config
    depth_m = (DEPTH_UNIT_M * full[:, :1] + config.far_m).clamp(config.near_m, config.far_m)
    normals = unit_normals(full[:, 2:])
    return {"depth": depth_m, "confidence": full[:, 1:2], "normal": normals[:, :3], "kappa": normals[:, 3:]}
