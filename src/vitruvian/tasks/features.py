"""Feature map of a pretrained encoder: whole picture in, float32 (C,h,w) out.

Picture -> square canvas (Pillow bicubic, as the encoders were trained with) -> `Features`. 25 MB for the 1b encoder's
(1536,64,64).
"""

# Shape suffixes: B pictures, C channels, h w feature grid, 3 = RGB.

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from PIL import Image
from torch import Tensor

from vitruvian.errors import UsageError
from vitruvian.tasks import drawing, metrics, preprocess
from vitruvian.tasks.base import Geometry, Provenance, Region, Result, Sink
from vitruvian.tasks.dense import about_result, check_array, describe, raw_map
from vitruvian.tasks.gathering import InTurn, only_one


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class Features(Result):
    """What an encoder says about one picture, on its own grid."""

    kind: ClassVar[str] = "features"
    formats: ClassVar[tuple[str, ...]] = ("npy", "draw")
    default_formats: ClassVar[tuple[str, ...]] = ("npy",)

    map_Chw: np.ndarray
    """float32; the grid covers the whole picture, each cell an equal share of its height and width."""
    source_hw: tuple[int, int]
    """Height and width of the picture."""

    __repr__ = describe

    def __post_init__(self) -> None:
        check_array(self.map_Chw, "map_Chw", np.float32, 3)

    def about(self) -> dict[str, Any]:
        """Model, licence and axes. JSON-able."""
        return about_result(self, self.source_hw, axes="channels, rows, columns of a grid over the whole picture")

    def line(self) -> dict[str, Any]:
        """Mean length of a cell's feature vector."""
        return {"length_mean": round(float(np.linalg.norm(self.map_Chw, axis=0).mean()), 6)}

    def draw(self) -> np.ndarray:
        """The first three principal components as colours over the picture, uint8 RGB (H,W,3)."""
        return drawing.draw_features(self.source_image(), self.map_Chw)

    def write(self, sink: Sink) -> None:
        """`features.npy` (float32) and `features.drawn.jpg`."""
        if sink.wants("npy"):
            sink.write_array("features.npy", self.map_Chw, self.about())
        if sink.wants("draw"):
            sink.write_picture("features.drawn.jpg", self.draw(), self.about())


@dataclass(frozen=True, kw_only=True, slots=True)
class FeaturesTask:
    """Features of whole pictures."""

    name: ClassVar[str] = "features"
    result: ClassVar[type[Result]] = Features

    input_hw: tuple[int, int] = (1024, 1024)
    """Canvas height and width the encoder was made for."""

    def prepare(self, image_HW3: np.ndarray, region: Region | None) -> tuple[np.ndarray, Geometry]:
        """The whole picture resized to the canvas; `UsageError` for a region, `InputError` for a bad picture."""
        if region is not None:
            raise UsageError("got a person's box for features; expected the whole picture; leave the boxes out")
        preprocess.check_picture(image_HW3)
        height, width = self.input_hw
        canvas = Image.fromarray(image_HW3).resize((width, height), Image.Resampling.BICUBIC)
        return np.array(canvas), preprocess.whole_geometry(image_HW3, self.input_hw)

    def network_input(self, canvas_BHW3: Tensor) -> Tensor:
        """uint8 canvases -> normalised float32 (B,3,h,w) on their device."""
        return preprocess.normalise(canvas_BHW3)

    def finish_tensors(self, raw: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """{"features": (B,C,h,w)} -> the same in float32."""
        return {"features": raw_map(raw, "features")}

    def ready_tensors(self, finished: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Nothing beside the map itself."""
        return {}

    def constants(self) -> dict[str, Any]:
        """How a canvas is made."""
        return {
            "canvas_hw": list(self.input_hw),
            "canvas": "the whole picture, resized to the canvas, bicubic as Pillow does it, aspect not kept",
            **preprocess.normalisation(),
            "outputs": {"features": "float32 (B,C,h,w), the encoder's map on its grid of patches"},
        }

    def finish(self, tensors: Mapping[str, Tensor], geometry: Geometry, provenance: Provenance) -> Sequence[Features]:
        """The feature map, on its own grid."""
        map_Chw = tensors["features"].float().cpu().numpy()
        return [Features(provenance=provenance, map_Chw=map_Chw, source_hw=geometry.source_hw)]

    def gather(self, source_hw: tuple[int, int], provenance: Provenance) -> InTurn:
        """The one result of the picture."""
        return InTurn(only_one)

    def discrepancy(self, a: Result, b: Result) -> dict[str, float]:
        """Length of the difference relative to the length of `b`."""
        if not (isinstance(a, Features) and isinstance(b, Features)) or a.map_Chw.shape != b.map_Chw.shape:
            raise UsageError(f"got {a!r} and {b!r}; expected two feature maps of one picture and model")
        return {"relative_l2": metrics.relative_l2(a.map_Chw, b.map_Chw)}
