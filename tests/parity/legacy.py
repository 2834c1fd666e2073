"""Golden cases of the old published archives: weights rescued from either kind run in today's torch at any batch."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path

import torch
from safetensors.torch import load_file

from parity.families import Case
from parity.sapiens import assert_close, weights_of
from tolerances import LEGACY_NETWORK_ABS
from vitruvian.models.sapiens import BackboneConfig, HeadConfig, SapiensConfig, load_network
from vitruvian.models.weight_files import read_weights

ARCHIVES = ("_torchscript.pt2", "_bfloat16.pt2")


def discover(folder: Path) -> list[Case]:
    """One case per network and archive; a network's JSON and safetensors are claimed by each of its cases."""
    cases = []
    for path in sorted(folder.glob("*.json")):
        tensors_path = path.with_suffix(".safetensors")
        for ending in ARCHIVES:
            archive = path.with_name(path.stem + ending)
            if archive.exists() and tensors_path.exists():
                check = partial(_check, path, tensors_path, archive)
                name = path.stem + ending.removesuffix(".pt2")
                cases.append(Case(family="legacy", name=name, files=(path, tensors_path, archive), check=check))
    return cases


@torch.no_grad()
def _check(path: Path, tensors_path: Path, archive: Path) -> None:
    document = json.loads(path.read_text(encoding="utf-8"))
    tensors = load_file(tensors_path)
    weights = read_weights(archive).tensors
    expected = weights_of(tensors)
    assert weights.keys() == expected.keys()
    for key, value in expected.items():
        assert torch.equal(weights[key].float(), value), key
    network = load_network(_config(document), weights).network
    for batch in (len(tensors["input"]), document["max_batch"] + 1, document["max_batch"] + 2):
        x_B3HW = tensors["input"].repeat(batch // len(tensors["input"]) + 1, 1, 1, 1)[:batch]
        (found,) = network(x_B3HW).values()
        wanted = tensors["output_float32"].repeat(batch // len(tensors["input"]) + 1, 1, 1, 1)[:batch]
        assert_close(found, wanted, LEGACY_NETWORK_ABS)


def _config(document: dict) -> SapiensConfig:
    config = document["config"]
    return SapiensConfig(
        backbone=BackboneConfig(
            width=config["embed_dim"],
            depth=config["num_layers"],
            heads=config["num_heads"],
            mlp_width=config["ffn_dim"],
            input_hw=tuple(config["img_size_hw"]),
            patch_padding=config["patch_padding"],
        ),
        head=HeadConfig(
            kind=document["task"],
            channels=config["out_channels"],
            deconv_widths=tuple(config["deconv_out_channels"]),
            conv_widths=tuple(config["conv_out_channels"]),
        ),
    )
