"""Golden cases of Sapiens v1: a JSON and a safetensors file per case, dispatched on the JSON's `kind`."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from parity import sapiens_tasks
from parity.families import Case
from tolerances import LOSS_REL, NETWORK_CPU_ABS
from vitruvian.models.sapiens import BackboneConfig, HeadConfig, SapiensConfig, load_network
from vitruvian.training import losses

Tensors = Mapping[str, Tensor]


def discover(folder: Path) -> list[Case]:
    """One case per JSON with a known kind; its JSON and safetensors are claimed."""
    cases = []
    for path in sorted(folder.glob("*.json")):
        document = json.loads(path.read_text(encoding="utf-8"))
        check = CHECKS.get(document.get("kind"))
        tensors_path = path.with_suffix(".safetensors")
        if check is not None and tensors_path.exists():
            run = partial(_run, check, document, tensors_path)
            cases.append(Case(family="sapiens", name=path.stem, files=(path, tensors_path), check=run))
    return cases


def _run(check: Callable[[dict[str, Any], Tensors], None], document: dict[str, Any], tensors_path: Path) -> None:
    with torch.no_grad():
        check(document, load_file(tensors_path))


def config_of_case(backbone: Mapping[str, Any], head: Mapping[str, Any] | None, kind: str) -> SapiensConfig:
    """The golden files' configuration in our words."""
    return SapiensConfig(
        backbone=BackboneConfig(
            width=backbone["embed_dim"],
            depth=backbone["num_layers"],
            heads=backbone["num_heads"],
            mlp_width=backbone["ffn_dim"],
            input_hw=tuple(backbone["img_size_hw"]),
            patch_padding=backbone["patch_padding"],
            class_token=backbone["with_cls_token"],
        ),
        head=head
        and HeadConfig(
            kind=kind,
            channels=head["out_channels"],
            deconv_widths=tuple(head["deconv_out_channels"]),
            conv_widths=tuple(head["conv_out_channels"]),
        ),
    )


def weights_of(tensors: Tensors) -> dict[str, Tensor]:
    return {key.removeprefix("weights/"): value for key, value in tensors.items() if key.startswith("weights/")}


def assert_close(found: Tensor, expected: Tensor, tolerance: float = NETWORK_CPU_ABS) -> None:
    assert found.shape == expected.shape
    worst = (found.float() - expected.float()).abs().max().item()
    assert worst <= tolerance, f"differs by {worst:.2e}, allowed {tolerance:.0e}"


def _check_task(document: dict[str, Any], tensors: Tensors) -> None:
    config = config_of_case(document["config"]["backbone"], document["config"]["head"], document["kind"])
    network = load_network(config, weights_of(tensors)).network
    x_B3HW = tensors["input/x"]
    (raw,) = network(x_B3HW).values()
    assert_close(network.get_submodule("backbone")(x_B3HW), tensors["output/backbone"])
    assert_close(raw, tensors["output/head"])
    if document["kind"] == "pose":
        (mirrored,) = network(x_B3HW.flip(-1)).values()
        first = tensors["output/head_of_flipped_input_first4"]
        assert_close(mirrored[:, : first.shape[1]], first)
    TASK_CHECKS[document["kind"]](document, tensors, raw=raw, mirrored=mirrored if document["kind"] == "pose" else None)


def _check_position_table(document: dict[str, Any], tensors: Tensors) -> None:
    config = config_of_case(document["config"]["backbone"], None, "features")
    network = load_network(config, weights_of(tensors)).network
    pos_embed = network.get_parameter("pos_embed")
    assert_close(pos_embed, tensors["output/pos_embed_loaded"], 0.0)
    without_class = {
        key: value[:, 1:] if key.endswith("pos_embed") else value for key, value in weights_of(tensors).items()
    }
    if document["source_has_cls"]:
        other = load_network(config, without_class).network
        assert_close(other.get_parameter("pos_embed"), tensors["output/pos_embed_loaded_no_cls"], 0.0)
    assert_close(features(network, tensors["input/x"]), tensors["output/backbone"])
    assert_close(features(network, tensors["input/x_runtime"]), tensors["output/backbone_runtime"])
    grid_hw = tuple(tensors["output/backbone_runtime"].shape[-2:])
    assert_close(network.position_table(grid_hw), tensors["output/pos_embed_runtime"], 0.0)  # type: ignore[operator]


def _check_pretrained(document: dict[str, Any], tensors: Tensors) -> None:
    for form in ("pretrain", "finetune"):
        config = config_of_case(document[f"config_{form}"], None, "features")
        network = load_network(config, weights_of(tensors)).network
        assert_close(features(network, tensors[f"input/x_{form}"]), tensors[f"output/featmap_{form}"])
    assert_close(network.get_parameter("pos_embed"), tensors["output/pos_embed_finetune"], 0.0)


def features(network: nn.Module, x_B3HW: Tensor) -> Tensor:
    return network(x_B3HW)["features"]


def _check_losses(document: dict[str, Any], tensors: Tensors) -> None:
    given = {key.removeprefix("input/"): value for key, value in tensors.items() if key.startswith("input/")}
    pose = (given["pose_pred"], given["pose_target"], given["pose_weight"])
    seg = (given["seg_logits"], given["seg_labels"])
    ignore = document["ignore_index"]
    class_weights = torch.tensor(document["seg_class_weight"], dtype=torch.float32)
    found = {
        "pose_mse": losses.pose_mse(*pose),
        "seg_ce_scalar": losses.seg_cross_entropy(*seg, class_weights, ignore=ignore),
        "seg_ce_unweighted": losses.seg_cross_entropy(*seg, ignore=ignore),
        "depth_silog": losses.depth_silog(given["depth_pred"], given["depth_target"]),
        "normal_cosine": losses.normal_cosine(given["normal_pred"], given["normal_target"]),
        "normal_l1": losses.normal_l1(given["normal_pred"], given["normal_target"]),
    }
    expected = {key.removeprefix("output/"): value for key, value in tensors.items() if key.startswith("output/")}
    for name in expected:
        if name.startswith("pose_ohkm_top"):
            found[name] = losses.pose_hard_mse(*pose, hardest=int(name.removeprefix("pose_ohkm_top")))
    assert found.keys() == expected.keys() - {"seg_ce_map"}
    for name, loss in found.items():
        np.testing.assert_allclose(loss.mean.item(), expected[name].item(), rtol=LOSS_REL, err_msg=name)
    by_picture = [
        losses.seg_cross_entropy(*(part[i : i + 1] for part in seg), class_weights) for i in range(len(seg[0]))
    ]
    sum_of_map = expected["seg_ce_map"].sum().item()
    np.testing.assert_allclose(sum(loss.total.item() for loss in by_picture), sum_of_map, rtol=LOSS_REL)


TASK_CHECKS: dict[str, Callable[..., None]] = {
    "pose": sapiens_tasks.check_pose,
    "seg": sapiens_tasks.check_seg,
    "depth": sapiens_tasks.check_depth,
    "normal": sapiens_tasks.check_normal,
}

CHECKS: dict[str | None, Callable[[dict[str, Any], Tensors], None]] = {
    "pose": _check_task,
    "seg": _check_task,
    "depth": _check_task,
    "normal": _check_task,
    "pos_embed_resize": _check_position_table,
    "mae_pretrain_encoder": _check_pretrained,
    "udp_decode": sapiens_tasks.check_udp_decode,
    "affine_crop": sapiens_tasks.check_affine_crop,
    "losses": _check_losses,
}
