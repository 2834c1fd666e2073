"""The naked body as primitives, grouped into regions that clothing can cover.

Inputs -> outputs: `Physique` + `Pose` -> `Segment`s (skin parts of trunk and limbs) and hand and foot parts.
Negligible cost. Neighbouring parts overlap by about a radius, so that joints stay closed in every pose.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import IntEnum

from vitruvian.people.labels import PartLabel
from vitruvian.people.materials import SKIN
from vitruvian.people.parts import Part, cone, ellipsoid
from vitruvian.people.pose import Pose
from vitruvian.people.skeleton import Bone, Lengths, Physique, lengths_of


class Region(IntEnum):
    """Pieces of the body that a garment covers as one."""

    UPPER_TRUNK = 0
    LOWER_TRUNK = 1
    UPPER_ARM = 2
    FOREARM = 3
    THIGH = 4
    SHANK = 5


@dataclass(frozen=True, kw_only=True, slots=True)
class Segment:
    """A skin part and its region; `first`..`last` is the stretch of the region's bone that its axis spans (0..1)."""

    region: Region
    part: Part
    first: float = 0.0
    last: float = 1.0


SIDES: tuple[tuple[float, Bone, Bone], ...] = (
    (1.0, Bone.LEFT_UPPER_ARM, Bone.LEFT_THIGH),
    (-1.0, Bone.RIGHT_UPPER_ARM, Bone.RIGHT_THIGH),
)


def body_segments(physique: Physique) -> list[Segment]:
    """Trunk, arms and legs without hands, feet and head."""
    size = lengths_of(physique)
    segments = _trunk(physique, size)
    for sign, arm, leg in SIDES:
        segments += _arm(physique, size, arm, sign > 0) + _leg(physique, size, leg, sign > 0)
    return segments


def _trunk(physique: Physique, size: Lengths) -> list[Segment]:
    unit, trunk = physique.unit_m, size.trunk
    girth, hips, broad = physique.girth, physique.hips, physique.shoulders
    belly = girth**1.3
    skin = PartLabel.TORSO
    pelvis = (0.064 * unit * girth**0.8, 0.057 * unit * girth)
    waist = (0.055 * unit * belly, 0.060 * unit * girth)
    chest = (0.061 * unit * girth, 0.054 * unit * girth**0.5)
    upper = [
        cone(
            Bone.ABDOMEN, (0, 0.05 * trunk, 0), (0, -0.05 * trunk, 0), waist, skin, SKIN, end_bone=Bone.CHEST, wide=1.45
        ),
        cone(Bone.CHEST, (0, 0, 0), (0, -0.27 * trunk, 0), chest, skin, SKIN, wide=1.45 * broad),
    ]
    lower = [
        cone(Bone.PELVIS, (0, 0.03 * trunk, 0), (0, 0, 0), pelvis, skin, SKIN, end_bone=Bone.ABDOMEN, wide=1.48 * hips)
    ]
    for sign, arm, _ in SIDES:
        slope = (0.036 * unit * girth**0.4 * physique.muscle, 0.046 * unit * girth**0.4)
        upper.append(cone(arm, (0, 0, 0), (0, -0.33 * trunk, 0), slope, skin, SKIN, end_bone=Bone.CHEST))
        neck = (0.034 * unit * girth**0.4, 0.026 * unit * girth**0.4)
        beside = (sign * 0.62 * size.half_shoulders, -0.385 * trunk, 0.02 * unit)
        upper.append(cone(Bone.NECK, (0, -0.01 * trunk, 0.004 * unit), beside, neck, skin, SKIN, end_bone=Bone.CHEST))
        swell = physique.bust
        breast = ((0.050 + 0.004 * swell) * unit, (0.056 + 0.002 * swell) * unit, (0.024 + 0.016 * swell) * unit)
        front = (sign * 0.042 * unit * broad, -(0.21 - 0.03 * swell) * trunk, -(0.061 * girth - 0.012) * unit)
        upper.append(ellipsoid(Bone.CHEST, front, breast, skin, SKIN))
        seat = (0.058 * unit * girth**0.6, 0.072 * unit * girth**0.6, 0.058 * unit * girth**0.6)
        behind = (sign * 0.048 * unit * hips, 0.04 * trunk, 0.026 * unit)
        lower.append(ellipsoid(Bone.PELVIS, behind, seat, skin, SKIN))
    if girth > 1.12:
        paunch = (0.082 * unit * belly, 0.085 * unit * girth, 0.066 * unit * belly)
        upper.append(ellipsoid(Bone.ABDOMEN, (0, -0.02 * trunk, -0.02 * unit * belly), paunch, skin, SKIN))
    return [Segment(region=Region.UPPER_TRUNK, part=part) for part in upper] + [
        Segment(region=Region.LOWER_TRUNK, part=part) for part in lower
    ]


def _arm(physique: Physique, size: Lengths, arm: Bone, left: bool) -> list[Segment]:
    thick = physique.unit_m * physique.girth**0.5 * (0.5 + 0.5 * physique.muscle)
    upper = PartLabel.LEFT_UPPER_ARM if left else PartLabel.RIGHT_UPPER_ARM
    lower = PartLabel.LEFT_LOWER_ARM if left else PartLabel.RIGHT_LOWER_ARM
    fore = Bone(arm + 1)
    long, short = size.upper_arm, size.forearm
    bulge = 0.0275 * thick
    return [
        Segment(
            region=Region.UPPER_ARM,
            part=cone(arm, (0, 0, 0), (0, long, 0), (0.033 * thick, 0.0245 * thick), upper, SKIN),
        ),
        Segment(
            region=Region.UPPER_ARM,
            part=cone(arm, (0, 0.01 * long, 0), (0, 0.35 * long, 0), (0.0365 * thick, 0.030 * thick), upper, SKIN),
            last=0.35,
        ),
        Segment(
            region=Region.FOREARM,
            part=cone(fore, (0, 0, 0), (0, 0.32 * short, 0), (0.0232 * thick, bulge), lower, SKIN),
            last=0.32,
        ),
        Segment(
            region=Region.FOREARM,
            part=cone(fore, (0, 0.32 * short, 0), (0, short, 0), (bulge, 0.0165 * thick), lower, SKIN),
            first=0.32,
        ),
    ]


def _leg(physique: Physique, size: Lengths, leg: Bone, left: bool) -> list[Segment]:
    unit = physique.unit_m
    thick = unit * physique.girth**0.5 * (0.6 + 0.4 * physique.muscle)
    upper = PartLabel.LEFT_UPPER_LEG if left else PartLabel.RIGHT_UPPER_LEG
    lower = PartLabel.LEFT_LOWER_LEG if left else PartLabel.RIGHT_LOWER_LEG
    shank = Bone(leg + 1)
    thigh_top = 0.056 * unit * physique.girth**0.7
    return [
        Segment(
            region=Region.THIGH,
            part=cone(leg, (0, 0, 0), (0, size.thigh, 0), (thigh_top, 0.035 * thick), upper, SKIN, deep=1.08),
        ),
        Segment(
            region=Region.SHANK,
            part=cone(shank, (0, 0, 0), (0, size.shank, 0), (0.034 * thick, 0.0225 * thick), lower, SKIN),
        ),
        Segment(
            region=Region.SHANK,
            part=cone(
                shank,
                (0, 0.17 * size.shank, 0.006 * unit),
                (0, 0.42 * size.shank, 0.010 * unit),
                (0.033 * thick, 0.033 * thick),
                lower,
                SKIN,
            ),
            first=0.17,
            last=0.42,
        ),
    ]


def hand_parts(physique: Physique, pose: Pose, label_pair: tuple[PartLabel, PartLabel], material: int) -> list[Part]:
    """Palms, four fingers and a thumb each; the labels are (left, right), gloves included."""
    size = lengths_of(physique).hand
    parts: list[Part] = []
    for (sign, arm, _), label, side in zip(SIDES, label_pair, ("left", "right"), strict=True):
        hand = Bone(arm + 2)
        flex = pose[f"{side}_finger_flex"]
        reach = 0.42 * size * (1.0 - 0.3 * flex)
        palm = (0.205 * size, 0.30 * size, 0.085 * size)
        parts.append(
            cone(hand, (0, -0.04 * size, 0), (0, 0.2 * size, 0), (0.15 * size, 0.17 * size), label, material, deep=0.55)
        )
        parts.append(ellipsoid(hand, (0, 0.26 * size, 0.0), palm, label, material))
        for finger in range(4):
            across = -sign * (0.155 - 0.103 * finger) * size
            length = reach * (0.95, 1.05, 1.0, 0.78)[finger]
            root = (across, 0.44 * size, 0.0)
            tip = (across * 1.15, (0.44 * size) + length * math.cos(flex), length * math.sin(flex))
            parts.append(cone(hand, root, tip, (0.055 * size, 0.042 * size), label, material))
        thumb = (-sign * 0.33 * size, 0.45 * size, 0.10 * size)
        base = (-sign * 0.14 * size, 0.13 * size, 0.03 * size)
        parts.append(cone(hand, base, thumb, (0.075 * size, 0.046 * size), label, material))
    return parts


def foot_parts(
    physique: Physique, label_pair: tuple[PartLabel, PartLabel], material: int, sole: int | None
) -> list[Part]:
    """Feet or shoes, the labels being (left, right); with `sole` a flat sole of that material is added."""
    size = lengths_of(physique)
    unit, floor, foot = physique.unit_m, size.ankle, size.foot
    ease = 0.0 if sole is None else 0.003 * unit
    parts: list[Part] = []
    for (sign, _, leg), label in zip(SIDES, label_pair, strict=True):
        bone = Bone(leg + 2)
        heel = (0.0, floor - 0.028 * unit, 0.12 * foot)
        ball = (0.004 * sign * unit, floor - 0.020 * unit, -0.48 * foot)
        toe = (0.006 * sign * unit, floor - 0.014 * unit, -0.66 * foot)
        parts.append(cone(bone, heel, ball, (0.027 * unit + ease, 0.020 * unit + ease), label, material, wide=1.08))
        parts.append(cone(bone, ball, toe, (0.020 * unit + ease, 0.013 * unit + ease), label, material, wide=1.5))
        instep = (0.0, floor - 0.028 * unit, -0.36 * foot)
        parts.append(
            cone(bone, (0, -0.006 * unit, 0.006 * unit), instep, (0.024 * unit + ease, 0.019 * unit), label, material)
        )
        if sole is not None:
            radii = (0.033 * unit, 0.033 * unit)
            back, front = (
                (0.0, floor - 0.006 * unit, 0.14 * foot),
                (0.005 * sign * unit, floor - 0.006 * unit, -0.62 * foot),
            )
            parts.append(cone(bone, back, front, radii, label, sole, deep=0.24))
    return parts
