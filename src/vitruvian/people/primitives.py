"""Convex primitives and their analytic intersection with pixel rays.

Inputs -> outputs: a `PrimitiveSet` in the camera frame and a flat list of (primitive, pixel) candidates -> depth of
the entry point per candidate (inf where the ray misses). One primitive is an affine image of
- a round cone (two spheres and the cone touching both) about the local +y axis, optionally cut by two planes of
  constant local y: limbs, sleeves, skirts, cylinders,
- the unit sphere, cut the same way: head, hair, muscles,
- the cube [-1, 1]^3: furniture.
The quadratics over all candidate pixels dominate rendering time; they run in float32 with the ray origin moved next
to the primitive, so that nothing cancels at distance.
"""

from __future__ import annotations

from dataclasses import dataclass, fields

import numpy as np
from numpy.typing import NDArray

from vitruvian.people.camera import Camera
from vitruvian.people.rotations import FloatArray

CONE, ELLIPSOID, BOX = 0, 1, 2
NEAR_M = 0.05
Float32 = NDArray[np.float32]
IntArray = NDArray[np.int64]
# Rows of `candidate_parameters` that `entry_depths` looks at, per kind and whether it is clipped.
PARAMETERS_READ: dict[tuple[int, bool], int] = {
    (CONE, False): 17,
    (ELLIPSOID, False): 13,
    (BOX, False): 13,
    (CONE, True): 19,
    (ELLIPSOID, True): 19,
    (BOX, True): 19,
}


@dataclass(frozen=True, kw_only=True, slots=True)
class PrimitiveSet:
    """N primitives; local point = to_local @ (point - centre), so `to_local` holds rotation and scale."""

    kind_N: IntArray
    centre_N3: FloatArray
    to_local_N33: FloatArray
    metric_N3: FloatArray
    radius_a_N: FloatArray
    radius_b_N: FloatArray
    length_N: FloatArray
    clip_low_N: FloatArray
    clip_high_N: FloatArray
    owner_N: IntArray
    label_N: IntArray
    material_N: IntArray

    def __len__(self) -> int:
        return len(self.kind_N)

    def taper_sine_N(self) -> FloatArray:
        """Sine of the cone's opening angle; 0 for spheres and boxes."""
        length_N = np.maximum(self.length_N, 1e-6)
        return np.where(self.kind_N == CONE, np.clip((self.radius_a_N - self.radius_b_N) / length_N, -0.99, 0.99), 0.0)


def concatenate(sets: list[PrimitiveSet]) -> PrimitiveSet:
    """One set with all primitives, in order."""
    return PrimitiveSet(**{f.name: np.concatenate([getattr(s, f.name) for s in sets]) for f in fields(PrimitiveSet)})


def screen_boxes(primitives: PrimitiveSet, camera: Camera) -> IntArray:
    """Pixel boxes (N, 4) as x0, y0, x1, y1 (end exclusive), clipped to the picture; empty where unseen."""
    from_local_N33 = np.linalg.inv(primitives.to_local_N33)
    cone_N = primitives.kind_N == CONE
    radius_a_N = np.where(cone_N, primitives.radius_a_N, np.where(primitives.kind_N == BOX, np.sqrt(3.0), 1.0))
    radius_b_N = np.where(cone_N, primitives.radius_b_N, radius_a_N)
    end_N3 = primitives.centre_N3 + from_local_N33[:, :, 1] * primitives.length_N[:, None]
    spread_N33 = from_local_N33 @ from_local_N33.transpose(0, 2, 1)
    box_a_N4 = _sphere_image_boxes(primitives.centre_N3, spread_N33 * (radius_a_N**2)[:, None, None], camera)
    box_b_N4 = _sphere_image_boxes(end_N3, spread_N33 * (radius_b_N**2)[:, None, None], camera)
    low_N2 = np.minimum(box_a_N4[:, :2], box_b_N4[:, :2])
    high_N2 = np.maximum(box_a_N4[:, 2:], box_b_N4[:, 2:])
    size = np.array([camera.width, camera.height])
    low_N2 = np.clip(np.ceil(low_N2), 0, size).astype(np.int64)
    high_N2 = np.clip(np.floor(high_N2) + 1, low_N2, size).astype(np.int64)
    return np.concatenate([low_N2, high_N2], axis=1)


def _sphere_image_boxes(centre_N3: FloatArray, spread_N33: FloatArray, camera: Camera) -> FloatArray:
    """Exact bounds of the outline of ellipsoids (x^T spread^-1 x = 1) from the dual conic of the outline."""
    dual_N33 = spread_N33 - centre_N3[:, :, None] * centre_N3[:, None, :]
    behind_N = centre_N3[:, 2] + np.sqrt(spread_N33[:, 2, 2]) < NEAR_M
    touching_N = (dual_N33[:, 2, 2] > -1e-9) | (centre_N3[:, 2] < NEAR_M)
    scale_N = np.where(touching_N, -1.0, dual_N33[:, 2, 2])
    bounds = []
    for axis, offset in ((0, camera.cx), (1, camera.cy)):
        middle_N = dual_N33[:, axis, 2] / scale_N
        root_N = np.sqrt(np.maximum(middle_N**2 - dual_N33[:, axis, axis] / scale_N, 0.0))
        low_N = np.where(touching_N, -1e6, offset + camera.focal_px * (middle_N - root_N))
        high_N = np.where(touching_N, 1e6, offset + camera.focal_px * (middle_N + root_N))
        # Both ends beyond the left or top border: the box comes out empty.
        bounds.append((np.where(behind_N, 1e6, low_N), np.where(behind_N, -1e6, high_N)))
    return np.stack([bounds[0][0], bounds[1][0], bounds[0][1], bounds[1][1]], axis=1)


def entry_depths(kind: int, clipped: bool, parameters_PC: Float32, column_C: Float32, row_C: Float32) -> Float32:
    """Entry depth per candidate; inf for a miss.

    `parameters_PC` are the first rows of `candidate_parameters`, as many as `PARAMETERS_READ` says, one column per
    candidate. The ray is measured from the reference depth next to the primitive.
    """
    depth_C = parameters_PC[12]
    direction_3C = parameters_PC[0:3] + parameters_PC[3:6] * column_C
    direction_3C += parameters_PC[6:9] * row_C
    origin_3C = direction_3C * depth_C
    origin_3C -= parameters_PC[9:12]
    if kind == BOX:
        enter_C, leave_C = _box_interval(origin_3C, direction_3C)
    elif kind == ELLIPSOID:
        enter_C, leave_C = _sphere_interval(origin_3C, direction_3C)
    else:
        enter_C, leave_C = _cone_interval(origin_3C, direction_3C, parameters_PC[13:17], clipped)
    if clipped:
        enter_C = _clip_entry(enter_C, leave_C, origin_3C[1], direction_3C[1], parameters_PC[17:19])
    enter_C += depth_C
    return np.where(enter_C > NEAR_M, enter_C, np.float32(np.inf))


def candidate_parameters(primitives: PrimitiveSet, camera: Camera) -> Float32:
    """(19, N): local ray direction as a + b*column + c*row, local centre, reference depth, cone numbers, clips."""
    to_local = primitives.to_local_N33
    per_column_N3 = to_local[:, :, 0] / camera.focal_px
    per_row_N3 = to_local[:, :, 1] / camera.focal_px
    constant_N3 = to_local[:, :, 2] - per_column_N3 * camera.cx - per_row_N3 * camera.cy
    centre_N3 = np.einsum("nij,nj->ni", to_local, primitives.centre_N3)
    shape_N7 = np.stack(
        [
            np.maximum(primitives.centre_N3[:, 2], NEAR_M),
            primitives.radius_a_N,
            primitives.radius_b_N,
            primitives.length_N,
            primitives.taper_sine_N(),
            primitives.clip_low_N,
            primitives.clip_high_N,
        ],
        axis=1,
    )
    return np.ascontiguousarray(
        np.concatenate([constant_N3, per_column_N3, per_row_N3, centre_N3, shape_N7], axis=1).T.astype(np.float32)
    )


def _sphere_interval(origin_3C: Float32, direction_3C: Float32) -> tuple[Float32, Float32]:
    a_C = np.einsum("ic,ic->c", direction_3C, direction_3C)
    b_C = np.einsum("ic,ic->c", origin_3C, direction_3C)
    c_C = np.einsum("ic,ic->c", origin_3C, origin_3C) - np.float32(1.0)
    return _roots(a_C, b_C, c_C)


def _roots(a_C: Float32, b_C: Float32, c_C: Float32) -> tuple[Float32, Float32]:
    """Both roots of a t^2 + 2 b t + c; nan where there are none, so that comparisons come out false."""
    with np.errstate(invalid="ignore"):
        root_C = np.sqrt(b_C * b_C - a_C * c_C)
    return (-b_C - root_C) / a_C, (root_C - b_C) / a_C


def _cone_interval(
    origin_3C: Float32, direction_3C: Float32, shape_4C: Float32, with_exit: bool
) -> tuple[Float32, Float32]:
    """Entry (and exit where asked) of the hull of two spheres on the local y axis."""
    radius_a_C, radius_b_C, length_C, sine_C = shape_4C
    o_y, d_y = origin_3C[1], direction_3C[1]
    a_C = np.einsum("ic,ic->c", direction_3C, direction_3C)
    b_C = np.einsum("ic,ic->c", origin_3C, direction_3C)
    square_C = np.einsum("ic,ic->c", origin_3C, origin_3C)
    first = _roots(a_C, b_C, square_C - radius_a_C * radius_a_C)
    beyond_C = square_C + length_C * (length_C - 2.0 * o_y) - radius_b_C * radius_b_C
    second = _roots(a_C, b_C - length_C * d_y, beyond_C)
    cosine2_C = 1.0 - sine_C * sine_C
    slope_C = radius_a_C * sine_C
    side_a_C = cosine2_C * a_C - d_y * d_y
    side_b_C = cosine2_C * b_C + d_y * (slope_C - o_y)
    side_c_C = cosine2_C * square_C - radius_a_C * radius_a_C + o_y * (2.0 * slope_C - o_y)
    side_a_C = np.where(np.abs(side_a_C) < 1e-12, np.float32(1e-12), side_a_C)
    side = _roots(side_a_C, side_b_C, side_c_C)
    top_C = length_C + radius_b_C * sine_C
    enter_C = np.fmin(np.fmin(first[0], second[0]), _within(side[0], o_y, d_y, slope_C, top_C))
    if not with_exit:
        return enter_C, enter_C
    return enter_C, np.fmax(np.fmax(first[1], second[1]), _within(side[1], o_y, d_y, slope_C, top_C))


def _within(root_C: Float32, o_y: Float32, d_y: Float32, low_C: Float32, high_C: Float32) -> Float32:
    """Keep roots on the piece of cone between the two touching circles; nan elsewhere."""
    y_C = o_y + root_C * d_y
    return np.where((y_C >= low_C) & (y_C <= high_C), root_C, np.float32(np.nan))


def _box_interval(origin_3C: Float32, direction_3C: Float32) -> tuple[Float32, Float32]:
    safe_3C = np.where(np.abs(direction_3C) < 1e-9, np.float32(1e-9), direction_3C)
    first_3C = (-1.0 - origin_3C) / safe_3C
    second_3C = (1.0 - origin_3C) / safe_3C
    enter_C = np.minimum(first_3C, second_3C).max(axis=0)
    leave_C = np.maximum(first_3C, second_3C).min(axis=0)
    return np.where(enter_C <= leave_C, enter_C, np.float32(np.nan)), leave_C


def _clip_entry(enter_C: Float32, leave_C: Float32, o_y: Float32, d_y: Float32, clip_2C: Float32) -> Float32:
    safe_C = np.where(np.abs(d_y) < 1e-9, np.float32(1e-9), d_y)
    low_C = (clip_2C[0] - o_y) / safe_C
    high_C = (clip_2C[1] - o_y) / safe_C
    enter_C = np.maximum(enter_C, np.minimum(low_C, high_C))
    leave_C = np.minimum(leave_C, np.maximum(low_C, high_C))
    return np.where(enter_C <= leave_C, enter_C, np.float32(np.nan))
