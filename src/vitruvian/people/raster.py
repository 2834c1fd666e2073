"""Z-buffering of primitives: which primitive each pixel sees, how far away, and its surface there.

Inputs -> outputs: `PrimitiveSet` + `Camera` -> `Hits` (the pixels hit, their primitive, depth, local point, normal).
Candidates are the pixels of every primitive's screen box, processed as flat batches small enough to stay in cache;
their quadratics dominate.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from vitruvian.people.camera import Camera
from vitruvian.people.primitives import (
    BOX,
    CONE,
    ELLIPSOID,
    PARAMETERS_READ,
    Float32,
    IntArray,
    PrimitiveSet,
    candidate_parameters,
    entry_depths,
    screen_boxes,
)

_BATCH_CANDIDATES = 24_000


@dataclass(frozen=True, kw_only=True, slots=True)
class Hits:
    """K pixels that see a primitive: flat pixel and primitive index, camera and local point, normal, on a cut?"""

    pixel_K: IntArray
    primitive_K: IntArray
    point_m_3K: Float32
    local_3K: Float32
    normal_3K: Float32
    cut_K: NDArray[np.bool_]


def trace(primitives: PrimitiveSet, camera: Camera) -> Hits:
    """Nearest surface per pixel over all primitives."""
    boxes_N4 = screen_boxes(primitives, camera)
    parameters = candidate_parameters(primitives, camera)
    depth = np.full(camera.height * camera.width, np.inf, dtype=np.float32)
    winner = np.full(camera.height * camera.width, -1, dtype=np.int64)
    area_N = (boxes_N4[:, 2] - boxes_N4[:, 0]) * (boxes_N4[:, 3] - boxes_N4[:, 1])
    clipped_N = np.isfinite(primitives.clip_low_N) | np.isfinite(primitives.clip_high_N)
    for kind in (CONE, ELLIPSOID, BOX):
        for clipped in (False, True):
            chosen = np.flatnonzero((primitives.kind_N == kind) & (clipped_N == clipped) & (area_N > 0))
            for batch in _batches(chosen, area_N):
                _trace_batch(kind, clipped, batch, boxes_N4, parameters, camera.width, depth, winner)
    return _surface(primitives, camera, depth, winner)


def _batches(chosen: IntArray, area_N: IntArray) -> list[IntArray]:
    if len(chosen) == 0:
        return []
    group = np.cumsum(area_N[chosen]) // _BATCH_CANDIDATES
    return np.split(chosen, np.flatnonzero(np.diff(group)) + 1)


def _trace_batch(
    kind: int,
    clipped: bool,
    batch: IntArray,
    boxes_N4: IntArray,
    parameters: Float32,
    width: int,
    depth: Float32,
    winner: IntArray,
) -> None:
    """Update `depth` and `winner` in place with the primitives of one batch."""
    box = boxes_N4[batch].astype(np.int32)
    wide, high = box[:, 2] - box[:, 0], box[:, 3] - box[:, 1]
    area = wide * high
    which = np.repeat(np.arange(len(batch), dtype=np.int32), area)
    start = np.cumsum(area) - area
    within = np.arange(len(which), dtype=np.int32) - np.repeat(start, area).astype(np.int32)
    wide_C = wide[which]
    row = within // wide_C
    column = within - row * wide_C + box[:, 0][which]
    row += box[:, 1][which]
    values = parameters[: PARAMETERS_READ[kind, clipped], batch].take(which, axis=1)
    found = entry_depths(kind, clipped, values, column.astype(np.float32), row.astype(np.float32))
    hit = np.flatnonzero(np.isfinite(found))
    pixel = (row * width + column)[hit]
    found = found[hit]
    closer = found < depth[pixel]
    pixel, found, hit = pixel[closer], found[closer], hit[closer]
    np.minimum.at(depth, pixel, found)
    best = found == depth[pixel]
    winner[pixel[best]] = batch[which[hit[best]]]


def _surface(primitives: PrimitiveSet, camera: Camera, depth: Float32, winner: NDArray[np.int64]) -> Hits:
    pixel_K = np.flatnonzero(winner >= 0)
    primitive_K = winner[pixel_K]
    depth_K = depth[pixel_K]
    row_K = pixel_K // camera.width
    column_K = pixel_K - row_K * camera.width
    point_3K = np.stack([camera.ray_columns()[column_K] * depth_K, camera.ray_rows()[row_K] * depth_K, depth_K])
    matrix_33K = np.ascontiguousarray(primitives.to_local_N33.transpose(1, 2, 0).astype(np.float32))[:, :, primitive_K]
    centre_3K = np.ascontiguousarray(primitives.centre_N3.T.astype(np.float32))[:, primitive_K]
    local_3K = np.einsum("ijk,jk->ik", matrix_33K, point_3K - centre_3K)
    inward_K = np.einsum("jk,jk->k", matrix_33K[1], point_3K)
    gradient_3K, cut_K = _local_gradient(primitives, primitive_K, local_3K, inward_K)
    normal_3K = np.einsum("jik,jk->ik", matrix_33K, gradient_3K)
    normal_3K /= np.sqrt(np.einsum("ik,ik->k", normal_3K, normal_3K)) + np.float32(1e-12)
    return Hits(
        pixel_K=pixel_K,
        primitive_K=primitive_K,
        point_m_3K=point_3K,
        local_3K=local_3K,
        normal_3K=normal_3K,
        cut_K=cut_K,
    )


def _local_gradient(
    primitives: PrimitiveSet, primitive_K: IntArray, local_3K: Float32, inward_K: Float32
) -> tuple[Float32, NDArray[np.bool_]]:
    """Outward direction of the surface in local coordinates (any length), and whether it is a cut's flat face.

    `inward_K` is the local y component of the viewing ray: a cut is only seen by rays that enter through it.
    """
    sine_N = primitives.taper_sine_N()
    tangent_K = (sine_N / np.sqrt(1.0 - sine_N**2)).astype(np.float32)[primitive_K]
    length_K = primitives.length_N.astype(np.float32)[primitive_K]
    radial_K = np.sqrt(local_3K[0] ** 2 + local_3K[2] ** 2)
    gradient_3K = local_3K.copy()
    # The surface normal meets the axis here; beyond the ends it points away from the end spheres' centres.
    gradient_3K[1] -= np.clip(local_3K[1] - radial_K * tangent_K, 0.0, length_K)
    cut_K = np.zeros(len(primitive_K), dtype=bool)
    for limit_N, sign in ((primitives.clip_low_N, -1.0), (primitives.clip_high_N, 1.0)):
        if np.isfinite(limit_N).any():
            near_N = 1e-3 * np.maximum(primitives.length_N + primitives.radius_a_N, 1e-3)
            gap_K = (limit_N.astype(np.float32)[primitive_K] - local_3K[1]) * np.float32(sign)
            flat_K = (gap_K < near_N.astype(np.float32)[primitive_K]) & (inward_K * np.float32(sign) < 0.0)
            cut_K |= flat_K
            gradient_3K[:, flat_K] = np.array([0.0, sign, 0.0], dtype=np.float32)[:, None]
    boxed_K = primitives.kind_N[primitive_K] == BOX
    if boxed_K.any():
        inside_3B = local_3K[:, boxed_K]
        face_B = np.abs(inside_3B).argmax(axis=0)
        sharp_3B = np.zeros_like(inside_3B)
        sharp_3B[face_B, np.arange(len(face_B))] = np.sign(inside_3B[face_B, np.arange(len(face_B))])
        gradient_3K[:, boxed_K] = sharp_3B
    return gradient_3K, cut_K
