"""Rendering of a scene: picture and exact labels.

Inputs -> outputs: `Scene` -> `View` (RGB, person ids, part labels, depth, normals, keypoints, boxes). At 256x192 with
one person ray casting takes about half of the time, shading and effects the rest.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from vitruvian.people.background import paint_background
from vitruvian.people.camera import Camera
from vitruvian.people.effects import apply_effects
from vitruvian.people.face import paint_face
from vitruvian.people.garment_paint import paint_top
from vitruvian.people.head import MIDDLE_HEADS
from vitruvian.people.labels import KEYPOINT_NAMES, PartLabel
from vitruvian.people.materials import HAIR, PERSON_MATERIALS, Material, MaterialTable, albedo, table_of
from vitruvian.people.person import joints_of, person_primitives, world_bones
from vitruvian.people.primitives import Float32, IntArray, PrimitiveSet, concatenate
from vitruvian.people.raster import Hits, trace
from vitruvian.people.scene import Scene
from vitruvian.people.shading import folded, shade, softened_normals, to_display
from vitruvian.people.shadows import crease_factor, room_shadow
from vitruvian.people.skeleton import Bone, PosedBones
from vitruvian.people.surroundings import prop_primitives, room_hits

Picture = NDArray[np.uint8]
_SHADED_AT_ONCE = 8192


@dataclass(frozen=True, kw_only=True, slots=True)
class View:
    """A picture and what is to be seen in it; see the package docstring for the conventions."""

    image_HW3: Picture
    person_ids_HW: Picture
    part_labels_HW: Picture
    depth_m_HW: Float32
    normals_HW3: Float32
    keypoints_PK3: Float32
    boxes_P4: Float32
    camera: Camera


@dataclass(frozen=True, kw_only=True, slots=True)
class _Frame:
    """Picture before effects and per-pixel geometry."""

    image_HW3: Picture
    person_ids_HW: Picture
    part_labels_HW: Picture
    depth_m_HW: Float32
    normals_HW3: Float32


@dataclass(frozen=True, kw_only=True, slots=True)
class _Surfaces:
    """Per visible pixel, in one order: all inputs of shading."""

    pixel_K: IntArray
    point_m_3K: Float32
    normal_3K: Float32
    metric_3K: Float32
    material_K: IntArray


def render(scene: Scene, supersample: int = 1, effects: bool = True) -> View:
    """Picture and labels of a scene; `supersample` smooths the picture only, labels stay one sample per pixel."""
    if supersample < 1:
        raise ValueError(f"got supersample={supersample}; expected 1 or more; pass 1 for speed or 2 for smooth edges")
    bones = [world_bones(person) for person in scene.persons]
    frame = _expose(scene, bones, scene.camera)
    image_HW3 = frame.image_HW3
    if supersample > 1:
        fine = _expose(scene, bones, scene.camera.scaled(supersample)).image_HW3
        size = (scene.camera.width, scene.camera.height)
        image_HW3 = np.asarray(cv2.resize(fine, size, interpolation=cv2.INTER_AREA), dtype=np.uint8)
    return View(
        image_HW3=apply_effects(image_HW3, scene.effects) if effects else image_HW3,
        person_ids_HW=frame.person_ids_HW,
        part_labels_HW=frame.part_labels_HW,
        depth_m_HW=frame.depth_m_HW,
        normals_HW3=frame.normals_HW3,
        keypoints_PK3=_keypoints(scene, bones, frame),
        boxes_P4=_boxes(frame.person_ids_HW, len(scene.persons)),
        camera=scene.camera,
    )


def _expose(scene: Scene, bones: list[PosedBones], camera: Camera) -> _Frame:
    primitives = _primitives(scene, bones, camera)
    hits = trace(primitives, camera) if primitives is not None else None
    surfaces = _surfaces(scene, camera, primitives, hits)
    table = table_of(_materials(scene))
    colour_3K = albedo(table, surfaces.material_K, surfaces.metric_3K)
    size = camera.height * camera.width
    labels = np.zeros(size, dtype=np.uint8)
    ids = np.zeros(size, dtype=np.uint8)
    if primitives is not None and hits is not None:
        label_K = primitives.label_N[hits.primitive_K]
        owner_K = primitives.owner_N[hits.primitive_K]
        _paint_people(scene, bones, camera, hits, owner_K, colour_3K[:, : len(label_K)], label_K)
        # Sleeves and hems are solids cut flat; dark, the flat end looks like the opening it stands for.
        opening = hits.cut_K & (owner_K >= 0) & (label_K != PartLabel.HAIR)
        colour_3K[:, np.flatnonzero(opening)] *= np.float32(0.3)
        labels[hits.pixel_K] = label_K
        ids[hits.pixel_K] = owner_K + 1
    depth_HW, normals_HW3 = _geometry(surfaces, camera)
    shape = (camera.height, camera.width)
    ids_HW = ids.reshape(shape)
    linear_3K = _light_up(scene, bones, camera, surfaces, table, colour_3K, (depth_HW, normals_HW3, ids_HW))
    if len(surfaces.pixel_K) < size:
        image_HW3 = paint_background(scene.background_seed, camera.height, camera.width)
    else:
        image_HW3 = np.empty((*shape, 3), dtype=np.uint8)
    image_HW3.reshape(-1, 3)[surfaces.pixel_K] = to_display(linear_3K).T
    return _Frame(
        image_HW3=image_HW3,
        person_ids_HW=ids_HW,
        part_labels_HW=labels.reshape(shape),
        depth_m_HW=depth_HW,
        normals_HW3=normals_HW3,
    )


def _primitives(scene: Scene, bones: list[PosedBones], camera: Camera) -> PrimitiveSet | None:
    sets = [
        person_primitives(person, posed, camera, owner, owner * PERSON_MATERIALS)
        for owner, (person, posed) in enumerate(zip(scene.persons, bones, strict=True))
    ]
    if scene.props:
        sets.append(prop_primitives(scene.props, camera, len(scene.persons) * PERSON_MATERIALS))
    return concatenate(sets) if sets else None


def _materials(scene: Scene) -> list[Material]:
    """Every person's materials, then the props', then the room's (floor, back wall, side wall)."""
    materials = [material for person in scene.persons for material in person.materials]
    materials += [prop.material for prop in scene.props]
    if scene.room is not None:
        materials += [scene.room.floor, scene.room.wall, scene.room.side_wall]
    return materials if materials else [Material(colour=(0.0, 0.0, 0.0))]


def _surfaces(scene: Scene, camera: Camera, primitives: PrimitiveSet | None, hits: Hits | None) -> _Surfaces:
    """Primitive hits first, then the room where no primitive was hit."""
    pixel_K = np.zeros(0, dtype=np.int64)
    point_3K = normal_3K = metric_3K = np.zeros((3, 0), dtype=np.float32)
    material_K = np.zeros(0, dtype=np.int64)
    if primitives is not None and hits is not None:
        metric_N3 = primitives.metric_N3.astype(np.float32)
        pixel_K, point_3K, normal_3K = hits.pixel_K, hits.point_m_3K, hits.normal_3K
        metric_3K = hits.local_3K * metric_N3.T[:, hits.primitive_K]
        material_K = primitives.material_N[hits.primitive_K]
    if scene.room is not None:
        empty = np.ones(camera.height * camera.width, dtype=bool)
        empty[pixel_K] = False
        free = np.flatnonzero(empty)
        column, row = camera.ray_columns()[free % camera.width], camera.ray_rows()[free // camera.width]
        seen = room_hits(scene.room, camera, column, row)
        inside = np.flatnonzero(np.isfinite(seen.depth_K))
        depth = seen.depth_K[inside]
        base = len(scene.persons) * PERSON_MATERIALS + len(scene.props)
        pixel_K = np.concatenate([pixel_K, free[inside]])
        point = np.stack([column[inside] * depth, row[inside] * depth, depth])
        point_3K = np.concatenate([point_3K, point], axis=1)
        normal_3K = np.concatenate([normal_3K, seen.normal_3K[:, inside]], axis=1)
        metric_3K = np.concatenate([metric_3K, seen.plane_3K[:, inside]], axis=1)
        material_K = np.concatenate([material_K, seen.material_K[inside] + base])
    return _Surfaces(
        pixel_K=pixel_K, point_m_3K=point_3K, normal_3K=normal_3K, metric_3K=metric_3K, material_K=material_K
    )


def _paint_people(
    scene: Scene,
    bones: list[PosedBones],
    camera: Camera,
    hits: Hits,
    owner_K: IntArray,
    colour_3K: Float32,
    label_K: IntArray,
) -> None:
    """Faces and tops; changes colours and labels in place."""

    def in_bone(chosen: IntArray, posed: PosedBones, bone: Bone) -> Float32:
        to_bone = (camera.camera_from_world_33 @ posed.rotation_B33[bone]).T.astype(np.float32)
        origin = camera.to_camera(posed.origin_m_B3[bone][None])[0].astype(np.float32)
        point: Float32 = to_bone @ (hits.point_m_3K[:, chosen] - origin[:, None])
        return point

    for owner, (person, posed) in enumerate(zip(scene.persons, bones, strict=True)):
        own_K = owner_K == owner
        face = np.flatnonzero(own_K & (label_K == PartLabel.FACE_NECK))
        if len(face):
            middle = np.array(MIDDLE_HEADS, dtype=np.float32)[:, None]
            head_3C = in_bone(face, posed, Bone.HEAD) / np.float32(person.physique.head_m) - middle
            colour_3C, label_C = colour_3K[:, face], label_K[face]
            paint_face(person.head, head_3C, colour_3C, label_C, person.materials[HAIR].colour)
            colour_3K[:, face], label_K[face] = colour_3C, label_C
        top = np.flatnonzero(own_K & (label_K == PartLabel.UPPER_CLOTHING))
        if len(top):
            chest_3C, colour_3C, label_C = in_bone(top, posed, Bone.CHEST), colour_3K[:, top], label_K[top]
            paint_top(person.outfit, person.physique, person.materials, chest_3C, colour_3C, label_C)
            colour_3K[:, top], label_K[top] = colour_3C, label_C


def _geometry(surfaces: _Surfaces, camera: Camera) -> tuple[Float32, Float32]:
    depth = np.zeros(camera.height * camera.width, dtype=np.float32)
    depth[surfaces.pixel_K] = surfaces.point_m_3K[2]
    normals = np.zeros((camera.height * camera.width, 3), dtype=np.float32)
    normals[surfaces.pixel_K] = surfaces.normal_3K.T
    return depth.reshape(camera.height, camera.width), normals.reshape(camera.height, camera.width, 3)


def _light_up(
    scene: Scene,
    bones: list[PosedBones],
    camera: Camera,
    surfaces: _Surfaces,
    table: MaterialTable,
    colour_3K: Float32,
    geometry: tuple[Float32, Float32, Picture],
) -> Float32:
    """Linear colours of the visible surfaces; `geometry` is depth, normals and person ids."""
    depth_HW, normals_HW3, ids_HW = geometry
    pixel_K, material_K = surfaces.pixel_K, surfaces.material_K
    normal_3K = np.ascontiguousarray(softened_normals(normals_HW3, ids_HW).reshape(-1, 3)[pixel_K].T)
    normal_3K = folded(normal_3K, surfaces.metric_3K, material_K, table)
    lit_K = crease_factor(depth_HW, ids_HW, scene.light.shadow).ravel()[pixel_K]
    if scene.room is not None:
        people = [(person.physique, posed) for person, posed in zip(scene.persons, bones, strict=True)]
        shadow_HW = room_shadow(scene.room, camera, scene.light, people)
        first_room = len(scene.persons) * PERSON_MATERIALS + len(scene.props)
        lit_K *= np.where(material_K >= first_room, shadow_HW.ravel()[pixel_K], np.float32(1.0))
    gloss_K = table.gloss_M[material_K]
    linear_3K = np.empty_like(colour_3K)
    # Short runs of pixels keep the many temporaries of shading in cache.
    for start in range(0, len(pixel_K), _SHADED_AT_ONCE):
        run = slice(start, start + _SHADED_AT_ONCE)
        point, normal = surfaces.point_m_3K[:, run], normal_3K[:, run]
        linear_3K[:, run] = shade(scene.light, camera, normal, point, colour_3K[:, run], gloss_K[run], lit_K[run])
    return linear_3K


def _keypoints(scene: Scene, bones: list[PosedBones], frame: _Frame) -> Float32:
    """Pixel positions and visibility: 0 outside the picture, 1 covered, 2 visible."""
    camera = scene.camera
    keypoints_PK3 = np.zeros((len(scene.persons), len(KEYPOINT_NAMES), 3), dtype=np.float32)
    for index, (person, posed) in enumerate(zip(scene.persons, bones, strict=True)):
        joints = joints_of(person, posed)
        point_K3 = camera.to_camera(joints.world_m_K3)
        xy_K2 = camera.project(point_K3)
        with np.errstate(invalid="ignore"):
            nearest_K2 = np.floor(np.nan_to_num(xy_K2, nan=-9.0) + 0.5).astype(np.int64)
        size_2 = np.array([camera.width, camera.height])
        inside_K: NDArray[np.bool_] = np.all((nearest_K2 >= 0) & (nearest_K2 < size_2), axis=1)
        column_K, row_K = np.where(inside_K[:, None], nearest_K2, 0).T
        surface_K = frame.depth_m_HW[row_K, column_K]
        id_K = frame.person_ids_HW[row_K, column_K]
        # Beyond the silhouette by a rounding step counts as seen, unless something nearer stands there.
        own_K = (id_K == index + 1) & (surface_K > point_K3[:, 2] - joints.cover_m_K)
        clear_K = (id_K != index + 1) & ((surface_K == 0.0) | (surface_K > point_K3[:, 2]))
        keypoints_PK3[index, :, :2] = np.nan_to_num(xy_K2)
        keypoints_PK3[index, :, 2] = np.where(inside_K, np.where(own_K | clear_K, 2.0, 1.0), 0.0)
    return keypoints_PK3


def _boxes(person_ids_HW: Picture, persons: int) -> Float32:
    """x0, y0, x1, y1 of each person's visible pixels, as centres of the outermost pixels; nan without any."""
    boxes_P4 = np.full((persons, 4), np.nan, dtype=np.float32)
    for index in range(persons):
        rows, columns = np.nonzero(person_ids_HW == index + 1)
        if len(columns):
            boxes_P4[index] = (columns.min(), rows.min(), columns.max(), rows.max())
    return boxes_P4
