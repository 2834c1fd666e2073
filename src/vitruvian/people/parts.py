"""Primitives attached to bones, before posing.

Inputs -> outputs: `Part`s (sizes in bone frames, labels, materials) + `PosedBones` -> `PrimitiveSet` in the camera
frame. Cost: one small array operation per field, independent of the number of pixels.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from vitruvian.people.camera import Camera
from vitruvian.people.labels import PartLabel
from vitruvian.people.primitives import CONE, ELLIPSOID, PrimitiveSet
from vitruvian.people.rotations import FloatArray
from vitruvian.people.skeleton import Bone, PosedBones

Offset = tuple[float, float, float]
_INFINITE = float("inf")


@dataclass(frozen=True, kw_only=True, slots=True)
class Part:
    """One primitive from `start` (in `bone`'s frame) to `end` (in `end_bone`'s frame), the local +y axis.

    Cone: radii `radius_a`, `radius_b` at its ends, cross-section stretched by `wide` (bone x) and `deep` (bone z).
    Ellipsoid: centred on `start`, radii `radius_a * wide`, `radius_b` along the axis, `radius_a * deep`.
    `clip_low`/`clip_high` cut it, in metres along the axis from `start`.
    """

    bone: Bone
    start: Offset
    end_bone: Bone
    end: Offset
    radius_a: float
    radius_b: float
    wide: float = 1.0
    deep: float = 1.0
    ellipsoid: bool = False
    clip_low: float = -_INFINITE
    clip_high: float = _INFINITE
    label: PartLabel
    material: int

    def row(self) -> tuple[float, ...]:
        return (
            *self.start,
            *self.end,
            self.radius_a,
            self.radius_b,
            self.wide,
            self.deep,
            self.clip_low,
            self.clip_high,
        )

    def codes(self) -> tuple[int, ...]:
        return (self.bone, self.end_bone, ELLIPSOID if self.ellipsoid else CONE, self.label, self.material)


def cone(
    bone: Bone,
    start: Offset,
    end: Offset,
    radii: tuple[float, float],
    label: PartLabel,
    material: int,
    *,
    end_bone: Bone | None = None,
    wide: float = 1.0,
    deep: float = 1.0,
    clip: tuple[float, float] = (-_INFINITE, _INFINITE),
) -> Part:
    """A round cone between two points."""
    return Part(
        bone=bone,
        start=start,
        end_bone=bone if end_bone is None else end_bone,
        end=end,
        radius_a=radii[0],
        radius_b=radii[1],
        wide=wide,
        deep=deep,
        clip_low=clip[0],
        clip_high=clip[1],
        label=label,
        material=material,
    )


def ellipsoid(
    bone: Bone,
    centre: Offset,
    radii: Offset,
    label: PartLabel,
    material: int,
    *,
    axis: Offset = (0.0, 1.0, 0.0),
    clip: tuple[float, float] = (-_INFINITE, _INFINITE),
) -> Part:
    """An ellipsoid with radii (across, along `axis`, deep)."""
    return Part(
        bone=bone,
        start=centre,
        end_bone=bone,
        end=(centre[0] + axis[0], centre[1] + axis[1], centre[2] + axis[2]),
        radius_a=radii[0],
        radius_b=radii[1],
        deep=radii[2] / radii[0],
        ellipsoid=True,
        clip_low=clip[0],
        clip_high=clip[1],
        label=label,
        material=material,
    )


def place_parts(parts: list[Part], bones: PosedBones, camera: Camera, owner: int, material_base: int) -> PrimitiveSet:
    """Primitives of posed parts; `bones` are in the world frame, `material_base` is added to every material."""
    values = np.array([part.row() for part in parts])
    codes = np.array([part.codes() for part in parts])
    bone_N, end_bone_N, kind_N = codes[:, 0], codes[:, 1], codes[:, 2]
    rotation_B33 = bones.rotation_B33
    start_N3 = bones.origin_m_B3[bone_N] + np.einsum("nij,nj->ni", rotation_B33[bone_N], values[:, 0:3])
    end_N3 = bones.origin_m_B3[end_bone_N] + np.einsum("nij,nj->ni", rotation_B33[end_bone_N], values[:, 3:6])
    frame_N33, length_N = _frames(start_N3, end_N3, rotation_B33[bone_N])
    radius_a_N, radius_b_N, wide_N, deep_N = values[:, 6:10].T
    is_ellipsoid_N = kind_N == ELLIPSOID
    along_N = np.where(is_ellipsoid_N, radius_b_N, 1.0)
    across_N = np.where(is_ellipsoid_N, radius_a_N, 1.0)
    metric_N3 = np.stack([wide_N * across_N, along_N, deep_N * across_N], axis=1)
    to_local_N33 = (frame_N33 / metric_N3[:, None, :]).transpose(0, 2, 1) @ camera.camera_from_world_33.T
    return PrimitiveSet(
        kind_N=kind_N,
        centre_N3=camera.to_camera(start_N3),
        to_local_N33=to_local_N33,
        metric_N3=metric_N3,
        radius_a_N=np.where(is_ellipsoid_N, 1.0, radius_a_N),
        radius_b_N=np.where(is_ellipsoid_N, 1.0, radius_b_N),
        length_N=np.where(is_ellipsoid_N, 0.0, length_N),
        clip_low_N=values[:, 10] / along_N,
        clip_high_N=values[:, 11] / along_N,
        owner_N=np.full(len(parts), owner),
        label_N=codes[:, 3],
        material_N=codes[:, 4] + material_base,
    )


def _frames(start_N3: FloatArray, end_N3: FloatArray, rotation_N33: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Orthonormal frames (columns x, y, z) whose y runs along the part and whose x stays near the bone's x."""
    axis_N3 = end_N3 - start_N3
    length_N = np.sqrt((axis_N3**2).sum(axis=1))
    y_N3 = axis_N3 / np.maximum(length_N, 1e-9)[:, None]
    reference_N3 = rotation_N33[:, :, 0]
    sideways_N = np.abs((y_N3 * reference_N3).sum(axis=1)) > 0.95
    reference_N3 = np.where(sideways_N[:, None], rotation_N33[:, :, 1], reference_N3)
    x_N3 = reference_N3 - (reference_N3 * y_N3).sum(axis=1, keepdims=True) * y_N3
    x_N3 /= np.sqrt((x_N3**2).sum(axis=1, keepdims=True))
    z_N3 = np.cross(x_N3, y_N3)
    return np.stack([x_N3, y_N3, z_N3], axis=2), length_N
