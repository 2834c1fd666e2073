"""The poses of a clip: of the picture and of the driving video, brought together.

In: a job and the size of the video. Out: a `PoseClip`, the times of its frames, and what to say. The networks that find
persons dominate; they are gone before those that make the video come.
"""

# Shape suffixes: H W picture, 3 = RGB.

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np

from vitruvian import zoo
from vitruvian.animating.driving_frames import DrivingFrames
from vitruvian.animating.wish import AnimateJob
from vitruvian.animation.alignment import FITTED, LEAST_JOINTS
from vitruvian.animation.reference import covering, video_size
from vitruvian.driving.clip import PoseClip, found_persons, pose_clip
from vitruvian.driving.persons import FramePersons, PoseSource
from vitruvian.driving.sources import open_source
from vitruvian.errors import InputError
from vitruvian.fit.decisions import Decision
from vitruvian.generation.weights import Access
from vitruvian.hardware import free_caches
from vitruvian.media.images import read_picture
from vitruvian.media.items import Entry
from vitruvian.media.names import printable
from vitruvian.models.weight_files import sha256_of

LEAST_SIDE = 256
"""Shorter side of pictures in which persons are looked for."""
MOST_SCALE = 4.0
"""Of the person in the video beside that in the picture, either way, before it is said."""


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class PosedClip:
    """What drives a clip."""

    reference_HW3: np.ndarray
    """uint8 RGB, at the size of the video."""
    clip: PoseClip
    driving: DrivingFrames
    times_s: tuple[float, ...]
    """Of the driving frames, one less than the clip has."""
    identity: str
    """Of what found the poses."""
    picture_sha256: str
    decisions: tuple[Decision, ...]
    notes: tuple[str, ...]

    @property
    def size_hw(self) -> tuple[int, int]:
        """Of the video."""
        return self.reference_HW3.shape[0], self.reference_HW3.shape[1]


def posed_clip(job: AnimateJob, spec: zoo.AnimationSpec, access: Access, *, device: str) -> PosedClip:
    """Read picture and video, find persons in both, bring the video's poses to the picture's person.

    Raises:
        InputError: a file that cannot be used, or no person where one is needed; names the file.
        UsageError, RefusedError: of the source of poses.
    """
    wish = job.wish
    with _naming(job.person.name):
        picture = read_picture(Entry(name=job.person.name, path=job.person, payload=None, index=0))
    size_hw = video_size(wish.resolution or min(spec.config.input_hw), picture.image_HW3.shape[:2])
    reference_HW3 = covering(picture.image_HW3, size_hw)
    with _naming(job.driving.name):
        driving = DrivingFrames.of(job.driving, wish.frames, wish.fps, wish.chosen.most_fps)
    opened = open_source(wish.poses, spec, access, device=device)
    own = _of_reference(opened.source, picture.image_HW3, size_hw)
    if not own.count:
        raise InputError(
            f"{job.person.name}: shows nobody whose pose was found by {opened.name}; expected one person; take another "
            "picture, or name another source with --poses"
        )
    if own.only(0).poses().seen_PB[0, list(FITTED)].sum() < LEAST_JOINTS:
        raise InputError(
            f"{job.person.name}: shows a person of whom no joints were found; expected head, hips or legs; take "
            "another picture"
        )
    with _naming(job.driving.name):
        seen = found_persons(opened.source, driving, driving.key, notes=lambda: driving.notes)
        clip = pose_clip(
            seen.persons, own, size_hw=size_hw, choice=wish.who, missing=wish.missing, method=wish.alignment
        )
    identity, notes = opened.source.identity, (*picture.notes, *opened.notes, *seen.notes)
    del opened
    free_caches(device)
    return PosedClip(
        reference_HW3=reference_HW3,
        clip=clip,
        driving=driving,
        times_s=seen.times_s,
        identity=identity,
        picture_sha256=sha256_of(job.person),
        decisions=tuple(_decisions(job, clip, driving, size_hw)),
        notes=(*notes, *_notes(clip, own.count)),
    )


def _of_reference(source: PoseSource, image_HW3: np.ndarray, size_hw: tuple[int, int]) -> FramePersons:
    """Persons of the reference; in small videos it is looked at as large as persons can be found in."""
    times = -(-LEAST_SIDE // min(size_hw))
    (found,) = source.persons([covering(image_HW3, (times * size_hw[0], times * size_hw[1]))])
    return found.resized(size_hw) if times > 1 else found


def _decisions(job: AnimateJob, clip: PoseClip, driving: DrivingFrames, size_hw: tuple[int, int]) -> Iterator[Decision]:
    wish, source = job.wish, float(driving.info.frame_rate)
    because = "asked for" if wish.fps else f"--preset {wish.preset} makes at most {wish.chosen.most_fps:g} a second"
    if wish.fps is None and not driving.thinned:
        because = "the driving video's"
    yield Decision(what="fps", value=round(driving.rate, 3), because=f"{because}; the source has {source:.4g}")
    yield Decision(
        what="size",
        value=f"{size_hw[1]}x{size_hw[0]}",
        because="asked for" if wish.resolution else "the model's shorter side, and the picture's orientation",
    )
    scale = clip.alignment.scale_xy[1]
    yield Decision(
        what="alignment",
        value=wish.alignment,
        because=f"persons of the video are drawn {scale:.3f} times as high, shares of the frames compared",
        measured=True,
    )


def _notes(clip: PoseClip, persons: int) -> Iterator[str]:
    if persons > 1:
        yield f"{persons} persons in the picture: the surest one leads; crop the picture to choose another"
    if clip.blank:
        yield f"{clip.blank} of {len(clip) - 1} frames show nobody: their pose is blank"
    scale = clip.alignment.scale_xy[1]
    if not 1 / MOST_SCALE <= scale <= MOST_SCALE:
        yield f"the video's persons are scaled by {scale:.2f}: the picture shows another part of the body, it seems"


@contextmanager
def _naming(name: str) -> Iterator[None]:
    """Say which of the two inputs is meant."""
    try:
        yield
    except InputError as error:
        raise InputError(f"{printable(name)}: {error}") from error
