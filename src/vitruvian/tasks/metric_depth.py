"""Metric depth of every pixel, with its confidence and the surface normals of the same pass.

Picture -> canvas (padded or fitted) -> depth of the canonical camera, confidence, normals -> metres by the picture's
own camera. The network answers as if every camera had a focal length of 1000 px on its canvas (Yin et al. 2023), so
depth = canonical depth x focal length on the canvas / 1000. At source size depth, confidence and normals take 20 bytes
a pixel: 166 MB for a 4K picture.
"""

# Shape suffixes: B pictures, C channels, h w canvas, H W source size, N points, 3 = x y z or RGB.

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from torch import Tensor

from vitruvian.errors import UsageError
from vitruvian.tasks import metrics, preprocess
from vitruvian.tasks.base import Geometry, Provenance, Region, Result
from vitruvian.tasks.cameras import assumed_camera
from vitruvian.tasks.dense import raw_map, upsample_map
from vitruvian.tasks.gathering import InTurn, only_one
from vitruvian.tasks.metric_canvas import (
    PAD_RGB,
    Placement,
    fitted_canvas,
    fitted_placement,
    laid_out,
    padded_placement,
)
from vitruvian.tasks.metric_result import MetricDepth, Protocol

FARTHEST_M = 300.0
"""Published results end here."""
PADDED = (
    "scale = min(h / H, w / W); the picture resized to (int(H scale), int(W scale)), bilinear, in the middle of the "
    "canvas (top and left rounded down), the rest in the colour pad_rgb"
)
FITTED = (
    "the picture resized to a canvas of its own aspect, sides multiples of canvas_stride, with at most as many pixels "
    "as canvas_hw; scale = sqrt(h w / (H W))"
)
"""How a canvas is made, for other programs."""
REACH = 0.9
"""Share of the network's farthest canonical depth from which on a pixel is "as far as it can say", such as sky."""

DEPTH, CONFIDENCE, NORMAL, KAPPA = "depth", "confidence", "normal", "kappa"


@dataclass(frozen=True, kw_only=True, slots=True)
class MetricDepthTask:
    """Metric depth of whole pictures."""

    name: ClassVar[str] = "depth"
    result: ClassVar[type[Result]] = MetricDepth

    input_hw: tuple[int, int]
    """Canvas height and width; of a fitted canvas, what its pixels are counted by."""
    native_hw: tuple[int, int]
    """The canvas that the weights were trained on."""
    far_m: float
    """Farthest depth of the network, canonical."""
    canonical_focal_px: float = 1000.0
    """Focal length, in pixels of the canvas, of the camera that the network answers for."""
    stride: int = 28
    """Sides of canvases are multiples of this."""
    has_normals: bool = True
    """Whether the network gives normals."""
    fit: bool = False
    """Canvas in each picture's own aspect, instead of a padded one."""

    @property
    def protocol(self) -> Protocol:
        """How pictures are laid out, and whether the published numbers hold for that."""
        return Protocol(
            fit=self.fit, canvas_hw=self.input_hw, published=not self.fit and self.input_hw == self.native_hw
        )

    def prepare(self, image_HW3: np.ndarray, region: Region | None) -> tuple[np.ndarray, Geometry]:
        """The whole picture on its canvas; `UsageError` for a region, `InputError` for a bad picture."""
        if region is not None:
            raise UsageError(
                "got a person's box for metric depth; expected the whole picture, whose camera is known; leave the "
                "boxes out, or take a sapiens-depth model"
            )
        preprocess.check_picture(image_HW3)
        source_hw = image_HW3.shape[0], image_HW3.shape[1]
        canvas_hw = fitted_canvas(source_hw, self.input_hw, self.stride) if self.fit else self.input_hw
        geometry = preprocess.whole_geometry(image_HW3, canvas_hw)
        return laid_out(image_HW3, canvas_hw, self.placement(geometry)), geometry

    def placement(self, geometry: Geometry) -> Placement:
        """Where the picture lies on its canvas."""
        place = fitted_placement if self.fit else padded_placement
        return place(geometry.source_hw, geometry.canvas_hw)

    def network_input(self, canvas_BHW3: Tensor) -> Tensor:
        """uint8 canvases -> normalised float32 (B,3,h,w) on their device."""
        return preprocess.normalise(canvas_BHW3)

    def finish_tensors(self, raw: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Canonical depth in metres, confidence and, where the network gives them, normals, in float32."""
        finished = {DEPTH: raw_map(raw, DEPTH, 1), CONFIDENCE: raw_map(raw, CONFIDENCE, 1)}
        if self.has_normals:
            finished |= {NORMAL: raw_map(raw, NORMAL, 3), KAPPA: raw_map(raw, KAPPA, 1)}
        return finished

    def ready_tensors(self, finished: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Nothing: metres need the camera of the picture."""
        return {}

    def constants(self) -> dict[str, Any]:
        """How a canvas is made, what the maps mean, and how they become metres."""
        outputs = {
            DEPTH: "float32 (B,1,h,w), metres of a camera with a focal length of 1000 px of the canvas",
            CONFIDENCE: "float32 (B,1,h,w), about 1 where sure and 0 where not, unbounded",
        }
        if self.has_normals:
            outputs[NORMAL] = "float32 (B,3,h,w) x, y, z, unit length; x right, y down, z forward; toward the camera"
            outputs[KAPPA] = "float32 (B,1,h,w) above 0, larger where the normal is surer"
        return {
            "canvas_hw": list(self.input_hw),
            "canvas_stride": self.stride,
            "canvas": FITTED if self.fit else PADDED,
            "pad_rgb": list(PAD_RGB),
            **preprocess.normalisation(),
            "canonical_focal_px": self.canonical_focal_px,
            "farthest_m": FARTHEST_M,
            "canonical_far_m": self.far_m,
            "reach_share": REACH,
            "source": "cut the padding off, resize to the picture's size, bilinear with half-pixel centres; depth in "
            "metres = depth x fx x scale / canonical_focal_px, at most farthest_m",
            "outputs": outputs,
        }

    def finish(
        self, tensors: Mapping[str, Tensor], geometry: Geometry, provenance: Provenance
    ) -> Sequence[MetricDepth]:
        """Metres, confidence and unit normals at source size."""
        camera = geometry.camera or assumed_camera(geometry.source_hw)
        placement = self.placement(geometry)
        factor = camera.fx_px * placement.scale / self.canonical_focal_px
        depth_HW = _at_source(tensors[DEPTH], placement, geometry)[0].mul_(factor).clamp_(0, FARTHEST_M)
        confidence_HW = _at_source(tensors[CONFIDENCE], placement, geometry)[0]
        return [
            MetricDepth(
                provenance=provenance,
                depth_m_HW=depth_HW.cpu().numpy(),
                confidence_HW=confidence_HW.cpu().numpy(),
                normals_HW3=_normals(tensors[NORMAL], placement, geometry) if self.has_normals else None,
                camera=camera,
                reach_m=min(REACH * self.far_m * factor, FARTHEST_M),
                protocol=self.protocol,
            )
        ]

    def gather(self, source_hw: tuple[int, int], provenance: Provenance) -> InTurn:
        """The one result of the picture."""
        return InTurn(only_one)

    def discrepancy(self, a: Result, b: Result) -> dict[str, float]:
        """Mean difference of depth as a share of `b`'s, and the mean angle between the normals in degrees."""
        if not (isinstance(a, MetricDepth) and isinstance(b, MetricDepth)) or a.depth_m_HW.shape != b.depth_m_HW.shape:
            raise UsageError(f"got {a!r} and {b!r}; expected two metric depth maps of one picture")
        everywhere_HW = np.ones(b.depth_m_HW.shape, bool)
        found = {
            "metric_relative": metrics.depth_errors(a.depth_m_HW, b.depth_m_HW, everywhere_HW, align=False)["abs_rel"]
        }
        if a.normals_HW3 is not None and b.normals_HW3 is not None:
            found["deg_mean"] = metrics.angle_errors(a.normals_HW3, b.normals_HW3)["deg_mean"]
        return found


def _at_source(map_Chw: Tensor, placement: Placement, geometry: Geometry) -> Tensor:
    """The picture's part of a map on the canvas, at source size (C,H,W)."""
    return upsample_map(map_Chw[(slice(None), *placement.inside())], geometry.source_hw)


def _normals(normal_3hw: Tensor, placement: Placement, geometry: Geometry) -> np.ndarray:
    """Interpolated, then of unit length again, which the published scripts leave out."""
    vectors_3HW = _at_source(normal_3hw, placement, geometry)
    length_1HW = vectors_3HW.square().sum(dim=0, keepdim=True).sqrt_()
    return vectors_3HW.div_(length_1HW.clamp_(min=1e-6)).permute(1, 2, 0).contiguous().cpu().numpy()
