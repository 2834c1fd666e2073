"""Surface normal of every pixel: picture in, float32 unit vectors at source size out.

Picture -> canvas -> raw vectors (B,3,h,w) -> `Normals`. Vectors are interpolated first and made unit length afterwards;
at source size they take 100 MB for a 4K picture.
"""

# Shape suffixes: B pictures, h w network resolution, H W source size, 3 = x y z.

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from torch import Tensor

from vitruvian.errors import UsageError
from vitruvian.tasks import codes, drawing, metrics
from vitruvian.tasks.base import Geometry, Provenance, Result, Sink
from vitruvian.tasks.dense import DenseResult, DenseTask, Route, check_array, crop_hw, describe, raw_map, upsample_map
from vitruvian.tasks.mosaic import Mosaic
from vitruvian.tasks.persons import Persons

LENGTH_EPS = 1e-5
"""Added to a vector's length before dividing by it (published post-processing)."""


@dataclass(frozen=True, kw_only=True, slots=True)
class NormalFrame:
    """The axes that normals are given in."""

    name: str
    """published or camera."""
    description: str
    """Where the axes point, in words."""
    to_display: tuple[int, int, int]
    """Signs that turn x, y, z into the usual picture of normals: red right, green up, blue toward the viewer."""


PUBLISHED = NormalFrame(
    name="published",
    description="axes as the published network gives them; the sign convention of its training data is not confirmed",
    to_display=(1, 1, 1),
)
"""Drawn as the published programs draw it."""

CAMERA = NormalFrame(
    name="camera",
    description="x right, y down, z forward; visible surfaces point toward the camera (negative z)",
    to_display=(1, -1, -1),
)
"""Camera axes, as synthetic people and networks trained on them have."""

NORMAL_FRAMES = {frame.name: frame for frame in (PUBLISHED, CAMERA)}
"""Frames by the name that weight files and results carry."""


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class Normals(DenseResult):
    """Surface normal of every pixel of one picture."""

    kind: ClassVar[str] = "normal"
    formats: ClassVar[tuple[str, ...]] = ("npy", "png", "exr", "draw")
    default_formats: ClassVar[tuple[str, ...]] = ("npy", "png", "draw")
    format_aliases: ClassVar[Mapping[str, str]] = {"png16": "png"}
    disk_bytes_per_pixel: ClassVar[Mapping[str, float]] = {"npy": 12.0, "png": 6.0, "exr": 12.0}
    bytes_per_pixel: ClassVar[int] = 44

    normals_HW3: np.ndarray
    """float32 x, y, z of unit length (shorter only where the network gave next to nothing). Not finite: no value."""
    frame: NormalFrame
    """The axes."""

    __repr__ = describe

    def __post_init__(self) -> None:
        check_array(self.normals_HW3, "normals_HW3", np.float32, 3)
        if self.normals_HW3.shape[2] != 3:
            raise ValueError(f"got normals_HW3 {self.normals_HW3.shape}; expected (H,W,3)")

    def about(self) -> dict[str, Any]:
        """Model, licence and axes. JSON-able."""
        height, width = self.normals_HW3.shape[:2]
        return self.about_map(
            (height, width), frame=self.frame.name, axes=self.frame.description, unit="unit vector x, y, z"
        )

    def line(self) -> dict[str, Any]:
        """Mean direction, not brought to length 1: the shorter, the more directions differ."""
        seen_N3 = self.normals_HW3[np.isfinite(self.normals_HW3).all(axis=2)]
        mean = [round(float(x), 6) for x in seen_N3.mean(axis=0, dtype=np.float64)] if len(seen_N3) else None
        return {"normal_mean": mean, **self.line_persons()}

    def draw(self) -> np.ndarray:
        """The map with x, y, z as red, green, blue, uint8 RGB (H,W,3)."""
        return self.framed(drawing.draw_normals(self.normals_HW3, self.frame.to_display))

    def write(self, sink: Sink) -> None:
        """`normal.npy` (float32), `normal.png` (16 bit), `normal.exr` and `normal.drawn.jpg`."""
        about = self.about()
        self.write_persons(sink, about)
        if sink.wants("npy"):
            sink.write_array("normal.npy", self.normals_HW3, about)
        if sink.wants("png"):
            sink.write_png(
                "normal.png", codes.encode_normals(self.normals_HW3), about | {"formula": codes.NORMAL_FORMULA}
            )
        if sink.wants("exr"):
            planes = {f"N.{axis}": np.ascontiguousarray(self.normals_HW3[..., i]) for i, axis in enumerate("XYZ")}
            sink.write_exr("normal.exr", planes, about)
        if sink.wants("draw"):
            sink.write_picture("normal.drawn.jpg", self.draw(), about)


@dataclass(frozen=True, kw_only=True, slots=True)
class NormalTask(DenseTask):
    """Surface normals of whole pictures or of one person after the other."""

    name: ClassVar[str] = "normal"
    result: ClassVar[type[Result]] = Normals

    input_hw: tuple[int, int] = (1024, 768)
    """Canvas height and width the network was made for."""
    frame: NormalFrame = PUBLISHED
    """The axes the network was trained in."""
    route: Route = "one-step"
    """Way to the source size; "full" only to agree with maps made by the published full-precision programs."""

    def finish_tensors(self, raw: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """{"normal": (B,3,h,w)} -> the same in float32, not yet of unit length."""
        return {"normal": raw_map(raw, "normal", 3)}

    def ready_tensors(self, finished: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """ "unit_normals" float32 (B,3,h,w): the same vectors of length one."""
        vectors_B3hw = finished["normal"]
        length_B1hw = vectors_B3hw.square().sum(dim=1, keepdim=True).sqrt()
        return {"unit_normals": vectors_B3hw / (length_B1hw + LENGTH_EPS)}

    def constants(self) -> dict[str, Any]:
        """How a canvas is made, and what the vectors mean."""
        outputs = {
            "normal": "float32 (B,3,h,w) x, y, z, not of unit length; resize, then divide by (length + 1e-5)",
            "unit_normals": "float32 (B,3,h,w), with post-processing inside: of unit length at the map's own size",
        }
        return {**DenseTask.constants(self), "outputs": outputs, "frame": self.frame.description}

    def finish(self, tensors: Mapping[str, Tensor], geometry: Geometry, provenance: Provenance) -> Sequence[Normals]:
        """Unit normals at source size, of the crop where it is one."""
        via_hw = self.input_hw if self.route == "full" else None
        vectors_3HW = upsample_map(tensors["normal"], crop_hw(geometry), via_hw)
        # On a CPU `norm` over a leading axis of three is forty times as slow.
        length_1HW = vectors_3HW.square().sum(dim=0, keepdim=True).sqrt_()
        vectors_3HW = vectors_3HW.div_(length_1HW.add_(LENGTH_EPS))
        normals_HW3 = vectors_3HW.permute(1, 2, 0).contiguous().cpu().numpy()
        return [Normals(provenance=provenance, normals_HW3=normals_HW3, frame=self.frame)]

    def gather(self, source_hw: tuple[int, int], provenance: Provenance) -> Mosaic:
        """Normals of the picture; where no person is, there is no value."""

        def whole(normals_HW3: np.ndarray, persons: Persons) -> Normals:
            return Normals(provenance=provenance, normals_HW3=normals_HW3, frame=self.frame, persons=persons)

        def blank() -> np.ndarray:
            return np.full((*source_hw, 3), np.nan, np.float32)

        return Mosaic(blank, map_of=lambda result: _as_normals(result).normals_HW3, whole=whole)

    def discrepancy(self, a: Result, b: Result) -> dict[str, float]:
        """Mean angle between the two in degrees; pixels without a direction are left out."""
        first_HW3, second_HW3 = _as_normals(a).normals_HW3, _as_normals(b).normals_HW3
        if first_HW3.shape != second_HW3.shape:
            raise UsageError(f"got {a!r} and {b!r}; expected two normal maps of one picture")
        return {"deg_mean": metrics.angle_errors(first_HW3, second_HW3)["deg_mean"]}


def _as_normals(result: Result) -> Normals:
    if not isinstance(result, Normals):
        raise UsageError(f"got a {result.kind} result; expected normals; pass results of the normal task")
    return result
