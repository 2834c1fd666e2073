"""Bones of a person: proportions of the rest skeleton and where a pose puts them.

Inputs -> outputs: `Physique` + `Pose` -> `PosedBones` (origin and orientation per bone, body frame). Negligible cost.

Every bone frame is x to the person's left, y down, z backward while standing; limbs hang along +y. The body frame has
its origin on the ground below the pelvis and the person looks along -z.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import IntEnum

import numpy as np

from vitruvian.people.pose import Pose
from vitruvian.people.rotations import FloatArray, about_x, about_y, about_z


class Bone(IntEnum):
    """Bone frames; the origin is the joint towards the pelvis."""

    PELVIS = 0
    ABDOMEN = 1
    CHEST = 2
    NECK = 3
    HEAD = 4
    LEFT_UPPER_ARM = 5
    LEFT_FOREARM = 6
    LEFT_HAND = 7
    RIGHT_UPPER_ARM = 8
    RIGHT_FOREARM = 9
    RIGHT_HAND = 10
    LEFT_THIGH = 11
    LEFT_SHANK = 12
    LEFT_FOOT = 13
    RIGHT_THIGH = 14
    RIGHT_SHANK = 15
    RIGHT_FOOT = 16


@dataclass(frozen=True, kw_only=True, slots=True)
class Physique:
    """Body shape. Widths are factors around 1; `heads` is the standing height in head heights."""

    height_m: float
    heads: float = 7.5
    girth: float = 1.0
    muscle: float = 1.0
    shoulders: float = 1.0
    hips: float = 1.0
    bust: float = 0.0

    @property
    def head_m(self) -> float:
        return self.height_m / self.heads

    @property
    def body_m(self) -> float:
        """Standing height without the head."""
        return self.height_m - self.head_m

    @property
    def unit_m(self) -> float:
        """Length that limb thickness scales with; an adult's height, less for a child with its large head."""
        return self.body_m / 0.867


@dataclass(frozen=True, kw_only=True, slots=True)
class Lengths:
    """Bone lengths of a physique in metres."""

    hip_height: float
    trunk: float
    upper_arm: float
    forearm: float
    hand: float
    thigh: float
    shank: float
    ankle: float
    foot: float
    half_shoulders: float
    half_hips: float


@dataclass(frozen=True, kw_only=True, slots=True)
class PosedBones:
    """Joint positions and bone orientations (columns are the bone's axes), one row per `Bone`."""

    origin_m_B3: FloatArray
    rotation_B33: FloatArray

    def at(self, bone: Bone, offset_m: tuple[float, float, float]) -> FloatArray:
        """A point given in a bone's frame."""
        point: FloatArray = self.origin_m_B3[bone] + self.rotation_B33[bone] @ np.array(offset_m)
        return point

    def moved(self, rotation_33: FloatArray, offset_m_3: FloatArray) -> PosedBones:
        """The bones after turning about the origin, then shifting."""
        return PosedBones(
            origin_m_B3=self.origin_m_B3 @ rotation_33.T + offset_m_3, rotation_B33=rotation_33 @ self.rotation_B33
        )


def lengths_of(physique: Physique) -> Lengths:
    """Bone lengths; children (few head heights) have shorter legs."""
    body_m, unit_m = physique.body_m, physique.unit_m
    childlike = min(max((7.5 - physique.heads) / 2.0, 0.0), 1.0)
    hip_height = body_m * (0.61 - 0.035 * childlike)
    ankle = 0.045 * unit_m
    leg = hip_height - ankle
    return Lengths(
        hip_height=hip_height,
        trunk=body_m - hip_height,
        upper_arm=0.172 * unit_m,
        forearm=0.148 * unit_m,
        hand=0.105 * unit_m,
        thigh=leg * 0.5,
        shank=leg * 0.5,
        ankle=ankle,
        foot=0.15 * unit_m,
        half_shoulders=0.103 * unit_m * physique.shoulders,
        half_hips=0.053 * unit_m * physique.hips,
    )


def pose_bones(physique: Physique, pose: Pose) -> PosedBones:
    """Forward kinematics, then the lowest point is set on the ground (y = 0), or `lift_m` above it."""
    size = lengths_of(physique)
    origins = np.zeros((len(Bone), 3))
    rotations = np.zeros((len(Bone), 3, 3))

    def place(bone: Bone, parent: Bone, offset: tuple[float, float, float], local_33: FloatArray) -> None:
        origins[bone] = origins[parent] + rotations[parent] @ np.array(offset)
        rotations[bone] = rotations[parent] @ local_33

    rotations[Bone.PELVIS] = about_z(pose["root_roll"]) @ about_x(pose["root_pitch"])
    half_spine = about_y(-pose["spine_twist"] / 2) @ about_z(pose["spine_side"] / 2) @ about_x(pose["spine_flex"] / 2)
    half_head = about_y(-pose["head_turn"] / 2) @ about_z(pose["head_tilt"] / 2) @ about_x(pose["head_nod"] / 2)
    trunk = size.trunk
    place(Bone.ABDOMEN, Bone.PELVIS, (0.0, -0.20 * trunk, 0.0), half_spine)
    place(Bone.CHEST, Bone.ABDOMEN, (0.0, -0.24 * trunk, 0.0), half_spine)
    place(Bone.NECK, Bone.CHEST, (0.0, -0.45 * trunk, 0.03 * trunk), half_head)
    place(Bone.HEAD, Bone.NECK, (0.0, -0.16 * trunk, -0.03 * trunk), half_head)
    for side, sign, arm, leg in (
        ("left", 1.0, Bone.LEFT_UPPER_ARM, Bone.LEFT_THIGH),
        ("right", -1.0, Bone.RIGHT_UPPER_ARM, Bone.RIGHT_THIGH),
    ):
        flex, abduct = pose[f"{side}_shoulder_flex"], pose[f"{side}_shoulder_abduct"]
        # The shoulder blade lifts the joint once the arm rises above the horizontal.
        lift = 0.11 * trunk * (1.0 - math.cos(min(abs(flex) + abs(abduct), math.pi))) / 2.0
        shoulder = (sign * (size.half_shoulders - 0.25 * lift), -0.39 * trunk - lift, 0.0)
        twist = about_y(sign * pose[f"{side}_shoulder_twist"])
        place(arm, Bone.CHEST, shoulder, about_x(-flex) @ about_z(-sign * abduct) @ twist)
        place(Bone(arm + 1), arm, (0.0, size.upper_arm, 0.0), about_x(-pose[f"{side}_elbow_flex"]))
        wrist = about_y(-sign * math.pi / 2) @ about_x(pose[f"{side}_wrist_flex"])
        place(Bone(arm + 2), Bone(arm + 1), (0.0, size.forearm, 0.0), wrist)
        thigh = about_x(-pose[f"{side}_hip_flex"]) @ about_z(-sign * pose[f"{side}_hip_abduct"])
        thigh = thigh @ about_y(sign * pose[f"{side}_hip_twist"])
        place(leg, Bone.PELVIS, (sign * size.half_hips, 0.0, 0.0), thigh)
        place(Bone(leg + 1), leg, (0.0, size.thigh, 0.0), about_x(pose[f"{side}_knee_flex"]))
        place(Bone(leg + 2), Bone(leg + 1), (0.0, size.shank, 0.0), about_x(-pose[f"{side}_ankle_flex"]))
    bones = PosedBones(origin_m_B3=origins, rotation_B33=rotations)
    drop = np.array([0.0, -_lowest_y(bones, size, physique) - pose.lift_m, 0.0])
    return bones.moved(np.eye(3), drop)


def _lowest_y(bones: PosedBones, size: Lengths, physique: Physique) -> float:
    """Largest y (lowest height) over the points that can bear weight."""
    sole, toe, heel = size.ankle, -0.72 * size.foot, 0.25 * size.foot
    lowest = []
    for foot in (Bone.LEFT_FOOT, Bone.RIGHT_FOOT):
        lowest += [bones.at(foot, (0.0, sole, toe))[1], bones.at(foot, (0.0, sole, heel))[1]]
    knee_m = 0.035 * physique.unit_m * physique.girth
    seat_m = 0.09 * physique.unit_m * physique.girth
    lowest += [bones.origin_m_B3[bone][1] + knee_m for bone in (Bone.LEFT_SHANK, Bone.RIGHT_SHANK)]
    lowest += [bones.origin_m_B3[Bone.PELVIS][1] + seat_m]
    lowest += [bones.origin_m_B3[bone][1] + knee_m for bone in (Bone.LEFT_HAND, Bone.RIGHT_HAND)]
    return float(max(lowest))
