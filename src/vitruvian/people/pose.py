"""Joint angles of a person: names, anatomical limits, mirroring and interpolation.

Inputs -> outputs: named angles in degrees -> `Pose` (radians, clamped to what joints allow). Negligible cost.

Signs: flexion brings a limb forward (knees backward), abduction away from the body, twist inward. `head_turn` and
`root_turn` are to the person's left, `*_side` and `*_tilt` lean to the person's right.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from vitruvian.people.rotations import FloatArray

_CENTRAL_LIMITS_DEG: dict[str, tuple[float, float]] = {
    "root_pitch": (-100.0, 100.0),
    "root_roll": (-90.0, 90.0),
    "spine_flex": (-30.0, 95.0),
    "spine_side": (-35.0, 35.0),
    "spine_twist": (-50.0, 50.0),
    "head_nod": (-50.0, 50.0),
    "head_tilt": (-35.0, 35.0),
    "head_turn": (-80.0, 80.0),
}
_SIDE_LIMITS_DEG: dict[str, tuple[float, float]] = {
    "shoulder_flex": (-50.0, 175.0),
    "shoulder_abduct": (-25.0, 170.0),
    "shoulder_twist": (-90.0, 90.0),
    "elbow_flex": (2.0, 145.0),
    "wrist_flex": (-60.0, 70.0),
    "finger_flex": (0.0, 95.0),
    "hip_flex": (-25.0, 125.0),
    "hip_abduct": (-15.0, 60.0),
    "hip_twist": (-35.0, 35.0),
    "knee_flex": (1.0, 145.0),
    "ankle_flex": (-45.0, 25.0),
}
LIMITS_DEG: dict[str, tuple[float, float]] = _CENTRAL_LIMITS_DEG | {
    f"{side}_{name}": limit for side in ("left", "right") for name, limit in _SIDE_LIMITS_DEG.items()
}
POSE_NAMES: tuple[str, ...] = tuple(LIMITS_DEG)
_INDEX: dict[str, int] = {name: i for i, name in enumerate(POSE_NAMES)}
_LOW_RAD, _HIGH_RAD = np.deg2rad(np.array(list(LIMITS_DEG.values()))).T
_MIRROR_SOURCE = np.array(
    [
        _INDEX[name.replace("left_", "right_", 1) if name.startswith("left_") else name.replace("right_", "left_", 1)]
        for name in POSE_NAMES
    ]
)
_MIRROR_SIGN = np.array(
    [-1.0 if n in ("root_roll", "spine_side", "spine_twist", "head_tilt", "head_turn") else 1.0 for n in POSE_NAMES]
)


@dataclass(frozen=True, kw_only=True, slots=True)
class Pose:
    """All joint angles, in the order of `POSE_NAMES`, and how far the feet are off the ground."""

    angles_rad_J: FloatArray
    lift_m: float = 0.0

    def __getitem__(self, name: str) -> float:
        return float(self.angles_rad_J[_INDEX[name]])


def clamped(angles_rad_J: FloatArray, lift_m: float = 0.0) -> Pose:
    """A pose with every angle inside its joint's limits."""
    return Pose(angles_rad_J=np.clip(angles_rad_J, _LOW_RAD, _HIGH_RAD), lift_m=max(lift_m, 0.0))


def pose_from_degrees(angles_deg: dict[str, float], lift_m: float = 0.0) -> Pose:
    """A pose from named angles; a name without `left_`/`right_` sets both sides; the rest stay at zero."""
    angles_rad_J = np.zeros(len(POSE_NAMES))
    for name, angle_deg in angles_deg.items():
        for full in (name,) if name in _INDEX else (f"left_{name}", f"right_{name}"):
            if full not in _INDEX:
                raise ValueError(f"got joint angle {name!r}; expected one of {POSE_NAMES}; fix the name")
            angles_rad_J[_INDEX[full]] = math.radians(angle_deg)
    return clamped(angles_rad_J, lift_m)


def mirrored(pose: Pose) -> Pose:
    """The pose with left and right exchanged."""
    return Pose(angles_rad_J=pose.angles_rad_J[_MIRROR_SOURCE] * _MIRROR_SIGN, lift_m=pose.lift_m)


def jittered(pose: Pose, rng: np.random.Generator, deviation_deg: float) -> Pose:
    """The pose with normally distributed noise on every angle; the body's own lean moves least."""
    weight_J = np.where(np.array([n.startswith(("root", "hip", "spine")) for n in POSE_NAMES]), 0.4, 1.0)
    noise_J = rng.standard_normal(len(POSE_NAMES)) * math.radians(deviation_deg) * weight_J
    return clamped(pose.angles_rad_J + noise_J, pose.lift_m)


def blended(first: Pose, second: Pose, share: float) -> Pose:
    """Linear interpolation, `share` of the second pose."""
    angles = (1.0 - share) * first.angles_rad_J + share * second.angles_rad_J
    return clamped(angles, (1.0 - share) * first.lift_m + share * second.lift_m)
