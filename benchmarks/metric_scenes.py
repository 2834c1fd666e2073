"""Metric depth on rendered places with known metres: what precision and smaller canvases cost the embedded network.

Held-out places, whole pictures, true focal lengths. Precision: millimetres between each compute type and float32, where
the truth is about 1, 5 and 20 m. Canvases: relative error, and the distance from the full canvas.
"""

# Shape suffixes: H W picture.

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from side_by_side import Watch, conditions_line, print_table
from vitruvian.evaluation.metric_nano import held_out_views
from vitruvian.loading import load
from vitruvian.people import View
from vitruvian.predict import Model
from vitruvian.tasks import metrics
from vitruvian.tasks.metric_result import MetricDepth
from vitruvian.zoo import DEFAULT_MODELS, CanvasWish

BANDS_M = (1.0, 5.0, 20.0)
BAND = 1.25
"""A pixel belongs to a distance that its true depth is within this factor of."""
TYPES = ("float32", "bfloat16", "float16")
CANVASES: dict[str, CanvasWish] = {
    "fixed": CanvasWish(),
    "fit": CanvasWish(canvas="fit"),
    "--tokens 120": CanvasWish(tokens=120),
    "--tokens 80": CanvasWish(tokens=80),
    "--tokens 40": CanvasWish(tokens=40),
}


@dataclass(kw_only=True)
class Band:
    """Distances in millimetres at one depth, picture by picture."""

    mean_mm: list[float] = field(default_factory=list)
    worst_mm: float = 0.0

    def add(self, apart_m_N: np.ndarray) -> None:
        if apart_m_N.size:
            self.mean_mm.append(1000 * float(apart_m_N.mean()))
            self.worst_mm = max(self.worst_mm, 1000 * float(apart_m_N.max()))

    @property
    def words(self) -> str:
        return f"{np.mean(self.mean_mm):.3g} / {self.worst_mm:.3g}" if self.mean_mm else "no pixel"


def depth_of(model: Model, view: View) -> np.ndarray:
    """Metres at source size (H,W)."""
    (result,) = model(view.image_HW3, focal_px=view.camera.focal_px)
    assert isinstance(result, MetricDepth)
    return result.depth_m_HW


def precision_rows(name: str, views: Sequence[View]) -> list[list[str]]:
    """Compute type -> mean and worst distance at each depth: float32 from the truth, the others from float32."""
    rows, reference = [], [view.depth_m_HW for view in views]
    for dtype in TYPES:
        model = load(name, dtype=dtype)
        found = [depth_of(model, view) for view in views]
        bands = [Band() for _ in BANDS_M]
        for view, depth_m_HW, other_HW in zip(views, found, reference, strict=True):
            for band, middle_m in zip(bands, BANDS_M, strict=True):
                here_HW = (view.depth_m_HW > middle_m / BAND) & (view.depth_m_HW < middle_m * BAND)
                band.add(np.abs(depth_m_HW - other_HW)[here_HW])
        rows.append([dtype, "truth" if dtype == "float32" else "float32", *(band.words for band in bands)])
        if dtype == "float32":
            reference = found
    return rows


def canvas_rows(name: str, views: Sequence[View]) -> list[list[str]]:
    """Canvas -> AbsRel against the truth, and mean relative distance from the published canvas."""
    rows: list[list[str]] = []
    full: list[np.ndarray] = []
    for words, canvas in CANVASES.items():
        model = load(name, dtype="float32", canvas=canvas)
        found = [depth_of(model, view) for view in views]
        full = full or found
        errors = [
            metrics.depth_errors(depth_HW, view.depth_m_HW, view.depth_m_HW > 0, align=False)["abs_rel"]
            for depth_HW, view in zip(found, views, strict=True)
        ]
        apart = [float((np.abs(a - b) / b).mean()) for a, b in zip(found, full, strict=True)]
        rows.append([words, f"{np.mean(errors):.3f}", f"{100 * np.mean(apart):.1f} %"])
    return rows


def main() -> None:
    """Print both tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pictures", type=int, default=100)
    parser.add_argument("--model", default=DEFAULT_MODELS["depth"])
    arguments = parser.parse_args()
    views = [view for view in held_out_views(arguments.pictures) if (view.depth_m_HW > 0).any()]
    watch = Watch()
    by_precision = precision_rows(arguments.model, views)
    by_canvas = canvas_rows(arguments.model, views)
    print(f"{arguments.model}, {len(views)} pictures; {conditions_line(watch.conditions())}\n")
    print_table(
        ["compute type", "against", *(f"at {middle_m:g} m: mean / worst in mm" for middle_m in BANDS_M)], by_precision
    )
    print()
    print_table(["canvas", "AbsRel", "from the published canvas"], by_canvas)


if __name__ == "__main__":
    main()
