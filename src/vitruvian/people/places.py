"""Places to measure depth in: furnished rooms, halls and streets, with or without people, seen by any camera in them.

Inputs -> outputs: seed + picture size + focal length -> `Scene`. What is in a place and where the camera stands do not
depend on the focal length, so a picture that looks alike through another lens shows another distance. Some
milliseconds, mostly random draws.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np

from vitruvian.people import furniture
from vitruvian.people.camera import Camera
from vitruvian.people.effects import random_effects
from vitruvian.people.materials import Material, chequered, patterned, plain, striped, tiled
from vitruvian.people.person import Person
from vitruvian.people.pose_library import random_pose
from vitruvian.people.rotations import about_x, about_y, about_z
from vitruvian.people.scene import Scene, random_light, seat_of
from vitruvian.people.surroundings import Prop, Room
from vitruvian.people.wardrobe import random_colour, random_person

Generator = np.random.Generator
_NEAREST_M = 0.55
"""From the camera to what stands on the floor."""
_WALL_M = 0.04
_STREET_SHARE, _HALL_SHARE = 0.25, 0.12
_PERSONS = (0.4, 0.35, 0.17, 0.08)
"""Chances of 0 to 3 people."""


@dataclass(frozen=True, kw_only=True, slots=True)
class _Place:
    room: Room
    camera: Camera

    @property
    def indoors(self) -> bool:
        return self.room.walls

    def free(self, x_m: float, z_m: float, radius_m: float, taken: list[tuple[float, float, float]]) -> bool:
        """Whether something of this radius may stand there: apart from the camera and all else."""
        cx, _, cz = self.camera.position_m_3
        if math.hypot(x_m - cx, z_m - cz) < _NEAREST_M + radius_m:
            return False
        return all(math.hypot(x_m - x, z_m - z) > 0.75 * (radius_m + radius) for x, z, radius in taken)


def random_place(seed: int, height: int, width: int, focal_px: float) -> Scene:
    """A random place; the same arguments give the same scene."""
    rng = np.random.default_rng([seed, 13])
    street = rng.random() < _STREET_SHARE
    room = _street(rng) if street else _room(rng)
    place = _Place(room=room, camera=_camera(rng, room, height, width, focal_px))
    taken: list[tuple[float, float, float]] = []
    people = _people(rng, place, taken)
    props = tuple(seat for person in people for seat in seat_of(rng, person))
    props += _standing(rng, place, taken)
    if not street:
        props += _on_walls(rng, room)
    return Scene(
        camera=place.camera,
        persons=people,
        props=tuple(prop for prop in props if _may_be_seen(prop, place.camera)),
        room=room,
        light=random_light(rng),
        background_seed=int(rng.integers(2**31)),
        effects=random_effects(rng),
    )


def _room(rng: Generator) -> Room:
    """A living room, an office, or a hall."""
    hall = rng.random() < _HALL_SHARE
    wide, deep = rng.uniform(8.0, 16.0, 2) if hall else rng.uniform(2.6, 7.0, 2)
    wall = _wall(rng)
    return Room(
        left_m=-float(wide) / 2,
        right_m=float(wide) / 2,
        back_m=float(deep) / 2 * (1.5 if hall else 1.0),
        front_m=-float(deep) / 2,
        height_m=float(rng.uniform(3.5, 6.0) if hall else rng.uniform(2.35, 3.1)),
        floor=_floor(rng),
        wall=wall,
        side_wall=wall if rng.random() < 0.6 else _wall(rng),
    )


def _street(rng: Generator) -> Room:
    """Open ground; beyond its end there is no surface."""
    ground = (
        _floor(rng) if rng.random() < 0.5 else plain(random_colour(rng), grain=float(rng.uniform(0.05, 0.3)), gloss=0)
    )
    half_m = float(rng.uniform(5.0, 15.0))
    return Room(
        left_m=-half_m,
        right_m=half_m,
        back_m=20.0,
        front_m=-10.0,
        height_m=10.0,
        floor=ground,
        wall=ground,
        side_wall=ground,
        walls=False,
        reach_m=float(rng.uniform(15.0, 30.0)),
    )


def _floor(rng: Generator) -> Material:
    """Boards, tiles, checks, carpet or concrete, of the sizes that they have."""
    colour, second = furniture.wood(rng).colour, random_colour(rng)
    kind = int(rng.integers(5))
    if kind == 0:
        return striped(
            colour, (colour[0] * 0.5, colour[1] * 0.5, colour[2] * 0.5), float(rng.choice([0.14, 0.2])), share=0.2
        )
    if kind == 1:
        return tiled(random_colour(rng), second, float(rng.choice([0.2, 0.3, 0.45, 0.6])), gloss=0.05)
    if kind == 2:
        return chequered(random_colour(rng), second, float(rng.choice([0.3, 0.5])))
    if kind == 3:
        return replace(patterned(rng, random_colour(rng), second), frequency=float(rng.uniform(15.0, 60.0)), gloss=0.0)
    return plain(random_colour(rng), grain=float(rng.uniform(0.03, 0.2)), gloss=0.0)


def _wall(rng: Generator) -> Material:
    """Mostly painted; now and then paper, tiles or panels."""
    light = (rng.uniform(0.4, 0.85) * rng.uniform(0.9, 1.1, 3)).tolist()
    colour = (light[0], light[1], light[2]) if rng.random() < 0.6 else random_colour(rng)
    draw = rng.random()
    if draw < 0.6:
        return plain(colour, grain=float(rng.uniform(0.0, 0.1)), gloss=0.0)
    if draw < 0.8:
        return striped(colour, random_colour(rng), float(rng.choice([0.1, 0.3, 0.6])), upright=rng.random() < 0.7)
    return tiled(colour, random_colour(rng), float(rng.choice([0.15, 0.25, 0.6])), gloss=0.0)


def _camera(rng: Generator, room: Room, height: int, width: int, focal_px: float) -> Camera:
    """Somewhere in the place, mostly at eye level and nearly level, looking anywhere around."""
    low, high = np.array([room.left_m, room.front_m]), np.array([room.right_m, room.back_m])
    x, z = low + (high - low) * rng.uniform(0.08, 0.92, 2)
    level = float(rng.normal(1.5, 0.12) if rng.random() < 0.85 else rng.uniform(0.6, 2.0))
    # Who stands near a wall looks away from it.
    middle = (low + high) / 2
    toward = math.atan2(middle[0] - x, middle[1] - z)
    yaw = -(toward + float(rng.normal(0.0, 0.6)))
    pitch = math.radians(float(np.clip(rng.normal(5.0, 6.0), -15.0, 30.0)))
    roll = math.radians(float(rng.normal(0.0, 2.0)) if rng.random() < 0.3 else 0.0)
    return Camera(
        focal_px=focal_px,
        cx=(width - 1) / 2,
        cy=(height - 1) / 2,
        height=height,
        width=width,
        camera_from_world_33=about_z(roll) @ about_x(pitch) @ about_y(yaw),
        position_m_3=np.array([float(x), -min(level, room.height_m - 0.2), float(z)]),
    )


def _people(rng: Generator, place: _Place, taken: list[tuple[float, float, float]]) -> tuple[Person, ...]:
    people: list[Person] = []
    for _ in range(int(rng.choice(len(_PERSONS), p=_PERSONS))):
        spot = _spot(rng, place, 0.3, taken, ahead=True)
        if spot is not None:
            person = random_person(rng, random_pose(rng), random_colour(rng))
            heading = float(rng.uniform(-math.pi, math.pi))
            people.append(replace(person, heading_rad=heading, position_m_3=(spot[0], 0.0, spot[1])))
    return tuple(people)


def _standing(rng: Generator, place: _Place, taken: list[tuple[float, float, float]]) -> tuple[Prop, ...]:
    """Furniture of a room, or what stands in a street; most of it where the camera looks."""
    makers = furniture.INDOORS if place.indoors else furniture.OUTDOORS
    props: list[Prop] = []
    for _ in range(int(rng.integers(2, 11))):
        piece = furniture.any_of(rng, makers)
        radius = furniture.reach_m(piece)
        spot = _spot(rng, place, radius, taken, ahead=rng.random() < 0.8)
        if spot is not None:
            props += furniture.placed(piece, *spot, float(rng.uniform(-math.pi, math.pi)))
    return tuple(props)


def _spot(
    rng: Generator, place: _Place, radius_m: float, taken: list[tuple[float, float, float]], *, ahead: bool
) -> tuple[float, float] | None:
    """A free place on the floor, before the camera or anywhere; None after some tries."""
    room, camera = place.room, place.camera
    forward = camera.camera_from_world_33[2]
    for _ in range(6):
        if ahead:
            far_m = 9.0 if place.indoors else 22.0
            distance = float(np.exp(rng.uniform(math.log(_NEAREST_M + radius_m), math.log(far_m))))
            turned = math.atan2(forward[0], forward[2]) + float(rng.uniform(-0.6, 0.6))
            x = float(camera.position_m_3[0]) + distance * math.sin(turned)
            z = float(camera.position_m_3[2]) + distance * math.cos(turned)
        else:
            x, z = float(rng.uniform(room.left_m, room.right_m)), float(rng.uniform(room.front_m, room.back_m))
        edge = min(radius_m, 0.5)
        inside = room.left_m + edge < x < room.right_m - edge and room.front_m + edge < z < room.back_m - edge
        if (inside or not place.indoors) and place.free(x, z, radius_m, taken):
            taken.append((x, z, radius_m))
            return x, z
    return None


def _on_walls(rng: Generator, room: Room) -> tuple[Prop, ...]:
    """Doors, windows and pictures on all four walls."""
    props: list[Prop] = []
    for wall in range(4):
        for _ in range(int(rng.integers(0, 4))):
            piece = furniture.any_of(rng, furniture.ON_WALLS)
            along = float(rng.uniform(0.15, 0.85))
            x = room.left_m + along * (room.right_m - room.left_m)
            z = room.front_m + along * (room.back_m - room.front_m)
            x = (x, x, room.left_m + _WALL_M, room.right_m - _WALL_M)[wall]
            z = (room.front_m + _WALL_M, room.back_m - _WALL_M, z, z)[wall]
            props += furniture.placed(piece, x, z, 0.0 if wall < 2 else math.pi / 2)
    return tuple(props)


def _may_be_seen(prop: Prop, camera: Camera) -> bool:
    """Whether any of a prop may lie before the camera; what lies behind would cost as much as the whole picture."""
    half_m = prop.size_m_3[1] / 2
    centre = np.array(prop.base_m_3) - (0.0, half_m, 0.0)
    return bool(camera.to_camera(centre[None])[0, 2] > -0.2)
