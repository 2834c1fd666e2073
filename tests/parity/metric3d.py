"""Golden cases of the Metric3D networks: whole passes with every tensor on the way, and the position table.

Preparing and finishing are checked in `metric3d_tasks`, measures in `metric3d_measures`.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.nn import functional as F

from parity import metric3d_tasks
from parity.families import Case
from parity.metric3d_measures import check_measures
from parity.sapiens import assert_close, weights_of
from tolerances import (
    METRIC_DEPTH_M,
    METRIC_ENCODER_ABS,
    METRIC_MAPS_ABS,
    METRIC_NORMALS_ABS,
    POSITION_TABLE_ABS,
)
from vitruvian.models.metric3d import (
    ConvNextConfig,
    HourglassConfig,
    Metric3dConfig,
    Metric3dNetwork,
    RefinerConfig,
    VitConfig,
    build_network,
    load_network,
)
from vitruvian.models.metric3d.fusion import rectified
from vitruvian.models.metric3d.refiner import MASK_SCALE, Refiner
from vitruvian.models.metric3d.vit import VitEncoder

Tensors = Mapping[str, Tensor]

GAINS = {
    "flow_head.conv2d.weight": 0.05,
    "flow_head.conv2n.weight": 0.2,
    "depth_regressor.2.weight": 2.5,
    "depth_regressor_2.3.weight": 3.0,
    "decoder_mono.upconv_1.out_conv.weight": 0.2,
    "conv_out_2.prob.weight": 1.0,
    "mask.2.weight": 4.0,
}
"""Exceptions of the golden files' recipe for random weights; 1.4 elsewhere."""


def discover(folder: Path) -> list[Case]:
    """One case per JSON; its JSON and safetensors are claimed."""
    cases = []
    for path in sorted(folder.glob("*.json")):
        tensors_path = path.with_suffix(".safetensors")
        check = CHECKS.get(path.stem)
        if check is not None and tensors_path.exists():
            run = partial(_run, check, path)
            cases.append(Case(family="metric3d", name=path.stem, files=(path, tensors_path), check=run))
    return cases


def _run(check: Callable[[dict[str, Any], Tensors], None], path: Path) -> None:
    with torch.no_grad():
        check(json.loads(path.read_text(encoding="utf-8")), load_file(path.with_suffix(".safetensors")))


def config_of_case(config: Mapping[str, Any]) -> Metric3dConfig:
    """The golden files' configuration in our words."""
    if "dims" in config:
        return Metric3dConfig(
            encoder=ConvNextConfig(depths=tuple(config["depths"]), widths=tuple(config["dims"])),
            decoder=HourglassConfig(
                widths=tuple(config["decoder_channel"][1:]),
                base=config["unet_base"],
                features=config["unet_out"] - 1,
                anchors=config["depth_anchors"],
                residual_width=config["residual_channel"],
            ),
            input_hw=(64, 96),
        )
    gated = config.get("ffn") == "swiglu"
    width = config["embed_dim"]
    return Metric3dConfig(
        encoder=VitConfig(
            width=width,
            depth=config["depth"],
            heads=config["num_heads"],
            mlp_width=-(-8 * width // 3 // 8) * 8 if gated else 4 * width,
            gated=gated,
            quarter_taps=gated,
        ),
        decoder=RefinerConfig(
            quarter_width=config["feature_channels"][0],
            seventh_width=config["feature_channels"][1],
            shared_width=config["decoder_channels"][1],
            hidden=config["hidden_channels"],
            steps=config["iterations"],
        ),
        input_hw=(56, 84),
    )


def recipe_weights(config: Metric3dConfig, seed_offset: int) -> dict[str, Tensor]:
    """The golden files' random weights, key by key."""
    shapes = {key: value.shape for key, value in build_network(config).state_dict().items()}
    return {key: _recipe_tensor(key, shape, seed_offset) for key, shape in shapes.items()}


def _recipe_tensor(key: str, shape: torch.Size, seed_offset: int) -> Tensor:
    if key.endswith("num_batches_tracked"):
        return torch.tensor(1)
    noise = torch.randn(shape, generator=torch.Generator().manual_seed(zlib.crc32(key.encode()) + seed_offset))
    last = key.rpartition(".")[2]
    if last == "running_mean":
        return 0.1 * noise
    if last == "running_var":
        return 1 + 0.2 * noise.abs()
    if last == "gamma":
        return 0.3 + 0.05 * noise
    if last in ("cls_token", "register_tokens"):
        return 0.5 * noise
    if last == "pos_embed":
        return 0.3 * noise
    if last == "bias":
        return 0.05 * noise
    if len(shape) == 1:
        return 1 + 0.1 * noise
    gain = next((gain for ending, gain in GAINS.items() if key.endswith(ending)), 1.4)
    return noise * (gain / shape[1:].numel() ** 0.5)


def network_of(document: Mapping[str, Any], tensors: Tensors) -> Metric3dNetwork:
    """The case's network, with its stored weights or those of the recipe."""
    config = config_of_case(document["config"])
    weights = weights_of(tensors) or recipe_weights(config, document["seed_offset"])
    for key, values in document["weight_check"]["first_values"].items():
        assert_close(weights[key].flatten()[: len(values)], torch.tensor(values), 1e-6)
    network = load_network(config, weights).network
    assert isinstance(network, Metric3dNetwork)
    return network


def _compare(document: Mapping[str, Any], tensors: Tensors, found: Mapping[str, Tensor]) -> None:
    expected = {key.removeprefix("out/"): value for key, value in tensors.items() if key.startswith("out/")}
    found = {**found, "final_metric_depth": metric3d_tasks.final_metric_depth(document, found["prediction"])}
    assert not expected.keys() - found.keys()
    for name, value in expected.items():
        steps = [int(part.strip(" :")) for part in document["subsampled"].get(name, "[]")[1:-1].split(",")[1:]]
        thinned = found[name][(slice(None), *(slice(None, None, step) for step in steps))]
        try:
            assert_close(thinned, value, _tolerance(name))
        except AssertionError as error:
            raise AssertionError(f"{name} {error}") from error


def _tolerance(name: str) -> float:
    if name.startswith(("encoder.", "context.")):
        return METRIC_ENCODER_ABS
    if name in ("prediction", "final_metric_depth", "residual.in_depth_quarter") or name.endswith("depth_up"):
        return METRIC_DEPTH_M
    if name in ("confidence", "prediction_normal"):
        return METRIC_NORMALS_ABS
    return METRIC_MAPS_ABS


def _check_vit(document: dict[str, Any], tensors: Tensors) -> None:
    network = network_of(document, tensors)
    encoder, decoder = network.depth_model.encoder, network.depth_model.decoder
    assert isinstance(decoder, Refiner)
    outputs = network(tensors["input"])
    taps, grid_hw = encoder(tensors["input"])
    found = {"encoder.tokens_normed": taps[0], **{f"encoder.tap{i}": tap for i, tap in enumerate(taps)}}
    levels, found["token2feature.read_3_1_14"] = decoder.token2feature(taps, grid_hw)
    for index, (level, values) in enumerate(zip(("1_4", "1_7", "1_14"), levels, strict=True)):
        found[f"token2feature.read_{index}_{level}"] = values
    fused = decoder.decoder_mono(rectified(levels), found["token2feature.read_3_1_14"])
    found["decoder_mono.out"] = fused
    found["depth_regressor.logits"] = decoder.depth_regressor(fused[:, :-2])
    for name, maps in zip(("hidden", "input"), decoder.context_feature_encoder(rectified(levels)), strict=True):
        for level, values in zip(("1_4", "1_7", "1_14"), maps, strict=True):
            found[f"context.{name}_raw_{level}"] = values
    refinement = decoder.start(taps, grid_hw)
    for step in range(decoder.config.steps):
        found[f"iter{step}.state_before"] = refinement.state_BSHW
        refinement = decoder.step(refinement)
        found[f"iter{step}.delta"] = decoder.update_block.flow_head(refinement.hidden.quarter)
        for level, values in zip(("1_4", "1_7", "1_14"), refinement.hidden, strict=True):
            found[f"iter{step}.hidden_{level}"] = values
        found[f"iter{step}.up_mask_logits"] = MASK_SCALE * decoder.update_block.mask(refinement.hidden.quarter)
        found[f"iter{step}.depth_up"] = decoder.outputs(refinement)["depth"]
    _compare(document, tensors, {**found, **_published(outputs)})


def _published(outputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
    found = {"prediction": outputs["depth"], "confidence": outputs["confidence"]}
    if "normal" in outputs:
        found["prediction_normal"] = torch.cat([outputs["normal"], outputs["kappa"]], dim=1)
    return found


def _check_off_grid(document: dict[str, Any], tensors: Tensors) -> None:
    network = network_of(document, tensors)
    for index, case in enumerate(document["cases"]):
        x_B3HW = tensors[f"case{index}/input"] if case["input_stored"] else _picture(case)
        found = {
            **_published(network(x_B3HW)),
            "encoder.tokens_normed": network.depth_model.encoder(x_B3HW)[0][0],
        }
        assert list(found["prediction"].shape[2:]) == case["output"]
        stride = case["stride"]
        for name, values in found.items():
            thinned = values[:, :, ::stride, ::stride] if values.ndim == 4 else values[:, ::stride]
            assert_close(thinned, tensors[f"case{index}/out/{name}"], _tolerance(name))


def _picture(case: Mapping[str, Any]) -> Tensor:
    generator = torch.Generator().manual_seed(case["input_seed"])
    low = torch.randn(1, 3, 5, 7, generator=generator)
    x_B3HW = F.interpolate(low, size=tuple(case["input"]), mode="bilinear", align_corners=True)
    return x_B3HW + 0.25 * torch.randn(x_B3HW.shape, generator=generator)


def _check_convnext(document: dict[str, Any], tensors: Tensors) -> None:
    network = network_of(document, tensors)
    found: dict[str, Tensor] = {}

    def keep(name: str, module: nn.Module) -> None:
        module.register_forward_hook(lambda _module, _inputs, output: found.update({name: output}))

    decoder = network.depth_model.decoder
    keep("decoder_mono.out", decoder.get_submodule("decoder_mono"))
    keep("unet.out", decoder.get_submodule("conv_out_2"))
    keep("depth_regressor.logits", decoder.get_submodule("depth_regressor_2"))
    keep("residual.in_depth_quarter", decoder.get_submodule("expectation"))
    keep("residual.out", decoder.get_submodule("conv_up_2"))
    outputs = network(tensors["input"])
    stages = network.depth_model.encoder(tensors["input"])
    _compare(
        document, tensors, {**found, **_published(outputs), **{f"encoder.stage{i}": x for i, x in enumerate(stages)}}
    )


def _check_position_table(document: dict[str, Any], tensors: Tensors) -> None:
    table = tensors["pos_embed"]
    encoder = VitEncoder(VitConfig(width=table.shape[2], depth=1, heads=1, mlp_width=4))
    encoder.pos_embed.copy_(table)
    grids = [key for key in tensors if key.startswith("grid_")]
    assert len(grids) >= 7
    for key in grids:
        rows, columns = map(int, key.removeprefix("grid_").split("x"))
        assert_close(encoder.position_table((rows, columns)), tensors[key], POSITION_TABLE_ABS)


CHECKS: dict[str, Callable[[dict[str, Any], Tensors], None]] = {
    "vit_tiny_raft": _check_vit,
    "vit_taps_swiglu_raft": _check_vit,
    "vit_small_real_dims": _check_vit,
    "vit_offgrid_sizes": _check_off_grid,
    "convnext_tiny_like": _check_convnext,
    "convnext_tiny_real_dims": _check_convnext,
    "pos_embed_resize": _check_position_table,
    "preprocess": metric3d_tasks.check_preprocess,
    "postprocess": metric3d_tasks.check_postprocess,
    "metrics": check_measures,
}
