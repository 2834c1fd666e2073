"""Class of every pixel: picture in, uint8 labels at source size out.

Picture -> canvas -> logits (B,C,h,w) -> `Segmentation`. The logits of all classes exist at network resolution only.
"""

# Shape suffixes: B pictures, C classes, h w network resolution, H W source size, 3 = RGB.

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from vitruvian.errors import UsageError
from vitruvian.tasks import drawing
from vitruvian.tasks.base import Geometry, Provenance, Result, Sink
from vitruvian.tasks.dense import DenseResult, DenseTask, Route, check_array, crop_hw, describe, raw_map, upsample_map
from vitruvian.tasks.labels import LabelSet
from vitruvian.tasks.mosaic import Mosaic
from vitruvian.tasks.persons import Persons
from vitruvian.tasks.upsample_labels import upsample_labels


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class Segmentation(DenseResult):
    """The class of every pixel of one picture."""

    kind: ClassVar[str] = "seg"
    formats: ClassVar[tuple[str, ...]] = ("png", "npy", "draw")
    default_formats: ClassVar[tuple[str, ...]] = ("png", "draw")
    disk_bytes_per_pixel: ClassVar[Mapping[str, float]] = {"npy": 1.0, "png": 0.1}
    bytes_per_pixel: ClassVar[int] = 8

    labels_HW: np.ndarray
    """uint8 class numbers, 0 is the background."""
    label_set: LabelSet
    """What the numbers mean."""

    __repr__ = describe

    def __post_init__(self) -> None:
        check_array(self.labels_HW, "labels_HW", np.uint8, 2)

    def about(self) -> dict[str, Any]:
        """Model, licence and the names of the classes. JSON-able."""
        height, width = self.labels_HW.shape
        return self.about_map((height, width), label_set=self.label_set.name, classes=list(self.label_set.names))

    def line(self) -> dict[str, Any]:
        """Share of the picture that each class takes, where it takes any."""
        count_N = np.bincount(self.labels_HW.ravel(), minlength=self.label_set.count)
        shares_N = count_N / max(1, self.labels_HW.size)
        named = zip(self.label_set.names, shares_N, strict=True)
        return {"shares": {name: round(float(share), 6) for name, share in named if share}, **self.line_persons()}

    def draw(self) -> np.ndarray:
        """The picture under half-transparent class colours with outlines and a legend, uint8 RGB (H,W,3)."""
        return self.framed(drawing.draw_labels(self.source_image(), self.labels_HW, self.label_set))

    def write(self, sink: Sink) -> None:
        """`seg.png` (class numbers with the palette), `seg.npy` (uint8) and `seg.drawn.jpg`."""
        about = self.about()
        self.write_persons(sink, about)
        if sink.wants("png"):
            sink.write_png("seg.png", self.labels_HW, about, palette=self.label_set.palette_N3)
        if sink.wants("npy"):
            sink.write_array("seg.npy", self.labels_HW, about)
        if sink.wants("draw"):
            sink.write_picture("seg.drawn.jpg", self.draw(), about)


@dataclass(frozen=True, kw_only=True, slots=True)
class SegTask(DenseTask):
    """Segmentation of whole pictures or of one person after the other."""

    name: ClassVar[str] = "seg"
    result: ClassVar[type[Result]] = Segmentation

    labels: LabelSet
    """The classes the network was trained for."""
    input_hw: tuple[int, int] = (1024, 768)
    """Canvas height and width the network was made for."""
    route: Route = "one-step"
    """Way to the source size; "full" only to agree with labels made by the published full-precision programs."""

    def finish_tensors(self, raw: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """{"logits": (B,C,h,w)} -> the same in float32."""
        return {"logits": raw_map(raw, "logits", self.labels.count)}

    def ready_tensors(self, finished: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """ "labels" uint8 (B,h,w): the class of every pixel of the logits' map."""
        return {"labels": finished["logits"].argmax(1).to(torch.uint8)}

    def constants(self) -> dict[str, Any]:
        """How a canvas is made, and the classes."""
        outputs = {
            "logits": "float32 (B,C,h,w); resize them, then take the largest: the labels of the source picture",
            "labels": "uint8 (B,h,w), with post-processing inside: the largest of the logits at their own size",
        }
        return {**DenseTask.constants(self), "outputs": outputs, "classes": list(self.labels.names)}

    def finish(
        self, tensors: Mapping[str, Tensor], geometry: Geometry, provenance: Provenance
    ) -> Sequence[Segmentation]:
        """Labels at source size, of the crop where it is one."""
        logits_Chw = tensors["logits"]
        if self.route == "full":
            logits_Chw = upsample_map(logits_Chw, self.input_hw)
        labels_HW = upsample_labels(logits_Chw, crop_hw(geometry)).cpu().numpy()
        return [Segmentation(provenance=provenance, labels_HW=labels_HW, label_set=self.labels)]

    def gather(self, source_hw: tuple[int, int], provenance: Provenance) -> Mosaic:
        """Labels of the picture; where no person is, there is background."""

        def whole(labels_HW: np.ndarray, persons: Persons) -> Segmentation:
            return Segmentation(provenance=provenance, labels_HW=labels_HW, label_set=self.labels, persons=persons)

        return Mosaic(
            lambda: np.zeros(source_hw, np.uint8),
            map_of=lambda result: _as_segmentation(result).labels_HW,
            whole=whole,
            there=lambda labels_hw: labels_hw > 0,
        )

    def discrepancy(self, a: Result, b: Result) -> dict[str, float]:
        """Share of pixels with equal labels, 0..1."""
        first_HW, second_HW = _as_segmentation(a).labels_HW, _as_segmentation(b).labels_HW
        if first_HW.shape != second_HW.shape:
            raise UsageError(f"got {a!r} and {b!r}; expected two segmentations of one picture")
        return {"label_share": float((first_HW == second_HW).mean())}


def _as_segmentation(result: Result) -> Segmentation:
    if not isinstance(result, Segmentation):
        raise UsageError(f"got a {result.kind} result; expected a segmentation; pass results of the seg task")
    return result
