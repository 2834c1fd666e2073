"""Pinhole camera with a pose in the world.

Inputs -> outputs: world points -> camera points -> pixels, and pixels -> rays with z = 1. World and camera frames
are both x right, y down, z forward (metres); pixel centres lie at integer coordinates. Negligible cost.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from vitruvian.people.rotations import FloatArray


def _identity() -> FloatArray:
    return np.eye(3)


def _origin() -> FloatArray:
    return np.zeros(3)


@dataclass(frozen=True, kw_only=True, slots=True)
class Camera:
    """Intrinsics in pixels; `camera_from_world_33` and `position_m_3` place it in the world."""

    focal_px: float
    cx: float
    cy: float
    height: int
    width: int
    camera_from_world_33: FloatArray = field(default_factory=_identity)
    position_m_3: FloatArray = field(default_factory=_origin)

    def __post_init__(self) -> None:
        if self.focal_px <= 0.0 or self.height < 1 or self.width < 1:
            raise ValueError(
                f"camera got focal_px={self.focal_px}, {self.height}x{self.width}; expected positive values; "
                "pass a focal length and a picture size above zero"
            )

    def scaled(self, factor: int) -> Camera:
        """The same view on a grid `factor` times finer; pixel areas (not centres) coincide."""
        shift = (factor - 1) / 2.0
        return Camera(
            focal_px=self.focal_px * factor,
            cx=self.cx * factor + shift,
            cy=self.cy * factor + shift,
            height=self.height * factor,
            width=self.width * factor,
            camera_from_world_33=self.camera_from_world_33,
            position_m_3=self.position_m_3,
        )

    def coarsened(self, factor: int) -> Camera:
        """The same view on a grid `factor` times coarser, sides rounded up; pixel areas (not centres) coincide."""
        return Camera(
            focal_px=self.focal_px / factor,
            cx=(self.cx + 0.5) / factor - 0.5,
            cy=(self.cy + 0.5) / factor - 0.5,
            height=-(-self.height // factor),
            width=-(-self.width // factor),
            camera_from_world_33=self.camera_from_world_33,
            position_m_3=self.position_m_3,
        )

    def to_camera(self, world_N3: FloatArray) -> FloatArray:
        """World points in the camera frame."""
        moved: FloatArray = (world_N3 - self.position_m_3) @ self.camera_from_world_33.T
        return moved

    def project(self, camera_N3: FloatArray) -> FloatArray:
        """Camera-frame points -> pixel coordinates (N, 2); points behind the camera give nan."""
        depth_N = np.where(camera_N3[:, 2] > 1e-6, camera_N3[:, 2], np.nan)
        x_N = self.cx + self.focal_px * camera_N3[:, 0] / depth_N
        y_N = self.cy + self.focal_px * camera_N3[:, 1] / depth_N
        return np.stack([x_N, y_N], axis=1)

    def ray_columns(self) -> NDArray[np.float32]:
        """x component of the ray (with z = 1) of every picture column."""
        return ((np.arange(self.width) - self.cx) / self.focal_px).astype(np.float32)

    def ray_rows(self) -> NDArray[np.float32]:
        """y component of the ray (with z = 1) of every picture row."""
        return ((np.arange(self.height) - self.cy) / self.focal_px).astype(np.float32)
