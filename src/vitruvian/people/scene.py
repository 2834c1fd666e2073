"""Scenes: people, their surroundings, light, camera and camera effects, sampled from one seed.

Inputs -> outputs: seed + wishes -> `Scene`, a full description from which `render` makes a picture. A few
milliseconds, mostly random draws.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np

from vitruvian.people.camera import Camera
from vitruvian.people.effects import Effects, random_effects
from vitruvian.people.framing import check_framing, frame_people
from vitruvian.people.materials import Material, patterned, plain
from vitruvian.people.person import Person, joints_of, world_bones
from vitruvian.people.pose import Pose
from vitruvian.people.pose_library import random_pose
from vitruvian.people.skeleton import Bone
from vitruvian.people.surroundings import Light, Prop, Room
from vitruvian.people.wardrobe import random_colour, random_person, random_skin

Generator = np.random.Generator
MAX_PERSONS = 100


@dataclass(frozen=True, kw_only=True, slots=True)
class Scene:
    """Everything `render` needs. Nothing in it is random any more; seeds only drive procedural texture."""

    camera: Camera
    persons: tuple[Person, ...]
    props: tuple[Prop, ...]
    room: Room | None
    light: Light
    background_seed: int
    effects: Effects


def random_scene(seed: int, persons: int = 1, height: int = 256, width: int = 192, framing: str = "random") -> Scene:
    """A random scene; the same arguments give the same scene."""
    check_framing(framing)
    if not 0 <= persons <= MAX_PERSONS:
        raise ValueError(f"got persons={persons}; expected 0 to {MAX_PERSONS}; ask for fewer people")
    rng = np.random.default_rng(seed)
    hint = random_colour(rng)
    people = scatter(rng, [random_person(rng, random_pose(rng), hint) for _ in range(persons)])
    joints = [joints_of(person, world_bones(person)).world_m_K3 for person in people]
    camera = frame_people(rng, joints, framing, height, width)
    return furnished(rng, people, camera)


def furnished(rng: Generator, people: tuple[Person, ...], camera: Camera) -> Scene:
    """A scene around given people as a given camera sees it."""
    seats = tuple(seat for person in people for seat in seat_of(rng, person))
    return Scene(
        camera=camera,
        persons=people,
        props=seats + _random_props(rng, camera),
        room=_random_room(rng, people, camera),
        light=random_light(rng),
        background_seed=int(rng.integers(2**31)),
        effects=random_effects(rng),
    )


def scatter(rng: Generator, people: list[Person]) -> tuple[Person, ...]:
    """People turned any way and standing apart by about a body's width, the first at the origin."""
    placed: list[Person] = []
    for index, person in enumerate(people):
        facing = rng.random()
        heading = float(rng.normal(0.0, 0.7) if facing < 0.6 else rng.uniform(-math.pi, math.pi))
        place = (0.0, 0.0)
        if index > 0:
            spread = 0.35 * math.sqrt(len(people))
            for _ in range(20):
                draw = rng.normal(0.0, 1.0, 2) * (spread * 1.6, spread * 1.2)
                place = (float(draw[0]), float(draw[1]))
                if all(math.dist(place, (p.position_m_3[0], p.position_m_3[2])) > 0.42 for p in placed):
                    break
        placed.append(replace(person, heading_rad=heading, position_m_3=(place[0], 0.0, place[1])))
    return tuple(placed)


def seat_of(rng: Generator, person: Person) -> tuple[Prop, ...]:
    """A stool or chair under someone sitting."""
    pose: Pose = person.pose
    if min(pose["left_hip_flex"], pose["right_hip_flex"]) < math.radians(58) or pose["root_pitch"] > 0.3:
        return ()
    bones = world_bones(person)
    pelvis = bones.origin_m_B3[Bone.PELVIS]
    unit = person.physique.unit_m
    height_m = float(-pelvis[1] - 0.075 * unit * person.physique.girth)
    if height_m < 0.12 or rng.random() < 0.1:
        return ()
    back = bones.rotation_B33[Bone.PELVIS][:, 2]
    material = plain(random_colour(rng), grain=float(rng.uniform(0.02, 0.12)))
    base = (float(pelvis[0] - 0.05 * back[0]), 0.0, float(pelvis[2] - 0.05 * back[2]))
    half = float(rng.uniform(0.11, 0.16)) * unit
    shape = "box" if rng.random() < 0.7 else "cylinder"
    seat = Prop(
        shape=shape, base_m_3=base, size_m_3=(half, height_m, half), turn_rad=-person.heading_rad, material=material
    )
    if rng.random() < 0.5:
        return (seat,)
    behind = (float(pelvis[0] + 0.13 * unit * back[0]), 0.0, float(pelvis[2] + 0.13 * unit * back[2]))
    tall = height_m + float(rng.uniform(0.15, 0.5))
    rest = Prop(
        shape="box", base_m_3=behind, size_m_3=(half, tall, 0.02), turn_rad=-person.heading_rad, material=material
    )
    return (seat, rest)


def _random_props(rng: Generator, camera: Camera) -> tuple[Prop, ...]:
    """Boxes, cylinders and balls behind the people, and now and then in front of them."""
    count = int(rng.choice([0, 1, 2, 4], p=(0.35, 0.25, 0.25, 0.15)))
    subject_m = float(np.linalg.norm(camera.position_m_3[[0, 2]]))
    props = []
    for _ in range(count):
        share = float(rng.uniform(0.35, 0.8)) if rng.random() < 0.2 else float(rng.uniform(1.15, 2.2))
        depth_m = max(share * subject_m, 0.4)
        pixel = rng.uniform(-0.05, 1.05, 2) * (camera.width, camera.height)
        view_m = depth_m * camera.height / camera.focal_px
        point = np.array(
            [
                (pixel[0] - camera.cx) * depth_m / camera.focal_px,
                (pixel[1] - camera.cy) * depth_m / camera.focal_px,
                depth_m,
            ]
        )
        world = point @ camera.camera_from_world_33 + camera.position_m_3
        size = np.exp(rng.uniform(np.log(0.02), np.log(0.14 if share < 1 else 0.25), 3)) * view_m
        size[1] *= 2.0 if rng.random() < 0.7 else 6.0
        on_floor = rng.random() < 0.4
        colour = random_skin(rng) if rng.random() < 0.2 else random_colour(rng)
        material = patterned(rng, colour, random_colour(rng)) if rng.random() < 0.25 else plain(colour)
        props.append(
            Prop(
                shape=str(rng.choice(("box", "cylinder", "ball"), p=(0.5, 0.35, 0.15))),
                base_m_3=(float(world[0]), 0.0 if on_floor else min(float(world[1]), 0.0), float(world[2])),
                size_m_3=(float(size[0]), float(size[1]), float(size[2])),
                turn_rad=float(rng.uniform(0, math.pi)),
                material=material,
            )
        )
    return tuple(props)


def _random_room(rng: Generator, people: tuple[Person, ...], camera: Camera) -> Room | None:
    """None, an open floor, or a closed room around people and camera."""
    draw = rng.random()
    if draw < 0.35:
        return None
    far = max([p.position_m_3[2] for p in people], default=0.0)
    wide = max([abs(p.position_m_3[0]) for p in people], default=0.0)
    wide = max(wide, abs(float(camera.position_m_3[0])))

    def surface() -> Material:
        colour = random_colour(rng)
        if rng.random() < 0.45:
            cloth = patterned(rng, colour, random_colour(rng))
            return replace(cloth, frequency=float(np.exp(rng.uniform(np.log(4.0), np.log(60.0)))), gloss=0.0)
        return plain(colour, grain=float(rng.uniform(0.0, 0.15)), gloss=0.0)

    wall = surface()
    return Room(
        left_m=-wide - float(rng.uniform(0.9, 4.0)),
        right_m=wide + float(rng.uniform(0.9, 4.0)),
        back_m=far + float(rng.uniform(0.8, 4.5)),
        front_m=float(camera.position_m_3[2]) - 1.0,
        height_m=max(float(rng.uniform(2.3, 3.6)), 0.3 - float(camera.position_m_3[1])),
        floor=surface(),
        wall=wall,
        side_wall=wall if rng.random() < 0.6 else surface(),
        walls=draw > 0.58,
        reach_m=60.0 if draw > 0.58 else float(rng.uniform(8.0, 25.0)),
    )


def random_light(rng: Generator) -> Light:
    """From overcast to hard side light, warm or cold."""
    azimuth, height = float(rng.uniform(-math.pi, math.pi)), float(rng.uniform(0.15, 1.3))
    hard = float(rng.uniform(0.0, 1.0))
    warmth = float(rng.normal(0.0, 0.12))
    key = float(rng.uniform(0.5, 1.1)) * (0.3 + 0.9 * hard)
    sky = float(rng.uniform(0.25, 0.6)) * (1.5 - hard)
    ground = sky * float(rng.uniform(0.35, 0.9))
    rim_azimuth = azimuth + math.pi + float(rng.normal(0, 0.5))
    rim = float(rng.uniform(0.1, 0.6)) if rng.random() < 0.35 else 0.0
    frontal = -1.0 if rng.random() < 0.75 else 1.0
    return Light(
        key_direction_3=(math.sin(azimuth), -math.tan(height), frontal * abs(math.cos(azimuth))),
        key_rgb=(key * (1 + warmth), key, key * (1 - warmth)),
        sky_rgb=(sky * (1 - warmth / 2), sky, sky * (1 + warmth / 2)),
        ground_rgb=(ground, ground, ground),
        rim_direction_3=(math.sin(rim_azimuth), -0.4, 0.8),
        rim_rgb=(rim, rim, rim),
        shadow=float(rng.uniform(0.1, 0.55)),
    )
