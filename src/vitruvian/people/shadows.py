"""Soft shadows that people throw on floor and walls, and creases between their limbs.

Inputs -> outputs: `Room` + posed bones + light -> brightness factor per pixel. Shadows are traced on a grid four times
coarser than the picture against one capsule per bone, then enlarged: about a millisecond per person.
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from vitruvian.people.camera import Camera
from vitruvian.people.primitives import Float32
from vitruvian.people.rotations import FloatArray
from vitruvian.people.skeleton import Bone, Physique, PosedBones
from vitruvian.people.surroundings import Light, Room, room_hits

_COARSE = 4
_REACH_M = 30.0
# Bone chains as capsules: from, to, radius in body units.
_CAPSULES: tuple[tuple[Bone, Bone, float], ...] = (
    (Bone.PELVIS, Bone.CHEST, 0.085),
    (Bone.CHEST, Bone.NECK, 0.085),
    (Bone.LEFT_UPPER_ARM, Bone.LEFT_FOREARM, 0.032),
    (Bone.LEFT_FOREARM, Bone.LEFT_HAND, 0.028),
    (Bone.RIGHT_UPPER_ARM, Bone.RIGHT_FOREARM, 0.032),
    (Bone.RIGHT_FOREARM, Bone.RIGHT_HAND, 0.028),
    (Bone.LEFT_THIGH, Bone.LEFT_SHANK, 0.052),
    (Bone.LEFT_SHANK, Bone.LEFT_FOOT, 0.036),
    (Bone.RIGHT_THIGH, Bone.RIGHT_SHANK, 0.052),
    (Bone.RIGHT_SHANK, Bone.RIGHT_FOOT, 0.036),
    (Bone.LEFT_UPPER_ARM, Bone.RIGHT_UPPER_ARM, 0.05),
)
_TIPS: tuple[tuple[Bone, tuple[float, float, float], float], ...] = (
    (Bone.HEAD, (0.0, -0.06, -0.01), 0.055),
    (Bone.LEFT_FOOT, (0.0, 0.02, -0.09), 0.025),
    (Bone.RIGHT_FOOT, (0.0, 0.02, -0.09), 0.025),
    (Bone.LEFT_HAND, (0.0, 0.08, 0.0), 0.02),
    (Bone.RIGHT_HAND, (0.0, 0.08, 0.0), 0.02),
)


def room_shadow(room: Room, camera: Camera, light: Light, people: list[tuple[Physique, PosedBones]]) -> Float32:
    """Share of the key light that reaches each room point, (H, W), 1 where nothing is in the way."""
    rows, columns = -(-camera.height // _COARSE) + 1, -(-camera.width // _COARSE) + 1
    if not people:
        return np.ones((camera.height, camera.width), dtype=np.float32)
    ray_row = ((np.arange(rows) * _COARSE - camera.cy) / camera.focal_px).astype(np.float32)
    ray_column = ((np.arange(columns) * _COARSE - camera.cx) / camera.focal_px).astype(np.float32)
    column_K, row_K = np.tile(ray_column, rows), np.repeat(ray_row, columns)
    depth_K = np.minimum(room_hits(room, camera, column_K, row_K).depth_K, np.float32(_REACH_M))
    view_K3 = np.stack([column_K * depth_K, row_K * depth_K, depth_K], axis=1)
    world_K3 = view_K3 @ camera.camera_from_world_33.astype(np.float32) + camera.position_m_3.astype(np.float32)
    towards = np.array(light.key_direction_3)
    lit_K = _unblocked(world_K3, towards / np.linalg.norm(towards), _occluders(people))
    lit = cv2.GaussianBlur(lit_K.reshape(rows, columns), (3, 3), 0)
    # Grid point k lies on pixel 4 k, whereas a plain resize would centre it on its cell.
    steps = np.array([[1 / _COARSE, 0, 0], [0, 1 / _COARSE, 0]], dtype=np.float64)
    size = (camera.width, camera.height)
    return np.asarray(cv2.warpAffine(lit, steps, size, flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP), dtype=np.float32)


def _occluders(people: list[tuple[Physique, PosedBones]]) -> FloatArray:
    """Capsules as rows of start, end, radius."""
    rows = []
    for physique, bones in people:
        unit = physique.unit_m
        for first, last, radius in _CAPSULES:
            rows.append([*bones.origin_m_B3[first], *bones.origin_m_B3[last], radius * unit * physique.girth**0.5])
        for bone, offset, radius in _TIPS:
            x, y, z = offset
            tip = bones.at(bone, (x * unit, y * unit, z * unit))
            rows.append([*bones.origin_m_B3[bone], *tip, radius * unit])
    return np.array(rows)


def _unblocked(world_K3: Float32, towards_3: FloatArray, capsules_C7: FloatArray) -> Float32:
    """Product over capsules of how far the light ray passes them by.

    Seen along the light everything is flat: capsules become thick line segments and points stay points, so the
    distance is that of a point to a segment in the plane across the light.
    """
    side = np.cross(towards_3, (0.0, 0.0, 1.0) if abs(towards_3[2]) < 0.9 else (1.0, 0.0, 0.0))
    side /= np.linalg.norm(side)
    plane_23 = np.stack([side, np.cross(towards_3, side)]).astype(np.float32)
    point_2K = plane_23 @ world_K3.T
    level_K = towards_3.astype(np.float32) @ world_K3.T
    lit_K = np.ones(len(world_K3), dtype=np.float32)
    for row in capsules_C7.astype(np.float32):
        start, end, radius = plane_23 @ row[0:3], plane_23 @ row[3:6], row[6]
        along = end - start
        offset_2K = point_2K - start[:, None]
        share_K = np.clip((along @ offset_2K) / max(float(along @ along), 1e-6), 0.0, 1.0)
        offset_2K -= along[:, None] * share_K
        gap_K = np.sqrt(np.einsum("ik,ik->k", offset_2K, offset_2K)) - radius
        height_K = np.float32(towards_3 @ (row[0:3] + row[3:6]) / 2.0) - level_K
        # The penumbra widens with the distance between the body and the surface.
        width_K = 0.02 + 0.07 * np.maximum(height_K, 0.0)
        clear_K = np.clip(gap_K / width_K + 0.5, 0.0, 1.0)
        lit_K *= np.where(height_K > -radius, clear_K, np.float32(1.0))
    return lit_K


def crease_factor(depth_m_HW: Float32, ids_HW: NDArray[np.uint8], strength: float) -> Float32:
    """Factor per pixel that darkens a person's surface lying just behind other surface of a person.

    Depth outside people is left out of the neighbourhood mean, so no halo betrays an outline.
    """
    size = max(3, depth_m_HW.shape[0] // 20) | 1
    factor_HW = np.ones(depth_m_HW.shape, dtype=np.float32)
    x, y, wide, high = cv2.boundingRect(ids_HW)
    area = (slice(y, y + high), slice(x, x + wide))
    if wide == 0:
        return factor_HW
    mask = (ids_HW[area] > 0).astype(np.float32)
    depth = depth_m_HW[area]
    mean = cv2.blur(depth * mask, (size, size)) / np.maximum(cv2.blur(mask, (size, size)), np.float32(1e-3))
    factor_HW[area] -= np.float32(strength) * np.clip((depth - mean) * np.float32(8.0), 0.0, 1.0) * mask
    return factor_HW
