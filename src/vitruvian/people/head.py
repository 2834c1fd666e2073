"""Head, neck, hair and hats as primitives.

Inputs -> outputs: `Physique` + `HeadStyle` -> parts. Negligible cost. Sizes are in head heights; the head's middle lies
half a head above the chin. Eyes, brows and lips are painted later (see `face.py`).
"""

from __future__ import annotations

from dataclasses import dataclass

from vitruvian.people.labels import PartLabel
from vitruvian.people.materials import HAIR, HAT, SKIN
from vitruvian.people.parts import Offset, Part, cone, ellipsoid
from vitruvian.people.skeleton import Bone, Physique, lengths_of

HAIR_STYLES: tuple[str, ...] = ("bald", "short", "cap", "bob", "long", "bun", "ponytail", "afro", "curls")
HAT_STYLES: tuple[str, ...] = ("none", "beanie", "cap", "brim", "helmet")
# The head bone's origin sits at the skull's base; the middle of the head is this much higher and further forward.
MIDDLE_HEADS = (0.0, -0.40, -0.06)
EYE_HEADS = (0.142, 0.0, -0.365)
EAR_HEADS = (0.335, 0.05, 0.06)
NOSE_HEADS = (0.0, 0.135, -0.455)


@dataclass(frozen=True, kw_only=True, slots=True)
class HeadStyle:
    """Hair, hat and face traits; `jaw` widens the lower face, `seed` varies what is painted on it."""

    hair: str = "short"
    hat: str = "none"
    jaw: float = 1.0
    nose: float = 1.0
    hair_length: float = 0.5
    eye_rgb: tuple[float, float, float] = (0.1, 0.05, 0.03)
    lip_rgb: tuple[float, float, float] = (0.45, 0.16, 0.14)
    beard: float = 0.0
    brow: float = 1.0
    mouth_open: float = 0.0
    glasses: str = "none"

    def __post_init__(self) -> None:
        if self.hair not in HAIR_STYLES or self.hat not in HAT_STYLES:
            raise ValueError(
                f"head style got hair={self.hair!r}, hat={self.hat!r}; expected one of {HAIR_STYLES} and {HAT_STYLES}; "
                "choose from those"
            )


def in_head_bone(point_heads: Offset, head_m: float) -> Offset:
    """A point given relative to the head's middle in head heights, in the head bone's frame in metres."""
    x, y, z = (head_m * (p + m) for p, m in zip(point_heads, MIDDLE_HEADS, strict=True))
    return (x, y, z)


def head_parts(physique: Physique, style: HeadStyle) -> list[Part]:
    """Skull, face, nose, ears, neck, hair and hat."""
    return _face(physique, style) + _neck(physique) + _hair(physique, style) + _hat(physique.head_m, style)


def _ball(
    head_m: float,
    centre: Offset,
    radii: Offset,
    label: PartLabel,
    material: int,
    axis: Offset = (0.0, 1.0, 0.0),
    low: float = -9.0,
    high: float = 9.0,
) -> Part:
    scaled = (radii[0] * head_m, radii[1] * head_m, radii[2] * head_m)
    infinite = float("inf")
    clip = (low * head_m if low > -9.0 else -infinite, high * head_m if high < 9.0 else infinite)
    return ellipsoid(Bone.HEAD, in_head_bone(centre, head_m), scaled, label, material, axis=axis, clip=clip)


def _rod(
    head_m: float,
    start: Offset,
    end: Offset,
    radii: tuple[float, float],
    label: PartLabel,
    material: int,
    wide: float = 1.0,
    deep: float = 1.0,
) -> Part:
    scaled = (radii[0] * head_m, radii[1] * head_m)
    first, last = in_head_bone(start, head_m), in_head_bone(end, head_m)
    return cone(Bone.HEAD, first, last, scaled, label, material, wide=wide, deep=deep)


def _face(physique: Physique, style: HeadStyle) -> list[Part]:
    head_m, face = physique.head_m, PartLabel.FACE_NECK
    jaw = style.jaw * (0.9 + 0.1 * physique.girth)
    parts = [
        _ball(head_m, (0, -0.115, 0.035), (0.345, 0.385, 0.42), face, SKIN),
        _rod(head_m, (0, -0.03, -0.085), (0, 0.31, -0.15), (0.295, 0.165 * jaw), face, SKIN, wide=1.02),
        _rod(head_m, (0, 0.20, -0.15), (0, 0.40, -0.225), (0.20 * jaw, 0.085 * jaw), face, SKIN, wide=1.25),
        _rod(
            head_m,
            (0, 0.0, -0.355),
            (0, 0.115, -0.40),
            (0.028, 0.056 * style.nose),
            face,
            SKIN,
            wide=0.95,
        ),
    ]
    for sign in (1.0, -1.0):
        ear = (sign * EAR_HEADS[0], EAR_HEADS[1], EAR_HEADS[2])
        parts.append(_ball(head_m, ear, (0.045, 0.125, 0.075), face, SKIN))
    return parts


def _neck(physique: Physique) -> list[Part]:
    size, unit, head_m = lengths_of(physique), physique.unit_m, physique.head_m
    thick = unit * physique.girth**0.5 * (0.7 + 0.3 * physique.muscle)
    start = (0.0, 0.06 * size.trunk, 0.0)
    end = in_head_bone((0.0, 0.18, 0.04), head_m)
    radii = (0.037 * thick, 0.0345 * thick)
    return [cone(Bone.NECK, start, end, radii, PartLabel.FACE_NECK, SKIN, end_bone=Bone.HEAD)]


def _hair(physique: Physique, style: HeadStyle) -> list[Part]:
    """A shell over the skull, open towards the face, and what hangs from it."""
    head_m, hair = physique.head_m, PartLabel.HAIR
    kind, length = style.hair, style.hair_length
    if kind == "bald":
        return []
    volume = {"short": 0.012, "cap": 0.035, "bun": 0.015, "ponytail": 0.015, "curls": 0.09, "afro": 0.2}.get(
        kind, 0.035
    )
    centre, tilt = (0.0, -0.125, 0.04), (0.0, -0.78, 0.62)
    radii = (0.352 + volume, 0.40 + volume, 0.40 + volume)
    # The cut runs from the hairline over the forehead to the nape.
    parts = [_ball(head_m, centre, radii, hair, HAIR, axis=tilt, low=-0.075 - 0.2 * volume)]
    if kind in ("short", "cap", "curls"):
        nape = (0.30 + volume, 0.33 + volume, 0.15 + volume)
        parts.append(_ball(head_m, (0, -0.04, 0.31), nape, hair, HAIR))
    if kind == "afro":
        parts.append(_ball(head_m, (0, -0.14, 0.16), (0.50, 0.46, 0.42), hair, HAIR))
    if kind in ("bob", "long"):
        reach = 0.32 if kind == "bob" else 0.5 + 0.7 * length
        parts.append(_rod(head_m, (0, -0.05, 0.20), (0, reach, 0.27), (0.36, 0.30), hair, HAIR, wide=1.08, deep=0.62))
        for sign in (1.0, -1.0):
            fall = (sign * 0.35, min(reach, 0.75), 0.03)
            parts.append(_rod(head_m, (sign * 0.30, -0.16, 0.0), fall, (0.115, 0.085), hair, HAIR, deep=1.5))
    if kind in ("bun", "ponytail"):
        parts.append(_ball(head_m, (0, 0.0, 0.30), (0.27, 0.26, 0.15), hair, HAIR))
    if kind == "bun":
        parts.append(_ball(head_m, (0, -0.42 + 0.3 * length, 0.38), (0.16, 0.15, 0.15), hair, HAIR))
    if kind == "ponytail":
        parts.append(_rod(head_m, (0, -0.2, 0.46), (0, 0.2, 0.62), (0.09, 0.13), hair, HAIR))
        parts.append(_rod(head_m, (0, 0.2, 0.62), (0, 0.5 + 0.4 * length, 0.5), (0.13, 0.05), hair, HAIR))
    return parts


def _hat(head_m: float, style: HeadStyle) -> list[Part]:
    label = PartLabel.APPAREL
    if style.hat == "none":
        return []
    centre, radii = (0.0, -0.14, 0.04), (0.42, 0.44, 0.46)
    upright, tilt = (0.0, -1.0, 0.0), (0.0, -0.95, 0.3)
    if style.hat == "beanie":
        return [_ball(head_m, centre, radii, label, HAT, axis=tilt, low=0.06)]
    if style.hat == "helmet":
        return [_ball(head_m, centre, (0.47, 0.47, 0.52), label, HAT, axis=tilt, low=0.02)]
    crown = _ball(head_m, centre, radii, label, HAT, axis=upright, low=0.12)
    if style.hat == "cap":
        return [crown, _rod(head_m, (0, -0.27, -0.25), (0, -0.22, -0.58), (0.30, 0.24), label, HAT, deep=0.09)]
    return [crown, _rod(head_m, (0, -0.25, 0.0), (0, -0.249, 0.08), (0.72, 0.72), label, HAT, deep=0.04)]
