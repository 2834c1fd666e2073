"""What the persons benchmark looks at: synthetic pictures and a clip, and nano with 308 heat maps; made once and kept.

Seeds -> files in a folder. Scenes are rendered small and enlarged, because rendering takes time with every pixel: some
0.4 s for a picture, 0.15 s for a frame, one process a core. A network that sees them enlarged has the same work as with
pictures of that size from a camera; files are somewhat smaller, and so quicker to read.
"""

# Shape suffixes: H W picture size, 3 = RGB, P persons, T frames, 4 = x0 y0 x1 y1.

from __future__ import annotations

import json
import math
import multiprocessing
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import torch
from safetensors.torch import save_file

from vitruvian import weights, zoo
from vitruvian.hardware.host import usable_cores
from vitruvian.media.video.joining import joined
from vitruvian.media.video.writing import SegmentWriter
from vitruvian.models.sapiens.config import SapiensConfig
from vitruvian.people import random_clip, random_scene, render
from vitruvian.zoo import OWN_LICENCE

PICTURE_HW, PICTURE_ENLARGED = (960, 1280), 2
CLIP_HW, CLIP_ENLARGED = (1080, 1920), 4
MOST_PERSONS = 20
"""Pictures show 0 to this many, evenly spread."""

FRAME_RATE, RENDERED_RATE = 25.0, 12.5
"""Of the clip, and of what is rendered: every second frame is the mean of its neighbours."""

SHOT_S = 5.0
"""The clip is cut so often: over a minute walkers would go too far for one camera."""
SHOT_PERSONS = (1, 8)

QUALITY = 90
LEAST_SIDE_PX = 8
"""Persons of whom less is visible are not among the boxes that both ways are given."""

KEYPOINTS = 308
_PICTURE_SEED, _SHOT_SEED = 97_000_000, 98_000_000


def pictures(folder: Path, amount: int) -> Path:
    """A folder of JPEGs, and beside it `<folder>.boxes.json`, where the persons are; made unless it is there."""
    target = folder / f"pictures-{amount}"
    boxes = boxes_of(target)
    if boxes.is_file():  # written last
        return target
    target.mkdir(parents=True, exist_ok=True)
    counts = np.random.default_rng(0).permutation(np.linspace(0, MOST_PERSONS, amount).round()).astype(int).tolist()
    with _processes() as pool:
        found = list(pool.map(_picture, range(amount), counts, [target] * amount))
    boxes.write_text(json.dumps({f"{index:03d}.jpg": rows for index, rows in enumerate(found)}))
    return target


def boxes_of(pictures_folder: Path) -> Path:
    """The file with the persons of a folder of pictures."""
    return pictures_folder.with_name(f"{pictures_folder.name}.boxes.json")


def _picture(index: int, persons: int, folder: Path) -> list[list[float]]:
    """Render and write one; gives the boxes of its persons."""
    height, width = (side // PICTURE_ENLARGED for side in PICTURE_HW)
    view = render(random_scene(_PICTURE_SEED + index, persons=persons, height=height, width=width))
    image_HW3 = _enlarged(view.image_HW3, PICTURE_HW)
    cv2.imwrite(
        str(folder / f"{index:03d}.jpg"),
        cv2.cvtColor(image_HW3, cv2.COLOR_RGB2BGR),
        [cv2.IMWRITE_JPEG_QUALITY, QUALITY],
    )
    boxes_P4 = view.boxes_P4[np.isfinite(view.boxes_P4).all(axis=1)].reshape(-1, 4).astype(np.float64)
    boxes_P4[:, 2:] += 1  # from centres of the outermost pixels to their outer edges
    boxes_P4 *= PICTURE_ENLARGED
    large_P = (boxes_P4[:, 2:] - boxes_P4[:, :2]).min(axis=1, initial=math.inf) >= LEAST_SIDE_PX
    return [[*box, 1.0] for box in boxes_P4[large_P].tolist()]


def clip(folder: Path, seconds: float) -> Path:
    """An MP4 of 1920x1080 at 25 frames a second in shots of a few seconds; made unless it is there."""
    target = folder / f"clip-{seconds:g}s.mp4"
    if target.is_file():
        return target
    frames = round(seconds * FRAME_RATE)
    work = folder / f"clip-{seconds:g}s.segments"
    with SegmentWriter(work) as writer:
        writer.keep(0)
        for index, image_HW3 in zip(range(frames), _frames(seconds), strict=False):
            writer.write(image_HW3, index / FRAME_RATE)
        segments = writer.finish()
        joined(segments, target)
    for segment in segments:
        segment.path.unlink()
    work.rmdir()
    return target


def _frames(seconds: float) -> Iterator[np.ndarray]:
    """Enlarged frames at the clip's rate."""
    shots = math.ceil(seconds / SHOT_S)
    with _processes() as pool:
        for small_THW3 in pool.map(_shot, range(shots), [min(seconds, SHOT_S)] * shots):
            images = [_enlarged(small_HW3, CLIP_HW) for small_HW3 in small_THW3]
            for image_HW3, following_HW3 in zip(images, [*images[1:], images[-1]], strict=True):
                yield image_HW3
                yield cv2.addWeighted(image_HW3, 0.5, following_HW3, 0.5, 0)


def _shot(index: int, seconds: float) -> np.ndarray:
    """One shot at the rendered size and rate, (T,H,W,3)."""
    height, width = (side // CLIP_ENLARGED for side in CLIP_HW)
    fewest, most = SHOT_PERSONS
    persons = fewest + index * 3 % (most - fewest + 1)
    frames = math.ceil(seconds * RENDERED_RATE)
    scenes = random_clip(_SHOT_SEED + index, persons, frames, RENDERED_RATE, height, width)
    return np.stack([render(scene).image_HW3 for scene in scenes])


def _enlarged(image_HW3: np.ndarray, size_hw: tuple[int, int]) -> np.ndarray:
    return np.asarray(cv2.resize(image_HW3, size_hw[::-1], interpolation=cv2.INTER_CUBIC), np.uint8)


def _processes() -> ProcessPoolExecutor:
    """Spawned, not forked: torch's threads do not survive a fork."""
    return ProcessPoolExecutor(usable_cores(), mp_context=multiprocessing.get_context("spawn"))


def network(folder: Path) -> Path:
    """Weights of the embedded pose network with 308 maps that repeat its 17; made unless they are there.

    Real blobs in every map, so that decoding meets what it meets in practice and results can be compared.
    """
    target = folder / f"nano-pose-{KEYPOINTS}.safetensors"
    if target.is_file():
        return target
    folder.mkdir(parents=True, exist_ok=True)
    found = weights.load_weights(zoo.NANO_MODELS["pose"])
    config = zoo.sapiens_config(found.spec)
    assert config.head is not None
    repeated = torch.arange(KEYPOINTS) % config.head.channels
    tensors = {
        key: (value[repeated] if key.startswith("head.final_layer.") else value).to(torch.float16).contiguous()
        for key, value in found.network.state_dict().items()
    }
    wider = SapiensConfig(backbone=config.backbone, head=replace(config.head, channels=KEYPOINTS))
    metadata = {"vitruvian_config": json.dumps(wider.to_json()), "licence": OWN_LICENCE}
    save_file(tensors, target, metadata=metadata)
    return target
