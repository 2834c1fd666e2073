"""Surface materials: two colours mixed by a procedural pattern.

Inputs -> outputs: `Material` table + material index and metric local coordinates per pixel -> albedo per pixel.
One pattern formula with per-material weights serves plain, striped, checked, dotted and mottled cloth, so all pixels
are coloured in one vectorised pass. Cost: two sines and two noise lookups per patterned pixel.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import cv2
import numpy as np

from vitruvian.people.primitives import Float32, IntArray

# A person's materials, in this order; props come after the last person.
SKIN, HAIR, UPPER, LOWER, SHOE, SOLE, SOCK, HAT, BAG = range(9)
PERSON_MATERIALS = 9
_NO_PATTERN = 9.0
Rgb = tuple[float, float, float]
# Samples per unit of the noise coordinates: lookups take the nearest sample, so the tile must be finer than pixels.
_NOISE_FINENESS = 4
_NOISE_SIZE = 128 * _NOISE_FINENESS


@dataclass(frozen=True, kw_only=True, slots=True)
class Material:
    """Linear colours and the pattern between them.

    The second colour shows where `across * sin(u) + along * sin(v) + product * sin(u) * sin(v) + mottle * noise
    - lines * min(|sin(u)|, |sin(v)|)` exceeds `threshold`, u and v being local x and y in metres times `frequency`.
    `grain` is unevenness of brightness, `gloss` the strength of highlights, `fold` how much folds tilt the surface when
    it is shaded.
    """

    colour: Rgb
    second: Rgb = (0.0, 0.0, 0.0)
    across: float = 0.0
    along: float = 0.0
    product: float = 0.0
    mottle: float = 0.0
    lines: float = 0.0
    threshold: float = _NO_PATTERN
    frequency: float = 40.0
    grain: float = 0.05
    gloss: float = 0.02
    fold: float = 0.0


def plain(colour: Rgb, *, grain: float = 0.05, gloss: float = 0.02, fold: float = 0.0) -> Material:
    """A material of one colour with slight unevenness `grain` and specular strength `gloss`."""
    return Material(colour=colour, grain=grain, gloss=gloss, fold=fold)


def patterned(rng: np.random.Generator, colour: Rgb, second: Rgb, *, fold: float = 0.0) -> Material:
    """A surface with a random pattern."""
    across, along, product, mottle, threshold = (
        (1.0, 0.0, 0.0, 0.0, 0.3),
        (0.0, 1.0, 0.0, 0.0, 0.0),
        (0.0, 1.0, 0.0, 0.0, 0.6),
        (0.0, 0.0, 1.0, 0.0, 0.0),
        (0.5, 0.5, 0.0, 0.0, 0.15),
        (0.5, 0.5, 0.0, 0.0, 0.75),
        (0.0, 0.0, 0.0, 1.0, 0.1),
        (0.2, 0.2, 0.0, 1.0, 0.5),
    )[int(rng.integers(8))]
    return Material(
        colour=colour,
        second=second,
        across=across,
        along=along,
        product=product,
        mottle=mottle,
        threshold=threshold,
        frequency=float(np.exp(rng.uniform(np.log(30.0), np.log(220.0)))),
        grain=float(rng.uniform(0.02, 0.08)),
        gloss=float(rng.choice([0.0, 0.02, 0.1])),
        fold=fold,
    )


def tiled(colour: Rgb, second: Rgb, size_m: float, *, grain: float = 0.05, gloss: float = 0.02) -> Material:
    """Square tiles of this size, with joints of the second colour, a twenty-fourth of it wide."""
    return Material(
        colour=colour,
        second=second,
        lines=3.0,
        threshold=-0.2,
        frequency=float(np.pi / size_m),
        grain=grain,
        gloss=gloss,
    )


def chequered(colour: Rgb, second: Rgb, size_m: float) -> Material:
    """Squares of this size in turns of two colours."""
    return Material(colour=colour, second=second, product=1.0, threshold=0.0, frequency=float(np.pi / size_m))


def striped(colour: Rgb, second: Rgb, width_m: float, *, share: float = 0.5, upright: bool = False) -> Material:
    """Stripes, one of each colour in every `width_m`, the second taking a share; upright on walls, lying otherwise."""
    return Material(
        colour=colour,
        second=second,
        across=float(upright),
        along=float(not upright),
        threshold=float(np.cos(np.pi * share)),
        frequency=float(2 * np.pi / width_m),
    )


@dataclass(frozen=True, kw_only=True, slots=True)
class MaterialTable:
    """Materials as arrays, one row per material."""

    colour_M3: Float32
    second_M3: Float32
    pattern_6M: Float32
    lines_M: Float32
    grain_M: Float32
    gloss_M: Float32
    fold_M: Float32


def table_of(materials: list[Material]) -> MaterialTable:
    """Arrays of a list of materials."""
    return MaterialTable(
        colour_M3=np.array([m.colour for m in materials], dtype=np.float32),
        second_M3=np.array([m.second for m in materials], dtype=np.float32),
        pattern_6M=np.array(
            [(m.across, m.along, m.product, m.mottle, m.threshold, m.frequency) for m in materials], dtype=np.float32
        ).T.copy(),
        lines_M=np.array([m.lines for m in materials], dtype=np.float32),
        grain_M=np.array([m.grain for m in materials], dtype=np.float32),
        gloss_M=np.array([m.gloss for m in materials], dtype=np.float32),
        fold_M=np.array([m.fold for m in materials], dtype=np.float32),
    )


@lru_cache(maxsize=1)
def _noise_tile() -> Float32:
    """Tileable smooth noise, zero mean, unit deviation; a constant of the room, not of a scene."""
    rng = np.random.default_rng(7)
    tile = np.zeros((_NOISE_SIZE, _NOISE_SIZE), dtype=np.float32)
    for octave, weight in ((3.0, 1.0), (1.5, 0.5)):
        raw = np.tile(rng.standard_normal((_NOISE_SIZE, _NOISE_SIZE)).astype(np.float32), (3, 3))
        smooth = cv2.GaussianBlur(raw, (0, 0), octave * _NOISE_FINENESS)[
            _NOISE_SIZE : 2 * _NOISE_SIZE, _NOISE_SIZE : 2 * _NOISE_SIZE
        ]
        tile += weight * smooth / smooth.std()
    return tile / tile.std()


def noise_at(x_K: Float32, y_K: Float32) -> Float32:
    """Smooth noise at points given in noise cells of about three units."""
    column_K = (x_K * _NOISE_FINENESS).astype(np.int32) & (_NOISE_SIZE - 1)
    row_K = (y_K * _NOISE_FINENESS).astype(np.int32) & (_NOISE_SIZE - 1)
    return _noise_tile().ravel()[row_K * _NOISE_SIZE + column_K]


def albedo(table: MaterialTable, material_K: IntArray, metric_3K: Float32) -> Float32:
    """Linear colour (3, K) at local points in metres."""
    colour_3K = table.colour_M3.T[:, material_K]
    side_K = metric_3K[0] + np.float32(0.6) * metric_3K[2]
    _add_pattern(table, material_K, metric_3K, side_K, colour_3K)
    broad_K = noise_at(side_K * np.float32(75.0) + 31.0, metric_3K[1] * np.float32(55.0) + 57.0)
    colour_3K *= np.maximum(np.float32(1.0) + table.grain_M[material_K] * np.float32(1.4) * broad_K, np.float32(0.1))
    return colour_3K


def _add_pattern(
    table: MaterialTable, material_K: IntArray, metric_3K: Float32, side_K: Float32, colour_3K: Float32
) -> None:
    """Mix in the second colour, in place, where a material has a pattern."""
    chosen = np.flatnonzero((table.pattern_6M[4] < _NO_PATTERN)[material_K])
    if len(chosen) == 0:
        return
    material_C = material_K[chosen]
    across_C, along_C, product_C, mottle_C, threshold_C, frequency_C = table.pattern_6M[:, material_C]
    wave_u_C = np.sin(metric_3K[0, chosen] * frequency_C)
    wave_v_C = np.sin(metric_3K[1, chosen] * frequency_C)
    value_C = across_C * wave_u_C + along_C * wave_v_C + product_C * wave_u_C * wave_v_C - threshold_C
    if (table.lines_M > 0.0).any():
        value_C -= table.lines_M[material_C] * np.minimum(np.abs(wave_u_C), np.abs(wave_v_C))
    if (table.pattern_6M[3] > 0.0).any():
        scale_C = frequency_C * np.float32(1.2)
        value_C += mottle_C * noise_at(side_K[chosen] * scale_C, metric_3K[1, chosen] * scale_C)
    share_C = np.clip(value_C * np.float32(4.0) + np.float32(0.5), 0.0, 1.0)
    first_3C = colour_3K[:, chosen]
    colour_3K[:, chosen] = first_3C + (table.second_M3.T[:, material_C] - first_3C) * share_C
