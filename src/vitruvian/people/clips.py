"""Clips: the same people in the same place, moving smoothly.

Inputs -> outputs: seed + wishes -> `Clip`, a sequence of `Scene`s. Negligible next to rendering.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np

from vitruvian.people.framing import frame_people
from vitruvian.people.person import Person, joints_of, world_bones
from vitruvian.people.pose import Pose, blended, jittered
from vitruvian.people.pose_library import random_pose, walking, with_gaze
from vitruvian.people.scene import MAX_PERSONS, Scene, furnished
from vitruvian.people.wardrobe import random_colour, random_person

Generator = np.random.Generator
_STEP_RAD_PER_M = 2.0 * math.pi / 1.45


@dataclass(frozen=True, kw_only=True, slots=True)
class Clip:
    """Scenes at a constant frame rate; person i is the same one in all of them."""

    scenes: tuple[Scene, ...]
    fps: float

    def __iter__(self) -> Iterator[Scene]:
        return iter(self.scenes)

    def __len__(self) -> int:
        return len(self.scenes)

    def __getitem__(self, index: int) -> Scene:
        return self.scenes[index]


def random_clip(
    seed: int, persons: int = 1, frames: int = 16, fps: float = 12.0, height: int = 256, width: int = 192
) -> Clip:
    """A random clip; with two or more people, walkers go opposite ways so that they pass each other."""
    if not 0 <= persons <= MAX_PERSONS or frames < 1 or fps <= 0.0:
        raise ValueError(
            f"got persons={persons}, frames={frames}, fps={fps}; expected 0 to {MAX_PERSONS} persons, one or more "
            "frames and a positive frame rate; correct the arguments"
        )
    rng = np.random.default_rng(seed)
    hint = random_colour(rng)
    times_s = np.arange(frames) / fps
    motions = [_random_motion(rng, index, persons, hint, float(times_s[-1])) for index in range(persons)]
    poses = [[_at(motion, float(time_s)) for motion in motions] for time_s in times_s]
    joints = [joints_of(p, world_bones(p)).world_m_K3 for moment in (poses[0], poses[-1]) for p in moment]
    camera = frame_people(rng, joints, "full", height, width)
    first = furnished(rng, tuple(poses[0]), camera)
    scenes = []
    for index, moment in enumerate(poses):
        # Sensor noise differs from frame to frame, everything else about the camera stays.
        effects = replace(first.effects, seed=first.effects.seed + index)
        scenes.append(replace(first, persons=tuple(moment), effects=effects))
    return Clip(scenes=tuple(scenes), fps=fps)


@dataclass(frozen=True, kw_only=True, slots=True)
class _Motion:
    """How one person moves: along a line with a gait, or on the spot through key poses one per `key_s`."""

    person: Person
    speed_m_s: float
    vigour: float
    phase_rad: float
    keys: tuple[Pose, ...]
    key_s: float


def _random_motion(
    rng: Generator, index: int, persons: int, hint: tuple[float, float, float], last_s: float
) -> _Motion:
    walks = index < 2 if persons > 1 else rng.random() < 0.5
    walks = walks or rng.random() < 0.4
    person = random_person(rng, random_pose(rng), hint)
    lane_m = 0.7 * index + float(rng.uniform(-0.1, 0.1))
    if not walks:
        key_s = float(rng.uniform(0.5, 1.0))
        keys = _key_poses(rng, person.pose, int(last_s / key_s) + 3)
        placed = replace(
            person, heading_rad=float(rng.normal(0, 0.9)), position_m_3=(float(rng.normal(0, 0.6)), 0.0, lane_m)
        )
        return _Motion(person=placed, speed_m_s=0.0, vigour=0.0, phase_rad=0.0, keys=keys, key_s=key_s)
    vigour = float(rng.choice([0.0, 0.2, 0.9], p=(0.45, 0.4, 0.15)))
    # Two walkers should meet within the clip: in a short one they hurry, as far as people can.
    hurry_m_s = min(0.7 / max(last_s, 0.1), 3.0) if persons > 1 else 0.0
    speed_m_s = max((0.9 + 1.8 * vigour) * float(rng.uniform(0.8, 1.2)), hurry_m_s)
    direction = 1.0 if index % 2 == 0 else -1.0
    start_m = -direction * speed_m_s * last_s / 2.0 + float(rng.uniform(-0.15, 0.15))
    heading = -direction * math.pi / 2.0 * -1.0 + float(rng.normal(0, 0.12))
    placed = replace(person, heading_rad=heading, position_m_3=(start_m, 0.0, lane_m))
    return _Motion(
        person=placed,
        speed_m_s=speed_m_s,
        vigour=vigour,
        phase_rad=float(rng.uniform(0, 2 * math.pi)),
        keys=(jittered(walking(0.0, 0.0), rng, 3.0),),
        key_s=1.0,
    )


def _key_poses(rng: Generator, start: Pose, count: int) -> tuple[Pose, ...]:
    """Poses that differ moderately from one to the next."""
    keys = [replace(start, lift_m=0.0)]
    for _ in range(count - 1):
        target = with_gaze(replace(random_pose(rng), lift_m=0.0), rng)
        keys.append(blended(keys[-1], target, float(rng.uniform(0.3, 0.7))))
    return tuple(keys)


def _at(motion: _Motion, time_s: float) -> Person:
    person = motion.person
    if motion.speed_m_s == 0.0:
        place = time_s / motion.key_s
        index = min(int(place), len(motion.keys) - 2)
        share = min(place - index, 1.0)
        smooth = share * share * (3.0 - 2.0 * share)
        return replace(person, pose=blended(motion.keys[index], motion.keys[index + 1], smooth))
    travelled_m = motion.speed_m_s * time_s
    stride = _STEP_RAD_PER_M / (1.0 + motion.vigour)
    pose = walking(motion.phase_rad + travelled_m * stride, motion.vigour)
    x, y, z = person.position_m_3
    # Heading 0 looks along -z and turns to the person's left, which is +x there.
    ahead = (math.sin(person.heading_rad), -math.cos(person.heading_rad))
    return replace(person, pose=pose, position_m_3=(x + ahead[0] * travelled_m, y, z + ahead[1] * travelled_m))
