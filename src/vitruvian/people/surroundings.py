"""What surrounds people: an optional room, props, and the light.

Inputs -> outputs: `Room` + `Camera` + pixels -> depth, normals and floor/wall coordinates; `Prop` -> primitives.
Cost: a few array operations on the pixels that show the room.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from vitruvian.people.camera import Camera
from vitruvian.people.materials import Material
from vitruvian.people.primitives import BOX, CONE, ELLIPSOID, Float32, IntArray, PrimitiveSet
from vitruvian.people.rotations import about_y

_SHAPES = {"box": BOX, "cylinder": CONE, "ball": ELLIPSOID}


@dataclass(frozen=True, kw_only=True, slots=True)
class Room:
    """Floor at y = 0 and, up to `height_m`, walls at the given world coordinates; the camera stands inside.

    Surfaces farther than `reach_m` are not part of the scene (an open field ends in the background picture).
    """

    left_m: float
    right_m: float
    back_m: float
    front_m: float
    height_m: float
    floor: Material
    wall: Material
    side_wall: Material
    walls: bool = True
    reach_m: float = 60.0


@dataclass(frozen=True, kw_only=True, slots=True)
class Prop:
    """A solid standing on (or hovering over) the floor: half width, full height, half depth in metres."""

    shape: str
    base_m_3: tuple[float, float, float]
    size_m_3: tuple[float, float, float]
    turn_rad: float
    material: Material

    def __post_init__(self) -> None:
        if self.shape not in _SHAPES:
            raise ValueError(f"prop got shape={self.shape!r}; expected one of {tuple(_SHAPES)}; choose from those")


@dataclass(frozen=True, kw_only=True, slots=True)
class Light:
    """Directions point from the surface to the light, in the world; strengths are linear RGB."""

    key_direction_3: tuple[float, float, float]
    key_rgb: tuple[float, float, float]
    sky_rgb: tuple[float, float, float]
    ground_rgb: tuple[float, float, float]
    rim_direction_3: tuple[float, float, float]
    rim_rgb: tuple[float, float, float]
    shadow: float


@dataclass(frozen=True, kw_only=True, slots=True)
class RoomHits:
    """Room surfaces seen by K pixels: ray depth (inf: none), camera normals, plane coordinates, material (0..2)."""

    depth_K: Float32
    normal_3K: Float32
    plane_3K: Float32
    material_K: IntArray


def room_hits(room: Room, camera: Camera, column_K: Float32, row_K: Float32) -> RoomHits:
    """Where rays with z = 1 through the given ray coordinates meet floor, ceiling and walls from inside."""
    to_world = camera.camera_from_world_33.T.astype(np.float32)
    direction_3K = to_world[:, 0:1] * column_K + to_world[:, 1:2] * row_K + to_world[:, 2:3]
    origin = camera.position_m_3
    low = np.array([room.left_m, -room.height_m, room.front_m]) - origin
    high = np.array([room.right_m, 0.0, room.back_m]) - origin
    if not room.walls:
        low, high = np.full(3, -1e5), np.array([1e5, high[1], 1e5])
    safe_3K = np.where(np.abs(direction_3K) < 1e-7, np.float32(1e-7), direction_3K)
    limit_3K = np.where(safe_3K > 0, high.astype(np.float32)[:, None], low.astype(np.float32)[:, None]) / safe_3K
    face_K = limit_3K.argmin(axis=0)
    picked = np.arange(len(face_K))
    depth_K = limit_3K[face_K, picked]
    world_3K = direction_3K * depth_K + origin.astype(np.float32)[:, None]
    normal_3K = np.zeros_like(direction_3K)
    normal_3K[face_K, picked] = -np.sign(safe_3K[face_K, picked])
    # Plane coordinates: floor (x, z), side walls (z, y), back wall (x, y).
    plane_3K = np.stack(
        [np.where(face_K == 0, world_3K[2], world_3K[0]), np.where(face_K == 1, world_3K[2], world_3K[1])]
    )
    plane_3K = np.concatenate([plane_3K, np.zeros_like(plane_3K[:1])])
    depth_K = np.where(depth_K < room.reach_m, depth_K, np.float32(np.inf))
    if not room.walls:
        depth_K = np.where((face_K == 1) & (safe_3K[1] > 0), depth_K, np.float32(np.inf))
    material_K = np.array([2, 0, 1])[face_K]
    # The ceiling is painted like the back wall.
    material_K[(face_K == 1) & (safe_3K[1] < 0)] = 1
    return RoomHits(
        depth_K=depth_K,
        normal_3K=camera.camera_from_world_33.astype(np.float32) @ normal_3K,
        plane_3K=plane_3K,
        material_K=material_K,
    )


def prop_primitives(props: tuple[Prop, ...], camera: Camera, material_base: int) -> PrimitiveSet:
    """Props as primitives with owner -1 and label 0."""
    kind, centre, to_local, metric = [], [], [], []
    for prop in props:
        half = np.array([prop.size_m_3[0], prop.size_m_3[1] / 2, prop.size_m_3[2]])
        standing = prop.shape == "cylinder"
        # A cylinder's cone starts at its foot and runs up: local y points to the sky.
        axes = about_y(prop.turn_rad) @ np.diag([1.0, -1.0, -1.0])
        scale = np.array([half[0], 1.0, half[2]]) if standing else half
        raised = 0.0 if standing else half[1]
        kind.append(_SHAPES[prop.shape])
        centre.append(np.array(prop.base_m_3) - np.array([0.0, raised, 0.0]))
        to_local.append((axes / scale).T @ camera.camera_from_world_33.T)
        metric.append(scale)
    count = len(props)
    height_N = np.array([p.size_m_3[1] if p.shape == "cylinder" else 0.0 for p in props])
    infinite_N = np.where(height_N > 0.0, 0.0, np.inf)
    return PrimitiveSet(
        kind_N=np.array(kind),
        centre_N3=camera.to_camera(np.array(centre)),
        to_local_N33=np.array(to_local),
        metric_N3=np.array(metric),
        radius_a_N=np.ones(count),
        radius_b_N=np.ones(count),
        length_N=height_N,
        clip_low_N=-infinite_N,
        clip_high_N=np.where(height_N > 0.0, height_N, np.inf),
        owner_N=np.full(count, -1),
        label_N=np.zeros(count, dtype=np.int64),
        material_N=np.arange(count) + material_base,
    )
