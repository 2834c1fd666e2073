"""Clothes: what a person wears and the primitives it consists of.

Inputs -> outputs: `Outfit` + body `Segment`s -> parts labelled as clothing, skin, shoes, socks or apparel.
Negligible cost. A garment is the body inflated by its ease; where it ends midway (short sleeve, shorts) the inflated
part is cut and the bare limb continues below it.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from vitruvian.people.body import SIDES, Region, Segment, body_segments, foot_parts, hand_parts
from vitruvian.people.labels import PartLabel
from vitruvian.people.materials import BAG, HAT, LOWER, SHOE, SKIN, SOCK, SOLE, UPPER
from vitruvian.people.parts import Part, cone, ellipsoid
from vitruvian.people.pose import Pose
from vitruvian.people.skeleton import Bone, Physique, lengths_of

NECKLINES: tuple[str, ...] = ("crew", "scoop", "v")
FRONTS: tuple[str, ...] = ("plain", "open", "print")
_COVERED_FROM = 0.985


@dataclass(frozen=True, kw_only=True, slots=True)
class Outfit:
    """Lengths are shares of a limb: sleeves 0 none, 1 elbow, 2 wrist; legs 0 hip, 1 knee, 2 ankle."""

    upper: bool = True
    sleeve: float = 0.6
    upper_ease_m: float = 0.012
    hem: float = 0.0
    lower_length: float = 2.0
    lower_ease_m: float = 0.010
    flare: float = 0.0
    skirt: bool = False
    shoes: bool = True
    sock: float = 0.0
    gloves: bool = False
    belt: bool = False
    backpack: bool = False
    shoulder_bag: bool = False
    neckline: str = "crew"
    front: str = "plain"

    def __post_init__(self) -> None:
        if self.neckline not in NECKLINES or self.front not in FRONTS:
            raise ValueError(
                f"outfit got neckline={self.neckline!r}, front={self.front!r}; expected one of {NECKLINES} and "
                f"{FRONTS}; choose from those"
            )


@dataclass(frozen=True, kw_only=True, slots=True)
class _Cover:
    """How a garment covers one region: up to `cut` of the bone, `ease_m` off the skin, `flare_m` wider at its end."""

    label: PartLabel
    material: int
    cut: float
    ease_m: float
    flare_m: float = 0.0


def dressed_parts(physique: Physique, pose: Pose, outfit: Outfit) -> list[Part]:
    """Everything but head and neck."""
    covers = _covers(outfit)
    parts: list[Part] = []
    for segment in body_segments(physique):
        parts += _dress(segment, covers.get(segment.region))
    parts += _socks(physique, outfit)
    gloves = (PartLabel.APPAREL, PartLabel.APPAREL)
    bare = (PartLabel.LEFT_HAND, PartLabel.RIGHT_HAND)
    parts += hand_parts(physique, pose, gloves if outfit.gloves else bare, BAG if outfit.gloves else SKIN)
    if outfit.shoes:
        parts += foot_parts(physique, (PartLabel.LEFT_SHOE, PartLabel.RIGHT_SHOE), SHOE, SOLE)
    elif outfit.sock > 0.0:
        parts += foot_parts(physique, (PartLabel.LEFT_SOCK, PartLabel.RIGHT_SOCK), SOCK, None)
    else:
        parts += foot_parts(physique, (PartLabel.LEFT_FOOT, PartLabel.RIGHT_FOOT), SKIN, None)
    return parts + _skirt(physique, outfit) + _hem(physique, outfit) + _accessories(physique, outfit)


def _covers(outfit: Outfit) -> dict[Region, _Cover]:
    lower = (PartLabel.LOWER_CLOTHING, LOWER)
    thigh_cut, shank_cut = min(outfit.lower_length, 1.0), max(outfit.lower_length - 1.0, 0.0)
    covers = {
        Region.LOWER_TRUNK: _Cover(label=lower[0], material=lower[1], cut=1.0, ease_m=0.5 * outfit.lower_ease_m),
        Region.THIGH: _Cover(label=lower[0], material=lower[1], cut=thigh_cut, ease_m=outfit.lower_ease_m),
        Region.SHANK: _Cover(
            label=lower[0], material=lower[1], cut=shank_cut, ease_m=outfit.lower_ease_m, flare_m=outfit.flare
        ),
    }
    if outfit.upper:
        upper = (PartLabel.UPPER_CLOTHING, UPPER)
        ease_m = outfit.upper_ease_m
        sleeve, cuff = min(outfit.sleeve, 1.0), max(outfit.sleeve - 1.0, 0.0)
        covers |= {
            Region.UPPER_TRUNK: _Cover(label=upper[0], material=upper[1], cut=1.0, ease_m=0.8 * ease_m),
            Region.UPPER_ARM: _Cover(label=upper[0], material=upper[1], cut=sleeve, ease_m=ease_m),
            Region.FOREARM: _Cover(label=upper[0], material=upper[1], cut=cuff, ease_m=ease_m),
        }
    return covers


def _dress(segment: Segment, cover: _Cover | None) -> list[Part]:
    """The skin part, its garment, or both where the garment ends along it."""
    skin = segment.part
    if cover is None or cover.cut <= segment.first + 0.01:
        return [skin]
    # Loose sleeves hang from the shoulder seam, so the shoulder itself stays close.
    top_ease_m = cover.ease_m * (0.45 if segment.region == Region.UPPER_ARM else 1.0)
    garment = replace(
        skin,
        radius_a=skin.radius_a + top_ease_m,
        radius_b=skin.radius_b + cover.ease_m + cover.flare_m,
        label=cover.label,
        material=cover.material,
    )
    limb = segment.region not in (Region.UPPER_TRUNK, Region.LOWER_TRUNK)
    if not limb or cover.cut >= _COVERED_FROM or cover.cut >= segment.last + 0.12:
        ends_here = limb and segment.last > _COVERED_FROM and segment.region in (Region.FOREARM, Region.SHANK)
        # A cuff is open: cut at the end of the limb instead of closing in a ball around hand or foot.
        return [replace(garment, clip_high=_length(skin) * 1.01)] if ends_here else [garment]
    span = segment.last - segment.first
    cut_m = _length(skin) * (cover.cut - segment.first) / span
    return [skin, replace(garment, clip_high=cut_m)]


def _length(part: Part) -> float:
    return float(sum((b - a) ** 2 for a, b in zip(part.start, part.end, strict=True)) ** 0.5)


def _socks(physique: Physique, outfit: Outfit) -> list[Part]:
    """Socks from the ankle up to the share `sock` of the lower leg."""
    if outfit.sock <= 0.0:
        return []
    size = lengths_of(physique)
    thick = physique.unit_m * physique.girth**0.5 * (0.6 + 0.4 * physique.muscle)
    radii = (0.0345 * thick + 0.003, 0.0225 * thick + 0.004)
    parts = []
    for (_, _, leg), label in zip(SIDES, (PartLabel.LEFT_SOCK, PartLabel.RIGHT_SOCK), strict=True):
        clip = ((1.0 - outfit.sock) * size.shank, 2.0 * size.shank)
        parts.append(cone(Bone(leg + 1), (0, 0, 0), (0, size.shank, 0), radii, label, SOCK, clip=clip))
    return parts


def _skirt(physique: Physique, outfit: Outfit) -> list[Part]:
    """A cone between the thighs; the thighs' own covers fill it where the legs spread."""
    if not outfit.skirt:
        return []
    size, unit = lengths_of(physique), physique.unit_m
    length = size.thigh * min(outfit.lower_length, 1.15)
    top = 0.064 * unit * physique.girth**0.8
    parts = []
    for sign, _, leg in SIDES:
        hem = (-sign * 0.6 * size.half_hips, size.thigh * 1.15, 0.0)
        radii = (top * 1.05, (0.075 + 0.35 * outfit.flare) * unit)
        # Each half follows its own thigh and reaches across the middle, so no gap opens while walking.
        parts.append(
            cone(
                Bone.PELVIS,
                (sign * 0.3 * size.half_hips, -0.02 * size.trunk, 0),
                hem,
                radii,
                PartLabel.LOWER_CLOTHING,
                LOWER,
                end_bone=leg,
                wide=1.2,
                clip=(-top, length),
            )
        )
    return parts


def _hem(physique: Physique, outfit: Outfit) -> list[Part]:
    """The part of a top that hangs over the hips, or the waistband's belt."""
    size, unit = lengths_of(physique), physique.unit_m
    pelvis_m = 0.064 * unit * physique.girth**0.8 + 0.5 * outfit.lower_ease_m
    wide = 1.48 * physique.hips
    parts: list[Part] = []
    if outfit.upper and outfit.hem > 0.0:
        radii = (0.059 * unit * physique.girth**1.1 + outfit.upper_ease_m, pelvis_m + 0.8 * outfit.upper_ease_m)
        start, end = (0.0, -0.06 * size.trunk, 0.0), (0.0, 0.06 * size.trunk, 0.004 * unit)
        clip = (-0.1 * size.trunk, outfit.hem * 0.30 * size.trunk)
        parts.append(
            cone(
                Bone.ABDOMEN,
                start,
                end,
                radii,
                PartLabel.UPPER_CLOTHING,
                UPPER,
                end_bone=Bone.PELVIS,
                wide=wide,
                clip=clip,
            )
        )
    if outfit.belt:
        radii = (0.060 * unit * physique.girth + 0.004, pelvis_m + 0.004)
        start, end = (0.0, 0.0, 0.0), (0.0, 0.03 * size.trunk, 0.0)
        clip = (0.02 * size.trunk, 0.075 * size.trunk)
        parts.append(
            cone(Bone.ABDOMEN, start, end, radii, PartLabel.APPAREL, HAT, end_bone=Bone.PELVIS, wide=wide, clip=clip)
        )
    return parts


def _accessories(physique: Physique, outfit: Outfit) -> list[Part]:
    size, unit = lengths_of(physique), physique.unit_m
    parts: list[Part] = []
    if outfit.backpack:
        back = (0.0, -0.10 * size.trunk, 0.105 * unit)
        parts.append(ellipsoid(Bone.CHEST, back, (0.085 * unit, 0.13 * unit, 0.055 * unit), PartLabel.APPAREL, BAG))
        for sign, _, _ in SIDES:
            strap = (sign * 0.055 * unit, -0.385 * size.trunk, -0.035 * unit)
            low = (sign * 0.088 * unit, -0.12 * size.trunk, -0.03 * unit)
            radii = (0.016 * unit, 0.014 * unit)
            parts.append(cone(Bone.CHEST, strap, low, radii, PartLabel.APPAREL, BAG))
            parts.append(
                cone(
                    Bone.CHEST,
                    strap,
                    (sign * 0.055 * unit, -0.33 * size.trunk, 0.07 * unit),
                    radii,
                    PartLabel.APPAREL,
                    BAG,
                )
            )
    if outfit.shoulder_bag:
        hip = (0.125 * unit * physique.girth**0.5, -0.05 * size.trunk, 0.0)
        parts.append(ellipsoid(Bone.PELVIS, hip, (0.03 * unit, 0.06 * unit, 0.075 * unit), PartLabel.APPAREL, BAG))
        strap_end = (-0.06 * unit, -0.40 * size.trunk, -0.02 * unit)
        front = (hip[0] * 0.8, hip[1], -0.07 * unit)
        radii = (0.010 * unit, 0.030 * unit)
        parts.append(cone(Bone.PELVIS, front, strap_end, radii, PartLabel.APPAREL, BAG, end_bone=Bone.CHEST))
    return parts
