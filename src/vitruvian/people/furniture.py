"""Furniture and fittings of everyday size: what tells a viewer how large a room is.

Inputs -> outputs: random generator -> a `Piece`, solids around a place on the floor that `placed` puts into the world.
Negligible cost; each solid adds to rendering what it covers of the picture.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from vitruvian.people.materials import Material, Rgb, chequered, plain, striped, tiled
from vitruvian.people.rotations import about_y
from vitruvian.people.surroundings import Prop
from vitruvian.people.wardrobe import random_colour

Generator = np.random.Generator
WOODS: tuple[Rgb, ...] = (
    (0.28, 0.14, 0.06),
    (0.42, 0.26, 0.13),
    (0.12, 0.06, 0.03),
    (0.55, 0.4, 0.25),
    (0.7, 0.66, 0.6),
)


@dataclass(frozen=True, kw_only=True, slots=True)
class Solid:
    """One solid of a piece: x right, z to the back, heights above the floor; half width, full height, half depth."""

    shape: str
    at_m_3: tuple[float, float, float]
    """x, height of the foot above the floor, z."""
    size_m_3: tuple[float, float, float]
    material: Material


Piece = tuple[Solid, ...]


def placed(piece: Piece, x_m: float, z_m: float, turn_rad: float) -> tuple[Prop, ...]:
    """A piece in the world, turned about its upright axis."""
    turn = about_y(turn_rad)
    props = []
    for solid in piece:
        offset = turn @ np.array([solid.at_m_3[0], 0.0, solid.at_m_3[2]])
        props.append(
            Prop(
                shape=solid.shape,
                base_m_3=(x_m + float(offset[0]), -solid.at_m_3[1], z_m + float(offset[2])),
                size_m_3=solid.size_m_3,
                turn_rad=turn_rad,
                material=solid.material,
            )
        )
    return tuple(props)


def reach_m(piece: Piece) -> float:
    """Radius on the floor that a piece stays inside of."""
    return max(float(np.hypot(s.at_m_3[0], s.at_m_3[2]) + np.hypot(s.size_m_3[0], s.size_m_3[2])) for s in piece)


def wood(rng: Generator) -> Material:
    """Bare or painted wood."""
    colour = WOODS[int(rng.integers(len(WOODS)))] if rng.random() < 0.7 else random_colour(rng)
    return plain(colour, grain=float(rng.uniform(0.02, 0.12)), gloss=float(rng.choice([0.0, 0.05])))


def cloth(rng: Generator) -> Material:
    """One colour, stripes or checks."""
    draw, colour, second = rng.random(), random_colour(rng), random_colour(rng)
    if draw < 0.7:
        return plain(colour, grain=float(rng.uniform(0.02, 0.15)), gloss=0.0)
    size_m = float(rng.uniform(0.03, 0.12))
    return striped(colour, second, size_m) if draw < 0.85 else chequered(colour, second, size_m)


def _box(x: float, low: float, z: float, half_w: float, high: float, half_d: float, material: Material) -> Solid:
    return Solid(shape="box", at_m_3=(x, low, z), size_m_3=(half_w, high, half_d), material=material)


def _legs(half_w: float, half_d: float, high: float, thick: float, material: Material) -> Piece:
    return tuple(
        _box(x * (half_w - thick), 0.0, z * (half_d - thick), thick, high, thick, material)
        for x in (-1, 1)
        for z in (-1, 1)
    )


def table(rng: Generator) -> Piece:
    """A dining table or desk, or a low one before a sofa."""
    low = rng.random() < 0.25
    high = float(rng.uniform(0.36, 0.46) if low else rng.uniform(0.71, 0.77))
    half_w, half_d = float(rng.uniform(0.4, 0.9)), float(rng.uniform(0.3, 0.45))
    material = wood(rng)
    return (
        _box(0, high - 0.03, 0, half_w, 0.03, half_d, material),
        *_legs(half_w, half_d, high - 0.03, 0.025, material),
    )


def chair(rng: Generator) -> Piece:
    """A chair whose back is at +z."""
    material, half = wood(rng), float(rng.uniform(0.2, 0.24))
    back = _box(0, 0.45, half - 0.02, half, float(rng.uniform(0.35, 0.5)), 0.02, material)
    return (_box(0, 0.42, 0, half, 0.04, half, cloth(rng)), back, *_legs(half, half, 0.42, 0.018, material))


def sofa(rng: Generator) -> Piece:
    """An armchair or sofa whose back is at +z."""
    material, half_w = cloth(rng), float(rng.choice([0.45, 0.8, 1.05]))
    arms = tuple(_box(x * half_w, 0.0, 0, 0.09, 0.6, 0.42, material) for x in (-1, 1))
    return (_box(0, 0.0, 0, half_w, 0.42, 0.42, material), _box(0, 0.0, 0.38, half_w, 0.85, 0.1, material), *arms)


def shelf(rng: Generator) -> Piece:
    """A bookcase or wardrobe."""
    half_w, high = float(rng.uniform(0.3, 0.6)), float(rng.uniform(1.2, 2.1))
    colour = wood(rng).colour
    front = striped(colour, random_colour(rng), 0.34, share=0.8) if rng.random() < 0.6 else plain(colour)
    return (_box(0, 0.0, 0, half_w, high, float(rng.uniform(0.14, 0.3)), front),)


def cabinet(rng: Generator) -> Piece:
    """A chest of drawers, a fridge or a washing machine."""
    kind = int(rng.integers(3))
    half_w, high, half_d = ((float(rng.uniform(0.4, 0.8)), 0.85, 0.23), (0.3, 1.8, 0.32), (0.3, 0.85, 0.3))[kind]
    colour = wood(rng).colour if kind == 0 else (0.75, 0.75, 0.76)
    front = tiled(colour, (0.05, 0.05, 0.05), 0.28 if kind == 0 else 0.6, gloss=0.08)
    return (_box(0, 0.0, 0, half_w, high, half_d, front),)


def bed(rng: Generator) -> Piece:
    """A bed whose head is at +z."""
    half_w, frame = float(rng.choice([0.45, 0.7, 0.9])), wood(rng)
    pillow = _box(0, 0.5, 0.8, half_w * 0.8, 0.1, 0.18, plain((0.8, 0.8, 0.8)))
    return (_box(0, 0.0, 0, half_w, 0.5, 1.0, cloth(rng)), _box(0, 0.0, 1.0, half_w, 0.95, 0.03, frame), pillow)


def carton(rng: Generator) -> Piece:
    """One or two boxes."""
    material = plain((0.45, 0.3, 0.17), grain=0.06, gloss=0.0) if rng.random() < 0.6 else cloth(rng)
    half, high = rng.uniform(0.12, 0.32, 2), float(rng.uniform(0.2, 0.55))
    low = _box(0, 0.0, 0, float(half[0]), high, float(half[1]), material)
    above = _box(0.03, high, 0.02, float(half[0]) * 0.8, high * 0.8, float(half[1]) * 0.8, material)
    return (low, above) if rng.random() < 0.4 else (low,)


def ball(rng: Generator) -> Piece:
    """A football or an exercise ball."""
    radius = 0.11 if rng.random() < 0.6 else float(rng.uniform(0.25, 0.36))
    return (Solid(shape="ball", at_m_3=(0, 0, 0), size_m_3=(radius, 2 * radius, radius), material=cloth(rng)),)


def plant(rng: Generator) -> Piece:
    """A potted plant."""
    radius, high = float(rng.uniform(0.1, 0.2)), float(rng.uniform(0.2, 0.4))
    leaf = plain((0.05, float(rng.uniform(0.12, 0.3)), 0.04), grain=0.2, gloss=0.0)
    crown = float(rng.uniform(0.2, 0.45))
    return (
        Solid(shape="cylinder", at_m_3=(0, 0, 0), size_m_3=(radius, high, radius), material=plain(random_colour(rng))),
        Solid(shape="ball", at_m_3=(0, high + 0.05, 0), size_m_3=(crown, 2.4 * crown, crown), material=leaf),
    )


def lamp(rng: Generator) -> Piece:
    """A standing lamp."""
    high, metal = float(rng.uniform(1.3, 1.6)), plain((0.1, 0.1, 0.1), gloss=0.1)
    shade = plain((0.85, 0.8, 0.65), gloss=0.0)
    return (
        Solid(shape="cylinder", at_m_3=(0, 0, 0), size_m_3=(0.14, 0.02, 0.14), material=metal),
        Solid(shape="cylinder", at_m_3=(0, 0, 0), size_m_3=(0.015, high, 0.015), material=metal),
        Solid(shape="cylinder", at_m_3=(0, high - 0.05, 0), size_m_3=(0.2, 0.28, 0.2), material=shade),
    )


def rug(rng: Generator) -> Piece:
    """A thin carpet."""
    return (_box(0, 0.0, 0, float(rng.uniform(0.6, 1.4)), 0.012, float(rng.uniform(0.4, 1.0)), cloth(rng)),)


def door(rng: Generator) -> Piece:
    """A door in its frame, to stand against a wall."""
    leaf, frame = wood(rng), plain((0.7, 0.7, 0.68))
    return (_box(0, 0.0, 0, 0.5, 2.1, 0.02, frame), _box(0, 0.0, 0, 0.42, 2.02, 0.035, leaf))


def window(rng: Generator) -> Piece:
    """A window, to hang on a wall."""
    half_w = float(rng.uniform(0.4, 0.9))
    glass = tiled((0.75, 0.85, 0.95), (0.6, 0.6, 0.6), float(rng.uniform(0.4, 0.7)), gloss=0.1)
    return (_box(0, 0.9, 0, half_w, float(rng.uniform(1.0, 1.3)), 0.03, glass),)


def picture_frame(rng: Generator) -> Piece:
    """A picture or a screen, to hang on a wall."""
    half_w, high = float(rng.uniform(0.15, 0.55)), float(rng.uniform(0.3, 0.8))
    inner = plain(random_colour(rng), grain=0.3)
    low = float(rng.uniform(1.1, 1.4))
    return (
        _box(0, low, 0, half_w + 0.03, high, 0.015, plain((0.03, 0.03, 0.03))),
        _box(0, low + 0.03, 0, half_w, high - 0.06, 0.025, inner),
    )


def pillar(rng: Generator) -> Piece:
    """A column of a hall."""
    radius = float(rng.uniform(0.15, 0.3))
    shape = "cylinder" if rng.random() < 0.6 else "box"
    return (Solid(shape=shape, at_m_3=(0, 0, 0), size_m_3=(radius, 7.0, radius), material=plain(random_colour(rng))),)


def car(rng: Generator) -> Piece:
    """A car along x."""
    paint, glass, tyre = plain(random_colour(rng), gloss=0.15), plain((0.03, 0.04, 0.05), gloss=0.2), plain((0.02,) * 3)
    wheels = tuple(
        Solid(shape="ball", at_m_3=(x, 0, z), size_m_3=(0.32, 0.64, 0.12), material=tyre)
        for x in (-1.3, 1.3)
        for z in (-0.78, 0.78)
    )
    return (_box(0, 0.25, 0, 2.1, 0.6, 0.88, paint), _box(-0.1, 0.85, 0, 1.1, 0.6, 0.76, glass), *wheels)


def tree(rng: Generator) -> Piece:
    """A tree of a street or park."""
    high, crown = float(rng.uniform(1.8, 3.0)), float(rng.uniform(0.9, 2.2))
    leaf = plain((0.06, float(rng.uniform(0.12, 0.28)), 0.03), grain=0.3, gloss=0.0)
    radius = float(rng.uniform(0.08, 0.2))
    return (
        Solid(shape="cylinder", at_m_3=(0, 0, 0), size_m_3=(radius, high, radius), material=plain((0.1, 0.07, 0.05))),
        Solid(shape="ball", at_m_3=(0, high - 0.4, 0), size_m_3=(crown, 2.2 * crown, crown), material=leaf),
    )


def lamp_post(rng: Generator) -> Piece:
    """A post with a lamp."""
    high, metal = float(rng.uniform(3.5, 5.0)), plain((0.08, 0.08, 0.09))
    return (
        Solid(shape="cylinder", at_m_3=(0, 0, 0), size_m_3=(0.06, high, 0.06), material=metal),
        Solid(shape="ball", at_m_3=(0, high, 0), size_m_3=(0.2, 0.35, 0.2), material=plain((0.9, 0.9, 0.8))),
    )


def bench(rng: Generator) -> Piece:
    """A park bench whose back is at +z."""
    material = wood(rng)
    back = _box(0, 0.45, 0.22, 0.8, 0.4, 0.02, material)
    return (_box(0, 0.42, 0, 0.8, 0.04, 0.22, material), back, *_legs(0.8, 0.22, 0.42, 0.03, material))


def house(rng: Generator) -> Piece:
    """A building of one to four floors."""
    floors = int(rng.integers(1, 5))
    wall = tiled(random_colour(rng), random_colour(rng), float(rng.choice([1.5, 3.0])), grain=0.1, gloss=0.0)
    return (_box(0, 0.0, 0, float(rng.uniform(3.0, 6.0)), 3.0 * floors, float(rng.uniform(2.0, 4.0)), wall),)


Maker = Callable[[Generator], Piece]
INDOORS: Mapping[Maker, float] = {
    table: 2.0,
    chair: 3.0,
    sofa: 1.5,
    shelf: 2.0,
    cabinet: 2.0,
    bed: 0.7,
    carton: 1.0,
    ball: 0.7,
    plant: 1.2,
    lamp: 1.0,
    rug: 1.0,
}
"""What stands in rooms, and how often."""
ON_WALLS: Mapping[Maker, float] = {door: 1.0, window: 1.5, picture_frame: 2.0}
OUTDOORS: Mapping[Maker, float] = {car: 2.0, tree: 2.0, lamp_post: 1.0, bench: 1.0, house: 1.0, carton: 0.5, ball: 0.5}


def any_of(rng: Generator, makers: Mapping[Maker, float]) -> Piece:
    """A random piece."""
    weights = np.array(list(makers.values()))
    return list(makers)[int(rng.choice(len(weights), p=weights / weights.sum()))](rng)
