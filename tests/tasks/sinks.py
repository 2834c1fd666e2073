"""A sink that keeps what it is given, and results to give it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from vitruvian.tasks.base import Origin, Provenance

PROVENANCE = Provenance(model="tiny", weights_sha256="ab" * 32, licence="CC BY-NC 4.0")


def origin(hw: tuple[int, int] = (60, 80), time_s: float | None = None) -> Origin:
    """An input of this size with some structure in it."""
    image_HW3 = np.random.default_rng(0).integers(0, 256, (*hw, 3), np.uint8)
    return Origin(name="folder/one.jpg", index=0, time_s=time_s, image_HW3=image_HW3)


class KeepingSink:
    """Implements the sink protocol in memory; `files` maps suffix to (content, about)."""

    def __init__(self, *formats: str) -> None:
        self.formats = formats
        self.files: dict[str, tuple[Any, Any]] = {}
        self.palettes: dict[str, np.ndarray | None] = {}

    def wants(self, format: str) -> bool:
        return format in self.formats

    def write_json(self, suffix: str, document: Mapping[str, Any]) -> None:
        self.files[suffix] = (document, document)

    def write_array(self, suffix: str, array: np.ndarray, about: Mapping[str, Any]) -> None:
        self.files[suffix] = (array, about)

    def write_png(
        self, suffix: str, array: np.ndarray, about: Mapping[str, Any], palette: np.ndarray | None = None
    ) -> None:
        self.files[suffix], self.palettes[suffix] = (array, about), palette

    def write_exr(self, suffix: str, channels: Mapping[str, np.ndarray], about: Mapping[str, Any]) -> None:
        self.files[suffix] = (channels, about)

    def write_picture(self, suffix: str, image_HW3: np.ndarray, about: Mapping[str, Any]) -> None:
        self.files[suffix] = (image_HW3, about)

    def write_points(
        self, suffix: str, points_N3: np.ndarray, colours_N3: np.ndarray, about: Mapping[str, Any]
    ) -> None:
        self.files[suffix] = ((points_N3, colours_N3), about)
