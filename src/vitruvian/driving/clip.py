"""The poses of a whole clip: found once and kept on disk, then brought to the place and size of another person.

A video is read once: of its frames only points stay, some kilobytes each. Maps are drawn when a frame is wanted.
"""

# Shape suffixes: F frames, P persons, W = 133 points, 2 = x y, 4 = x0 y0 x1 y1, H W map, 3 = RGB.

from __future__ import annotations

import hashlib
import json
import zipfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np

from vitruvian.animation.alignment import Alignment, Method, align
from vitruvian.animation.drive_poses import DrivePoses
from vitruvian.animation.pose_maps import CANVAS_SIDE, draw_pose_map
from vitruvian.cache import cache_dir
from vitruvian.driving.persons import POINTS, Choice, FramePersons, Missing, PoseSource, without_gaps
from vitruvian.errors import InputError
from vitruvian.media.atomic import write_atomic
from vitruvian.media.video.values import Frame

LAYOUT = 2
"""Counts up when kept files come to mean something else."""
_FIELDS = ("points", "scores", "boxes", "counts", "size_hw", "times_s", "notes")


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class SeenClip:
    """A clip as far as its persons go."""

    persons: tuple[FramePersons, ...]
    times_s: tuple[float, ...]
    """Of each frame, after the video's first."""
    known_before: bool
    """Whether the clip was not opened."""
    notes: tuple[str, ...] = ()
    """What a user may not expect of its frames."""


def found_persons(
    source: PoseSource,
    frames: Callable[[], Iterable[Frame]],
    key: Sequence[Any],
    *,
    notes: Callable[[], Sequence[str]] = tuple,
    folder: Path | None = None,
) -> SeenClip:
    """Persons of all frames, found now or before.

    Args:
        source: what finds them.
        frames: opens the clip; not called where its persons are kept already.
        key: what the frames are, JSON-able: file, its time and size, the part and the stride.
        notes: what is to be said about the clip once it was read.
        folder: where they are kept; None: the project's cache.
    """
    text = json.dumps([LAYOUT, source.identity, *key])
    path = (folder or cache_dir() / "poses") / f"{hashlib.sha256(text.encode()).hexdigest()[:32]}.npz"
    kept = _kept(path)
    if kept is not None:
        return kept
    times_s: list[float] = []

    def images() -> Iterator[np.ndarray]:
        for frame in frames():
            times_s.append(frame.time_s)
            yield frame.image_HW3

    found = tuple(source.persons(images()))
    seen = SeenClip(persons=found, times_s=tuple(times_s), known_before=False, notes=tuple(notes()))
    if found:
        write_atomic(path, _packed(seen))
    return seen


@dataclass(frozen=True, kw_only=True, slots=True)
class PoseClip:
    """What drives a video: the reference's own pose, then those of the clip, in the reference's frame."""

    poses: tuple[DrivePoses, ...]
    alignment: Alignment
    blank: int
    """Frames without a person, after gaps were filled."""

    def __len__(self) -> int:
        return len(self.poses)

    def pose_map(
        self,
        frame: int,
        size_hw: tuple[int, int],
        *,
        canvas_side: int = CANVAS_SIDE,
        hands: bool = True,
        face: bool = True,
    ) -> np.ndarray:
        """uint8 RGB (3,H,W); frame 0 is the reference. `canvas_side`: see `draw_pose_map`."""
        return draw_pose_map(self.poses[frame], size_hw, canvas_side=canvas_side, hands=hands, face=face)


def pose_clip(
    frames: Sequence[FramePersons],
    reference: FramePersons,
    *,
    size_hw: tuple[int, int],
    choice: Choice,
    missing: Missing = "hold",
    method: Method = "robust",
) -> PoseClip:
    """Poses of a clip for a reference.

    Args:
        frames: persons of every frame of the clip, all of one size.
        reference: of the picture, at the video's size.
        size_hw: of the video.
        choice: which persons of the clip drive.
        missing: what stands where nobody is.
        method: how the size is fitted.

    Raises:
        InputError: no frame shows whoever was chosen, or nothing can be fitted.
    """
    chosen = [choice.of_frame(found) for found in frames]
    if not any(found.count for found in chosen):
        raise InputError(
            f"shows nobody who could drive in {len(chosen)} frames; expected a person in some; choose another one"
        )
    own = reference.only(0).poses() if reference.count else reference.poses()
    driving = [found.poses() for found in chosen]
    alignment = align(driving, own, drive_hw=chosen[0].size_hw, reference_hw=size_hw, method=method)
    filled = [found.poses() for found in without_gaps(chosen, missing)]
    return PoseClip(
        poses=(own, *(alignment.applied(poses) for poses in filled)),
        alignment=alignment,
        blank=sum(not poses.persons for poses in filled),
    )


def _packed(seen: SeenClip) -> bytes:
    frames = seen.persons
    stream = BytesIO()
    np.savez_compressed(
        stream,
        points=np.concatenate([found.points_PW2 for found in frames]),
        scores=np.concatenate([found.scores_PW for found in frames]),
        boxes=np.concatenate([found.boxes_P4 for found in frames]),
        counts=np.array([found.count for found in frames], np.int64),
        size_hw=np.array([found.size_hw for found in frames], np.int64),
        times_s=np.array(seen.times_s, np.float64),
        notes=np.array(json.dumps(seen.notes)),
    )
    return stream.getvalue()


def _kept(path: Path) -> SeenClip | None:
    """What an earlier run kept; None where there is nothing whole."""
    try:
        with np.load(path, allow_pickle=False) as stored:
            points, scores, boxes, counts, sizes, times_s, notes = (stored[name] for name in _FIELDS)
            said = tuple(json.loads(str(notes)))
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
        return None
    ends = np.cumsum(counts)
    if not len(ends) or {len(points), len(scores), len(boxes)} != {int(ends[-1])} or points.shape[1:] != (POINTS, 2):
        return None
    persons = tuple(
        FramePersons(
            points_PW2=points[end - count : end],
            scores_PW=scores[end - count : end],
            boxes_P4=boxes[end - count : end],
            size_hw=(int(size_2[0]), int(size_2[1])),
        )
        for end, count, size_2 in zip(ends, counts, sizes, strict=True)
    )
    return SeenClip(persons=persons, times_s=tuple(times_s.tolist()), known_before=True, notes=said)
