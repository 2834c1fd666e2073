"""A look before the wait: each driving frame beside the reference with the pose that would move it.

In: poses. Out: `NAME.preview.mp4`. No network of the model runs; drawing the poses dominates.
"""

# Shape suffixes: H W frame, 3 = RGB.

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np

from vitruvian.animating.poses import PosedClip
from vitruvian.animating.wish import AnimateJob
from vitruvian.media.video.clips import write_clip
from vitruvian.models.mimicmotion import MimicMotionConfig

REFERENCE_SHARE = 0.45
"""Of the reference's brightness under the pose."""


def write_preview(posed: PosedClip, config: MimicMotionConfig, job: AnimateJob) -> Path:
    """Write the video; returns its path."""
    out = job.out.with_suffix(".preview.mp4")
    frames = _frames(posed, config, job)
    write_clip(out, frames, audio_from=job.driving, span=posed.driving.span(posed.times_s))
    return out


def _frames(posed: PosedClip, config: MimicMotionConfig, job: AnimateJob) -> Iterator[tuple[np.ndarray, float]]:
    hands, face = job.wish.hands, job.wish.face
    for number, frame in enumerate(posed.driving(), 1):
        map_3HW = posed.clip.pose_map(number, posed.size_hw, canvas_side=config.pose_canvas, hands=hands, face=face)
        dim_HW3 = (posed.reference_HW3 * REFERENCE_SHARE).astype(np.uint8)
        posed_HW3 = np.maximum(dim_HW3, map_3HW.transpose(1, 2, 0))
        yield np.concatenate([_at_height(frame.image_HW3, posed.size_hw[0]), posed_HW3], axis=1), frame.time_s


def _at_height(image_HW3: np.ndarray, height: int) -> np.ndarray:
    width = max(2, round(image_HW3.shape[1] * height / image_HW3.shape[0]))
    return cv2.resize(image_HW3, (width, height), interpolation=cv2.INTER_AREA)
