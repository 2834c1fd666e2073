"""What all tasks with a value per pixel share: canvas in, one map per picture out.

Picture or person's crop -> canvas of the network's size (aspect not kept) -> map at network resolution -> map at source
size. The map at source size dominates the memory: 33 MB per float32 channel of a 4K picture.
"""

# Shape suffixes: B pictures, C channels, h w network resolution, H W source size, 3 = RGB.

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, Literal

import numpy as np
from torch import Tensor
from torch.nn import functional

from vitruvian.errors import UsageError
from vitruvian.tasks import preprocess
from vitruvian.tasks.base import Gathering, Geometry, Provenance, Region, Result, Sink
from vitruvian.tasks.persons import Persons

Route = Literal["one-step", "full"]
"""How a map reaches the source size: in one bilinear step, or through the network's input size as the published
full-precision programs do. They differ near edges; "full" costs a map at input size more."""


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class DenseResult(Result):
    """A map of one picture, of all of it or of its persons."""

    persons: Persons | None = None
    """Whose values they are, where persons were looked at one by one; elsewhere there are no values."""

    def about_map(self, hw: tuple[int, int], **more: Any) -> dict[str, Any]:
        """What every file says about its origin, with the persons where there are any."""
        if self.persons is not None:
            more = {**more, "values": "of persons, each in a crop of its own", "persons": self.persons.document()}
        return about_result(self, hw, **more)

    def line_persons(self) -> dict[str, Any]:
        """The persons for a line per frame."""
        return {} if self.persons is None else {"persons": self.persons.document()}

    def framed(self, drawn_HW3: np.ndarray) -> np.ndarray:
        """A drawing with the persons' boxes."""
        return drawn_HW3 if self.persons is None else self.persons.frame(drawn_HW3)

    def write_persons(self, sink: Sink, about: Mapping[str, Any]) -> None:
        """`<kind>.persons.png`: 16 bit, the code of the person each pixel belongs to, 0 for nobody."""
        if self.persons is not None and sink.wants("png"):
            sink.write_png(f"{self.kind}.persons.png", self.persons.owner_HW, about)


class DenseTask(ABC):
    """Base of the tasks with a value for every pixel, of whole pictures or of one person after the other.

    `input_hw` is the canvas height and width the network was made for.
    """

    input_hw: tuple[int, int]

    def prepare(self, image_HW3: np.ndarray, region: Region | None) -> tuple[np.ndarray, Geometry]:
        """The whole picture or a person's crop resized to the canvas; `InputError` for a bad picture or box."""
        if region is not None:
            return preprocess.crop_inside(image_HW3, region, self.input_hw)
        return preprocess.resize_whole(image_HW3, self.input_hw)

    def network_input(self, canvas_BHW3: Tensor) -> Tensor:
        """uint8 canvases -> normalised float32 (B,3,h,w) on their device."""
        return preprocess.normalise(canvas_BHW3)

    def ready_tensors(self, finished: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Nothing beside the map itself."""
        return {}

    def constants(self) -> dict[str, Any]:
        """How a canvas is made, and what its map means."""
        return {
            "canvas_hw": list(self.input_hw),
            "canvas": "the whole picture, resized to the canvas, bilinear with half-pixel centres, aspect not kept",
            **preprocess.normalisation(),
            "source": "resize the map to the picture's size, bilinear with half-pixel centres",
        }

    @abstractmethod
    def gather(self, source_hw: tuple[int, int], provenance: Provenance) -> Gathering:
        """The map of the whole picture, or those of the persons in one map without values elsewhere."""


def crop_hw(geometry: Geometry) -> tuple[int, int]:
    """Height and width of a canvas' part of the picture, in source pixels."""
    x0, y0, x1, y1 = preprocess.crop_rectangle(geometry)
    return y1 - y0, x1 - x0


def raw_map(raw: Mapping[str, Tensor], key: str, channels: int | None = None) -> Tensor:
    """One network output as float32 (B,C,h,w); `UsageError` if the network gave something else."""
    if key not in raw:
        raise UsageError(f"got network outputs {sorted(raw)}; expected {key!r}; use a model made for this task")
    map_BChw = raw[key]
    if map_BChw.ndim != 4 or channels not in (None, map_BChw.shape[1]):
        raise UsageError(
            f"got {key} of shape {tuple(map_BChw.shape)}; expected (B,{channels or 'C'},h,w); "
            "use a model made for this task"
        )
    return map_BChw.float()


def upsample_map(map_Chw: Tensor, source_hw: tuple[int, int], via_hw: tuple[int, int] | None = None) -> Tensor:
    """Bilinear resize with half-pixel centres to (C,H,W), float32; through `via_hw` first if given."""
    map_BChw = map_Chw.float()[None]
    for size in [source_hw] if via_hw is None else [via_hw, source_hw]:
        map_BChw = functional.interpolate(map_BChw, size, mode="bilinear", align_corners=False)
    return map_BChw[0]


def check_array(array: np.ndarray, name: str, dtype: type[np.generic], ndim: int) -> None:
    """Raise `ValueError` unless an array field of a result has this type and number of axes."""
    if array.dtype != dtype or array.ndim != ndim:
        raise ValueError(f"got {name} {array.shape} {array.dtype}; expected {ndim} axes of {np.dtype(dtype)}")


def about_result(result: Result, hw: tuple[int, int], **more: Any) -> dict[str, Any]:
    """What every file says about its origin, with the fields of one kind added."""
    source = result.provenance
    about = {"kind": result.kind, "model": source.model, "weights_sha256": source.weights_sha256}
    if result.origin is not None:
        about["input"] = result.origin.name
        if result.origin.time_s is not None:
            more = {"time_s": result.origin.time_s, **more}
    about["licence"] = source.licence
    if source.rounded_to:
        about["weights_rounded_to"] = source.rounded_to
    return {**about, "height": hw[0], "width": hw[1], **more}


def describe(result: Result) -> str:
    """`repr` of a result: shapes instead of data."""
    parts = []
    for field in fields(result):
        value = getattr(result, field.name)
        if isinstance(value, np.ndarray):
            parts.append(f"{field.name}={value.dtype}{list(value.shape)}")
    return f"{type(result).__name__}({', '.join(parts)}, model={result.provenance.model!r})"
