"""One person of a scene: body, clothes, looks, pose and place in the world.

Inputs -> outputs: random generator -> `Person`; `Person` + `Camera` -> primitives and keypoints. About a millisecond,
mostly for building the parts.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from vitruvian.people.camera import Camera
from vitruvian.people.clothing import Outfit, dressed_parts
from vitruvian.people.head import EAR_HEADS, EYE_HEADS, NOSE_HEADS, HeadStyle, head_parts, in_head_bone
from vitruvian.people.labels import KEYPOINT_NAMES
from vitruvian.people.materials import Material
from vitruvian.people.parts import place_parts
from vitruvian.people.pose import Pose
from vitruvian.people.primitives import PrimitiveSet
from vitruvian.people.rotations import FloatArray, about_y
from vitruvian.people.skeleton import Bone, Physique, PosedBones, pose_bones

_JOINT_BONES: tuple[Bone, ...] = (
    Bone.LEFT_UPPER_ARM,
    Bone.RIGHT_UPPER_ARM,
    Bone.LEFT_FOREARM,
    Bone.RIGHT_FOREARM,
    Bone.LEFT_HAND,
    Bone.RIGHT_HAND,
    Bone.LEFT_THIGH,
    Bone.RIGHT_THIGH,
    Bone.LEFT_SHANK,
    Bone.RIGHT_SHANK,
    Bone.LEFT_FOOT,
    Bone.RIGHT_FOOT,
)
# Thickness of flesh and cloth that may lie between a visible joint and the eye, as shares of the body unit.
_JOINT_COVER_UNITS = (0.062, 0.062, 0.042, 0.042, 0.036, 0.036, 0.098, 0.098, 0.058, 0.058, 0.048, 0.048)
_FACE_COVER_HEADS = (0.10, 0.11, 0.11, 0.09, 0.09)


@dataclass(frozen=True, kw_only=True, slots=True)
class Person:
    """A posed person. `heading_rad` 0 looks along world -z (towards a camera at smaller z), growing to its left.

    `position_m_3` is the point on the ground below the pelvis.
    """

    physique: Physique
    outfit: Outfit
    head: HeadStyle
    pose: Pose
    materials: tuple[Material, ...]
    heading_rad: float = 0.0
    position_m_3: tuple[float, float, float] = (0.0, 0.0, 0.0)


@dataclass(frozen=True, kw_only=True, slots=True)
class Joints:
    """The 17 keypoints in the world, and how much body may cover each one while it still counts as visible."""

    world_m_K3: FloatArray
    cover_m_K: FloatArray


def world_bones(person: Person) -> PosedBones:
    """The person's bones in the world frame."""
    bones = pose_bones(person.physique, person.pose)
    return bones.moved(about_y(-person.heading_rad), np.array(person.position_m_3))


def person_primitives(
    person: Person, bones: PosedBones, camera: Camera, owner: int, material_base: int
) -> PrimitiveSet:
    """All of a person's surfaces in the camera frame."""
    parts = dressed_parts(person.physique, person.pose, person.outfit) + head_parts(person.physique, person.head)
    return place_parts(parts, bones, camera, owner, material_base)


def joints_of(person: Person, bones: PosedBones) -> Joints:
    """COCO keypoints; the face's lie on the surface, the others inside the limbs."""
    head_m, unit_m = person.physique.head_m, person.physique.unit_m
    face = [NOSE_HEADS]
    for x, y, z in (EYE_HEADS, EAR_HEADS):
        face += [(x, y, z), (-x, y, z)]
    points = [bones.at(Bone.HEAD, in_head_bone(point, head_m)) for point in face]
    points += [bones.origin_m_B3[bone] for bone in _JOINT_BONES]
    thickness = math.sqrt(max(person.physique.girth, 1.0)) * unit_m
    ease_m = max(person.outfit.upper_ease_m, person.outfit.lower_ease_m)
    cover = [head_m * c for c in _FACE_COVER_HEADS] + [thickness * c + ease_m for c in _JOINT_COVER_UNITS]
    assert len(points) == len(KEYPOINT_NAMES)
    return Joints(world_m_K3=np.array(points), cover_m_K=np.array(cover))
