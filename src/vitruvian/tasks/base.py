"""What a task is: pictures to network input, raw network output to results, and how results are saved.

A task knows tensors and results; it knows no network and no file system. The road (`predict.py`) runs, per region of a
picture: `prepare` (host, uint8) -> `network_input` (device) -> network -> `finish_tensors` (device, float32,
exportable) -> `finish` (device, source pixels) and gathers the regions of one picture with `gather`.
"""

# Shape suffixes: B regions in a batch, K keypoints, C classes, N points, H W height and width, 3 = RGB or x y z,
# 4 = x0 y0 x1 y1.

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Protocol, runtime_checkable

import numpy as np
from torch import Tensor

from vitruvian.errors import UsageError
from vitruvian.tasks.cameras import Camera


@dataclass(frozen=True, kw_only=True, slots=True)
class Region:
    """One part of a picture to look at, usually a person."""

    box_xyxy: tuple[float, float, float, float]
    """Left, top, right, bottom in source pixels; may reach outside the picture."""
    score: float = 1.0
    """Confidence of whoever found it, 0..1."""
    id: int | None = None
    """Who it is, where persons are followed over a video; -1: found, not followed yet."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Geometry:
    """How one canvas (network input) was cut out of its source picture."""

    source_hw: tuple[int, int]
    """Height and width of the source picture in pixels."""
    canvas_hw: tuple[int, int]
    """Height and width of the network input; regions with equal canvases can share a batch."""
    centre_xy: tuple[float, float]
    """Centre of the crop in source pixels."""
    size_wh: tuple[float, float]
    """Width and height of the crop in source pixels."""
    region: Region | None = None
    """The region asked for; None means the whole picture."""
    camera: Camera | None = None
    """The source camera, for tasks that measure in metres; None: nobody asked for it."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Provenance:
    """Where a result comes from; written into every file."""

    model: str
    """Model name, e.g. `sapiens-seg-1b`."""
    weights_sha256: str
    """Hash of the weight file(s); empty for weights that were never a file."""
    licence: str
    """Licence of the weights."""
    rounded_to: str = ""
    """`bfloat16`, `float16`, ... where whoever wrote the weights had rounded them; empty where they are as trained."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Origin:
    """The input a result belongs to."""

    name: str
    """Relative path of the input with its extension, `/` between the parts; output names start with it."""
    index: int
    """Place of the input in its run or stream, from 0."""
    time_s: float | None
    """Time inside a stream in seconds; None for single pictures."""
    image_HW3: np.ndarray
    """The source picture, uint8 RGB."""
    open_sink: Callable[[Path], Sink] | None = None
    """Makes a sink for this input in a folder; handed in by the road, which knows files."""


@runtime_checkable
class Sink(Protocol):
    """Receives the files of one result. `media/` implements it; a suffix such as `depth.npy` follows the input's name.

    Each `write_*` embeds `about` (model, units, frame, licence, ...) where the format has a place for it and beside the
    file (`<file>.json`) where it has none.
    """

    def wants(self, format: str) -> bool:
        """Whether this format was asked for."""
        ...

    def write_json(self, suffix: str, document: Mapping[str, Any]) -> None:
        """UTF-8 JSON document; holds its own description."""
        ...

    def write_array(self, suffix: str, array: np.ndarray, about: Mapping[str, Any]) -> None:
        """NumPy `.npy` file, dtype and shape unchanged."""
        ...

    def write_png(
        self, suffix: str, array: np.ndarray, about: Mapping[str, Any], palette: np.ndarray | None = None
    ) -> None:
        """Lossless PNG of uint8 or uint16, (H,W) or (H,W,3) RGB; a (N,3) uint8 palette makes an indexed picture."""
        ...

    def write_exr(self, suffix: str, channels: Mapping[str, np.ndarray], about: Mapping[str, Any]) -> None:
        """OpenEXR, one float32 (H,W) array per channel name."""
        ...

    def write_picture(self, suffix: str, image_HW3: np.ndarray, about: Mapping[str, Any]) -> None:
        """A picture for people to look at: uint8 RGB, may be compressed with loss."""
        ...

    def write_points(
        self, suffix: str, points_N3: np.ndarray, colours_N3: np.ndarray, about: Mapping[str, Any]
    ) -> None:
        """A point cloud, PLY or binary glTF by the suffix's ending: float32 in camera axes, uint8 RGB."""
        ...


@dataclass(frozen=True, kw_only=True)
class Result:
    """What a task says about one picture. Arrays are image-sized; units and frame stand in `about()`."""

    kind: ClassVar[str]
    """Short name in file suffixes: pose, seg, depth, normal, features, detect."""
    formats: ClassVar[tuple[str, ...]]
    """Formats this kind can be saved in."""
    default_formats: ClassVar[tuple[str, ...]]
    """Formats written when none are named."""
    format_aliases: ClassVar[Mapping[str, str]] = {}
    """Other names of formats."""
    measures: ClassVar[bool] = False
    """Whether it holds metres, which need the camera of the picture."""
    disk_bytes_per_pixel: ClassVar[Mapping[str, float]] = {}
    """Of files by format; what is compressed is counted as it is without, label pictures at a tenth."""
    bytes_per_pixel: ClassVar[int] = 3
    """What a result at source size takes with its temporaries and its drawing, for plans."""

    provenance: Provenance
    origin: Origin | None = None

    def about(self) -> dict[str, Any]:
        """Model, licence, units, frame, size: what a reader of a file must know. JSON-able."""
        raise NotImplementedError

    def line(self) -> dict[str, Any]:
        """A few numbers for a line per frame of a video; arrays go into files of their own. JSON-able."""
        raise NotImplementedError

    def draw(self) -> np.ndarray:
        """The source picture with this result drawn on it, uint8 RGB (H,W,3); needs `origin`."""
        raise NotImplementedError

    def write(self, sink: Sink) -> None:
        """Hand every wanted format to the sink."""
        raise NotImplementedError

    def save(self, where: Sink | str | Path) -> None:
        """Save into a folder (files named after the input) or hand to a sink."""
        if isinstance(where, (str, Path)):
            if self.origin is None or self.origin.open_sink is None:
                raise UsageError(
                    "got a folder to save into, but this result belongs to no input; "
                    "expected a result that came out of a loaded model; pass a sink (vitruvian.media) instead"
                )
            where = self.origin.open_sink(Path(where))
        self.write(where)

    def source_image(self) -> np.ndarray:
        """The picture this result belongs to, uint8 RGB (H,W,3)."""
        if self.origin is None:
            raise UsageError(
                "got a result without its picture; expected one that came out of a loaded model to draw on"
            )
        return self.origin.image_HW3


class Gathering(Protocol):
    """Results of one picture's regions on their way to the picture's own, one region at a time."""

    def add(self, place: int, geometry: Geometry, results: Sequence[Result]) -> None:
        """Take what `finish` made of the region at this place, from 0, in any order; not from two threads at once."""
        ...

    def results(self) -> Sequence[Result]:
        """One result per kind, when every region was added."""
        ...


class Task(Protocol):
    """Everything between a picture and a result except the network."""

    @property
    def name(self) -> str:
        """pose, seg, depth, normal, features or detect."""
        ...

    @property
    def result(self) -> type[Result]:
        """The kind of its results."""
        ...

    @property
    def input_hw(self) -> tuple[int, int]:
        """Canvas height and width the network was made for."""
        ...

    def prepare(self, image_HW3: np.ndarray, region: Region | None) -> tuple[np.ndarray, Geometry]:
        """Cut one canvas out of a uint8 RGB picture: (uint8 RGB canvas (h,w,3), its geometry)."""
        ...

    def network_input(self, canvas_BHW3: Tensor) -> Tensor:
        """uint8 canvases on the network's device -> normalised float32 (B,3,h,w)."""
        ...

    def finish_tensors(self, raw: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """All that can be decided at network resolution, in float32, on the device, for a batch. Pure, exportable."""
        ...

    def ready_tensors(self, finished: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """What a program that brings nothing to source size wants beside `finish_tensors`' batch. Pure, exportable."""
        ...

    def constants(self) -> dict[str, Any]:
        """What other programs must know of `prepare`, `network_input` and `finish`. JSON-able."""
        ...

    def finish(self, tensors: Mapping[str, Tensor], geometry: Geometry, provenance: Provenance) -> Sequence[Result]:
        """Results of one region in source pixels from its rows of `finish_tensors` (no batch axis)."""
        ...

    def gather(self, source_hw: tuple[int, int], provenance: Provenance) -> Gathering:
        """What makes one result per kind for a picture from those of its regions; no regions give an empty result."""
        ...

    def discrepancy(self, a: Result, b: Result) -> dict[str, float]:
        """How far two results of one picture are apart, keyed by a unit: px, label_share, deg, relative, ..."""
        ...
