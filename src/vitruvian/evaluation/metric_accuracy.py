"""Accuracy of depth in metres, by the measures of the published tables, with or without a fit to the truth.

Found and true maps of one size -> numbers of a whole set: each measure is a mean over the valid pixels of a picture,
then over pictures. Kept is one row a picture. Time: some passes over the valid pixels, two more where a fit is asked.
"""

# Shape suffixes: H W picture, N valid pixels.

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

import numpy as np

from vitruvian.datasets.dense_checks import METRES, MILLIMETRES, RELATIVE, depth_unit
from vitruvian.datasets.depth_protocols import AS_STORED, DepthProtocol
from vitruvian.errors import InputError
from vitruvian.tasks import metrics

Alignment = Literal["none", "median", "scale-shift"]
LogBase = Literal["e", "10"]
ALIGNMENTS: tuple[Alignment, ...] = ("none", "median", "scale-shift")
LOG_BASES: tuple[LogBase, ...] = ("e", "10")

LEAST_TRUE_M = 1e-8
"""True depth at or below this is no value."""
LEAST_FOUND_M = 1e-3
"""What is found nearer than this, or not at all, counts as this: a miss with a finite error."""
_IN_WORDS = {
    "none": "as it comes",
    "median": "scaled by the ratio of the medians",
    "scale-shift": "scale and shift fitted by least squares",
}


@dataclass(frozen=True, kw_only=True, slots=True)
class Fit:
    """What found depth is multiplied by and what is added to it."""

    scale: float = 1.0
    shift: float = 0.0
    fell_back: bool = False
    """Whether a scale below 0 came out of the least squares, and the ratio of the medians was taken."""


def fitted(found_N: np.ndarray, true_N: np.ndarray, alignment: Alignment) -> Fit:
    """How the found depth of valid pixels (metres) is brought to the truth."""
    if alignment == "none" or not found_N.size:
        return Fit()
    if alignment == "scale-shift":
        scale, shift = metrics.fit_scale_shift(found_N, true_N)
        if scale >= 0:
            return Fit(scale=scale, shift=shift)
    ratio = _lower_median(true_N) / _lower_median(found_N)
    return Fit(scale=ratio, fell_back=alignment == "scale-shift")


def metric_errors(found_N: np.ndarray, true_N: np.ndarray, log_base: LogBase = "e") -> dict[str, float]:
    """The measures of one picture over its valid pixels, both depths in metres above 0.

    RMSE-log and SILog are of logarithms to `log_base`, log10 always to 10; SILog is the standard deviation of the
    difference of logarithms, not times 100.
    """
    found_N, true_N = found_N.astype(np.float64), true_N.astype(np.float64)
    plain = metrics.depth_errors(found_N, true_N, np.ones(true_N.shape, bool), align=False)
    apart_N = np.log(found_N / true_N)
    per_e = 1.0 if log_base == "e" else 1 / math.log(10)
    base = "ln" if log_base == "e" else "base 10"
    return {
        "AbsRel": plain["abs_rel"],
        "SqRel": float((np.square(found_N - true_N) / true_N).mean()),
        "RMSE": plain["rmse"],
        f"RMSE-log ({base})": math.sqrt(float(np.square(apart_N).mean())) * per_e,
        "log10": float(np.abs(apart_N).mean()) / math.log(10),
        f"SILog ({base})": float(apart_N.std()) * per_e,
        **{name: plain[name] for name in ("delta1", "delta2", "delta3")},
    }


@dataclass(kw_only=True)
class MetricTally:
    """Depth in metres of many pictures."""

    protocol: DepthProtocol = AS_STORED
    """Which pixels count, and how far."""
    alignment: Alignment = "none"
    log_base: LogBase = "e"
    rows: list[dict[str, float]] = field(default_factory=list)
    """One a picture."""
    blank: int = 0
    """Pictures without a true depth that counts; they are in no mean."""
    fell_back: int = 0
    """Pictures with a least-squares scale below 0."""
    not_found: int = 0
    """Pixels with a true depth and none found."""

    def check(self, true_HW: np.ndarray) -> None:
        """`InputError` where a true map is none of metres, or not of the size that the protocol's crop is of."""
        self.protocol.inside(_size(true_HW))
        values_N = true_HW[_valued(true_HW)]
        if not values_N.size:
            return
        unit = depth_unit(*np.percentile(values_N, (0, 50, 100)))
        if unit != METRES:
            raise InputError(
                f"has a true depth of {values_N.min():.4g} to {values_N.max():.4g}, which looks {_LOOKS[unit]}; "
                "expected metres; give them, or say with --protocol how the files are coded"
            )

    def add(self, found_HW: np.ndarray, true_HW: np.ndarray) -> None:
        """One picture, both in metres; pixels count where the truth has a value inside the crop and the cap."""
        rows, columns = self.protocol.inside(_size(true_HW))
        found, true = found_HW[rows, columns], true_HW[rows, columns]
        counts = _valued(true)
        if self.protocol.cap_m is not None:
            counts &= true <= self.protocol.cap_m
        found_N, true_N = found[counts].astype(np.float64), true[counts].astype(np.float64)
        if not true_N.size:
            self.blank += 1
            return
        seen_N = np.isfinite(found_N) & (found_N > 0)
        fit = fitted(found_N[seen_N], true_N[seen_N], self.alignment)
        near_N = np.where(seen_N, fit.scale * found_N + fit.shift, LEAST_FOUND_M)
        self.rows.append(metric_errors(near_N.clip(LEAST_FOUND_M, self.protocol.cap_m), true_N, self.log_base))
        self.fell_back += fit.fell_back
        self.not_found += int((~seen_N).sum())

    def numbers(self) -> dict[str, float]:
        """Means over pictures, see `metric_errors`; empty without a picture."""
        if not self.rows:
            return {}
        return {name: float(np.mean([row[name] for row in self.rows])) for name in self.rows[0]}

    def settings(self) -> Mapping[str, str]:
        """How it was measured, for reports."""
        return {
            "protocol": self.protocol.in_words,
            "alignment": _IN_WORDS[self.alignment],
            "logarithms": "natural" if self.log_base == "e" else "base 10",
        }

    def notes(self) -> list[str]:
        """What a reader of the numbers must know."""
        said = {
            f"{self.blank} pictures have no true depth that counts and are in no mean": self.blank,
            f"{self.not_found} pixels without a found depth count as {LEAST_FOUND_M:g} m": self.not_found,
            f"of {self.fell_back} pictures the least-squares scale was below 0; the ratio of the medians was "
            "taken": self.fell_back,
        }
        return [sentence for sentence, count in said.items() if count]


_LOOKS = {RELATIVE: "relative", MILLIMETRES: "like millimetres or codes"}


def _valued(true_HW: np.ndarray) -> np.ndarray:
    return np.isfinite(true_HW) & (true_HW > LEAST_TRUE_M)


def _lower_median(values_N: np.ndarray) -> float:
    """The middle value; of an even number the lower of the two in the middle, as published."""
    place = (values_N.size - 1) // 2
    return float(np.partition(values_N, place)[place])


def _size(map_HW: np.ndarray) -> tuple[int, int]:
    return map_HW.shape[0], map_HW.shape[1]
