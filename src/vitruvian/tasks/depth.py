"""Depth of every pixel: picture in, float32 depth at source size out.

Picture -> canvas -> depth (B,1,h,w) -> `Depth`. Unmasked, as the network gives it: on the background of a network that
was trained on people alone the values mean nothing.
"""

# Shape suffixes: B pictures, h w network resolution, H W source size.

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from torch import Tensor

from vitruvian.errors import UsageError
from vitruvian.tasks import codes, drawing, metrics, scale_bar
from vitruvian.tasks.base import Geometry, Provenance, Result, Sink
from vitruvian.tasks.cameras import Camera
from vitruvian.tasks.dense import DenseResult, DenseTask, Route, check_array, crop_hw, describe, raw_map, upsample_map
from vitruvian.tasks.mosaic import Mosaic

RELATIVE_UNIT = "relative (0 nearest .. 1 farthest foreground in training)"
METRIC_UNIT = "metres along the optical axis"


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class Depth(DenseResult):
    """Depth of every pixel of one picture; larger is farther."""

    kind: ClassVar[str] = "depth"
    formats: ClassVar[tuple[str, ...]] = ("npy", "png", "exr", "draw")
    default_formats: ClassVar[tuple[str, ...]] = ("npy", "png", "draw")
    format_aliases: ClassVar[Mapping[str, str]] = {"png16": "png"}
    disk_bytes_per_pixel: ClassVar[Mapping[str, float]] = {"npy": 4.0, "png": 2.0, "exr": 4.0}
    bytes_per_pixel: ClassVar[int] = 20

    depth_HW: np.ndarray
    """float32; relative (0 nearest .. 1 farthest foreground in training, no bounds) or metres. Not finite: no value."""
    metric: bool = False
    """Whether the unit is metres."""
    camera: Camera | None = None
    """What the metres rest on; None: none, or nothing is known about it."""
    metric_model: str | None = None
    """The network that the scale came from; None: it is relative, or this network's own."""

    __repr__ = describe

    def __post_init__(self) -> None:
        check_array(self.depth_HW, "depth_HW", np.float32, 2)

    def about(self) -> dict[str, Any]:
        """Model, licence, unit and direction. JSON-able."""
        height, width = self.depth_HW.shape
        unit = METRIC_UNIT if self.metric else RELATIVE_UNIT
        more: dict[str, Any] = {"unit": unit, "larger": "farther"}
        if self.camera is not None:
            more |= {"metric": self.camera.known, "camera": self.camera.document(), "metric_from": self.metric_model}
        if self.persons is not None and not self.metric:
            more["scale"] = "each person's own: values of different persons cannot be compared"
        return self.about_map((height, width), **more)

    def line(self) -> dict[str, Any]:
        """Smallest, middle and largest value; null where nothing is finite."""
        seen = self.depth_HW[np.isfinite(self.depth_HW)]
        values = np.percentile(seen, (0, 50, 100)) if len(seen) else (None, None, None)
        names = ("depth_min", "depth_median", "depth_max")
        numbers = {name: None if x is None else round(float(x), 6) for name, x in zip(names, values, strict=True)}
        return {**numbers, **self.line_persons()}

    def draw(self) -> np.ndarray:
        """The map in colours, near bright, uint8 RGB (H,W,3)."""
        if self.metric:
            assumed = self.camera is not None and not self.camera.known
            return self.framed(scale_bar.draw_metric_depth(self.depth_HW, not_metric=assumed))
        return self.framed(drawing.draw_depth(self.depth_HW))

    def write(self, sink: Sink) -> None:
        """`depth.npy` (float32), `depth.png` (16 bit, range in its description), `depth.exr` and `depth.drawn.jpg`."""
        about = self.about()
        self.write_persons(sink, about)
        if sink.wants("npy"):
            sink.write_array("depth.npy", self.depth_HW, about)
        if sink.wants("png"):
            codes_HW, coding = codes.encode_depth(self.depth_HW)
            sink.write_png("depth.png", codes_HW, about | coding)
        if sink.wants("exr"):
            sink.write_exr("depth.exr", {"Z": self.depth_HW}, about)
        if sink.wants("draw"):
            sink.write_picture("depth.drawn.jpg", self.draw(), about)


@dataclass(frozen=True, kw_only=True, slots=True)
class DepthTask(DenseTask):
    """Relative depth of whole pictures or of one person after the other."""

    name: ClassVar[str] = "depth"
    result: ClassVar[type[Result]] = Depth

    input_hw: tuple[int, int] = (1024, 768)
    """Canvas height and width the network was made for."""
    route: Route = "one-step"
    """Way to the source size; the routes agree when the network's maps are as large as its input."""

    def finish_tensors(self, raw: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """{"depth": (B,1,h,w)} -> the same in float32."""
        return {"depth": raw_map(raw, "depth", 1)}

    def constants(self) -> dict[str, Any]:
        """How a canvas is made, and what the values mean."""
        outputs = {"depth": "float32 (B,1,h,w), relative: 0 nearest, larger is farther, no metres"}
        return {**DenseTask.constants(self), "outputs": outputs}

    def finish(self, tensors: Mapping[str, Tensor], geometry: Geometry, provenance: Provenance) -> Sequence[Depth]:
        """Depth at source size, of the crop where it is one."""
        via_hw = self.input_hw if self.route == "full" else None
        depth_HW = upsample_map(tensors["depth"], crop_hw(geometry), via_hw)[0].cpu().numpy()
        return [Depth(provenance=provenance, depth_HW=depth_HW)]

    def gather(self, source_hw: tuple[int, int], provenance: Provenance) -> Mosaic:
        """Depth of the picture; where no person is, there is no value."""
        return Mosaic(
            lambda: np.full(source_hw, np.nan, np.float32),
            map_of=lambda result: _as_depth(result).depth_HW,
            whole=lambda depth_HW, persons: Depth(provenance=provenance, depth_HW=depth_HW, persons=persons),
        )

    def discrepancy(self, a: Result, b: Result) -> dict[str, float]:
        """Mean difference after fitting scale and shift of `a` to `b`, as a share of `b`'s range."""
        first_HW, second_HW = _as_depth(a).depth_HW, _as_depth(b).depth_HW
        if first_HW.shape != second_HW.shape:
            raise UsageError(f"got {a!r} and {b!r}; expected two depth maps of one picture")
        return {"relative": metrics.relative_depth_difference(first_HW, second_HW)}


def _as_depth(result: Result) -> Depth:
    if not isinstance(result, Depth):
        raise UsageError(f"got a {result.kind} result; expected depth; pass results of the depth task")
    return result
