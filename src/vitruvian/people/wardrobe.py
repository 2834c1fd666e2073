"""Random people: bodies, skin and hair colours, clothes and accessories.

Inputs -> outputs: random generator -> `Physique`, `Outfit`, `HeadStyle`, materials. Negligible cost.
"""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np

from vitruvian.people.clothing import FRONTS, NECKLINES, Outfit
from vitruvian.people.head import HeadStyle
from vitruvian.people.materials import Material, Rgb, patterned, plain
from vitruvian.people.person import Person
from vitruvian.people.pose import Pose
from vitruvian.people.skeleton import Physique

Generator = np.random.Generator
# Linear light, from pale to dark; people lie between neighbours.
_SKIN_RAMP = np.array(
    [
        (0.79, 0.56, 0.46),
        (0.68, 0.43, 0.32),
        (0.52, 0.30, 0.20),
        (0.34, 0.18, 0.11),
        (0.17, 0.085, 0.05),
        (0.07, 0.036, 0.024),
    ]
)
_HAIR_RGB: tuple[Rgb, ...] = (
    (0.012, 0.010, 0.010),
    (0.035, 0.018, 0.010),
    (0.09, 0.045, 0.02),
    (0.22, 0.12, 0.05),
    (0.50, 0.33, 0.14),
    (0.28, 0.07, 0.02),
    (0.33, 0.32, 0.31),
    (0.65, 0.63, 0.60),
)
_HAIR_WEIGHTS = (0.30, 0.20, 0.16, 0.10, 0.09, 0.05, 0.06, 0.04)
_NEUTRAL_SHARE = 0.45


def random_person(rng: Generator, pose: Pose, clothing_hint: Rgb | None) -> Person:
    """A person with random looks; `clothing_hint` is a colour of the surroundings that clothes take up now and then."""
    feminine = rng.random() < 0.5
    physique = _random_physique(rng, feminine)
    head = _random_head(rng, feminine, physique.heads < 6.6)
    outfit = _random_outfit(rng, feminine)
    materials = _random_materials(rng, clothing_hint)
    head = replace(head, lip_rgb=_lips(rng, materials[0].colour, feminine))
    return Person(physique=physique, outfit=outfit, head=head, pose=pose, materials=materials)


def random_colour(rng: Generator) -> Rgb:
    """A cloth or wall colour in linear light: greys, blacks and whites are common, the rest spread over hues."""
    if rng.random() < _NEUTRAL_SHARE:
        level = float(rng.choice([rng.uniform(0.008, 0.05), rng.uniform(0.05, 0.5), rng.uniform(0.6, 0.9)]))
        cast = rng.uniform(0.88, 1.12, 3)
        return (level * float(cast[0]), level * float(cast[1]), level * float(cast[2]))
    hue, saturation, value = float(rng.uniform(0, 1)), float(rng.uniform(0.25, 0.98)), float(rng.uniform(0.02, 0.85))
    return hsv(hue, saturation, value)


def hsv(hue: float, saturation: float, value: float) -> Rgb:
    """Colour from hue (0..1), saturation and value."""

    def channel(offset: float) -> float:
        k = (offset + hue * 6.0) % 6.0
        return value - value * saturation * max(0.0, min(k, 4.0 - k, 1.0))

    return (channel(5.0), channel(3.0), channel(1.0))


def random_skin(rng: Generator) -> Rgb:
    """A skin colour in linear light."""
    place = float(rng.uniform(0, len(_SKIN_RAMP) - 1.001))
    lower = int(place)
    rgb = _SKIN_RAMP[lower] + (place - lower) * (_SKIN_RAMP[lower + 1] - _SKIN_RAMP[lower])
    rgb = rgb * rng.uniform(0.92, 1.08, 3)
    return (float(rgb[0]), float(rgb[1]), float(rgb[2]))


def _random_physique(rng: Generator, feminine: bool) -> Physique:
    if rng.random() < 0.14:
        height_m = float(rng.uniform(1.0, 1.5))
        heads = 5.6 + (height_m - 1.0) * 2.6
        girth = float(rng.uniform(0.9, 1.15))
        return Physique(height_m=height_m, heads=heads, girth=girth, muscle=0.88, shoulders=0.95, hips=0.95)
    height_m = float(rng.normal(1.65 if feminine else 1.77, 0.07))
    girth = float(np.clip(math.exp(rng.normal(0.0, 0.16)), 0.78, 1.5))
    muscle = float(rng.uniform(0.84, 1.0)) if feminine else float(rng.uniform(0.92, 1.22))
    return Physique(
        height_m=min(max(height_m, 1.45), 2.0),
        heads=float(rng.uniform(7.0, 7.9)),
        girth=girth,
        muscle=muscle,
        shoulders=float(rng.uniform(0.88, 0.98)) if feminine else float(rng.uniform(0.98, 1.12)),
        hips=float(rng.uniform(1.0, 1.14)) if feminine else float(rng.uniform(0.92, 1.02)),
        bust=float(rng.uniform(0.3, 1.0)) if feminine else 0.0,
    )


def _random_head(rng: Generator, feminine: bool, child: bool) -> HeadStyle:
    styles = ("long", "bob", "bun", "ponytail", "cap", "curls", "afro", "short")
    weights = (0.28, 0.16, 0.12, 0.18, 0.08, 0.08, 0.05, 0.05)
    if not feminine:
        styles = ("short", "cap", "curls", "bald", "afro", "bob", "bun", "ponytail")
        weights = (0.42, 0.25, 0.08, 0.10, 0.05, 0.05, 0.03, 0.02)
    hats = ("none", "cap", "beanie", "brim", "helmet")
    glasses = ("none", "clear", "sun")
    eyes: tuple[Rgb, ...] = ((0.03, 0.015, 0.008), (0.10, 0.05, 0.02), (0.08, 0.16, 0.28), (0.08, 0.14, 0.07))
    return HeadStyle(
        hair=str(rng.choice(styles, p=weights)),
        hat=str(rng.choice(hats, p=(0.80, 0.08, 0.05, 0.04, 0.03))),
        jaw=float(rng.uniform(0.86, 1.0)) if feminine else float(rng.uniform(0.95, 1.15)),
        nose=float(rng.uniform(0.75, 1.25)),
        hair_length=float(rng.uniform(0, 1)),
        eye_rgb=eyes[int(rng.integers(len(eyes)))],
        beard=float(rng.uniform(0.2, 0.95)) if not feminine and not child and rng.random() < 0.35 else 0.0,
        brow=float(rng.uniform(0.6, 1.3)),
        mouth_open=float(rng.uniform(0, 1)) if rng.random() < 0.4 else 0.0,
        glasses=str(rng.choice(glasses, p=(0.84, 0.10, 0.06))),
    )


def _random_outfit(rng: Generator, feminine: bool) -> Outfit:
    sleeve = float(rng.choice([0.0, rng.uniform(0.3, 0.7), rng.uniform(0.8, 1.5), 2.0], p=(0.12, 0.38, 0.12, 0.38)))
    long_share, shorts_share = (0.52, 0.22) if feminine else (0.68, 0.30)
    draw = rng.random()
    skirt = draw > long_share + shorts_share
    length = 2.0 if draw < long_share else float(rng.uniform(0.25, 1.15))
    if draw < long_share and rng.random() < 0.15:
        length = float(rng.uniform(1.4, 1.9))
    shoes = rng.random() < 0.86
    return Outfit(
        upper=rng.random() < (0.985 if feminine else 0.90),
        sleeve=sleeve,
        upper_ease_m=float(rng.choice([rng.uniform(0.004, 0.010), rng.uniform(0.010, 0.03)])),
        hem=float(rng.uniform(0.3, 1.0)) if rng.random() < 0.6 else 0.0,
        lower_length=min(length, 1.1) if skirt else length,
        lower_ease_m=float(rng.choice([rng.uniform(0.004, 0.010), rng.uniform(0.010, 0.028)])),
        flare=float(rng.uniform(0.0, 0.035)),
        skirt=skirt,
        shoes=shoes,
        sock=float(rng.uniform(0.1, 0.7)) if rng.random() < 0.45 else 0.0,
        gloves=rng.random() < 0.04,
        belt=rng.random() < 0.2,
        backpack=rng.random() < 0.07,
        shoulder_bag=rng.random() < 0.06,
        neckline=str(rng.choice(NECKLINES, p=(0.5, 0.3, 0.2))),
        front=str(rng.choice(FRONTS, p=(0.62, 0.16, 0.22))),
    )


def _random_materials(rng: Generator, hint: Rgb | None) -> tuple[Material, ...]:
    hair_rgb = _HAIR_RGB[int(rng.choice(len(_HAIR_RGB), p=_HAIR_WEIGHTS))]
    hair = Material(
        colour=hair_rgb,
        second=(hair_rgb[0] * 1.35, hair_rgb[1] * 1.35, hair_rgb[2] * 1.35),
        mottle=0.4,
        threshold=0.2,
        frequency=260.0,
        grain=0.1,
        gloss=0.12,
    )

    def cloth(pattern_share: float) -> Material:
        colour = hint if hint is not None and rng.random() < 0.12 else random_colour(rng)
        fold = float(rng.uniform(0.0, 0.22))
        if rng.random() < pattern_share:
            return patterned(rng, colour, random_colour(rng), fold=fold)
        return plain(
            colour, grain=float(rng.uniform(0.02, 0.08)), gloss=float(rng.choice([0.0, 0.03, 0.12])), fold=fold
        )

    upper, lower = cloth(0.4), cloth(0.2)
    if rng.random() < 0.1:
        lower = upper
    if rng.random() < 0.25:
        lower = plain((0.03, 0.05, float(rng.uniform(0.08, 0.22))), grain=0.1, fold=0.12)
    return (
        Material(colour=random_skin(rng), grain=0.03, gloss=float(rng.uniform(0.02, 0.12))),
        hair,
        upper,
        lower,
        plain(random_colour(rng), gloss=0.1),
        plain((0.75, 0.74, 0.7) if rng.random() < 0.5 else (0.03, 0.03, 0.03)),
        cloth(0.15),
        cloth(0.2),
        cloth(0.2),
    )


def _lips(rng: Generator, skin: Rgb, feminine: bool) -> Rgb:
    paint = float(rng.uniform(0.0, 1.0)) if feminine else 0.1
    red = (0.45, 0.08, 0.09)
    natural = (skin[0] * 0.85, skin[1] * 0.55, skin[2] * 0.58)
    mixed = [(1 - paint) * n + paint * r for n, r in zip(natural, red, strict=True)]
    return (mixed[0], mixed[1], mixed[2])
