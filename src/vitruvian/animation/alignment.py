"""Driving poses brought to the place and size of another person: one scale and one shift for a whole clip.

The published fit is a straight line through the heights of joints, which a body that moves up and down flattens: a
person who jumps comes out too small (regression dilution). The robust fit compares sizes of skeletons instead, leaves
out what was hardly seen, and takes medians.
"""

# Shape suffixes: F frames, N joints, 2 = x y.

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from vitruvian.animation.drive_poses import DrivePoses
from vitruvian.errors import InputError, UsageError

Method = Literal["published", "robust"]

FITTED = (0, 1, 2, 5, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17)
"""Body points that the fit looks at: arms move too much."""
LEAST_JOINTS = 2


@dataclass(frozen=True, kw_only=True, slots=True)
class Alignment:
    """p -> p * scale + shift, in shares of the frame."""

    scale_xy: tuple[float, float]
    shift_xy: tuple[float, float]

    def applied(self, poses: DrivePoses) -> DrivePoses:
        """The poses of a frame in the reference's frame."""
        return poses.moved(self.scale_xy, self.shift_xy)


def align(
    frames: Sequence[DrivePoses],
    reference: DrivePoses,
    *,
    drive_hw: tuple[int, int],
    reference_hw: tuple[int, int],
    method: Method = "published",
) -> Alignment:
    """The fit of a clip to the first person of a reference picture.

    Args:
        frames: the persons of every frame; those with one person count (robust: the largest person of each).
        reference: of the picture whose person shall move.
        drive_hw: height and width of the clip's frames.
        reference_hw: of the generated frames.
        method: as published, or robust.

    Raises:
        InputError: nobody in the reference or in the clip is seen well enough to be fitted.
    """
    if method not in ("published", "robust"):
        raise UsageError(f"got the alignment {method}; expected published or robust; name one of them")
    if not reference.persons:
        raise InputError("shows nobody whose pose was found; expected one person; take another picture")
    joints = [joint for joint in FITTED if reference.seen_PB[0, joint]]
    if len(joints) < LEAST_JOINTS:
        raise InputError(
            "shows a person of whom no joints were found; expected head, hips or legs; take another picture"
        )
    pixels = (drive_hw[1] / drive_hw[0]) * (reference_hw[0] / reference_hw[1])
    if method == "published":
        return _published(frames, reference, joints, pixels)
    return _robust(frames, reference, joints, pixels)


def _published(frames: Sequence[DrivePoses], reference: DrivePoses, joints: Sequence[int], pixels: float) -> Alignment:
    single = [poses for poses in frames if poses.persons == 1]
    if not single:
        raise InputError(
            "has no frame with exactly one person; expected some to fit the size by; choose a person, or take "
            "the robust alignment"
        )
    drive_FN2 = np.stack([poses.points_PJ2[0, joints] for poses in single])
    wanted_FN2 = np.repeat(reference.points_PJ2[0, joints][None], len(single), axis=0)
    slope, offset = np.polyfit(drive_FN2[..., 1].flatten(), wanted_FN2[..., 1].flatten(), 1)
    across = slope * pixels
    shift_x = np.mean(wanted_FN2[..., 0] - across * drive_FN2[..., 0])
    return Alignment(scale_xy=(float(across), float(slope)), shift_xy=(float(shift_x), float(offset)))


def _robust(frames: Sequence[DrivePoses], reference: DrivePoses, joints: Sequence[int], pixels: float) -> Alignment:
    """Sizes of skeletons, then places: each the median over frames."""
    wanted_N2 = reference.points_PJ2[0, joints]
    ratios, pairs = [], []
    for poses in frames:
        if not poses.persons:
            continue
        person = _largest(poses)
        common = np.array([bool(poses.seen_PB[person, joint]) for joint in joints])
        if common.sum() < LEAST_JOINTS:
            continue
        drive_M2, of_M2 = poses.points_PJ2[person, joints][common], wanted_N2[common]
        # Both in heights of their own frames; `pixels` turns one's widths into the other's.
        size, wanted = _size(drive_M2 * (pixels, 1.0)), _size(of_M2)
        if size > 0 and wanted > 0:
            ratios.append(wanted / size)
            pairs.append((drive_M2, of_M2))
    if not ratios:
        raise InputError(
            "has no frame in which the same joints are seen as in the picture; expected some; take another"
        )
    scale_y = float(np.median(ratios))
    scale_x = scale_y * pixels
    shifts_F2 = np.array([np.median(of_M2 - drive_M2 * (scale_x, scale_y), axis=0) for drive_M2, of_M2 in pairs])
    shift_x, shift_y = np.median(shifts_F2, axis=0)
    return Alignment(scale_xy=(scale_x, scale_y), shift_xy=(float(shift_x), float(shift_y)))


def _largest(poses: DrivePoses) -> int:
    """The person whose seen body points span the largest area."""
    areas = []
    for points_J2, seen_J in zip(poses.points_PJ2[:, :18], poses.seen_PB, strict=True):
        seen_N2 = points_J2[seen_J]
        areas.append(float(np.prod(np.ptp(seen_N2, axis=0))) if len(seen_N2) else 0.0)
    return int(np.argmax(areas))


def _size(points_N2: np.ndarray) -> float:
    """Median distance between joints: unlike heights, no motion of the whole body changes it."""
    apart_NN2 = points_N2[:, None] - points_N2[None]
    return float(np.median(np.hypot(*apart_NN2[np.triu_indices(len(points_N2), 1)].T)))
