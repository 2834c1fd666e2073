"""Deferred shading of visible surfaces.

Inputs -> outputs: normals, points, albedo and light -> linear colours. Cost: about thirty operations per visible
pixel.
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from vitruvian.people.camera import Camera
from vitruvian.people.materials import MaterialTable, noise_at
from vitruvian.people.primitives import Float32, IntArray
from vitruvian.people.rotations import FloatArray
from vitruvian.people.surroundings import Light

# How strongly the picture (never the labels) rounds off the creases between neighbouring primitives.
_SOFTNESS = 0.65


def softened_normals(normals_HW3: Float32, ids_HW: NDArray[np.uint8]) -> Float32:
    """Normals for shading only: people's are averaged with their neighbourhood, as draped cloth and skin would be."""
    size = max(3, normals_HW3.shape[0] // 36) | 1
    x, y, wide, high = cv2.boundingRect(ids_HW)
    if wide == 0:
        return normals_HW3
    area = (slice(max(y - 2 * size, 0), y + high + 2 * size), slice(max(x - 2 * size, 0), x + wide + 2 * size))
    mask = (ids_HW[area] > 0).astype(np.float32)[:, :, None]
    blurred = cv2.blur(cv2.blur(normals_HW3[area] * mask, (size, size)), (size, size))
    near = np.asarray(blurred, dtype=np.float32)
    near /= np.sqrt(np.einsum("hwc,hwc->hw", near, near))[:, :, None] + np.float32(1e-6)
    soft_HW3 = normals_HW3.copy()
    soft_HW3[area] += (near - normals_HW3[area]) * (mask * np.float32(_SOFTNESS))
    return soft_HW3


def folded(normal_3K: Float32, metric_3K: Float32, material_K: IntArray, table: MaterialTable) -> Float32:
    """Normals tilted by the folds of cloth, for shading only."""
    fold_K = table.fold_M[material_K]
    chosen = np.flatnonzero(fold_K > 0.0)
    if len(chosen) == 0:
        return normal_3K
    around = (metric_3K[0, chosen] + metric_3K[2, chosen]) * np.float32(34.0)
    along = metric_3K[1, chosen] * np.float32(22.0)
    tilted = normal_3K.copy()
    tilted[0, chosen] += fold_K[chosen] * noise_at(around + along * 0.4, along)
    tilted[1, chosen] += fold_K[chosen] * noise_at(around * 0.6 + 57.0, along * 1.6 + 23.0)
    return tilted


def shade(
    light: Light,
    camera: Camera,
    normal_3K: Float32,
    point_m_3K: Float32,
    albedo_3K: Float32,
    gloss_K: Float32,
    lit_K: Float32,
) -> Float32:
    """Linear RGB (3, K): wrapped key light (reaching a share `lit_K`), rim light, sky and ground ambient, highlight."""
    rotate = camera.camera_from_world_33
    key = _unit(rotate @ np.array(light.key_direction_3))
    rim = _unit(rotate @ np.array(light.rim_direction_3))
    up = (-rotate[:, 1]).astype(np.float32)
    normal_3K = normal_3K / np.sqrt(np.einsum("ik,ik->k", normal_3K, normal_3K))
    # Wrapping the key light a little past the terminator stands in for light scattered around the body.
    facing_K = np.maximum((key @ normal_3K + np.float32(0.18)) * np.float32(1 / 1.18), 0.0) * lit_K
    height_K = (up @ normal_3K) * np.float32(0.5) + np.float32(0.5)
    sky, ground = (np.array(c, dtype=np.float32)[:, None] for c in (light.sky_rgb, light.ground_rgb))
    key_rgb = np.array(light.key_rgb, dtype=np.float32)[:, None]
    received_3K = ground + (sky - ground) * height_K
    # Where the key light is blocked, some of the sky is too.
    received_3K *= np.float32(0.65) + np.float32(0.35) * lit_K
    received_3K += key_rgb * facing_K
    if max(light.rim_rgb) > 0.0:
        received_3K += np.array(light.rim_rgb, dtype=np.float32)[:, None] * np.maximum(rim @ normal_3K, 0.0)
    received_3K *= albedo_3K
    shiny = np.flatnonzero(gloss_K > 0.0)
    if len(shiny):
        point_3S = point_m_3K[:, shiny]
        half_3S = key[:, None] - point_3S / np.sqrt(np.einsum("ik,ik->k", point_3S, point_3S))
        half_3S /= np.sqrt(np.einsum("ik,ik->k", half_3S, half_3S))
        along_S = np.maximum(np.einsum("ik,ik->k", half_3S, normal_3K[:, shiny]), 0.0)
        sharp_S = (along_S * along_S) ** 2
        received_3K[:, shiny] += key_rgb * (gloss_K[shiny] * lit_K[shiny] * sharp_S**5)
    return received_3K


def to_display(linear_3K: Float32) -> Float32:
    """Linear light -> display values 0..255 with a soft shoulder for highlights."""
    bounded = np.maximum(linear_3K, 0.0)
    rolled = np.where(bounded > 0.7, 1.0 - 0.3 * np.exp((0.7 - bounded) * np.float32(1 / 0.3)), bounded)
    return np.sqrt(rolled) * np.float32(255.0)


def _unit(vector_3: FloatArray) -> Float32:
    unit: Float32 = (vector_3 / np.linalg.norm(vector_3)).astype(np.float32)
    return unit
