"""What a metric-depth network says about one picture, and its files.

Depth in metres, confidence, normals and the camera they rest on -> `.npy`, 16-bit PNG in millimetres, EXR, drawings and
point clouds (`.ply`, `.glb`).
"""

# Shape suffixes: H W picture size, N points, 3 = x y z or RGB.

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from vitruvian.tasks import scale_bar, unprojection
from vitruvian.tasks.base import Result, Sink
from vitruvian.tasks.cameras import Camera
from vitruvian.tasks.dense import about_result, check_array, describe
from vitruvian.tasks.normal import CAMERA, Normals

MOST_MM = 2**16 - 1
"""Largest depth of a 16-bit picture, in millimetres; 0 means no value, and farther is none, too."""
CLOUDS = {"ply": "x right, y down, z forward, metres", "glb": "x right, y up, z toward the viewer, metres"}
"""Formats of point clouds, and their axes: glTF prescribes its own."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Protocol:
    """How pictures were laid on the canvas."""

    fit: bool
    """In their own aspect, instead of padded."""
    canvas_hw: tuple[int, int]
    """Of a fitted canvas: the largest, by its pixels."""
    published: bool
    """As the published numbers were made."""

    def document(self) -> dict[str, Any]:
        """For descriptions of results. JSON-able."""
        kind = "fit, within as many pixels as" if self.fit else "fixed"
        words = f"{kind} {self.canvas_hw[0]}x{self.canvas_hw[1]}"
        return {"canvas": words, "protocol": "published" if self.published else "off-protocol, not validated"}


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class MetricDepth(Result):
    """Depth, confidence and normals of every pixel of one picture."""

    kind: ClassVar[str] = "depth"
    formats: ClassVar[tuple[str, ...]] = ("npy", "png", "exr", "ply", "glb", "draw")
    default_formats: ClassVar[tuple[str, ...]] = ("npy", "png", "draw")
    format_aliases: ClassVar[Mapping[str, str]] = {"png16": "png"}
    measures: ClassVar[bool] = True
    disk_bytes_per_pixel: ClassVar[Mapping[str, float]] = {"npy": 20.0, "png": 8.0, "exr": 20.0, "ply": 7.5, "glb": 8.0}
    """Normals included; of points as for a 1080p frame, of which every second is kept."""
    bytes_per_pixel: ClassVar[int] = 60

    depth_m_HW: np.ndarray
    """float32, metres along the optical axis, 0 to 300."""
    confidence_HW: np.ndarray
    """float32, about 1 where sure and 0 where not, unbounded."""
    normals_HW3: np.ndarray | None
    """float32 unit vectors in the camera's frame (x right, y down, z forward), toward the camera; None: v1 has none."""
    camera: Camera
    """What the metres rest on."""
    reach_m: float
    """From here on a pixel is as far as the network can say: sky, or farther than it knows."""
    protocol: Protocol

    __repr__ = describe

    def __post_init__(self) -> None:
        check_array(self.depth_m_HW, "depth_m_HW", np.float32, 2)
        check_array(self.confidence_HW, "confidence_HW", np.float32, 2)

    @property
    def metric(self) -> bool:
        """Whether the metres are a measurement: those of an assumed camera are not."""
        return self.camera.known

    def about(self) -> dict[str, Any]:
        """Model, licence, unit, camera and canvas. JSON-able."""
        height, width = self.depth_m_HW.shape
        unit = "metres along the optical axis"
        if not self.metric:
            unit += ", if the assumed focal length were right: not metric"
        return about_result(
            self,
            (height, width),
            unit=unit,
            metric=self.metric,
            larger="farther",
            camera=self.camera.document(),
            reach_m=round(self.reach_m, 3),
            **self.protocol.document(),
        )

    def line(self) -> dict[str, Any]:
        """Smallest, middle and largest depth in metres, the middle confidence, and whether the metres are metric."""
        low, middle, high = (round(float(value), 4) for value in np.percentile(self.depth_m_HW, (0, 50, 100)))
        numbers = {"depth_m_min": low, "depth_m_median": middle, "depth_m_max": high}
        confidence = round(float(np.median(self.confidence_HW)), 4)
        return {**numbers, "confidence_median": confidence, "metric": self.metric}

    def normals(self) -> Normals | None:
        """The normals as a result of their own; None where the network gives none."""
        if self.normals_HW3 is None:
            return None
        return Normals(provenance=self.provenance, origin=self.origin, normals_HW3=self.normals_HW3, frame=CAMERA)

    def cloud(self) -> unprojection.Cloud:
        """Points of what is nearer than the network's reach, in metres, with the picture's colours.

        `UsageError` without a picture.
        """
        keep_HW = self.depth_m_HW < self.reach_m
        return unprojection.cloud(self.depth_m_HW, self.source_image(), self.camera, keep_HW)

    def draw(self) -> np.ndarray:
        """Depth in colours, near bright, with a scale in metres, uint8 RGB (H,W,3)."""
        shown_HW = np.where(self.depth_m_HW < self.reach_m, self.depth_m_HW, np.nan)
        return scale_bar.draw_metric_depth(shown_HW, not_metric=not self.metric)

    def write(self, sink: Sink) -> None:
        """`depth.npy`, `depth.confidence.npy`, `depth.png` (mm), `depth.exr`, clouds, drawings, files of normals."""
        about = self.about()
        if sink.wants("npy"):
            sink.write_array("depth.npy", self.depth_m_HW, about)
            sink.write_array("depth.confidence.npy", self.confidence_HW, {**about, "unit": "confidence, about 0 to 1"})
        if sink.wants("png"):
            codes_HW, coding = millimetres(self.depth_m_HW)
            sink.write_png("depth.png", codes_HW, about | coding)
        if sink.wants("exr"):
            sink.write_exr("depth.exr", {"Z": self.depth_m_HW, "confidence": self.confidence_HW}, about)
        if sink.wants("draw"):
            sink.write_picture("depth.drawn.jpg", self.draw(), about)
        wanted = [format for format in CLOUDS if sink.wants(format)]
        if wanted:
            cloud = self.cloud()
            more: dict[str, Any] = {"points": len(cloud.points_N3), "every_nth_pixel": cloud.stride}
            for format in wanted:
                more["axes"] = CLOUDS[format]
                sink.write_points(f"depth.{format}", cloud.points_N3, cloud.colours_N3, about | more)
        normals = self.normals()
        if normals is not None:
            normals.write(sink)


def millimetres(depth_m_HW: np.ndarray) -> tuple[np.ndarray, dict[str, Any]]:
    """uint16 depth in millimetres, and what a reader must know; 0 where farther than 65.535 m or without a value."""
    rounded_HW = np.rint(depth_m_HW.astype(np.float64) * 1000)
    fits_HW = np.isfinite(rounded_HW) & (rounded_HW >= 0) & (rounded_HW <= MOST_MM)
    beyond = float((rounded_HW > MOST_MM).mean())
    codes_HW = np.where(fits_HW, rounded_HW, 0).astype(np.uint16)
    return codes_HW, {
        "formula": "depth in metres = code / 1000; code 0: no value, or farther than 65.535 m",
        "beyond_range_share": round(beyond, 6),
    }
