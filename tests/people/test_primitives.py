"""Ray casting against values worked out by hand, and screen boxes against the pixels hit."""

from __future__ import annotations

import numpy as np
import pytest

from vitruvian.people.camera import Camera
from vitruvian.people.labels import PartLabel
from vitruvian.people.parts import Part, cone, ellipsoid, place_parts
from vitruvian.people.primitives import PrimitiveSet, screen_boxes
from vitruvian.people.raster import Hits, trace
from vitruvian.people.rotations import about_x, about_y, about_z
from vitruvian.people.skeleton import Bone, PosedBones

CAMERA = Camera(focal_px=100.0, cx=32.0, cy=24.0, height=49, width=65)


def placed(part: Part, origin: tuple[float, float, float], turn: np.ndarray | None = None) -> PrimitiveSet:
    rotation = np.eye(3) if turn is None else turn
    bones = PosedBones(
        origin_m_B3=np.tile(np.array(origin), (len(Bone), 1)), rotation_B33=np.tile(rotation, (len(Bone), 1, 1))
    )
    return place_parts([part], bones, CAMERA, owner=0, material_base=0)


def ball(radii: tuple[float, float, float]) -> Part:
    return ellipsoid(Bone.PELVIS, (0, 0, 0), radii, PartLabel.TORSO, 0)


def capsule(length: float, radii: tuple[float, float], clip: tuple[float, float] = (-np.inf, np.inf)) -> Part:
    return cone(Bone.PELVIS, (0, 0, 0), (0, length, 0), radii, PartLabel.TORSO, 0, clip=clip)


def at(hits: Hits, row: int, column: int) -> tuple[float, np.ndarray]:
    index = np.flatnonzero(hits.pixel_K == row * CAMERA.width + column)
    assert len(index) == 1, f"pixel ({row}, {column}) was not hit"
    return float(hits.point_m_3K[2, index[0]]), hits.normal_3K[:, index[0]]


def test_sphere_depth_and_normal() -> None:
    hits = trace(placed(ball((0.3, 0.3, 0.3)), (0, 0, 2.0)), CAMERA)
    depth, normal = at(hits, 24, 32)
    assert depth == pytest.approx(1.7, abs=1e-5)
    np.testing.assert_allclose(normal, (0, 0, -1), atol=1e-5)
    # The ray (0.1, 0, 1) meets |p - (0, 0, 2)| = 0.3 where 1.01 z^2 - 4 z + 3.91 = 0.
    expected = (4 - np.sqrt(16 - 4 * 1.01 * 3.91)) / (2 * 1.01)
    depth, normal = at(hits, 24, 42)
    assert depth == pytest.approx(expected, abs=1e-5)
    np.testing.assert_allclose(normal, (np.array([0.1, 0, 1]) * expected - (0, 0, 2)) / 0.3, atol=1e-4)


def test_capsule_side_is_a_cylinder() -> None:
    hits = trace(placed(capsule(0.6, (0.2, 0.2)), (0, -0.3, 2.0)), CAMERA)
    for row in (18, 24, 30):
        depth, normal = at(hits, row, 32)
        assert depth == pytest.approx(1.8, abs=1e-5)
        np.testing.assert_allclose(normal, (0, 0, -1), atol=1e-4)


def test_tapered_cone_surface_has_its_slope() -> None:
    hits = trace(placed(capsule(0.8, (0.25, 0.05)), (0, -0.4, 2.0)), CAMERA)
    _, normal = at(hits, 24, 32)
    np.testing.assert_allclose(normal, (0, 0.25, -np.sqrt(1 - 0.0625)), atol=1e-4)


def test_cut_cylinder_shows_a_flat_end() -> None:
    turned = about_x(-np.pi / 2)
    hits = trace(
        placed(capsule(0.5, (0.2, 0.2), (0.1, np.inf)), (0, 0, 1.5), turned @ np.diag([1.0, -1.0, -1.0])), CAMERA
    )
    depth, normal = at(hits, 26, 34)
    assert depth == pytest.approx(1.6, abs=1e-5)
    np.testing.assert_allclose(normal, (0, 0, -1), atol=1e-5)


@pytest.mark.parametrize("seed", range(6))
def test_boxes_enclose_exactly_the_pixels_hit(seed: int) -> None:
    rng = np.random.default_rng(seed)
    turn = about_z(rng.uniform(0, 3)) @ about_y(rng.uniform(0, 3)) @ about_x(rng.uniform(0, 3))
    origin = (float(rng.uniform(-0.4, 0.4)), float(rng.uniform(-0.3, 0.3)), float(rng.uniform(1.5, 4)))
    part = capsule(0.5, (0.2, 0.1)) if seed % 2 else ball((0.3, 0.1, 0.2))
    primitives = placed(part, origin, turn)
    x0, y0, x1, y1 = screen_boxes(primitives, CAMERA)[0]
    rows, columns = np.divmod(trace(primitives, CAMERA).pixel_K, CAMERA.width)
    assert columns.min() - x0 in (0, 1)
    assert x1 - 1 - columns.max() in (0, 1)
    assert rows.min() - y0 in (0, 1)
    assert y1 - 1 - rows.max() in (0, 1)


def test_a_primitive_behind_the_camera_is_unseen() -> None:
    assert len(trace(placed(ball((0.3, 0.3, 0.3)), (0, 0, -2.0)), CAMERA).pixel_K) == 0
    assert len(trace(placed(capsule(0.5, (0.1, 0.1)), (0, 0, -2.0)), CAMERA).pixel_K) == 0


def test_small_and_far_primitives_keep_their_precision() -> None:
    hits = trace(placed(ball((0.3, 0.3, 0.02)), (0, 0, 20.0)), CAMERA)
    depth, _ = at(hits, 24, 32)
    assert depth == pytest.approx(19.98, abs=1e-4)
