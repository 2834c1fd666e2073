"""Golden cases of MimicMotion: pose network, one call, whole denoisings in both strategies, poses and their maps."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import fields
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file
from torch import Tensor

from parity.families import Case
from tolerances import (
    ANIMATION_CALL_ABS,
    ANIMATION_CONDITION_ABS,
    ANIMATION_FRAMES_ABS,
    ANIMATION_LATENTS_ABS,
    ANIMATION_LATENTS_REL,
    DRIVE_BOX_PX,
    DRIVE_POINT_ABS,
    WARP_LEVELS,
)
from vitruvian.animation import alignment, person_boxes, reference, whole_body
from vitruvian.animation.drive_poses import BODY, FACE, LEFT_HAND, RIGHT_HAND, DrivePoses, drive_poses
from vitruvian.animation.pose_maps import draw_pose_map
from vitruvian.animation.tiles import published_tiles, weights_of
from vitruvian.generation import conditioning, decoding, denoising
from vitruvian.models.mimicmotion import (
    PARTS,
    ImageEncoderConfig,
    MimicMotionConfig,
    PosedUnet,
    PoseNet,
    SchedulerConfig,
    UnetConfig,
    VaeConfig,
    build_scheduler,
    constant_cross_attention,
    layout_of,
    load_network,
    taken,
)
from vitruvian.models.weight_files import read_weights

Tensors = Mapping[str, Tensor]
RARE = 1e-3
"""Share of a crop's values that may round to the next level, and of a resized picture's."""
FILES = ("tiny_mimicmotion_ckpt", "tiny_vae", "tiny_image_encoder")
CONFIGS = "tiny_configs.json"


def discover(folder: Path) -> list[Case]:
    """One case per JSON with tensors; the tiny weights and their configuration belong to the cases that need them."""
    cases = []
    for path in sorted(folder.glob("*.json")):
        check = next((check for start, check in CHECKS.items() if path.stem.startswith(start)), None)
        if check is not None and path.with_suffix(".safetensors").exists():
            run = partial(_run, check, path)
            files = (path, path.with_suffix(".safetensors"))
            cases.append(Case(family="mimicmotion", name=path.stem, files=files, check=run))
    shared = (folder / CONFIGS, *(folder / f"{name}.safetensors" for name in FILES))
    if all(path.exists() for path in shared):
        cases.append(Case(family="mimicmotion", name="weights", files=shared, check=partial(_check_weights, folder)))
    return cases


def _run(check: Callable[[dict[str, Any], Tensors, Path], None], path: Path) -> None:
    with torch.no_grad():
        check(json.loads(path.read_text(encoding="utf-8")), load_file(path.with_suffix(".safetensors")), path.parent)


def tiny_config(folder: Path) -> MimicMotionConfig:
    """The constructor values of the tiny networks; what follows from others is compared and left out."""
    document = json.loads((folder / CONFIGS).read_text(encoding="utf-8"))

    def made(kind: Any, part: str) -> Any:
        values = {name: tuple(one) if isinstance(one, list) else one for name, one in document[part].items()}
        config = kind(**{field.name: values[field.name] for field in fields(kind) if field.name in values})
        assert values.items() <= config.arguments.items()
        return config

    config = MimicMotionConfig(
        unet=made(UnetConfig, "unet"),
        vae=made(VaeConfig, "vae"),
        image_encoder=made(ImageEncoderConfig, "image_encoder"),
        scheduler=made(SchedulerConfig, "scheduler"),
        tile_frames=document["unet"]["num_frames"],
        input_hw=(64, 64),
    )
    assert config.pose_features == document["pose_net"]["noise_latent_channels"]
    return config


def networks(folder: Path) -> tuple[PosedUnet, PoseNet, Any, Any]:
    """The tiny networks with their weights: denoising, poses, image codec, image encoder."""
    config, loaded = tiny_config(folder), {}
    for name in FILES:
        tensors = read_weights(folder / f"{name}.safetensors").tensors
        for part, prefix in layout_of(tensors).items():
            loaded[part] = load_network(part, config, taken(part, tensors, prefix)).network
    assert loaded.keys() == set(PARTS)
    pose_net = loaded["pose_net"]
    assert isinstance(pose_net, PoseNet)
    return PosedUnet(loaded["unet"]), pose_net, loaded["vae"], loaded["image_encoder"]


def _check_weights(folder: Path) -> None:
    """Strict loading is the check."""
    networks(folder)


def _near(found: Tensor | np.ndarray | list[float] | float, true: Tensor | np.ndarray, allowed: float) -> None:
    found, true = torch.as_tensor(found).double(), torch.as_tensor(true).double()
    assert found.shape == true.shape
    assert float((found - true).abs().max()) <= allowed


def _pose_input(tensors: Tensors) -> Tensor:
    return tensors["input.pose_u8"].float() / 127.5 - 1


def _check_pose_net(document: dict[str, Any], tensors: Tensors, folder: Path) -> None:
    network = PoseNet(320)
    weights = {
        key.removeprefix("weight."): value.float() for key, value in tensors.items() if key.startswith("weight.")
    }
    network.load_state_dict(weights)
    _near(network(_pose_input(tensors)), tensors["output.features"], ANIMATION_CALL_ABS)


def _check_call(document: dict[str, Any], tensors: Tensors, folder: Path) -> None:
    network, pose_net, _, _ = networks(folder)
    features = pose_net(_pose_input(tensors))
    _near(features, tensors["mid.pose_features"], ANIMATION_CALL_ABS)
    context, ids = tensors["input.encoder_hidden_states"], tensors["input.added_time_ids"]
    call = partial(network, tensors["input.sample"], tensors["input.timestep"])
    _near(call(context, ids, features[None]), tensors["output.with_pose"], ANIMATION_CALL_ABS)
    nothing = torch.zeros_like(context)
    _near(call(nothing, ids), tensors["output.without_pose_zero_embedding"], ANIMATION_CALL_ABS)
    both = torch.cat([nothing, context])
    sample, poses = tensors["input.sample"].repeat(2, 1, 1, 1, 1), torch.stack([torch.zeros_like(features), features])
    twice = partial(network, sample, tensors["input.timestep"], both, ids.repeat(2, 1), poses)
    _near(twice(), tensors["output.batched_uncond_then_cond"], ANIMATION_CALL_ABS)
    with constant_cross_attention(network.unet, both):
        _near(twice(), tensors["output.batched_uncond_then_cond"], ANIMATION_CALL_ABS)
    _near(twice(), tensors["output.batched_uncond_then_cond"], ANIMATION_CALL_ABS)


def _check_pipeline(document: dict[str, Any], tensors: Tensors, folder: Path) -> None:
    network, pose_net, vae, encoder = networks(folder)
    image, frames = tensors["input.image_u8"], document["num_frames"]
    clip_input = conditioning.clip_input(image.permute(2, 0, 1)[None].float() / 255)
    context = encoder(clip_input).image_embeds[:, None]
    _near(context, tensors["mid.image_embeddings"][1:], ANIMATION_CONDITION_ABS)
    strength = document["noise_aug_strength"]
    picture = conditioning.noised_picture(image, tensors["noise.image"], strength)
    _near(picture, tensors["mid.vae_input"], ANIMATION_CONDITION_ABS)
    latents = conditioning.image_latents(lambda x: vae.encode(x).latent_dist.mode(), picture)
    _near(latents, tensors["mid.image_latents"][1:], ANIMATION_CONDITION_ABS)
    ids = conditioning.time_ids(document["fps"], document["motion_bucket_id"], strength)
    _near(ids, tensors["mid.added_time_ids"], 0.0)
    tiles = published_tiles(frames, document["tile_size"], document["tile_overlap"])
    assert tiles == document["tiles"]
    _near(weights_of(document["tile_size"]), tensors["mid.tile_weight"], 1e-6)
    scheduler = build_scheduler(tiny_config(folder).scheduler)
    schedule = denoising.schedule_of(scheduler, document["steps"])
    _near([step.sigma for step in schedule.steps] + [schedule.steps[-1].next_sigma], tensors["mid.sigmas"], 0.0)
    _near(torch.stack([step.timestep for step in schedule.steps]), tensors["mid.timesteps"], 0.0)
    _near(schedule.first_scale, tensors["mid.init_noise_sigma"].reshape(()), 0.0)
    features = pose_net(_pose_input(tensors))
    conditions = denoising.Conditions(
        context_11D=context,
        image_14hw=latents,
        time_ids_13=ids,
        pose_of=lambda tile: features[list(tile)],
        guidance_F=torch.linspace(document["min_guidance"], document["max_guidance"], frames),
    )
    for strategy in ("sequential", "batched"):
        x = denoising.first_latents(tensors["noise.latents"][0], frames, schedule.first_scale)
        for number, step in enumerate(schedule.steps):
            x = denoising.denoise_step(network, scheduler, x, step, conditions, tiles, strategy=strategy)
            known = tensors.get(f"mid.latents_after_step_{number}")
            if known is not None:
                _near(x, known[0], ANIMATION_LATENTS_REL * float(known.abs().max()))
        _near(x, tensors["output.latents"][0], ANIMATION_LATENTS_ABS)
    chunk = document["decode_chunk"]
    parts = decoding.decoded(lambda z: vae.decode(z, num_frames=len(z)).sample, x, chunk)
    _near(torch.cat(list(parts)), tensors["output.frames"], ANIMATION_FRAMES_ABS)


def _check_drawing(document: dict[str, Any], tensors: Tensors, folder: Path) -> None:
    size_hw = document["height"], document["width"]
    poses = drive_poses(tensors["input.wholebody_xy_px"].numpy(), tensors["input.wholebody_score"].numpy(), size_hw)
    _check_layout(poses, tensors, "mid.")
    parts = {"body_only": (True, False, False), "hands_only": (False, True, False), "faces_only": (False, False, True)}
    for name, (body, hands, face) in parts.items():
        if f"mid.{name}" in tensors:
            found = draw_pose_map(poses, size_hw, body=body, hands=hands, face=face)
            np.testing.assert_array_equal(found, tensors[f"mid.{name}"].numpy())
    np.testing.assert_array_equal(draw_pose_map(poses, size_hw), tensors["output.pose_map"].numpy())


def _check_layout(poses: DrivePoses, tensors: Tensors, prefix: str) -> None:
    hands = np.concatenate([poses.points_PJ2[:, LEFT_HAND], poses.points_PJ2[:, RIGHT_HAND]])
    _near(poses.points_PJ2[:, BODY].reshape(-1, 2), tensors[f"{prefix}body_xy"], DRIVE_POINT_ABS)
    _near(poses.points_PJ2[:, FACE], tensors[f"{prefix}faces_xy"], DRIVE_POINT_ABS)
    _near(hands, tensors[f"{prefix}hands_xy"], DRIVE_POINT_ABS)
    _near(poses.scores_PJ[:, BODY], tensors[f"{prefix}body_score"], DRIVE_POINT_ABS)
    np.testing.assert_array_equal(poses.seen_PB, tensors[f"{prefix}body_index"].numpy() >= 0)


def _poses_of(tensors: Tensors, prefix: str) -> DrivePoses:
    seen_PB = tensors[f"{prefix}body_index"].numpy() >= 0
    persons = len(seen_PB)
    points_PJ2, scores_PJ = np.zeros((persons, 134, 2)), np.zeros((persons, 134))
    points_PJ2[:, BODY] = tensors[f"{prefix}body_xy"].numpy().reshape(persons, 18, 2)
    scores_PJ[:, BODY] = tensors[f"{prefix}body_score"].numpy()
    points_PJ2[:, FACE], scores_PJ[:, FACE] = (tensors[f"{prefix}faces_{kind}"].numpy() for kind in ("xy", "score"))
    for part, rows in ((LEFT_HAND, slice(0, persons)), (RIGHT_HAND, slice(persons, None))):
        points_PJ2[:, part] = tensors[f"{prefix}hands_xy"].numpy()[rows]
        scores_PJ[:, part] = tensors[f"{prefix}hands_score"].numpy()[rows]
    return DrivePoses(points_PJ2=points_PJ2, scores_PJ=scores_PJ, seen_PB=seen_PB)


def _check_alignment(document: dict[str, Any], tensors: Tensors, folder: Path) -> None:
    frames = [_poses_of(tensors, f"input.drive.{number}.") for number in range(document["frames"])]
    reference_hw = document["ref_height"], document["ref_width"]
    found = alignment.align(
        frames,
        _poses_of(tensors, "input.ref."),
        drive_hw=(document["drive_height"], document["drive_width"]),
        reference_hw=reference_hw,
    )
    _near(np.array(found.scale_xy), np.array(document["scale_xy"]), DRIVE_POINT_ABS)
    _near(np.array(found.shift_xy), np.array(document["shift_xy"]), DRIVE_POINT_ABS)
    for number, poses in enumerate(frames):
        moved, prefix = found.applied(poses), f"output.aligned.{number}."
        hands = np.concatenate([moved.points_PJ2[:, LEFT_HAND], moved.points_PJ2[:, RIGHT_HAND]])
        _near(moved.points_PJ2[:, BODY].reshape(-1, 2), tensors[f"{prefix}body_xy"], DRIVE_POINT_ABS)
        _near(moved.points_PJ2[:, FACE], tensors[f"{prefix}faces_xy"], DRIVE_POINT_ABS)
        _near(hands, tensors[f"{prefix}hands_xy"], DRIVE_POINT_ABS)
    first = draw_pose_map(found.applied(frames[0]), reference_hw)
    np.testing.assert_array_equal(first, tensors["output.first_pose_map"].numpy())


def _check_decoding(document: dict[str, Any], tensors: Tensors, folder: Path) -> None:
    image = tensors["input.image"].numpy()
    size_hw = image.shape[0], image.shape[1]
    _near(person_boxes.letterboxed(image), tensors["mid.detector_input_u8"], 0.0)
    rows = np.zeros((8400, 85), np.float32)
    rows[tensors["input.detector_rows"].numpy()] = tensors["input.detector_values"].numpy()
    boxes = person_boxes.persons_of(rows, size_hw)
    _near(boxes, tensors["output.boxes_xyxy"], DRIVE_BOX_PX)
    crops = [whole_body.crop_of(box) for box in tensors["output.boxes_xyxy"].numpy()[: document["persons"]]]
    levels = np.abs(whole_body.cut_out(image, crops[0]).astype(int) - tensors["mid.pose_crop_u8.0"].numpy().astype(int))
    assert levels.max() <= WARP_LEVELS
    assert (levels > 0).mean() <= RARE
    found = [
        whole_body.points_of(
            tensors[f"input.simcc_x.{person}"][0].float().numpy(),
            tensors[f"input.simcc_y.{person}"][0].float().numpy(),
            crop,
        )
        for person, crop in enumerate(crops)
    ]
    points, scores = np.stack([points for points, _ in found]), np.stack([scores for _, scores in found])
    _near(points, tensors["output.wholebody_xy"], DRIVE_POINT_ABS)
    _near(scores, tensors["output.wholebody_score"], DRIVE_POINT_ABS)
    _check_layout(drive_poses(points, scores, size_hw), tensors, "output.")


def _check_resize(document: dict[str, Any], tensors: Tensors, folder: Path) -> None:
    for number, case in enumerate(document["cases"]):
        image = tensors[f"input.image.{number}"].numpy().transpose(1, 2, 0)
        size_hw = reference.video_size(case["resolution"], (image.shape[0], image.shape[1]))
        assert list(size_hw) == case["target_hw"]
        found = reference.covering(image, size_hw).astype(int).transpose(2, 0, 1)
        levels = np.abs(found - tensors[f"output.image.{number}"].numpy().astype(int))
        assert levels.max() <= 1
        assert (levels > 0).mean() <= RARE


CHECKS: dict[str, Callable[[dict[str, Any], Tensors, Path], None]] = {
    "posenet": _check_pose_net,
    "tiny_unet_step": _check_call,
    "tiny_ramp": _check_pipeline,
    "tiny_const": _check_pipeline,
    "tiny_single": _check_pipeline,
    "pose_draw": _check_drawing,
    "pose_rescale": _check_alignment,
    "pose_decode": _check_decoding,
    "reference_resize": _check_resize,
}
"""By the beginning of a file's name."""
