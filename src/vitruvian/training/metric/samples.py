"""Training samples of metric depth: a picture on its canvas, depth of the canonical camera, normals.

In: a picture with depth in metres, perhaps normals, and its focal length; chance. Out: a `MetricSample`, or several as
a `MetricBatch`. The network answers as if every camera had a focal length of 1000 px on the canvas, so a picture of
focal length f on a canvas of `scale` pixels for each of its own is taught depth_m x 1000 / (f x scale): whatever
resizes the picture changes the label. Time: three resizes and some colours, 3 ms for a small canvas.
"""

# Shape suffixes: H W picture or canvas, h w picture on the canvas, B samples, 3 = RGB or x y z.

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, fields

import cv2
import numpy as np
import torch
from torch import Tensor

from vitruvian.datasets.photometric import Photometric
from vitruvian.models.metric3d import CANONICAL_FOCAL_PX
from vitruvian.tasks.metric_canvas import PAD_RGB


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class MetricPicture:
    """What a sample is made of."""

    image_HW3: np.ndarray
    """uint8 RGB."""
    depth_m_HW: np.ndarray
    """Along the viewing axis; 0, NaN or infinite where there is none."""
    focal_px: float
    """In pixels of this picture."""
    normals_HW3: np.ndarray | None = None
    """Unit vectors in the camera's frame (x right, y down, z forward) toward the camera; zeros where there is none."""


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class MetricSample:
    """Network input and targets; fields as those of `MetricBatch`, in order."""

    canvas_HW3: np.ndarray
    depth_HW: np.ndarray
    normals_3HW: np.ndarray


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class MetricBatch:
    """Network input and targets."""

    canvas_BHW3: Tensor
    """uint8 RGB."""
    depth_BHW: Tensor
    """float32 canonical metres, cut to the network's range; 0 where there is none."""
    normals_B3HW: Tensor
    """float32 unit vectors; zeros where there is none."""


@dataclass(frozen=True, kw_only=True, slots=True)
class MetricAugmentation:
    """How samples vary (published: resize by 0.85 to 1.15, crop, mirror in 4 of 10, colours)."""

    resize: tuple[float, float] = (0.85, 1.15)
    """Range of a factor on every picture's size."""
    whole_share: float = 0.5
    """Of pictures that just fit the canvas before that; the others are larger, up to filling it, and cropped."""
    zoom: float = 1.4
    """How many times larger than fitting others may be at least, where they would fill the canvas earlier."""
    mirror_probability: float = 0.4
    photometric: Photometric = field(default_factory=Photometric)


@dataclass(frozen=True, kw_only=True, slots=True)
class Layout:
    """Where a picture lies on its canvas."""

    inner_hw: tuple[int, int]
    """Size of the whole picture, resized."""
    top: int
    """Row of the canvas that its first row lies on; negative: so many rows are cut off."""
    left: int
    scale: float
    """Pixels of the canvas for each of the picture."""


def canonical_depth(depth_m: np.ndarray, focal_px: float, scale: float) -> np.ndarray:
    """Metres -> metres of the canonical camera, on a canvas of `scale` pixels for each of the picture."""
    return depth_m * np.float32(CANONICAL_FOCAL_PX / (focal_px * scale))


def metric_sample(
    picture: MetricPicture,
    canvas_hw: tuple[int, int],
    depth_range_m: tuple[float, float],
    augmentation: MetricAugmentation,
    rng: np.random.Generator | None,
) -> MetricSample:
    """A picture on its canvas with its targets; a function of its arguments alone.

    Args:
        picture: what to learn.
        canvas_hw: canvas height and width.
        depth_range_m: canonical; what is farther is taught as farthest, which means "as far as it can say".
        augmentation: how it varies.
        rng: chance; None: the whole picture in the middle, as networks are used.
    """
    layout = _layout(picture.image_HW3.shape[:2], canvas_hw, augmentation, rng)
    mirrored = rng is not None and bool(rng.random() < augmentation.mirror_probability)
    inner_hw3 = _resized(picture.image_HW3, layout, cv2.INTER_LINEAR)
    if rng is not None:
        inner_hw3 = augmentation.photometric.changed(inner_hw3, rng)
    canvas_HW3 = np.empty((*canvas_hw, 3), np.uint8)
    canvas_HW3[:] = PAD_RGB
    _lay(inner_hw3, canvas_HW3, layout)
    depth_HW = np.zeros(canvas_hw, np.float32)
    _lay(_depth(picture, layout, depth_range_m), depth_HW, layout)
    normals_HW3 = np.zeros((*canvas_hw, 3), np.float32)
    if picture.normals_HW3 is not None:
        _lay(_resized(picture.normals_HW3.astype(np.float32), layout, cv2.INTER_NEAREST_EXACT), normals_HW3, layout)
    if mirrored:
        canvas_HW3, depth_HW, normals_HW3 = canvas_HW3[:, ::-1], depth_HW[:, ::-1], normals_HW3[:, ::-1] * (-1, 1, 1)
    return MetricSample(
        canvas_HW3=np.ascontiguousarray(canvas_HW3),
        depth_HW=np.ascontiguousarray(depth_HW),
        normals_3HW=np.ascontiguousarray(normals_HW3.transpose(2, 0, 1), dtype=np.float32),
    )


def metric_batch(samples: Sequence[MetricSample]) -> MetricBatch:
    """Samples as one batch, in host memory."""
    rows = [[getattr(sample, field.name) for sample in samples] for field in fields(MetricSample)]
    stacks = [torch.from_numpy(np.stack(row)) for row in rows]
    return MetricBatch(**{field.name: stack for field, stack in zip(fields(MetricBatch), stacks, strict=True)})


def blank_metric_batch(count: int, canvas_hw: tuple[int, int], device: torch.device) -> MetricBatch:
    """A batch of nothing, of the sizes and types of a real one, for planners."""
    return MetricBatch(
        canvas_BHW3=torch.zeros((count, *canvas_hw, 3), dtype=torch.uint8, device=device),
        depth_BHW=torch.ones((count, *canvas_hw), device=device),
        normals_B3HW=torch.ones((count, 3, *canvas_hw), device=device),
    )


def _layout(
    source_hw: Sequence[int],
    canvas_hw: tuple[int, int],
    augmentation: MetricAugmentation,
    rng: np.random.Generator | None,
) -> Layout:
    """Size and place; what is smaller than the canvas lies in the middle, what is larger is cut anywhere."""
    ratios = [canvas / source for canvas, source in zip(canvas_hw, source_hw, strict=True)]
    scale = min(ratios)
    if rng is not None:
        if rng.random() >= augmentation.whole_share:
            largest = max(max(ratios), augmentation.zoom * scale)
            scale = math.exp(rng.uniform(math.log(scale), math.log(largest)))
        scale *= rng.uniform(*augmentation.resize)
    # The published arithmetic: sizes are cut off, not rounded.
    inner_hw = (max(1, int(source_hw[0] * scale)), max(1, int(source_hw[1] * scale)))
    starts = [
        (canvas - inner) // 2 if rng is None or inner <= canvas else -int(rng.integers(0, inner - canvas + 1))
        for canvas, inner in zip(canvas_hw, inner_hw, strict=True)
    ]
    return Layout(inner_hw=inner_hw, top=starts[0], left=starts[1], scale=scale)


def _depth(picture: MetricPicture, layout: Layout, depth_range_m: tuple[float, float]) -> np.ndarray:
    depth_m_hw = _resized(picture.depth_m_HW.astype(np.float32), layout, cv2.INTER_NEAREST_EXACT)
    known_hw = np.isfinite(depth_m_hw) & (depth_m_hw > 0)
    canonical_hw = canonical_depth(np.where(known_hw, depth_m_hw, 0), picture.focal_px, layout.scale)
    return np.where(known_hw, canonical_hw.clip(*depth_range_m), 0)


def _resized(values: np.ndarray, layout: Layout, how: int) -> np.ndarray:
    return np.asarray(cv2.resize(values, layout.inner_hw[::-1], interpolation=how))


def _lay(inner: np.ndarray, canvas: np.ndarray, layout: Layout) -> None:
    """Put what fits onto the canvas, in place."""
    from_hw, to_hw = [], []
    for start, inner_side, canvas_side in zip((layout.top, layout.left), inner.shape, canvas.shape, strict=False):
        length = min(inner_side + min(start, 0), canvas_side - max(start, 0))
        from_hw.append(slice(max(-start, 0), max(-start, 0) + length))
        to_hw.append(slice(max(start, 0), max(start, 0) + length))
    canvas[tuple(to_hw)] = inner[tuple(from_hw)]
