"""Placing the camera so that the wanted part of the people fills the picture.

Inputs -> outputs: random generator + joints in the world + kind of framing -> `Camera`. Negligible cost.
"""

from __future__ import annotations

import math

import numpy as np

from vitruvian.people.camera import Camera
from vitruvian.people.rotations import FloatArray, about_x, about_z

FRAMINGS: tuple[str, ...] = ("random", "full", "knees", "upper", "closeup")
_RANDOM_WEIGHTS = {"full": 0.5, "knees": 0.16, "upper": 0.2, "closeup": 0.14}
# COCO keypoints that must be in the picture, per framing.
_TARGETS: dict[str, tuple[int, ...]] = {
    "full": tuple(range(17)),
    "knees": tuple(range(15)),
    "upper": (0, 1, 2, 3, 4, 5, 6, 7, 8, 11, 12),
    "closeup": (0, 1, 2, 3, 4, 5, 6),
}
_MARGIN_M = {"full": 0.13, "knees": 0.13, "upper": 0.13, "closeup": 0.14}
_LOWEST_M = -0.12


def check_framing(framing: str) -> None:
    """Raise unless the framing is known."""
    if framing not in FRAMINGS:
        raise ValueError(f"got framing={framing!r}; expected one of {FRAMINGS}; choose from those")


def frame_people(
    rng: np.random.Generator, joints_m_PK3: list[FloatArray], framing: str, height: int, width: int
) -> Camera:
    """A camera looking along world +z, tilted a little, that shows the target joints of all people."""
    if framing == "random":
        names = tuple(_RANDOM_WEIGHTS)
        framing = str(rng.choice(names, p=tuple(_RANDOM_WEIGHTS.values())))
    if joints_m_PK3:
        target_N3 = np.concatenate([joints[list(_TARGETS[framing])] for joints in joints_m_PK3])
    else:
        target_N3 = np.array([(-0.8, -1.8, 0.0), (0.8, 0.0, 0.5)])
    pitch = math.radians(float(np.clip(rng.normal(6, 11), -18, 42)))
    roll = math.radians(float(rng.normal(0, 5)) if rng.random() < 0.4 else 0.0)
    rotation = about_z(roll) @ about_x(pitch)
    focal_px = height / (2.0 * math.tan(math.radians(float(rng.uniform(18, 62))) / 2.0))
    middle = np.array([(width - 1) / 2.0, (height - 1) / 2.0])
    # A crop out of a larger photograph has its principal point elsewhere.
    principal = middle + (rng.uniform(-0.5, 0.5, 2) * (width, height) if rng.random() < 0.4 else 0.0)
    turned_N3 = target_N3 @ rotation.T
    low, high = turned_N3.min(axis=0) - _MARGIN_M[framing], turned_N3.max(axis=0) + _MARGIN_M[framing]
    centre_3, extent_3 = (low + high) / 2.0, high - low
    fill = _fill(rng) * (1.2 if framing == "closeup" else 1.0)
    distance = focal_px * max(extent_3[1] / (fill * height), extent_3[0] / (fill * width)) + extent_3[2] / 2.0
    distance = max(distance, 0.45 + extent_3[2] / 2.0)
    spare = np.maximum(1.0 - fill, 0.0) / 2.0 + 0.03
    aim = middle + rng.uniform(-1, 1, 2) * spare * (width, height)
    if rng.random() < 0.12:
        aim = aim + rng.uniform(-0.35, 0.35, 2) * (width, height)
    sideways = (aim - principal) * distance / focal_px
    position = (centre_3 - np.array([sideways[0], sideways[1], distance])) @ rotation
    position[1] = min(position[1], _LOWEST_M)
    return Camera(
        focal_px=focal_px,
        cx=float(principal[0]),
        cy=float(principal[1]),
        height=height,
        width=width,
        camera_from_world_33=rotation,
        position_m_3=position,
    )


def _fill(rng: np.random.Generator) -> float:
    """Share of the picture the people take up: mostly tight, as in a detector's crop, sometimes small."""
    return float(rng.uniform(0.8, 1.08) if rng.random() < 0.8 else rng.uniform(0.4, 0.75))
