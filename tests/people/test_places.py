"""Places: the same seed gives the same, sizes are those of the world, the lens changes nothing but the view."""

from __future__ import annotations

import math

import numpy as np
import pytest

from vitruvian.people import furniture, render
from vitruvian.people.materials import Material, albedo, chequered, striped, table_of, tiled
from vitruvian.people.places import random_place

BLACK, WHITE = (0.0, 0.0, 0.0), (1.0, 1.0, 1.0)


def shares(material: Material, x_m: np.ndarray, y_m: np.ndarray) -> np.ndarray:
    """Share of the second colour at points of a surface."""
    metric_3K = np.stack([x_m, y_m, np.zeros_like(x_m)]).astype(np.float32)
    return albedo(table_of([material]), np.zeros(len(x_m), np.int64), metric_3K)[0]


def test_a_place_renders_alike_for_the_same_seed() -> None:
    first, again, other = (render(random_place(seed, 36, 48, 40.0)) for seed in (1, 1, 2))
    assert np.array_equal(first.image_HW3, again.image_HW3)
    assert not np.array_equal(first.image_HW3, other.image_HW3)


def test_the_lens_changes_the_view_alone() -> None:
    for seed in range(6):
        wide, tele = random_place(seed, 36, 48, 30.0), random_place(seed, 36, 48, 90.0)
        assert (wide.camera.focal_px, tele.camera.focal_px) == (30.0, 90.0)
        assert wide.props == tele.props
        for one, other in zip(wide.persons, tele.persons, strict=True):
            assert (one.position_m_3, one.heading_rad) == (other.position_m_3, other.heading_rad)
        assert np.array_equal(wide.camera.position_m_3, tele.camera.position_m_3)


def test_places_hold_what_depth_is_learnt_from() -> None:
    """Over some seeds: near and far, with and without people, indoors and out, depth and normals that fit."""
    near_m, far_m, persons, walls = [], [], [], []
    for seed in range(24):
        scene = random_place(seed, 36, 48, 40.0)
        view = render(scene)
        surface = view.depth_m_HW > 0
        if not surface.any():
            continue
        near_m.append(float(np.percentile(view.depth_m_HW[surface], 1)))
        far_m.append(float(view.depth_m_HW.max()))
        persons.append(len(scene.persons))
        walls.append(scene.room is not None and scene.room.walls)
        rows, columns = np.nonzero(surface)
        camera = view.camera
        rays = np.stack(
            [(columns - camera.cx) / camera.focal_px, (rows - camera.cy) / camera.focal_px, np.ones(len(rows))], axis=1
        )
        toward = (view.normals_HW3[rows, columns] * rays).sum(axis=1)
        assert toward.max() < 1e-3, "normals point toward the camera"
    assert min(near_m) < 1.5
    assert 15 < max(far_m) < 60
    assert {0, 1} <= set(persons)
    assert set(walls) == {True, False}


def test_pieces_are_as_large_as_in_the_world() -> None:
    rng = np.random.default_rng(0)
    heights = {
        maker: max(solid.at_m_3[1] + solid.size_m_3[1] for solid in maker(rng))
        for maker in (furniture.table, furniture.door, furniture.sofa, furniture.car)
    }
    assert 0.3 < heights[furniture.table] < 0.8
    assert heights[furniture.door] == pytest.approx(2.1)
    assert heights[furniture.sofa] == pytest.approx(0.85)
    assert 1.3 < heights[furniture.car] < 1.6


def test_a_piece_is_turned_as_a_whole() -> None:
    bed = furniture.bed(np.random.default_rng(0))
    head = max(bed, key=lambda solid: solid.at_m_3[2])
    at = [prop.base_m_3 for prop in furniture.placed(bed, 5.0, 7.0, math.pi / 2)]
    turned = at[bed.index(head)]
    # A quarter turn takes +z to +x.
    assert turned == pytest.approx((5.0 + head.at_m_3[2], -head.at_m_3[1], 7.0), abs=1e-9)


def test_patterns_have_their_size() -> None:
    x_m = np.linspace(0.01, 3.0, 2991)
    middle = np.full_like(x_m, 0.1)
    tiles = shares(tiled(BLACK, WHITE, 0.3), x_m, np.full_like(x_m, 0.15)) > 0.5
    assert np.diff(np.flatnonzero(np.diff(tiles.astype(int)) == 1)).mean() * 0.001 == pytest.approx(0.3, rel=0.02)
    assert tiles.mean() == pytest.approx(1 / 24, abs=0.004)
    checks = shares(chequered(BLACK, WHITE, 0.5), x_m, middle) > 0.5
    assert np.diff(np.flatnonzero(np.diff(checks.astype(int)))).mean() * 0.001 == pytest.approx(0.5, rel=0.02)
    stripes = shares(striped(BLACK, WHITE, 0.2, share=0.25, upright=True), x_m, middle) > 0.5
    assert stripes.mean() == pytest.approx(0.25, abs=0.03)
    lying = shares(striped(BLACK, WHITE, 0.2, upright=False), x_m, np.full_like(x_m, 0.05))
    assert len(np.unique(lying > 0.5)) == 1
