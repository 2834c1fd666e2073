"""Folders as on the hub with tiny random detectors of the published families."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import nn
from transformers import (
    DFineConfig,
    DFineForObjectDetection,
    HGNetV2Config,
    RTDetrResNetConfig,
    RTDetrV2Config,
    RTDetrV2ForObjectDetection,
)

FAMILIES = ("rt_detr_v2", "d_fine")

_COMMON: dict[str, Any] = {
    "encoder_hidden_dim": 32,
    "feat_strides": [8, 16, 32],
    "encoder_ffn_dim": 64,
    "encoder_attention_heads": 2,
    "d_model": 32,
    "num_queries": 20,
    "decoder_in_channels": [32, 32, 32],
    "decoder_ffn_dim": 64,
    "decoder_layers": 2,
    "decoder_attention_heads": 2,
    "id2label": {0: "dog", 1: "person", 2: "cat"},
}


def tiny_network(family: str) -> Any:
    """The library's own network with random weights and statistics, whose boxes differ from each other."""
    if family == "d_fine":
        backbone: Any = HGNetV2Config(
            stem_channels=[3, 8, 8],
            stage_in_channels=[8, 16, 32, 64],
            stage_mid_channels=[8, 8, 16, 16],
            stage_out_channels=[16, 32, 64, 64],
            stage_num_blocks=[1, 1, 1, 1],
            stage_numb_of_layers=[1, 1, 1, 1],
            hidden_sizes=[16, 32, 64, 64],
            out_indices=[2, 3, 4],
            use_learnable_affine_block=True,
        )
        config: Any = DFineConfig(
            **_COMMON, backbone_config=backbone, encoder_in_channels=[32, 64, 64], decoder_n_points=[2, 3, 2]
        )
        kind: Any = DFineForObjectDetection
    else:
        backbone = RTDetrResNetConfig(
            embedding_size=8,
            hidden_sizes=[8, 16, 32, 64],
            depths=[1, 1, 1, 1],
            layer_type="basic",
            out_indices=[2, 3, 4],
        )
        config = RTDetrV2Config(**_COMMON, backbone_config=backbone, encoder_in_channels=[16, 32, 64])
        kind = RTDetrV2ForObjectDetection
    torch.manual_seed(0)
    return _varied(kind(config).eval())


def published_folder(folder: Path, family: str) -> tuple[Path, nn.Module]:
    """`config.json` and `model.safetensors` of a tiny network, and the network."""
    network = tiny_network(family)
    network.save_pretrained(folder)
    return folder, network


@torch.no_grad()
def _varied(network: Any) -> nn.Module:
    """As lively as a trained network: the library's initial values make all boxes alike."""
    for name, tensor in (*network.named_parameters(), *network.named_buffers()):
        if name.endswith("running_mean"):
            tensor.normal_(std=0.1)
        elif name.endswith("running_var"):
            tensor.uniform_(0.5, 1.5)
        elif tensor.ndim >= 2:
            tensor.normal_(std=1.4 * tensor[0].numel() ** -0.5)
        elif "class_embed" in name:
            tensor.copy_(torch.tensor([-1.0, 1.0, -1.0]))
    norms = [part for part in network.modules() if isinstance(part, nn.BatchNorm2d)]
    for norm in norms:
        norm.train().momentum = 1.0
    network(pixel_values=torch.rand(4, 3, 128, 128))
    return network.eval()
