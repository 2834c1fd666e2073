"""Trained detector weights -> the embedded file: norms folded into convolutions, float16, configuration inside."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_weights

from vitruvian.models.detectors.nano import DetectorConfig
from vitruvian.training.detector.network import trainable_detector

LICENCE = "apache-2.0"


@torch.no_grad()
def folded(average: Mapping[str, Tensor], config: DetectorConfig) -> dict[str, Tensor]:
    """Weights of the network without norms that computes what the trained one does in evaluation mode."""
    network = trainable_detector(config)
    network.load_state_dict(dict(average))
    tensors = {
        key: value.clone()
        for key, value in network.state_dict().items()
        if ".norm." not in key and not key.startswith("owned.")
    }
    for name, unit in network.named_modules():
        norm, conv = getattr(unit, "norm", None), getattr(unit, "conv", None)
        if not isinstance(norm, nn.BatchNorm2d) or not isinstance(conv, nn.Conv2d):
            continue
        assert norm.running_mean is not None
        assert norm.running_var is not None
        weight, bias = fuse_conv_bn_weights(
            conv.weight, conv.bias, norm.running_mean, norm.running_var, norm.eps, norm.weight, norm.bias
        )
        tensors[f"{name}.conv.weight"], tensors[f"{name}.conv.bias"] = weight.detach(), bias.detach()
    return tensors


def write_weights(average: Mapping[str, Tensor], config: DetectorConfig, path: Path) -> int:
    """Write the file; returns its size in bytes."""
    path.parent.mkdir(parents=True, exist_ok=True)
    halves = {key: value.to(torch.float16).contiguous() for key, value in folded(average, config).items()}
    metadata = {"vitruvian_config": json.dumps(config.to_json()), "licence": LICENCE}
    save_file(halves, path, metadata=metadata)
    return path.stat().st_size
