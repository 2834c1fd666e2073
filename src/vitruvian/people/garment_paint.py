"""Painting of necklines, open jackets and prints onto the top a person wears.

Inputs -> outputs: chest-frame coordinates of a top's pixels -> changed colours and labels of these pixels. Cost: a few
operations on these pixels only.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from vitruvian.people.clothing import Outfit
from vitruvian.people.labels import PartLabel
from vitruvian.people.materials import HAT, SKIN, SOCK, Material
from vitruvian.people.primitives import Float32, IntArray
from vitruvian.people.skeleton import Physique, lengths_of


def paint_top(
    outfit: Outfit,
    physique: Physique,
    materials: tuple[Material, ...],
    chest_m_3K: Float32,
    colour_3K: Float32,
    label_K: IntArray,
) -> None:
    """Change `colour_3K` and `label_K` in place; skin inside the neckline is bare torso."""
    across = np.abs(chest_m_3K[0]) / np.float32(physique.unit_m)
    up = -chest_m_3K[1] / np.float32(lengths_of(physique).trunk)
    front = chest_m_3K[2] < np.float32(0.012 * physique.unit_m)
    if outfit.front == "open":
        shirt = front & (across < 0.018 + 0.030 * np.maximum(up + 0.2, 0.0)) & (up < 0.5)
        _dye(colour_3K, shirt, materials[SOCK].colour)
    elif outfit.front == "print":
        patch = front & ((across / 0.045) ** 4 + ((up - 0.20) / 0.09) ** 4 < 1.0)
        _dye(colour_3K, patch, materials[HAT].colour)
    bare = np.zeros(len(up), dtype=bool)
    if outfit.neckline == "scoop":
        bare = front & ((across / 0.055) ** 2 + ((up - 0.46) / 0.115) ** 2 < 1.0)
    elif outfit.neckline == "v":
        bare = front & (across < 0.20 * (up - 0.25)) & (up < 0.55)
    _dye(colour_3K, bare, materials[SKIN].colour)
    label_K[bare] = PartLabel.TORSO


def _dye(colour_3K: Float32, mask_K: NDArray[np.bool_], rgb: tuple[float, float, float]) -> None:
    colour_3K[:, mask_K] = np.array(rgb, dtype=np.float32)[:, None]
