"""What is known of the camera behind a picture: focal lengths and principal point in pixels, and who said so.

In: what a user says (a focal length, a field of view, a file), what a picture's own data say (the 35 mm equivalent of
EXIF), or nothing. Out: a `Camera` for one picture. A camera that was only assumed is marked: metres that rest on it are
no measurement. Lens distortion is ignored, as in the published networks.
"""

from __future__ import annotations

import hashlib
import json
import math
from dataclasses import asdict, dataclass
from typing import Any, Literal

from vitruvian.errors import InputError, UsageError
from vitruvian.tasks.intrinsics_files import Intrinsics, IntrinsicsTable

CameraSource = Literal["focal length", "field of view", "file", "EXIF", "assumed"]

FULL_FRAME_DIAGONAL_MM = math.hypot(36.0, 24.0)
"""The 35 mm equivalent of EXIF is the focal length that gives the same angle over this diagonal (CIPA DCG-001)."""

ASSUMED_FOCAL = 1.0
"""Focal length in longer sides of the picture, where nothing is known: 53 degrees, a 36 mm equivalent, between the
wide cameras of phones (0.7) and portrait lenses (1.4)."""

ANGLE_DEG = (1.0, 170.0)
"""Fields of view across the longer side that are believed. Narrower: an error of units. Wider: no pinhole camera."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Camera:
    """A pinhole camera in pixels of its picture; the centre of the top-left pixel is (0, 0)."""

    fx_px: float
    fy_px: float
    cx_px: float
    cy_px: float
    source: CameraSource
    """Who said so."""

    @property
    def known(self) -> bool:
        """Whether anybody said so; metres of an assumed camera are no measurement."""
        return self.source != "assumed"

    def document(self) -> dict[str, Any]:
        """For descriptions of results. JSON-able."""
        numbers = {"fx_px": self.fx_px, "fy_px": self.fy_px, "cx_px": self.cx_px, "cy_px": self.cy_px}
        return {**{name: round(value, 4) for name, value in numbers.items()}, "source": self.source}


@dataclass(frozen=True, kw_only=True, slots=True)
class CameraWish:
    """What a user says about the cameras of a run; nothing: each picture's own data, or else an assumption."""

    focal_px: float | None = None
    """Focal length in pixels of the pictures as they are."""
    fov_deg: float | None = None
    """Horizontal field of view in degrees."""
    table: IntrinsicsTable | None = None
    """Intrinsics of a file, for all pictures or by name."""

    def __post_init__(self) -> None:
        given = {"--focal-px": self.focal_px, "--fov-deg": self.fov_deg, "--intrinsics": self.table}
        named = [name for name, value in given.items() if value is not None]
        if len(named) > 1:
            raise UsageError(f"got {' and '.join(named)}; expected one of them; leave out what is less sure")
        if self.focal_px is not None and not (math.isfinite(self.focal_px) and self.focal_px > 0):
            raise UsageError(f"got --focal-px {self.focal_px}; expected pixels above 0; see the camera's calibration")
        low, high = ANGLE_DEG
        if self.fov_deg is not None and not low <= self.fov_deg <= high:
            raise UsageError(
                f"got --fov-deg {self.fov_deg:g}; expected {low:g} to {high:g} degrees, across the picture's width"
            )

    def document(self) -> dict[str, Any]:
        """What was said, for identities of runs. JSON-able."""
        if self.table is None:
            return {"focal_px": self.focal_px, "fov_deg": self.fov_deg}
        text = json.dumps(asdict(self.table), sort_keys=True)
        return {"table_sha256": hashlib.sha256(text.encode()).hexdigest()}

    def camera(self, source_hw: tuple[int, int], *, name: str = "", focal_35mm: float | None = None) -> Camera:
        """The camera of one picture.

        Args:
            source_hw: height and width of the picture in pixels.
            name: relative path of the picture, by which a file may know it.
            focal_35mm: 35 mm equivalent focal length in millimetres from the picture's own data; None: it has none.

        Raises:
            InputError: intrinsics that cannot be of this picture, or a file without any for it.
        """
        height, width = source_hw
        if self.table is not None:
            return _of_file(self.table.lookup(name), source_hw)
        if self.focal_px is not None:
            return _believed(_centred(self.focal_px, source_hw, "focal length"), source_hw)
        if self.fov_deg is not None:
            focal_px = width / (2 * math.tan(math.radians(self.fov_deg) / 2))
            return _believed(_centred(focal_px, source_hw, "field of view"), source_hw)
        if focal_35mm is not None:
            camera = _centred(focal_35mm / FULL_FRAME_DIAGONAL_MM * math.hypot(width, height), source_hw, "EXIF")
            if _doubt(camera, source_hw) is None:
                return camera
        return assumed_camera(source_hw)


def assumed_camera(source_hw: tuple[int, int]) -> Camera:
    """The camera of a picture about which nothing is known."""
    return _centred(ASSUMED_FOCAL * max(source_hw), source_hw, "assumed")


def _centred(focal_px: float, source_hw: tuple[int, int], source: CameraSource) -> Camera:
    height, width = source_hw
    centre = {"cx_px": (width - 1) / 2, "cy_px": (height - 1) / 2}
    return Camera(fx_px=focal_px, fy_px=focal_px, **centre, source=source)


def _of_file(found: Intrinsics | None, source_hw: tuple[int, int]) -> Camera:
    if found is None:
        raise InputError("has no entry in the intrinsics file; expected one by its relative path or file name; add it")
    height, width = source_hw
    across, down = 1.0, 1.0
    if found.size_wh is not None:
        across, down = width / found.size_wh[0], height / found.size_wh[1]
        if abs(across / down - 1) > 0.02:
            raise InputError(
                f"is {width} x {height}, the intrinsics file speaks of {found.size_wh[0]:g} x {found.size_wh[1]:g}; "
                "expected that size or the same shape; pictures that were cut need intrinsics of their own"
            )
    camera = Camera(
        fx_px=found.fx_px * across,
        fy_px=found.fy_px * down,
        cx_px=(width - 1) / 2 if found.cx_px is None else (found.cx_px + 0.5) * across - 0.5,
        cy_px=(height - 1) / 2 if found.cy_px is None else (found.cy_px + 0.5) * down - 0.5,
        source="file",
    )
    return _believed(camera, source_hw)


def _believed(camera: Camera, source_hw: tuple[int, int]) -> Camera:
    doubt = _doubt(camera, source_hw)
    if doubt is not None:
        raise InputError(doubt)
    return camera


def _doubt(camera: Camera, source_hw: tuple[int, int]) -> str | None:
    """Why this cannot be the camera of a picture of this size; None: it can."""
    height, width = source_hw
    low, high = ANGLE_DEG
    for name, focal_px, side in (("fx", camera.fx_px, max(source_hw)), ("fy", camera.fy_px, max(source_hw))):
        angle_deg = 2 * math.degrees(math.atan(side / (2 * focal_px))) if focal_px > 0 else math.inf
        if not low <= angle_deg <= high:
            return (
                f"has {name} = {focal_px:g} px for a picture of {width} x {height}, a field of view of "
                f"{angle_deg:.3g} degrees; expected {low:g} to {high:g}; give it in pixels of this picture"
            )
    ratio = camera.fx_px / camera.fy_px
    if not 0.5 <= ratio <= 2:
        return f"has fx = {camera.fx_px:g} and fy = {camera.fy_px:g} px; expected nearly square pixels; check the order"
    if not (-width <= camera.cx_px <= 2 * width and -height <= camera.cy_px <= 2 * height):
        return (
            f"has the principal point ({camera.cx_px:g}, {camera.cy_px:g}) for a picture of {width} x {height}; "
            "expected one near its middle; check the units"
        )
    return None
