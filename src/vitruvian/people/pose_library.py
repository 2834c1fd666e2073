"""Everyday poses: standing, walking, running, sitting, squatting, reaching and so on, with random variation.

Inputs -> outputs: random generator -> `Pose`; gait phase -> `Pose`. Negligible cost.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from vitruvian.people.pose import POSE_NAMES, Pose, clamped, jittered, mirrored, pose_from_degrees

Angles = dict[str, float]
Generator = np.random.Generator

_ARM_GESTURES: tuple[Angles, ...] = (
    {"shoulder_abduct": 8, "elbow_flex": 15},
    {"shoulder_abduct": 45, "shoulder_flex": -15, "shoulder_twist": 55, "elbow_flex": 95},
    {"shoulder_flex": 35, "shoulder_twist": 65, "elbow_flex": 105, "shoulder_abduct": 8},
    {"shoulder_abduct": 155, "elbow_flex": 15},
    {"shoulder_abduct": 88, "elbow_flex": 8},
    {"shoulder_abduct": 85, "shoulder_twist": -85, "elbow_flex": 80},
    {"shoulder_flex": 85, "elbow_flex": 10},
    {"shoulder_flex": 60, "elbow_flex": 100, "shoulder_twist": 30},
    {"shoulder_flex": 160, "elbow_flex": 20, "shoulder_abduct": 10},
    {"shoulder_flex": 30, "elbow_flex": 85, "shoulder_twist": 25},
    {"shoulder_flex": -25, "elbow_flex": 40, "shoulder_twist": 40},
    {"shoulder_flex": 100, "shoulder_abduct": 20, "elbow_flex": 135, "shoulder_twist": -10},
    {"shoulder_abduct": 130, "elbow_flex": 120, "shoulder_twist": -60},
    {"shoulder_flex": 50, "shoulder_twist": 20, "elbow_flex": 140},
)


def _standing(rng: Generator) -> Angles:
    shift = float(rng.uniform(-12, 12))
    return {
        "hip_abduct": float(rng.uniform(0, 14)),
        "left_knee_flex": max(shift, 2) * 1.5,
        "left_hip_flex": max(shift, 0),
        "right_knee_flex": max(-shift, 2) * 1.5,
        "right_hip_flex": max(-shift, 0),
    }


def walking(phase_rad: float, vigour: float) -> Pose:
    """One instant of a gait cycle; `vigour` 0 strolls, 1 runs."""
    swing = 22.0 + 26.0 * vigour
    angles: Angles = {"root_pitch": 2.0 + 8.0 * vigour, "spine_twist": 6.0 * math.sin(phase_rad)}
    for side, offset in (("left", 0.0), ("right", math.pi)):
        leg = phase_rad + offset
        forward = math.sin(leg)
        # The knee folds while the thigh moves forward and gives a little under load.
        fold = max(math.cos(leg), 0.0)
        angles[f"{side}_hip_flex"] = 6.0 + 8.0 * vigour + swing * forward
        angles[f"{side}_knee_flex"] = 6.0 + (45.0 + 55.0 * vigour) * fold + 10.0 * vigour
        angles[f"{side}_ankle_flex"] = 12.0 * forward - 14.0 * max(-forward, 0.0)
        angles[f"{side}_shoulder_flex"] = -(16.0 + 30.0 * vigour) * forward + 4.0
        angles[f"{side}_shoulder_abduct"] = 8.0
        angles[f"{side}_elbow_flex"] = 14.0 + 70.0 * vigour - 8.0 * forward
    return pose_from_degrees(angles, lift_m=0.05 * vigour * abs(math.sin(phase_rad)))


def _sitting(rng: Generator) -> Angles:
    return {
        "left_hip_flex": float(rng.uniform(75, 95)),
        "right_hip_flex": float(rng.uniform(75, 95)),
        "left_knee_flex": float(rng.uniform(55, 105)),
        "right_knee_flex": float(rng.uniform(55, 105)),
        "hip_abduct": float(rng.uniform(0, 22)),
        "spine_flex": float(rng.uniform(-5, 30)),
    }


def _squatting(rng: Generator) -> Angles:
    depth = float(rng.uniform(0.4, 1.0))
    return {
        "hip_flex": 110 * depth,
        "knee_flex": 135 * depth,
        "ankle_flex": 25 * depth,
        "root_pitch": 25 * depth,
        "hip_abduct": float(rng.uniform(5, 30)),
        "spine_flex": 15 * depth,
    }


def _bending(rng: Generator) -> Angles:
    bend = float(rng.uniform(20, 85))
    return {
        "spine_flex": bend * 0.7,
        "root_pitch": bend * 0.4,
        "hip_flex": bend * 0.4,
        "shoulder_flex": bend * float(rng.uniform(0.4, 1.3)),
        "knee_flex": float(rng.uniform(0, 30)),
        "head_nod": float(rng.uniform(-40, 20)),
    }


def _kneeling(rng: Generator) -> Angles:
    return {
        "left_hip_flex": float(rng.uniform(70, 95)),
        "left_knee_flex": float(rng.uniform(80, 105)),
        "right_hip_flex": float(rng.uniform(-10, 15)),
        "right_knee_flex": float(rng.uniform(80, 110)),
        "right_ankle_flex": -40,
        "spine_flex": float(rng.uniform(0, 25)),
    }


def _kicking(rng: Generator) -> Angles:
    return {
        "left_hip_flex": float(rng.uniform(30, 100)),
        "left_knee_flex": float(rng.uniform(5, 90)),
        "left_hip_abduct": float(rng.uniform(0, 40)),
        "right_knee_flex": float(rng.uniform(2, 35)),
        "root_pitch": float(rng.uniform(-25, 15)),
        "shoulder_abduct": float(rng.uniform(10, 80)),
    }


def _lunging(rng: Generator) -> Angles:
    reach = float(rng.uniform(35, 80))
    return {
        "left_hip_flex": reach,
        "left_knee_flex": reach * 1.1,
        "right_hip_flex": -20,
        "right_knee_flex": float(rng.uniform(5, 60)),
        "root_roll": float(rng.uniform(-10, 10)),
        "hip_abduct": float(rng.uniform(0, 20)),
        "root_pitch": float(rng.uniform(-5, 20)),
    }


_BODY_POSES: tuple[tuple[float, Callable[[Generator], Angles]], ...] = (
    (0.38, _standing),
    (0.14, _sitting),
    (0.08, _squatting),
    (0.07, _bending),
    (0.05, _kneeling),
    (0.05, _kicking),
    (0.06, _lunging),
)
_GAIT_SHARE = 0.17


def random_pose(rng: Generator) -> Pose:
    """Any everyday pose, either way round, with a random gesture per arm and a random gaze."""
    if rng.random() < _GAIT_SHARE:
        pose = walking(float(rng.uniform(0, 2 * math.pi)), float(rng.choice([0.0, 0.2, 0.9])))
        pose = jittered(pose, rng, 5.0)
        return with_arms(pose, rng) if rng.random() < 0.3 else pose
    weights = np.array([weight for weight, _ in _BODY_POSES])
    body = _BODY_POSES[int(rng.choice(len(weights), p=weights / weights.sum()))][1]
    lift_m = float(rng.uniform(0.05, 0.4)) if rng.random() < 0.06 else 0.0
    pose = pose_from_degrees(body(rng), lift_m)
    keeps_arms = body in (_bending, _kicking) and rng.random() < 0.6
    pose = pose if keeps_arms else with_arms(pose, rng)
    pose = with_gaze(jittered(pose, rng, 6.0), rng)
    return mirrored(pose) if rng.random() < 0.5 else pose


def with_arms(pose: Pose, rng: Generator) -> Pose:
    """The pose with a gesture for each arm; often the same for both."""
    first = _gesture_index(rng)
    second = first if rng.random() < 0.4 else _gesture_index(rng)
    angles: Angles = {}
    for side, index in (("left", first), ("right", second)):
        angles |= {f"{side}_{name}": value for name, value in _ARM_GESTURES[index].items()}
        angles[f"{side}_finger_flex"] = float(rng.choice([8.0, 25.0, 80.0]))
    arms = pose_from_degrees(angles)
    is_arm_J = np.array([any(part in n for part in ("shoulder", "elbow", "finger")) for n in POSE_NAMES])
    return clamped(np.where(is_arm_J, arms.angles_rad_J, pose.angles_rad_J), pose.lift_m)


def with_gaze(pose: Pose, rng: Generator) -> Pose:
    """The pose looking somewhere: mostly ahead, now and then far aside, up or down."""
    wide = 1.0 if rng.random() < 0.35 else 0.3
    gaze = pose_from_degrees(
        {
            "head_turn": float(rng.uniform(-75, 75)) * wide,
            "head_nod": float(rng.uniform(-30, 35)) * wide,
            "head_tilt": float(rng.uniform(-20, 20)) * wide,
        }
    )
    return clamped(pose.angles_rad_J + gaze.angles_rad_J, pose.lift_m)


def _gesture_index(rng: Generator) -> int:
    return 0 if rng.random() < 0.22 else int(rng.integers(len(_ARM_GESTURES)))
