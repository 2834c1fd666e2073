"""What our pre- and post-processing must agree on with the golden Sapiens cases, whatever their sizes and seeds.

Each check takes the case's JSON and its tensors; the checks of whole tasks also take the output of our own network, so
that the golden head output and our own both go through post-processing.
"""

from __future__ import annotations

from collections.abc import Mapping
from math import inf
from typing import Any

import cv2
import numpy as np
import torch
from torch import Tensor

from tolerances import (
    DECODE_PX,
    KEYPOINT_PX,
    LABEL_SHARE,
    NETWORK_CPU_ABS,
    RENDER_LEVELS,
    SCORE_ABS,
    WARP_LEVELS,
)
from vitruvian.tasks import decode, encode, preprocess, published_drawing
from vitruvian.tasks.base import Geometry, Provenance, Region
from vitruvian.tasks.dense import upsample_map
from vitruvian.tasks.depth import DepthTask
from vitruvian.tasks.normal import NormalTask
from vitruvian.tasks.upsample_labels import upsample_labels

Tensors = Mapping[str, Tensor]
Document = Mapping[str, Any]

RESIZED_ABS = 2e-5
"""Upsampled float32 maps: convex mixes of golden values, the network's own tolerance plus the rounding of the mix."""

_NOBODY = Provenance(model="golden", weights_sha256="", licence="none")


def check_affine_crop(document: Document, tensors: Tensors) -> None:
    """Crop geometry and pixels of each box, the normalised tensor, and the plain resize."""
    width, height = document["output_size_wh"]
    image_HW3 = _rgb(tensors["input/image_bgr_uint8"])
    mean_std = {"mean_rgb": tuple(document["mean_rgb"]), "std_rgb": tuple(document["std_rgb"])}
    allowed = document["tolerance"]["tensor_abs"]
    assert document["padding"] == preprocess.BOX_PADDING
    for index, box in enumerate(tensors["input/bboxes_xyxy"].tolist()):
        canvas_HW3, geometry = preprocess.crop_person(image_HW3, Region(box_xyxy=tuple(box)), (height, width))
        _near(geometry.centre_xy, tensors["output/center"][index], 1e-4)
        _near(geometry.size_wh, tensors["output/scale"][index], 1e-4)
        _near(preprocess.crop_matrix(geometry), tensors["output/warp"][index], 1e-4)
        _same_pixels(canvas_HW3, tensors["output/crop_bgr_uint8"][index], document["tolerance"]["uint8_mean_diff"])
        if index == 0:
            _near(_normalised(canvas_HW3, **mean_std), tensors["output/tensor_first"], allowed)
    canvas_HW3, _ = preprocess.resize_whole(image_HW3, (height, width))
    _same_pixels(canvas_HW3, tensors["output/dense_resized_bgr_uint8"], document["tolerance"]["uint8_mean_diff"])
    _near(_normalised(canvas_HW3, **mean_std), tensors["output/dense_tensor"], allowed)
    for name, ours in {"mean": preprocess.MEAN_RGB, "std": preprocess.STD_RGB}.items():
        assert tuple(document[f"{name}_rgb"]) == ours
    for name, ours in {"mean": preprocess.LITE_MEAN_RGB, "std": preprocess.LITE_STD_RGB}.items():
        assert tuple(document[f"lite_{name}_rgb"]) == ours


def check_udp_decode(document: Document, tensors: Tensors) -> None:
    """Target maps, decoded locations and scores, and the way back to picture pixels."""
    config = document["config"]
    input_hw, heat_hw = tuple(config["input_size_wh"][::-1]), tuple(config["heatmap_size_wh"][::-1])
    maps_BKHW, weights_BK = encode.encode_heatmaps(
        tensors["input/encode_keypoints"],
        tensors["input/encode_visible"],
        input_hw=input_hw,
        heat_hw=heat_hw,
        sigma=config["sigma"],
    )
    expected_maps = tensors["output/encode_heatmaps"]
    _near(maps_BKHW[0, : len(expected_maps)], expected_maps, NETWORK_CPU_ABS)
    _near(weights_BK, tensors["output/encode_weights"], 0.0)

    heat_1KHW = tensors["input/heatmaps"][None]
    stable_1K = tensors["output/keypoints_stable"][None].bool()
    xy_1K2 = tensors["output/keypoints"]
    _check_decoded(heat_1KHW, input_hw, xy_1K2, tensors["output/scores"], stable_1K, DECODE_PX, SCORE_ABS)
    points_K3 = decode.decode_heatmaps(heat_1KHW, input_hw)[0].numpy()
    source_K2 = decode.to_source(points_K3[:, :2], document["center"], document["scale"], input_hw)
    per_pixel = max(document["scale"]) / min(input_hw)
    stable_K = stable_1K[0].numpy()
    _near(source_K2[stable_K], tensors["output/keypoints_image"][0].numpy()[stable_K], DECODE_PX * per_pixel)

    nothing_113 = decode.decode_heatmaps(tensors["input/heatmap_all_negative"][None], input_hw)
    _near(nothing_113[..., 2], tensors["output/scores_all_negative"], SCORE_ABS)
    assert nothing_113[..., :2].isnan().all(), "a map without a positive value must not carry a location"


def check_pose(document: Document, tensors: Tensors, *, raw: Tensor, mirrored: Tensor | None) -> None:
    """Network input, decoding without and with the flip test."""
    input_hw = _check_input(document, tensors)
    flip_indices = document["config"]["flip_indices"]
    maps = {"plain": [tensors["output/head"], raw], "flip": [tensors["output/head_flip_averaged"]]}
    if mirrored is not None:
        averaged_BKHW = decode.flip_average(raw, mirrored, flip_indices)
        _near(averaged_BKHW, tensors["output/head_flip_averaged"], NETWORK_CPU_ABS)
        maps["flip"].append(averaged_BKHW)
    for name, heats in maps.items():
        stable_BK = tensors[f"output/keypoints_{name}_stable"].bool()
        expected = tensors[f"output/keypoints_{name}"], tensors[f"output/scores_{name}"]
        for heat_BKHW in heats:
            _check_decoded(heat_BKHW, input_hw, *expected, stable_BK, KEYPOINT_PX, NETWORK_CPU_ABS)


def check_seg(document: Document, tensors: Tensors, *, raw: Tensor, mirrored: Tensor | None = None) -> None:
    """Network input, labels by both routes."""
    input_hw = _check_input(document, tensors)
    source_hw = tuple(document["original_hw"])
    for logits_BCHW in (tensors["output/head"], raw):
        for index, logits_CHW in enumerate(logits_BCHW):
            for route, via in {"lite": logits_CHW, "full": upsample_map(logits_CHW, input_hw)}.items():
                labels_HW = upsample_labels(via, source_hw)
                share = (labels_HW == tensors[f"output/labels_{route}"][index]).float().mean().item()
                assert share >= LABEL_SHARE, f"{route}: {share:.4f} of the labels agree, at least {LABEL_SHARE} must"
            sample = upsample_map(logits_CHW, source_hw)[:, ::8, ::8]
            _near(sample, tensors["output/logits_lite_sample"][index], RESIZED_ABS)


def check_depth(document: Document, tensors: Tensors, *, raw: Tensor, mirrored: Tensor | None = None) -> None:
    """Network input, depth at source size by both routes, both published renderings."""
    input_hw = _check_input(document, tensors)
    for depth_B1HW in (tensors["output/head"], raw):
        for index in range(len(depth_B1HW)):
            for route in ("one-step", "full"):
                task = DepthTask(input_hw=input_hw, route=route)
                finished = task.finish_tensors({"depth": depth_B1HW[index : index + 1]})
                rows = {key: value[0] for key, value in finished.items()}
                (result,) = task.finish(rows, _whole(document, input_hw), _NOBODY)
                golden = tensors["output/depth_lite" if route == "one-step" else "output/depth_full"][index]
                _near(result.depth_HW, golden, RESIZED_ABS)
    if "input/mask" in tensors:
        for index, mask in enumerate(tensors["input/mask"].numpy()):
            depth_HW = tensors["output/depth_lite"][index].numpy()
            picture = published_drawing.depth_picture(depth_HW, mask)
            _same_levels(picture, tensors["output/vis_depth_bgr"][index])
            picture = published_drawing.normals_from_depth_picture(depth_HW, mask)
            _same_levels(picture, tensors["output/vis_normal_from_depth_bgr"][index])


def check_normal(document: Document, tensors: Tensors, *, raw: Tensor, mirrored: Tensor | None = None) -> None:
    """Network input, unit normals at source size by both routes, our and the published rendering."""
    input_hw = _check_input(document, tensors)
    for vectors_B3HW in (tensors["output/head"], raw):
        for index in range(len(vectors_B3HW)):
            for route in ("one-step", "full"):
                task = NormalTask(input_hw=input_hw, route=route)
                finished = task.finish_tensors({"normal": vectors_B3HW[index : index + 1]})
                rows = {key: value[0] for key, value in finished.items()}
                (result,) = task.finish(rows, _whole(document, input_hw), _NOBODY)
                golden = tensors["output/normal_lite" if route == "one-step" else "output/normal_full"][index]
                _near(result.normals_HW3, golden, document["tolerance"]["fp32_abs"])
                if route == "one-step":
                    _same_levels(result.draw(), tensors["output/vis_normal_bgr"][index])
    for index, normals_HW3 in enumerate(tensors["output/normal_lite"].numpy()):
        mask = tensors["input/mask"][index].numpy() if "input/mask" in tensors else None
        _same_levels(published_drawing.normals_picture(normals_HW3, mask), tensors["output/vis_normal_bgr"][index])


def _check_decoded(
    heat_BKHW: Tensor,
    input_hw: tuple[int, int],
    xy_BK2: Tensor,
    score_BK: Tensor,
    stable_BK: Tensor,
    allowed_px: float,
    allowed_score: float,
) -> None:
    """The published method everywhere it is stable; our own settings wherever they must not matter."""
    published_BK3 = decode.decode_heatmaps(heat_BKHW, input_hw, rescale="map", max_shift=inf)
    ours_BK3 = decode.decode_heatmaps(heat_BKHW, input_hw)
    counted_BK = stable_BK & (score_BK > 0)
    _near(published_BK3[..., 2], score_BK, allowed_score)
    _near(ours_BK3[..., 2], score_BK, allowed_score)
    _near(published_BK3[..., :2][counted_BK], xy_BK2[counted_BK], allowed_px)
    plain_BK = counted_BK & _unaffected(heat_BKHW, input_hw, xy_BK2)
    _near(ours_BK3[..., :2][plain_BK], xy_BK2[plain_BK], allowed_px)


def _unaffected(heat_BKHW: Tensor, input_hw: tuple[int, int], xy_BK2: Tensor) -> Tensor:
    """Keypoints (B,K) where neither clipping of a neighbour nor the bound of the step can play a part.

    Found with OpenCV's blur of whole maps, independently of the decoder.
    """
    height, width = heat_BKHW.shape[2:]
    step_wh = np.array([(width - 1) / input_hw[1], (height - 1) / input_hw[0]])
    free = []
    for heat_HW, xy in zip(heat_BKHW.flatten(0, 1).numpy(), xy_BK2.flatten(0, 1).numpy(), strict=True):
        y, x = np.unravel_index(heat_HW.argmax(), heat_HW.shape)
        blurred_HW = cv2.GaussianBlur(heat_HW, (11, 11), 0, borderType=cv2.BORDER_CONSTANT)
        scaled = np.pad(blurred_HW * (heat_HW.max() / blurred_HW.max()), 1, mode="edge")[y : y + 3, x : x + 3]
        within_clip = scaled.min() > 1e-3 and scaled.max() < 50 and blurred_HW.max() > 0
        within_bound = np.abs(xy * step_wh - (x, y)).max() < decode.MAX_SHIFT
        free.append(bool(within_clip and within_bound))
    return torch.tensor(free).reshape(heat_BKHW.shape[:2])


def _check_input(document: Document, tensors: Tensors) -> tuple[int, int]:
    """The plain resize of the pictures and its normalisation; returns the network's input size."""
    input_hw = tuple(document["config"]["backbone"]["img_size_hw"])
    for image_bgr, x_3HW in zip(tensors["input/images_bgr_uint8"], tensors["input/x"], strict=True):
        canvas_HW3, _ = preprocess.resize_whole(_rgb(image_bgr), input_hw)
        # One level of one pixel is 0.0175 here; OpenCV releases may round a few pixels differently.
        _near(_normalised(canvas_HW3), x_3HW, 0.02)
    return input_hw


def _whole(document: Document, input_hw: tuple[int, int]) -> Geometry:
    height, width = document["original_hw"]
    return Geometry(
        source_hw=(height, width), canvas_hw=input_hw, centre_xy=(width / 2, height / 2), size_wh=(width, height)
    )


def _rgb(image_bgr: Tensor) -> np.ndarray:
    return np.ascontiguousarray(image_bgr.numpy()[..., ::-1])


def _normalised(canvas_HW3: np.ndarray, **mean_std: Any) -> Tensor:
    return preprocess.normalise(torch.from_numpy(canvas_HW3)[None], **mean_std)[0]


def _near(found: Any, expected: Any, allowed: float) -> None:
    found, expected = np.asarray(found, np.float64), np.asarray(expected, np.float64)
    assert found.shape == expected.shape, f"got {found.shape}, expected {expected.shape}"
    worst = np.abs(found - expected).max(initial=0.0)
    assert worst <= allowed, f"differs by {worst:.2e}, allowed {allowed:.0e}"


def _same_pixels(found_HW3: np.ndarray, expected_bgr: Tensor, allowed_mean: float) -> None:
    difference = np.abs(found_HW3.astype(int) - _rgb(expected_bgr))
    assert difference.max() <= WARP_LEVELS
    assert difference.mean() <= allowed_mean


def _same_levels(found_HW3: np.ndarray, expected_bgr: Tensor) -> None:
    difference = np.abs(found_HW3.astype(int) - _rgb(expected_bgr))
    assert difference.max() <= RENDER_LEVELS, f"differs by {difference.max()} levels in {(difference > 1).sum()} places"
