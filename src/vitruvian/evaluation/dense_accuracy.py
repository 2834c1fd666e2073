"""Accuracy of labels, depth and normals over many pictures, added up one by one.

Found and true maps of one size -> numbers of a whole set. Kept are counts alone: a confusion matrix, one row a picture,
a histogram of angles; nothing grows with the pixels. Time: one pass over each map, two more to align depth.
"""

# Shape suffixes: C classes, A angles, H W picture, 3 = x y z, N valid pixels.

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from vitruvian.tasks import metrics
from vitruvian.tasks.labels import LabelSet

ANGLES_DEG = (5.0, 7.5, 11.25, 22.5, 30.0)
"""Shares of normals within these angles are reported, as in the literature on normals."""
AS_IT_COMES, SCALE, SCALE_AND_SHIFT = "", "scale fitted", "scale and shift fitted"
_BINS_PER_DEG = 100


@dataclass(kw_only=True)
class LabelTally:
    """Classes of pixels."""

    labels: LabelSet
    confusion_CC: np.ndarray = field(init=False)
    """int64; true class by row, found class by column."""

    def __post_init__(self) -> None:
        self.confusion_CC = np.zeros((self.labels.count, self.labels.count), np.int64)

    def add(self, found_HW: np.ndarray, true_HW: np.ndarray) -> None:
        """One picture; pixels whose true label is 255 do not count."""
        self.confusion_CC += metrics.confusion_matrix(found_HW, true_HW, self.labels.count)

    def numbers(self) -> dict[str, float]:
        """mIoU and mAcc over the classes of the truth, aAcc over pixels: shares from 0 to 1; empty without a pixel."""
        true_C = self.confusion_CC.sum(axis=1)
        if not true_C.any():
            return {}
        hit_C = np.diagonal(self.confusion_CC)
        recall_C = hit_C[true_C > 0] / true_C[true_C > 0]
        return {
            "mIoU": metrics.mean_iou(self.confusion_CC),
            "mAcc": float(recall_C.mean()),
            "aAcc": float(hit_C.sum() / true_C.sum()),
        }

    def by_class(self) -> dict[str, float]:
        """Intersection over union of each class that is true or found anywhere."""
        iou_C = metrics.iou_per_class(self.confusion_CC)
        return {name: float(iou) for name, iou in zip(self.labels.names, iou_C, strict=True) if np.isfinite(iou)}


@dataclass(kw_only=True)
class DepthTally:
    """Depth as it comes, and with what a relative map leaves open taken from the truth of each picture."""

    rows: dict[str, list[dict[str, float]]] = field(default_factory=dict)
    """One entry a picture, by what was fitted."""

    def add(self, found_HW: np.ndarray, true_HW: np.ndarray) -> None:
        """One picture; pixels count where both are finite and the truth is above 0."""
        valid_HW = np.isfinite(found_HW) & np.isfinite(true_HW) & (true_HW > 0)
        if not valid_HW.any():
            return
        middle = float(np.median(found_HW[valid_HW]))
        scale = float(np.median(true_HW[valid_HW])) / middle if middle > 0 else 1.0
        for fitted, map_HW, align in (
            (AS_IT_COMES, found_HW, False),
            (SCALE, found_HW * scale, False),
            (SCALE_AND_SHIFT, found_HW, True),
        ):
            self.rows.setdefault(fitted, []).append(metrics.depth_errors(map_HW, true_HW, valid_HW, align=align))

    def numbers(self) -> dict[str, float]:
        """Means over pictures of AbsRel, RMSE (the truth's unit) and the shares within 1.25, 1.25^2, 1.25^3."""
        titles = {"abs_rel": "AbsRel", "rmse": "RMSE"}
        return {
            f"{titles.get(name, name)}{f', {fitted}' if fitted else ''}": float(np.mean([row[name] for row in rows]))
            for fitted, rows in self.rows.items()
            for name in rows[0]
        }


@dataclass(kw_only=True)
class NormalTally:
    """Angles between normals."""

    pixels_A: np.ndarray = field(default_factory=lambda: np.zeros(180 * _BINS_PER_DEG + 1, np.int64))
    """Pixels by angle, in hundredths of a degree."""
    total_deg: float = 0.0
    total_square: float = 0.0
    within: dict[float, int] = field(default_factory=lambda: dict.fromkeys(ANGLES_DEG, 0))
    """Pixels below each angle."""

    def add(self, found_HW3: np.ndarray, true_HW3: np.ndarray) -> None:
        """One picture; pixels count where both have a direction."""
        angles_HW = metrics.angles_deg(found_HW3, true_HW3)
        angles_N = angles_HW[np.isfinite(angles_HW)]
        places_N = np.rint(angles_N * _BINS_PER_DEG).astype(np.int64)
        self.pixels_A += np.bincount(places_N, minlength=self.pixels_A.size)
        self.total_deg += float(angles_N.sum())
        self.total_square += float(np.square(angles_N).sum())
        for limit_deg in self.within:
            self.within[limit_deg] += int((angles_N < limit_deg).sum())

    def numbers(self) -> dict[str, float]:
        """Mean, median (to a hundredth) and root mean square in degrees, shares below `ANGLES_DEG`; empty: no pixel."""
        pixels = int(self.pixels_A.sum())
        if not pixels:
            return {}
        median_deg = int(np.searchsorted(self.pixels_A.cumsum(), (pixels + 1) // 2)) / _BINS_PER_DEG
        return {
            "mean deg": self.total_deg / pixels,
            "median deg": median_deg,
            "RMSE deg": (self.total_square / pixels) ** 0.5,
            **{f"below {limit:g} deg": count / pixels for limit, count in self.within.items()},
        }


def text_table(numbers: Mapping[str, float]) -> str:
    """A Markdown table of two columns."""
    return "\n".join(
        ["| measure | value |", "|---|---|", *(f"| {name} | {value:.4g} |" for name, value in numbers.items())]
    )
